"""UniPC and its schedules against diffusers, which is run here as a yardstick and nowhere else."""

import inspect
import os

import pytest
import torch
from torch import Tensor

os.environ["HF_HUB_OFFLINE"] = "1"
diffusers = pytest.importorskip("diffusers", reason="parity needs the extra: pip install -e '.[parity]'")

from minisora.diffusion import unipc as module  # noqa: E402
from minisora.diffusion.samplers import euler, unipc  # noqa: E402
from minisora.diffusion.schedule import schedule, shift  # noqa: E402

STEPS, SHIFTS = (1, 2, 3, 5, 20, 50), (1.0, 3.0, 5.0, 8.0)
WEIGHT = torch.randn(8, 8, generator=torch.Generator().manual_seed(1))
NOISE = torch.randn(2, 3, 5, 8, generator=torch.Generator().manual_seed(0))


def field(x: Tensor, t: Tensor) -> Tensor:
    """Random and nonlinear in both x and t."""
    return torch.tanh(x @ WEIGHT.to(x) + torch.cos(5 * t)) * (1 + t) - torch.sin(2 * x)


def reference(steps: int, s: float, dtype: torch.dtype, sigmas: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """The yardstick's result, and the times at which it stopped."""
    scheduler = diffusers.UniPCMultistepScheduler(
        prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=s, solver_order=2
    )
    scheduler.set_timesteps(**({"num_inference_steps": steps} if sigmas is None else {"sigmas": sigmas.numpy()}))
    scheduler.sigmas = scheduler.sigmas.to(dtype)  # its coefficients are computed in this dtype
    x = NOISE.to(dtype)
    for sigma, label in zip(scheduler.sigmas, scheduler.timesteps, strict=False):
        x = scheduler.step(field(x, sigma), label, x, return_dict=False)[0]
    return x, scheduler.sigmas


def apart(ours: Tensor, theirs: Tensor) -> float:
    return float((ours - theirs).norm() / theirs.norm())


@pytest.mark.parametrize("dtype, bound", [(torch.float32, 1e-6), (torch.float64, 1e-12)])
@pytest.mark.parametrize("s", SHIFTS)
@pytest.mark.parametrize("steps", STEPS)
def test_the_solver_is_the_reference(steps: int, s: float, dtype: torch.dtype, bound: float):
    theirs, times = reference(steps, s, dtype)
    assert apart(unipc(field, NOISE.to(dtype), times), theirs) < bound


@pytest.mark.skipif(
    "sigmas" not in inspect.signature(diffusers.UniPCMultistepScheduler.set_timesteps).parameters,
    reason="an older diffusers has the older schedule, and takes no other",
)
@pytest.mark.parametrize("s", SHIFTS)
@pytest.mark.parametrize("steps", STEPS)
def test_the_schedules_are_the_reference(steps: int, s: float):
    theirs, times = reference(steps, s, torch.float32)
    ours = schedule(steps, s, floor=1 / 1000).clamp(max=1 - 1e-6)
    assert apart(ours, times.double()) < 1e-7
    # rounded to fp32 as theirs: 1 - 1e-6 becomes 1 - 1.013e-6, which alone would move the result by 1e-5
    assert apart(unipc(field, NOISE, ours.float()), theirs) < 1e-6

    custom = torch.linspace(1 - 1 / 1000, 0, steps + 1, dtype=torch.float64)[:-1]  # as the released Wan code has it
    _, times = reference(steps, s, torch.float32, custom)
    assert apart(schedule(steps, s, start=shift(1 - 1 / 1000, s)), times.double()) < 1e-7


@pytest.mark.parametrize("steps", (3, 5, 20))  # with fewer, both are Euler
def test_a_broken_solver_or_schedule_is_noticed(steps: int, monkeypatch: pytest.MonkeyPatch):
    theirs, times = reference(steps, 3.0, torch.float32)
    assert apart(euler(field, NOISE, times), theirs) > 1e-4  # order 1
    assert apart(unipc(field, NOISE, schedule(steps, 1.0, floor=1 / 1000).clamp(max=1 - 1e-6)), theirs) > 1e-4
    monkeypatch.setattr(module, "_corrected", lambda known, lam: known[-2])  # no corrector
    assert apart(unipc(field, NOISE, times), theirs) > 1e-4

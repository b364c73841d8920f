"""Flow, schedule, guidance and samplers, held against a flow that is known in closed form: Gaussian data."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from minisora.core.errors import MinisoraError
from minisora.diffusion import flow
from minisora.diffusion.flow import mix
from minisora.diffusion.guidance import combine, guided, turning
from minisora.diffusion.samplers import SAMPLERS, euler, heun, rewrite, sde, unipc
from minisora.diffusion.schedule import pairs, schedule, shift

MEAN, STD = torch.tensor([1.5, -0.7, 0.2]).double(), torch.tensor([0.3, 1.4, 0.8]).double()
ODE = {"euler": euler, "heun": heun, "unipc": unipc}

times_of_t = st.floats(1e-3, 1.0)
shifts = st.floats(0.05, 20.0)
seeds = st.integers(0, 2**32)


def fresh(seed: int) -> Callable[[Tensor], Tensor]:
    source = torch.Generator().manual_seed(seed)
    return lambda x: torch.randn(x.shape, generator=source, dtype=x.dtype)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def normal(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=generator(seed), dtype=torch.float64).to(dtype)


def spread(t: Tensor) -> Tensor:
    return (((1 - t) * STD) ** 2 + t**2).sqrt()


def exact(x: Tensor, t: Tensor) -> Tensor:
    """E[ε - x0 | x_t = x] for x0 ~ N(MEAN, STD²)."""
    return (t - (1 - t) * STD**2) / spread(t) ** 2 * (x - (1 - t) * MEAN) - MEAN


def carried(x: Tensor, t: Tensor) -> Tensor:
    """Where the exact flow takes x_t at t = 0: every quantile stays a quantile."""
    return MEAN + STD * (x - (1 - t) * MEAN) / spread(t)


# --- flow ---


@given(seed=seeds, t=times_of_t, per_token=st.booleans())
def test_the_line_through_x_t_meets_data_and_noise(seed: int, t: float, per_token: bool):
    x, noise = normal(5, 4, seed=seed), normal(5, 4, seed=seed + 1)
    time = shift(torch.linspace(0.1, 1, 5).double(), t) if per_token else t
    x_t, v = flow.mix(x, noise, time), flow.velocity(x, noise)
    torch.testing.assert_close(flow.clean(x_t, v, time), x)
    torch.testing.assert_close(flow.noise_of(x_t, v, time), noise)
    torch.testing.assert_close(flow.move(flow.move(x_t, v, time, 0.3), v, 0.3, time), x_t)
    torch.testing.assert_close(flow.mix(flow.clean(x_t, v, time), flow.noise_of(x_t, v, time), time), x_t)


def test_a_time_per_token_is_each_tokens_own():
    x, noise, t = normal(3, 4), normal(3, 4, seed=1), torch.tensor([0.0, 0.25, 1.0])
    one_by_one = [flow.mix(x[i], noise[i], float(t[i])) for i in range(3)]
    torch.testing.assert_close(flow.mix(x, noise, t), torch.stack(one_by_one))
    assert flow.mix(x, noise, t)[0].equal(x[0]) and flow.mix(x, noise, t)[2].equal(noise[2])
    half, half_noise, t = x.bfloat16(), noise.bfloat16(), torch.tensor([0.1, 0.501, 0.999]).double()
    once = flow.mix(half.double(), half_noise.double(), t).bfloat16()  # rounded once, and t not at all
    assert flow.mix(half, half_noise, t).equal(once)


def test_the_loss_sees_only_the_tokens_it_is_shown():
    v, target, where = normal(6, 4), normal(6, 4, seed=1), torch.tensor([1, 0, 1, 1, 0, 0]).bool()
    torch.testing.assert_close(flow.loss(v, target, where), flow.loss(v[where], target[where]))
    changed = v.clone()
    changed[~where] = math.nan
    assert flow.loss(changed, target, where) == flow.loss(v, target, where)
    assert flow.loss(v, target, where & False) == 0 and flow.loss(v, v) == 0


@given(s=shifts, mean=st.floats(-1, 1))
def test_sampled_times_have_the_shifted_median(s: float, mean: float):
    t = flow.sample_times(4001, generator(), s, mean, std=0.5)
    assert t.dtype == torch.float64 and (t > 0).all() and (t < 1).all()
    logit = torch.logit(shift(t, 1 / s))
    assert abs(logit.median() - mean) < 0.05 and abs(logit.std() - 0.5) < 0.03
    assert t.equal(flow.sample_times(4001, generator(), s, mean, std=0.5))


@given(s=shifts, low=st.floats(0, 0.9), width=st.floats(0.05, 1))
def test_times_within_bounds_are_the_same_without_those_outside(s: float, low: float, width: float):
    high = min(1.0, low + width)
    t, free = flow.sample_times(2000, generator(), s, within=(low, high)), flow.sample_times(100_000, generator(1), s)
    assert (t >= low).all() and (t <= high).all()
    inside = free[(free >= low) & (free <= high)]
    if len(inside) > 1000:
        assert abs(t.median() - inside.median()) < 0.1 * (high - low)
    for wrong in ((0.5, 0.5), (0.9, 0.1), (-0.1, 1.0), (0.0, 1.5)):
        with pytest.raises(MinisoraError, match="in order"):
            flow.sample_times(1, generator(), s, within=wrong)
    for wrong in (0.0, -1.0, math.inf):
        with pytest.raises(MinisoraError, match="above 0"):
            flow.sample_times(1, generator(), wrong)


# --- schedule ---


@given(t=st.floats(0, 1), s=shifts, r=shifts)
def test_shifts_invert_and_multiply(t: float, s: float, r: float):
    assert shift(shift(t, s), 1 / s) == pytest.approx(t, abs=1e-12)
    assert shift(shift(t, s), r) == pytest.approx(shift(t, s * r), abs=1e-12)


@given(steps=st.integers(1, 100), s=shifts, start=times_of_t)
def test_a_schedule_falls_from_its_start_to_zero(steps: int, s: float, start: float):
    times = schedule(steps, s, start)
    assert times.shape == (steps + 1,) and times.dtype == torch.float64
    assert times[0] == start and times[-1] == 0 and (times.diff() < 0).all()
    torch.testing.assert_close(shift(times, 1 / s).diff(), -shift(times[0], 1 / s).expand(steps) / steps)


@pytest.mark.parametrize(
    "bad",
    [
        {"steps": 0},
        {"shift": 0.0},
        {"shift": -1.0},
        {"shift": math.nan},
        {"start": 0.0},
        {"start": 1.1},
        {"floor": 1.0},
    ],
)
def test_silly_schedules_are_refused(bad: dict):
    with pytest.raises(MinisoraError):
        schedule(**{"steps": 4, **bad})


@pytest.mark.parametrize("times", [[0.0, 1.0], [1.0, 1.0, 0.0], [1.0], [1.5, 0.0], [1.0, -0.1], [1.0, math.nan, 0.0]])
@pytest.mark.parametrize("name", SAMPLERS)
def test_silly_times_are_refused(name: str, times: list[float]):
    sampler = SAMPLERS[name]
    with pytest.raises(MinisoraError):
        sampler(exact, normal(2, 3), torch.tensor(times))


# --- samplers ---


@pytest.mark.parametrize("start", [1.0, 0.7])
@pytest.mark.parametrize("s", [1.0, 3.0])
@pytest.mark.parametrize("name, order", [("euler", 1), ("heun", 2), ("unipc", 2)])
def test_the_order_of_convergence(name: str, order: int, s: float, start: float):
    x, t = normal(16, 3), torch.tensor(start).double()
    counts = torch.tensor([256, 512, 1024]).double()
    errors = [(ODE[name](exact, x, schedule(int(n), s, start)) - carried(x, t)).norm() for n in counts]
    logs = torch.stack([counts.log(), torch.ones(3)], 1).double()
    slope = -torch.linalg.lstsq(logs, torch.stack(errors).log()[:, None]).solution[0].item()
    assert abs(slope - order) < 0.25, slope


@pytest.mark.parametrize("eta, bound", [(0.3, 0.07), (0.7, 0.07), (1.0, 0.07), (1.3, 0.1)])
def test_new_noise_keeps_the_marginals(eta: float, bound: float):
    """Mean and variance approach the exact ones, at the end and on the way: the error shrinks with the step."""
    x, worst = normal(40_000, 3), {}
    for steps in (20, 160):
        gaps: list[float] = []

        def look(step: int, t: Tensor, x: Tensor, x0: Tensor, steps: int = steps, gaps: list[float] = gaps) -> None:
            if (step + 1) % (steps // 5) == 0:
                now = schedule(steps)[step + 1]
                gaps.append(((x.mean(0) - (1 - now) * MEAN).abs() / spread(now)).max().item())
                gaps.append((x.var(0) / spread(now) ** 2 - 1).abs().max().item())

        sde(exact, x, schedule(steps), fresh(1), eta, look)
        worst[steps] = max(gaps)
    assert worst[160] < bound and worst[160] < worst[20] / 4, worst


def test_without_new_noise_the_sde_is_euler():
    x, times = normal(4, 3), schedule(7, 3.0)
    assert sde(exact, x, times, eta=0.0).equal(euler(exact, x, times))
    a, b, c = (sde(exact, x, times, fresh(seed)) for seed in (1, 1, 2))
    assert a.equal(b) and not a.equal(c)
    for eta in (-0.5, math.inf, math.nan):
        with pytest.raises(MinisoraError):
            sde(exact, x, times, eta=eta)


def test_with_all_noise_exchanged_each_step_is_a_clean_guess_noised_anew():
    x, times, seen = normal(4, 3), schedule(7, 3.0), []
    one = torch.ones_like(x)
    sde(exact, x, times, lambda _: one, 1e9, lambda step, t, x, x0: seen.append((x, x0)))
    for after, (state, guess) in zip(times[1:], seen, strict=True):
        torch.testing.assert_close(state, mix(guess, one, after))


@pytest.mark.parametrize("shape", [(), (3,), (2, 3), (1, 2, 2, 2, 3)])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("name", SAMPLERS)
def test_a_callback_sees_every_step_and_the_state_keeps_its_kind(name: str, dtype: torch.dtype, shape: tuple[int, ...]):
    x, times, seen, asked = normal(*shape, dtype=dtype), schedule(6, 3.0), [], []

    def to_seven(x: Tensor, t: Tensor) -> Tensor:  # every x0 is 7, so every sampler has to end there
        assert t.dtype == torch.float64 and t.shape == () and x.dtype == dtype and x.shape == shape
        asked.append(t)
        return ((x.double() - 7) / t).bfloat16() if dtype == torch.bfloat16 else (x - 7) / t

    sampler = SAMPLERS[name]
    result = sampler(to_seven, x, times, callback=lambda *news: seen.append(news))
    assert [step for step, *_ in seen] == list(range(6))
    assert torch.stack([t for _, t, *_ in seen]).equal(times[:-1])
    assert all(state.dtype == x0.dtype == dtype and state.shape == x0.shape == shape for *_, state, x0 in seen)
    assert seen[-1][2].equal(result) and len(asked) == (11 if name == "heun" else 6)
    for *_, x0 in seen:
        torch.testing.assert_close(x0.float(), torch.full(shape, 7.0), rtol=1e-2, atol=1e-4)
    torch.testing.assert_close(result.float(), torch.full(shape, 7.0), rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("name", ODE)
def test_half_precision_is_no_worse_than_its_own_rounding(name: str):
    """bf16 velocities leave an fp32 state in fp32; a bf16 state is off by a few of its own roundings."""
    x, times = normal(64, 3, dtype=torch.bfloat16), schedule(20, 3.0)
    truth = ODE[name](exact, x.double(), times)
    state = ODE[name](lambda x, t: exact(x.double(), t).bfloat16(), x.float(), times)
    assert state.dtype == torch.float32 and (state - truth).abs().max() < 0.01
    half = ODE[name](lambda x, t: exact(x.double(), t), x, times)
    assert half.dtype == torch.bfloat16 and (half - truth).norm() < 0.02 * truth.norm()


@pytest.mark.parametrize("steps", [1, 2, 3, 5])
def test_unipc_may_start_at_pure_noise(steps: int):
    x = normal(4, 3)
    result = unipc(exact, x, schedule(steps))
    assert result.isfinite().all()
    if steps == 1:
        torch.testing.assert_close(result, MEAN.expand(4, 3))  # of pure noise the mean is the best guess
    close = unipc(exact, x, schedule(steps).clamp(max=1 - 1e-12))
    torch.testing.assert_close(result, close, rtol=0.1, atol=0.1)


def test_the_pairs_are_the_times():
    times = schedule(5, 3.0)
    assert torch.stack([t for t, _ in pairs(times)]).equal(times[:-1])
    assert torch.stack([t for _, t in pairs(times.float())]).equal(times[1:].float().double())


# --- guidance ---

SEG = torch.tensor([0, 0, 0, 1, 1, 2, 2, 2, 2])


@given(seed=seeds, a=st.floats(-5, 5), b=st.floats(-5, 5))
def test_guidance_is_a_line_through_both_predictions(seed: int, a: float, b: float):
    c, u = normal(9, 4, seed=seed), normal(9, 4, seed=seed + 1)
    assert combine(c, u, 1.0).equal(c) and combine(c, u, 0.0).equal(u)
    torch.testing.assert_close(combine(c, u, a) + combine(c, u, b), 2 * combine(c, u, (a + b) / 2))


def test_rescaling_brings_back_the_contrast_of_each_clip():
    c, u = normal(9, 4) * (1 + SEG[:, None]), normal(9, 4, seed=1)
    result = combine(c, u, 6.0, rescale=1.0, seg=SEG)
    for clip in range(3):
        mine = SEG.eq(clip)
        torch.testing.assert_close(result[mine].std(), c[mine].std())
        torch.testing.assert_close(result[mine], combine(c[mine], u[mine], 6.0, rescale=1.0))  # packed = one by one
    assert not torch.allclose(result, combine(c, u, 6.0, rescale=1.0), rtol=0.05)  # one contrast for all is another
    half = (combine(c, u, 6.0, seg=SEG) + result) / 2
    torch.testing.assert_close(combine(c, u, 6.0, rescale=0.5, seg=SEG), half)


@pytest.mark.parametrize("rescale", [1e-12, 1.0])
def test_the_guided_velocity_rescales_the_clean_prediction(rescale: float):
    c, u, x, t = normal(9, 4), normal(9, 4, seed=1), normal(9, 4, seed=2), torch.tensor(0.6).double()
    v = guided(lambda x, t: c, lambda x, t: u, 6.0, rescale, seg=SEG)(x, t)
    if rescale == 1.0:
        for clip in range(3):
            mine = SEG.eq(clip)
            torch.testing.assert_close(flow.clean(x, v, t)[mine].std(), flow.clean(x, c, t)[mine].std())
    else:  # the way through x0 ends at the same place
        torch.testing.assert_close(v, combine(c, u, 6.0))


@pytest.mark.parametrize(
    "scale, interval, calls", [(1.0, (0.0, 1.0), 0), (4.0, (0.0, 1.0), 10), (4.0, (0.35, 0.75), 4)]
)
def test_the_unconditional_model_runs_only_where_it_counts(scale: float, interval: tuple[float, float], calls: int):
    ran: list[str] = []
    both = [lambda x, t, name=name: ran.append(name) or -x for name in ("conditional", "unconditional")]
    euler(guided(both[0], both[1], scale, interval=interval), normal(2, 3), schedule(10))
    assert ran.count("conditional") == 10 and ran.count("unconditional") == calls


@pytest.mark.parametrize("rescale, interval", [(1.5, (0.0, 1.0)), (0.0, (0.8, 0.2)), (0.0, (-1.0, 1.0))])
def test_silly_guidance_is_refused(rescale: float, interval: tuple[float, float]):
    with pytest.raises(MinisoraError):
        guided(exact, exact, 4.0, rescale, interval)


def test_a_velocity_turns_into_another_token_by_token() -> None:
    first, second = normal(3, 4), normal(3, 4) + 1
    turned = turning(lambda x, t: first, lambda x, t: second, torch.tensor([0.0, 0.5, 1.0]))(
        normal(3, 4), torch.tensor(0.5)
    )
    torch.testing.assert_close(turned, torch.stack([first[0], (first[1] + second[1]) / 2, second[2]]))


def test_a_rewrite_moves_by_the_difference_of_two_velocities_and_by_nothing_else() -> None:
    """Towards a point p the velocity is (x - p) / t, and a rewrite from p to q carries x by q - p."""
    x, p, q = (normal(5, 3, seed=seed) for seed in range(3))

    def towards(point: Tensor) -> flow.Velocity:
        return lambda x, t: (x - point) / t

    assert torch.equal(rewrite(towards(p), towards(p), x, schedule(7, start=0.8)), x)
    made = rewrite(towards(p), towards(q), x, schedule(7, start=0.8))
    torch.testing.assert_close(made, x + q - p)

"""The training engine: no step is lost, whatever happens; parts add up to a batch; looking on changes nothing."""

import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from minisora.core.checkpoint import load_tensors
from minisora.core.errors import MinisoraError
from minisora.core.recipe import Recipe
from minisora.models.dit import DiT, DiTConfig
from minisora.models.vae import VAE, VAEConfig
from minisora.tokens.packing import pack, pack_text
from minisora.train import ema, engine, log, optim, state
from minisora.train.engine import fit
from minisora.train.log import read_log

ROOT = Path(__file__).parents[1]
RECIPE = Recipe(steps=12, batch=8, rate=1e-2, matrix_rate=0.02, warmup=3, accumulate=2, ema=0.9, seed=5)


class Net(nn.Module):
    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(4, width), nn.Linear(width, 1)
        self.blocks = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
        self.norm, self.table = nn.LayerNorm(width), nn.Parameter(torch.zeros(2, width))

    def forward(self, x: Tensor) -> Tensor:
        x = self.embed(x)
        for block, row in zip(self.blocks, self.table, strict=True):
            x = x + block((x + row).relu())
        return self.head(self.norm(x))


def net(seed: int = 0) -> Net:
    torch.manual_seed(seed)
    return Net()


def batch(step: int) -> Tensor:
    return torch.randn(8, 4, generator=torch.Generator().manual_seed(step))


def error(model: nn.Module, x: Tensor, generator: torch.Generator | None = None) -> Tensor:
    return (model(x) - x.sin().sum(1, keepdim=True)).square().mean()


def step(model: nn.Module, x: Tensor, generator: torch.Generator) -> tuple[Tensor, engine.Metrics]:
    """A regression with noise of its own at every step, and dropout, whose noise is torch's."""
    x = nn.functional.dropout(x + 0.1 * torch.randn(x.shape, generator=generator), 0.1)
    return error(model, x), {"clips": len(x), "size": x.abs().mean()}


def train(out: Path, recipe: Recipe = RECIPE, step: engine.Step = step, **options: Any) -> tuple[Net, nn.Module]:
    model = net()
    options = {"dtype": torch.float32, "save_every": 3} | options
    return model, fit(model, options.pop("batch", batch), step, recipe, out, **options)


def records(out: Path) -> list[dict[str, Any]]:
    """The log without its times."""
    return [{key: value for key, value in line.items() if key != "seconds"} for line in read_log(out)]


def equal(a: nn.Module, b: nn.Module) -> bool:
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def in_child(work: Callable[[], object], after: float | None = None) -> int:
    """Do it in a process of its own and, if asked, kill that after so many seconds; its exit status."""
    child = os.fork()
    if child == 0:
        try:
            work()
            os._exit(0)
        finally:
            os._exit(1)
    if after is not None:
        time.sleep(after)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# No step is lost


def test_a_run_that_is_killed_again_and_again_makes_the_same_losses(tmp_path: Path) -> None:
    recipe, chance, kills = replace(RECIPE, steps=90), random.Random(1), 0
    average = train(tmp_path / "whole", recipe)[1]
    status = 1
    while status:
        moment = chance.uniform(0.02, 0.15) if kills < 12 else None
        status = in_child(lambda: train(tmp_path / "killed", recipe, resume=True), moment)
        kills += status == -signal.SIGKILL
        assert status in (0, -signal.SIGKILL)
    assert kills >= 5
    assert records(tmp_path / "killed") == records(tmp_path / "whole")
    tensors, _ = load_tensors(tmp_path / "killed" / "model.safetensors")
    assert all(torch.equal(tensors[name], value) for name, value in average.state_dict().items())


@pytest.mark.parametrize("unsaved", [0.0, 60.0])
def test_slow_steps_are_saved_in_between_but_not_at_any_price(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, unsaved: float
) -> None:
    """A hundredth of a second for each; between two checkpoints is twenty times what the first of them took."""
    monkeypatch.setattr(engine, "UNSAVED", unsaved)
    moments = list[tuple[float, float]]()

    def save(*words: Any) -> None:
        begun = time.monotonic()
        state.save(*words)
        moments.append((begun, time.monotonic()))

    def slow(number: int) -> Tensor:
        time.sleep(0.01)
        if number == 60:
            raise OSError("the power is gone")
        return batch(number)

    monkeypatch.setattr(engine, "save", save)
    with pytest.raises(OSError, match="power"):
        train(tmp_path, replace(RECIPE, steps=100), batch=slow, save_every=1000)
    assert len(state.saved(tmp_path)) == min(2, len(moments)) and bool(moments) == (unsaved == 0)
    for (begun, ended), (after, _) in pairwise(moments):
        assert after - ended > 20 * (ended - begun)


@pytest.mark.parametrize("stride", [9, pytest.param(1, marks=pytest.mark.slow)])
def test_a_crash_at_any_touch_of_the_disk_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stride: int
) -> None:
    recipe = replace(RECIPE, steps=3)  # so that the oldest of three checkpoints has to go
    train(tmp_path / "whole", recipe, save_every=1)
    touched = 0

    def die_at(touch: int) -> None:
        def wrapped(function: Callable) -> Callable:
            def call(*args: Any, **options: Any) -> Any:
                nonlocal touched
                touched += 1
                if touched == touch:
                    os._exit(9)
                return function(*args, **options)

            return call

        for module, name in ((os, "fsync"), (os, "replace"), (os, "rmdir"), (os, "unlink"), (shutil, "rmtree")):
            monkeypatch.setattr(module, name, wrapped(getattr(module, name)))
        train(tmp_path / "out", recipe, save_every=1, resume=True)

    for touch in range(1, 1000, stride):
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        status = in_child(lambda touch=touch: die_at(touch))
        train(tmp_path / "out", recipe, save_every=1, resume=True)
        assert records(tmp_path / "out") == records(tmp_path / "whole")
        assert not [path for path in (tmp_path / "out").rglob(".*")], "left-overs of the dead"
        if status == 0:
            break
        assert status == 9
    assert touch > 40


FULL = """
import sys
from dataclasses import replace
from pathlib import Path
from tests.test_engine import RECIPE, train
train(Path(sys.argv[1]), replace(RECIPE, steps=3000), save_every=20, resume=True)
"""


def small_disk(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run a command with a real disk of 200 KiB mounted on a folder, in a namespace of its own."""
    script = f"mount -t tmpfs -o size=200k none '{folder}' && {command}; cp -r '{folder}' '{folder}-kept'"
    return subprocess.run(["unshare", "-rm", "sh", "-c", script], cwd=ROOT, capture_output=True, text=True)


def test_a_full_disk_is_told_in_one_line_and_keeps_the_last_checkpoint(tmp_path: Path) -> None:
    """The log fills what the checkpoints leave, so that sooner or later something does not fit."""
    out = tmp_path / "out"
    out.mkdir()
    if shutil.which("unshare") is None or small_disk("true", out).returncode:
        pytest.skip("no disk can be mounted here")
    shutil.rmtree(f"{out}-kept")
    (tmp_path / "fill.py").write_text(FULL)
    told = small_disk(f"PYTHONPATH=. '{sys.executable}' '{tmp_path}/fill.py' '{out}'", out)
    last = told.stderr.strip().splitlines()[-1]
    assert "MinisoraError" in last and "No space left" in last and "--resume" in last
    kept = Path(f"{out}-kept")
    assert state.saved(kept) and not list(kept.rglob(".*"))
    recipe = replace(RECIPE, steps=state._verified(state.saved(kept)[-1])[0].step + 20)
    for folder in state.saved(kept):  # the recipe of the full run was longer
        content = json.loads((folder / "state.json").read_text())
        content["terms"]["recipe"]["steps"] = recipe.steps
        (folder / "state.json").write_text(json.dumps(content))
    train(kept, recipe, save_every=20, resume=True)  # with room again, nothing is lost
    assert [line["step"] for line in records(kept)] == list(range(recipe.steps))


SCRIPT = "import sys; from tests.test_engine import alone; alone(*sys.argv[1:])"


def dit_step(model: nn.Module, clips: Tensor, generator: torch.Generator) -> tuple[Tensor, engine.Metrics]:
    noise, t = torch.randn(clips.shape, generator=generator), torch.rand(len(clips), generator=generator)
    tokens = pack(torch.lerp(clips, noise, t[:, None, None, None, None]).unbind(), (1, 2, 2))
    times = t.repeat_interleave(torch.tensor(tokens.lengths))
    velocity = model(tokens, times, pack_text([torch.zeros(1, 8)] * len(clips), 4))
    return (velocity - pack((noise - clips).unbind(), (1, 2, 2)).x).square().mean(), {"tokens": len(velocity)}


def alone(out: str) -> None:
    """What the processes of the next test do."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = DiT(DiTConfig(channels=4, width=32, heads=2, layers=2, mlp=64, text_width=8, text_length=4))
    clips = torch.randn(16, 4, 3, 4, 4)
    options: dict[str, Any] = {"resume": True, "save_every": 10, "dtype": torch.float32}
    fit(model, lambda n: clips.roll(n, 0)[:8], dit_step, replace(RECIPE, steps=150), Path(out), **options)


@pytest.mark.slow
def test_a_run_that_is_killed_at_any_instant_ends_with_the_same_weights(
    tmp_path: Path, pytestconfig: pytest.Config
) -> None:
    """As often as --kills says (30): while it starts, trains and saves, which it does all the time."""
    recipe, chance, kills = replace(RECIPE, steps=60), random.Random(3), 0
    train(tmp_path / "whole", recipe, save_every=1)
    wanted = load_tensors(tmp_path / "whole" / "model.safetensors")[0]
    while kills < pytestconfig.getoption("--kills"):
        shutil.rmtree(tmp_path / "killed", ignore_errors=True)
        status = 1
        while status:
            moment = chance.uniform(0.0, 0.5)
            status = in_child(lambda: train(tmp_path / "killed", recipe, save_every=1, resume=True), moment)
            kills += status == -signal.SIGKILL
            assert status in (0, -signal.SIGKILL)
        tensors = load_tensors(tmp_path / "killed" / "model.safetensors")[0]
        assert all(torch.equal(tensors[name], value) for name, value in wanted.items())
        assert records(tmp_path / "killed") == records(tmp_path / "whole")


@pytest.mark.slow
def test_a_transformer_that_is_killed_goes_on_in_fresh_processes(tmp_path: Path) -> None:
    def begin(out: str) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path / out)], cwd=ROOT)

    assert begin("whole").wait() == 0
    chance = random.Random(2)
    for _ in range(2):
        before = state.saved(tmp_path / "killed")
        run = begin("killed")
        while run.poll() is None and state.saved(tmp_path / "killed") == before:
            time.sleep(0.005)
        time.sleep(chance.uniform(0.0, 0.1))
        run.kill()
        run.wait()
    assert not (tmp_path / "killed" / "run.json").exists(), "it was over before it could be killed"
    assert begin("killed").wait() == 0
    assert records(tmp_path / "killed") == records(tmp_path / "whole")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("times, done", [(1, 5), (2, 3)])
def test_an_interrupt_finishes_the_step_and_saves(tmp_path: Path, number: int, times: int, done: int) -> None:
    """But whoever interrupts twice, here in both passes of step 4, is in a hurry: the last checkpoint has to do."""
    train(tmp_path / "whole")
    handler, sent = signal.getsignal(number), []

    def interrupted(model: nn.Module, x: Tensor, generator: torch.Generator) -> tuple[Tensor, engine.Metrics]:
        if len(read_log(tmp_path / "out")) == 4 and len(sent) < times:
            sent.append(number)
            os.kill(os.getpid(), number)
        return step(model, x, generator)

    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "out", step=interrupted)
    assert signal.getsignal(number) == handler
    assert state.saved(tmp_path / "out")[-1].name == f"step-{done:06d}" and len(sent) == times
    train(tmp_path / "out", resume=True)
    assert records(tmp_path / "out") == records(tmp_path / "whole")


@pytest.mark.parametrize("harm", ["cut", "flip", "missing", "nonsense"])
def test_a_damaged_checkpoint_gives_way_to_the_one_before(
    tmp_path: Path, harm: str, capsys: pytest.CaptureFixture[str]
) -> None:
    train(tmp_path / "out")
    older, newest = state.saved(tmp_path / "out")
    before = records(tmp_path / "out")
    for folder in [newest, older]:
        path = folder / "optimisers.safetensors"
        content = bytearray(path.read_bytes())
        content[-5] ^= 1
        if harm == "missing":
            path.unlink()
        elif harm == "nonsense":
            (folder / "state.json").write_text(json.dumps({"at": {"stop": 3}, "terms": {}, "sha256": 4}))
        else:
            path.write_bytes(content if harm == "flip" else content[:-5])
        if folder == newest:
            train(tmp_path / "out", resume=True)
            assert "is damaged" in capsys.readouterr().err and records(tmp_path / "out") == before
            assert state.saved(tmp_path / "out") == [older, newest]
            shutil.rmtree(newest)
    with pytest.raises(MinisoraError, match="no checkpoint"):
        train(tmp_path / "out", resume=True)


def test_the_log_has_one_line_for_every_step(tmp_path: Path) -> None:
    train(tmp_path)
    whole = read_log(tmp_path)
    assert [record["step"] for record in whole] == list(range(RECIPE.steps))
    assert all(record["clips"] == 8 and record["seconds"] > 0 for record in whole)
    shutil.rmtree(state.saved(tmp_path)[-1])  # what came after the other was lost: and half a line was written
    with open(tmp_path / "log.jsonl", "ab") as file:
        file.write(b'{"step": 12, "lo')
    train(tmp_path, resume=True)
    assert [record["step"] for record in read_log(tmp_path)] == list(range(RECIPE.steps))


# What is refused


@pytest.mark.parametrize(
    "changed, named",
    [
        ({"recipe": replace(RECIPE, rate=2e-2)}, r"recipe.rate was 0.01 and is now 0.02"),
        ({"note": {"preset": {"layers": 3}}}, r"note.preset.layers was 2 and is now 3"),
        ({"dtype": torch.bfloat16}, r"dtype was 'torch.float32'"),
    ],
)
def test_another_run_cannot_be_resumed(tmp_path: Path, changed: dict[str, Any], named: str) -> None:
    same = {"recipe": RECIPE, "note": {"preset": {"layers": 2, "size": (1, 2)}}}
    train(tmp_path, **same)
    train(tmp_path, **same, resume=True)
    with pytest.raises(MinisoraError, match=named):
        train(tmp_path, **(same | changed), resume=True)


def test_another_model_cannot_be_resumed(tmp_path: Path) -> None:
    train(tmp_path)
    with pytest.raises(MinisoraError, match=r"was made for another model|and the model needs"):
        fit(Net(width=8), batch, step, RECIPE, tmp_path, resume=True, dtype=torch.float32)


def test_a_folder_in_use_is_not_begun_anew(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(MinisoraError, match="not an empty folder"):
        train(tmp_path)
    with pytest.raises(MinisoraError, match="not an empty folder"):
        train(tmp_path / "notes.txt", resume=True)
    assert os.listdir(tmp_path) == ["notes.txt"]


@pytest.mark.parametrize("options", [{"minutes": 0.0}, {"dtype": torch.float16}, {"save_every": 0}])
def test_what_cannot_be_is_refused(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(MinisoraError):
        train(tmp_path, **options)
    with pytest.raises(MinisoraError, match="cannot be cut"):
        train(tmp_path, replace(RECIPE, batch=16, accumulate=16))
    with pytest.raises(MinisoraError, match="fp32"):
        fit(net().bfloat16(), batch, step, RECIPE, tmp_path / "other")


def test_tensorboard_is_an_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(MinisoraError, match="pip install"):
        train(tmp_path, tensorboard=True)
    train(tmp_path)  # nothing was begun


def test_tensorboard_draws_what_the_log_says(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard", reason="an optional extra")
    train(tmp_path, tensorboard=True)
    assert list((tmp_path / "tensorboard").iterdir())


def test_a_compiler_that_fails_says_so_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.exc import TorchDynamoException

    def compiled(forward: Callable) -> Callable:
        def fail(*inputs: Tensor) -> Tensor:
            raise TorchDynamoException("there is no\ncompiler")

        return fail

    monkeypatch.setattr(torch, "compile", compiled)
    with pytest.raises(MinisoraError, match=r"torch.compile failed \(there is no compiler") as caught:
        train(tmp_path, compile=True)
    assert "\n" not in str(caught.value)


# What a step is


def ragged(model: nn.Module, x: Tensor, generator: torch.Generator) -> tuple[Tensor, engine.Metrics]:
    """A mean over only some of the part: those whose first number is above 0."""
    x = x[x[:, 0] > 0]
    return error(model, x), {"weight": len(x), "size": x.abs().mean()}


@pytest.mark.parametrize("passes", [2, 3, 5])
@pytest.mark.parametrize("step", [lambda model, x, _: (error(model, x), {}), ragged], ids=["even", "ragged"])
def test_parts_add_up_to_one_batch(passes: int, step: engine.Step) -> None:
    x = torch.randn(30, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    found = []
    for recipe in (Recipe(batch=30), Recipe(batch=30, accumulate=passes)):
        model = net().double()
        metrics = engine.gradient(model, x, step, recipe, 0, torch.float32)
        found.append([torch.tensor(list(metrics.values())), *[p.grad for p in model.parameters()]])
    for one, many in zip(*found, strict=True):
        torch.testing.assert_close(one, many, rtol=1e-12, atol=1e-12)


def test_parts_keep_order_and_lose_nothing() -> None:
    for count in (1, 2, 3, 7):
        cut = list(engine.parts(list(range(7)), count))
        assert [thing for part in cut for thing in part] == list(range(7)) and len(cut) == count
        assert max(map(len, cut)) - min(map(len, cut)) <= 1


def test_randomness_differs_from_step_to_step_and_pass_to_pass() -> None:
    draws = {
        torch.rand(1, generator=engine.randomness(seed, n, turn)).item()
        for seed in range(3)
        for n in range(3)
        for turn in range(3)
    }
    assert len(draws) == 27


def test_a_step_without_a_finite_gradient_changes_nothing(tmp_path: Path) -> None:
    def poisoned(at: int, what: float) -> Callable[[int], Tensor]:
        return lambda n: torch.full((8, 4), what) if n == at else batch(n)

    seen: dict[int, dict[str, Tensor]] = {}

    def look(steps: int, average: nn.Module) -> None:
        seen[steps] = {
            name: load_tensors(state.saved(tmp_path / "out")[-1] / name)[0] if state.saved(tmp_path / "out") else {}
            for name in state.FILES
        }  # fmt: skip

    train(tmp_path / "out", batch=poisoned(5, math.nan), save_every=1, callback=look)
    assert seen[5] != {} and all(
        torch.equal(tensor, seen[6][name][key])  # step 5, the sixth, is the poisoned one
        for name in state.FILES
        for key, tensor in seen[5][name].items()
    )
    assert any(not torch.equal(tensor, seen[7][state.FILES[0]][key]) for key, tensor in seen[6][state.FILES[0]].items())
    line = read_log(tmp_path / "out")[5]
    assert line["loss"] is None and line["norm"] is None
    assert json.loads((tmp_path / "out" / "run.json").read_text())["skipped"] == 1


def test_what_a_callback_breaks_is_on_disk_already(tmp_path: Path) -> None:
    """A sheet of samples may need more memory than there is: the steps before it must not be lost with it."""

    def breaks(steps: int, average: nn.Module) -> None:
        raise torch.OutOfMemoryError("samples do not fit")

    with pytest.raises(torch.OutOfMemoryError):
        train(tmp_path / "out", save_every=5, callback=breaks)
    assert [path.name for path in state.saved(tmp_path / "out")] == ["step-000005"]
    assert equal(train(tmp_path / "out", save_every=5, resume=True)[1], train(tmp_path / "unbroken")[1])


def test_a_run_that_is_lost_stops_in_one_line(tmp_path: Path) -> None:
    recipe = replace(RECIPE, steps=40)
    with pytest.raises(MinisoraError, match="not finite 10 steps in a row, up to step 16") as caught:
        train(tmp_path, recipe, batch=lambda n: batch(n) if n < 7 else batch(n) * math.inf)
    assert "\n" not in str(caught.value)
    tensors, _ = load_tensors(state.saved(tmp_path)[-1] / "model.safetensors")
    assert all(tensor.isfinite().all() for tensor in tensors.values())


def test_a_run_that_stumbles_goes_on(tmp_path: Path) -> None:
    recipe = replace(RECIPE, steps=24)
    train(tmp_path, recipe, batch=lambda n: batch(n) if n % 2 else batch(n) * math.nan)
    assert json.loads((tmp_path / "run.json").read_text())["skipped"] == 12


def test_bf16_is_for_computing_and_not_for_keeping(tmp_path: Path) -> None:
    dtypes = set()

    def noted(model: nn.Module, x: Tensor, generator: torch.Generator) -> tuple[Tensor, engine.Metrics]:
        dtypes.add(model(x).dtype)
        return step(model, x, generator)

    train(tmp_path, step=noted, dtype=torch.bfloat16)
    assert dtypes == {torch.bfloat16}
    for name in state.FILES:
        tensors, _ = load_tensors(state.saved(tmp_path)[-1] / name)
        assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}


# The schedule


def test_the_rate_rises_and_falls_to_nothing(tmp_path: Path) -> None:
    recipe = replace(RECIPE, steps=40, warmup=5, decay=0.5)
    train(tmp_path, recipe)
    scales = [record["scale"] for record in read_log(tmp_path)]
    assert scales == [recipe.scale(n) for n in range(40)] and recipe.scale(40) == 0
    assert scales[:5] == sorted(scales[:5]) and scales[20:] == sorted(scales[20:], reverse=True)
    assert max(scales) == 1 and scales[-1] == pytest.approx(1 / 20)


def test_a_budget_of_time_is_kept_and_the_rate_still_falls_to_nothing(tmp_path: Path) -> None:
    recipe = replace(RECIPE, steps=1_000_000, decay=0.5)
    train(tmp_path / "first", replace(RECIPE, steps=1))  # what the first training of a process loads takes seconds
    tmp_path = tmp_path / "timed"
    started = time.monotonic()
    train(tmp_path, recipe, minutes=0.6 / 60, save_every=10**9)
    assert 0.6 <= time.monotonic() - started < 1.5
    scales = [record["scale"] for record in read_log(tmp_path)]
    assert max(scales) == 1 and scales[-1] < 0.2 and len(state.saved(tmp_path)) == 1
    count = len(scales)
    train(tmp_path, recipe, minutes=0.6 / 60, resume=True)  # the budget is spent, in this life or the one before
    assert len(read_log(tmp_path)) == count
    train(tmp_path, recipe, minutes=0.8 / 60, resume=True)
    assert read_log(tmp_path)[count]["scale"] == pytest.approx(0.5, abs=0.15)  # three quarters of the way


# The average, and who looks at it


def test_the_average_of_what_does_not_change_does_not_change() -> None:
    model, average = net(), net()
    for n in range(20):
        ema.follow(average, model, ema.kept(0.99, n))
    assert equal(model, average)


def test_the_average_forgets_where_it_began() -> None:
    model, average, start = net(1), net(2), net(2)
    share = 1.0
    for n in range(100):
        keep = ema.kept(0.9999, n)
        ema.follow(average, model, keep)
        share *= keep
        if n == 2:  # nothing else is in it than the two
            assert 1e-3 < share < 1e-2
            torch.testing.assert_close(average.head.weight, torch.lerp(model.head.weight, start.head.weight, share))
    assert share < 1e-8
    torch.testing.assert_close(average.state_dict(), model.state_dict())
    assert ema.kept(0.99, 10**6) == 0.99 and ema.kept(0.0, 0) == 0.0


def test_the_callback_sees_the_average_and_changes_nothing(tmp_path: Path) -> None:
    seen: dict[int, dict[str, Tensor]] = {}

    def callback(steps: int, average: nn.Module) -> None:
        torch.rand(3)  # a callback may use up random numbers
        assert not average.training
        average(batch(0)).sum()
        seen[steps] = {name: tensor.clone() for name, tensor in average.state_dict().items()}

    model, average = train(tmp_path / "with", callback=callback)
    plain_model, plain_average = train(tmp_path / "without")
    assert records(tmp_path / "with") == records(tmp_path / "without")
    assert equal(model, plain_model) and equal(average, plain_average) and not equal(model, average)
    assert list(seen) == [3, 6, 9, 12]
    for folder in state.saved(tmp_path / "with"):
        tensors, _ = load_tensors(folder / "average.safetensors")
        assert all(torch.equal(tensor, seen[int(folder.name[5:])][name]) for name, tensor in tensors.items())


# The optimisers


def test_the_rule_of_who_is_trained_by_what() -> None:
    config = DiTConfig(channels=4, width=32, heads=2, layers=1, mlp=64, text_width=8)
    model = DiT(config)
    names = {parameter: name for name, parameter in model.named_parameters()}
    matrices, weights, rest = ({names[parameter] for parameter in kind} for kind in optim.kinds(model))
    inner = [f"{part}.{layer}" for part in ("attend", "read") for layer in ("q", "k", "v", "out")]
    assert matrices == {f"blocks.0.{layer}.weight" for layer in [*inner, "mlp_in", "mlp_out"]}
    assert {"embed.weight", "head.weight", "modulation.weight", "embed_text.0.weight"} <= weights
    assert {"table", "blocks.0.table", "blocks.0.attend.norm_q.weight", "embed.bias", "blocks.0.mlp_in.bias"} <= rest
    assert matrices | weights | rest == set(names.values())
    assert len(optim.optimisers(model, Recipe())) == 1


@pytest.mark.parametrize("shape", [(32, 32), (64, 16), (16, 64)])
def test_orthogonal_makes_all_singular_values_about_one(shape: tuple[int, int]) -> None:
    stack = torch.randn(3, *shape, generator=torch.Generator().manual_seed(0))
    values = torch.linalg.svdvals(optim.orthogonal(stack).float())
    assert values.min() > 0.3 and values.max() < 1.35
    u, _, v = torch.linalg.svd(stack, full_matrices=False)
    assert nn.functional.cosine_similarity(optim.orthogonal(stack).float().flatten(), (u @ v).flatten(), 0) > 0.95


@pytest.mark.parametrize("bf16, bound", [(True, 0.02), (False, 0.05)])
def test_muon_is_torchs_muon(monkeypatch: pytest.MonkeyPatch, bf16: bool, bound: float) -> None:
    theirs = getattr(torch.optim, "Muon", None)
    if theirs is None:
        pytest.skip("this torch has no Muon of its own")
    monkeypatch.setattr(optim, "bf16_pays", lambda device: bf16)
    start = [torch.randn(*shape) for shape in ((16, 16), (16, 16), (32, 8), (8, 32))]
    moved = []
    for kind in (optim.Muon, theirs):
        matrices = [nn.Parameter(matrix.clone()) for matrix in start]
        optimiser = kind(matrices, lr=0.02, weight_decay=0.1)
        for n in range(5):
            for i, matrix in enumerate(matrices):
                matrix.grad = torch.randn(matrix.shape, generator=torch.Generator().manual_seed(10 * n + i))
            optimiser.step()
        moved.append([(matrix - first).detach() for matrix, first in zip(matrices, start, strict=True)])
    for ours, reference in zip(*moved, strict=True):
        assert (ours - reference).norm() < bound * reference.norm()


def test_what_is_shown_of_a_run() -> None:
    lines = [{"step": n, "loss": 2.0 + n, "clips": 8, "norm": 1.0, "seconds": 10.0 + n} for n in range(3)]
    assert log.summary(lines, 0.25) == "step 3  loss 3.0000  8.0 clips/s  00:36 left"
    assert "not finite" in log.summary([lines[0] | {"loss": None}], 0.5)


@pytest.mark.parametrize("shape", [(8, 4, 3, 3, 3), (64, 2, 1, 1, 3)])
def test_muon_moves_a_kernel_as_the_matrix_that_it_is(shape: tuple[int, ...]) -> None:
    kernel = nn.Parameter(torch.randn(shape, generator=torch.Generator().manual_seed(0)))
    matrix = nn.Parameter(kernel.detach().flatten(1).clone())
    for parameter in (kernel, matrix):
        optimiser = optim.Muon([parameter], lr=0.02)
        for n in range(3):
            parameter.grad = torch.randn(shape, generator=torch.Generator().manual_seed(n)).view(parameter.shape)
            optimiser.step()
    assert torch.equal(kernel.flatten(1), matrix)


def test_the_kernels_of_a_vae_are_matrices() -> None:
    model = VAE(VAEConfig(base=8, channels=4))
    names = {parameter: name for name, parameter in model.named_parameters()}
    matrices = {names[parameter] for parameter in optim.kinds(model)[0]}
    assert "encoder.stages.0.blocks.0.conv1.weight" in matrices and "encoder.stages.1.time.conv.weight" in matrices
    assert not {"encoder.first.weight", "decoder.last.weight", "to_latent.weight"} & matrices

"""Two processes are one: the same weights, one log, one checkpoint."""

import atexit
import itertools
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from minisora.core.checkpoint import load_tensors
from minisora.core.recipe import Recipe
from minisora.core.runtime import ranks
from minisora.train.distributed import shared
from minisora.train.engine import Metrics, fit
from minisora.train.log import read_log
from tests.test_engine import RECIPE, batch, error, net

ROOT = Path(__file__).parents[1]
SCRIPT = """
import sys
from tests.test_distributed import train
train(sys.argv[1], "resume" in sys.argv, int(sys.argv[2]), "stop" in sys.argv)
"""


def train(out: str | Path, resume: bool = False, steps: int = RECIPE.steps, stop: bool = False) -> None:
    """Train; with `stop` the last rank is asked to end in its fifth turn."""
    atexit.register(nobody_is_left)
    torch.set_num_threads(1)
    model, turns = net(), itertools.count(1)
    model.table.requires_grad_(False)

    def step(model: nn.Module, x: Tensor, source: torch.Generator) -> tuple[Tensor, Metrics]:
        if next(turns) == 5 and stop and ranks().rank == ranks().world - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return error(model, x), {"weight": len(x), "rows": len(x)}

    fit(model, batch, step, replace(RECIPE, steps=steps), out, resume=resume)


def nobody_is_left() -> None:
    """No thread of the group outlives it: it would want Python's lock while Python ends, and abort now and then."""
    names = [name.read_text() for name in Path("/proc/self/task").glob("*/comm")]
    if any("gloo" in name for name in names):
        os._exit(1)


def two(out: Path, *words: str) -> subprocess.CompletedProcess[str]:
    start = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python"]
    return subprocess.run(
        [*start, sys.executable, "-c", SCRIPT, str(out), *words], cwd=ROOT, capture_output=True, text=True, timeout=300
    )


@pytest.mark.slow
def test_two_ranks_make_the_weights_that_one_process_makes(tmp_path: Path) -> None:
    train(tmp_path / "one")
    done = two(tmp_path / "two", str(RECIPE.steps))
    assert done.returncode == 0, done.stderr
    one, two_ranks = (load_tensors(tmp_path / name / "model.safetensors")[0] for name in ("one", "two"))
    assert all(torch.equal(one[name], two_ranks[name]) for name in one)
    alone, together = (read_log(tmp_path / name) for name in ("one", "two"))
    assert [line["step"] for line in together] == [line["step"] for line in alone]  # one log, each step once
    assert [line["rows"] for line in together] == [8] * RECIPE.steps
    assert together[-1]["loss"] == pytest.approx(alone[-1]["loss"], rel=1e-5)


@pytest.mark.slow
def test_two_ranks_stop_together_and_go_on_as_if_nothing_had_been(tmp_path: Path) -> None:
    train(tmp_path / "one")
    steps = str(RECIPE.steps)
    assert two(tmp_path / "two", steps, "stop").returncode != 0
    assert [folder.name for folder in (tmp_path / "two" / "checkpoints").iterdir()] == ["step-000005"]
    done = two(tmp_path / "two", steps, "resume")
    assert done.returncode == 0, done.stderr
    one, two_ranks = (load_tensors(tmp_path / name / "model.safetensors")[0] for name in ("one", "two"))
    assert all(torch.equal(one[name], two_ranks[name]) for name in one)
    assert [line["step"] for line in read_log(tmp_path / "two")] == list(range(RECIPE.steps))


@pytest.mark.slow
def test_an_error_of_one_rank_ends_all(tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").write_text("mine")
    done = two(tmp_path / "used", "3")
    assert done.returncode != 0
    assert "is not an empty folder" in done.stderr


@pytest.mark.parametrize(("accumulate", "world", "passes"), [(1, 1, 1), (1, 2, 2), (3, 2, 4), (4, 2, 4)])
def test_every_rank_takes_as_many_passes(accumulate: int, world: int, passes: int) -> None:
    assert shared(Recipe(batch=24, accumulate=accumulate), world).accumulate == passes

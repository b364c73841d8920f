"""Directing judged: real clips pass, cheap tricks fail where they should, and the model is asked as everybody else."""

from pathlib import Path

import pytest
import torch

from minisora.evaluate.cases import LENGTH, Case
from minisora.evaluate.directing import CAPABILITIES, judge
from minisora.evaluate.report import Report
from minisora.evaluate.shares import tally
from minisora.generate.sora import Sora
from minisora.worlds.shapes import is_held_out
from tests.test_cli import run  # noqa: F401, a fixture
from tests.test_sora import TINY, Tokenizer

CASES = 24


def judged(name: str, who: str) -> dict[str, float]:
    capability = CAPABILITIES[name]
    of = capability.floor if who == "floor" else capability.baselines[who]
    assert of is not None
    cases = [Case.draw(number, capability.motion) for number in range(CASES)]
    return {
        claim: share.value
        for claim, share in tally([Report(capability.judge(of(case), case)) for case in cases]).items()
    }


@pytest.mark.parametrize("name", [name for name, capability in CAPABILITIES.items() if capability.floor])
def test_a_real_clip_passes(name: str) -> None:
    shares = judged(name, "floor")
    assert shares["all claims"] >= 0.95, shares


@pytest.mark.parametrize(
    ("name", "who", "claim", "most"),
    [
        ("animate", "a still", "seam", 0.5),
        ("extend", "the last frame repeated", "seam", 0.5),
        ("extend", "boomerang", "seam", 0.5),
        ("fill", "linear interpolation", "same", 0.7),
        ("region", "a grey box", "border", 0.1),
        ("region", "nothing there", "same", 0.0),
        ("connect", "cross-fade", "halfway", 0.1),
        ("blend", "cross-fade", "halfway", 0.1),
        ("blend", "average", "halfway", 0.1),
        ("shots", "three characters", "kept", 0.1),
        ("shots", "no cut", "cuts", 0.1),
        ("preview", "another layout", "layout", 0.2),
        ("background", "no edit", "changed", 0.0),
        ("edit", "no edit", "changed", 0.05),
        ("loop", "boomerang", "direction", 0.1),
        ("loop", "a still", "moves", 0.0),
    ],
)
def test_a_trick_is_seen_through(name: str, who: str, claim: str, most: float) -> None:
    shares = judged(name, who)
    assert shares[claim] <= most, shares
    assert shares["all claims"] <= 0.5, shares


def test_cases_are_new_and_their_own() -> None:
    cases = [Case.draw(number) for number in range(6)]
    assert len({case.scene.seed for case in cases} | {case.rival.seed for case in cases}) == 12
    for case in cases:
        assert len(case.real.frames) == LENGTH and case.recolored.things[0].color != case.scene.things[0].color
        assert not is_held_out(case.scene.things[0].shape, case.scene.things[0].color, case.scene.things[0].motion)


def test_a_model_is_judged_and_its_numbers_are_kept(run, tmp_path: Path) -> None:  # noqa: F811
    torch.manual_seed(0)
    sora = Sora.new(TINY, Tokenizer(), device="cpu")
    sora.save(tmp_path / "model")
    found = judge(sora, "animate", 2)
    assert (
        set(found.reports) == {"model", "floor", "through the VAE", "a still"}
        and found.decibels is not None
        and found.decibels < 30
    )
    assert str(found).count("\n") == 5 and "dB" in str(found)
    told = run(
        "evaluate",
        "directing",
        "--preset",
        "model",
        "--n",
        "1",
        "--seeds",
        "2",
        "--only",
        "loop",
        "shots",
        "--out",
        "d.json",
    )
    assert told.status == 0 and "boomerang" in told.out, told.err
    assert (tmp_path / "d.json").exists() and (tmp_path / "d.png").exists()
    told = run("evaluate", "directing", "--preset", "model", "--only", "fly")
    assert told.status == 2 and "animate" in told.err

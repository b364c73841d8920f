"""Directing judged: real clips pass, cheap tricks fail where they should, and the model is asked as everybody else."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from minisora.evaluate import cases
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
    drawn = [Case.draw(number, capability.motion) for number in range(CASES)]
    return {
        claim: share.value
        for claim, share in tally([Report(capability.judge(of(case), case)) for case in drawn]).items()
    }


@pytest.mark.parametrize("name", CAPABILITIES)
def test_a_real_clip_passes(name: str) -> None:
    shares = judged(name, "floor")
    assert shares["all claims"] >= 0.95, shares


@pytest.mark.parametrize(
    ("name", "who", "claim", "most", "all_claims"),
    [
        ("animate", "a still", "motion", 0.25, 0.25),  # some things do not move at all
        ("animate", "one step, then still", "motion", 0.25, 0.25),
        ("extend", "the last frame repeated", "motion", 0.25, 0.25),
        ("extend", "one step, then still", "motion", 0.25, 0.25),
        ("extend", "boomerang", "seam", 0.3, 0.3),
        ("fill", "linear interpolation", "seam", 0.4, 0.4),
        ("region", "a grey box", "border", 0.1, 0.0),
        ("region", "nothing there", "same", 0.0, 0.0),
        ("connect", "cross-fade", "halfway", 0.1, 0.1),
        ("connect", "a still and a cut", "gradual", 0.0, 0.0),
        ("blend", "cross-fade", "halfway", 0.1, 0.1),
        ("blend", "average", "halfway", 0.1, 0.1),
        ("blend", "a cut", "gradual", 0.0, 0.0),
        ("shots", "three characters", "kept", 0.1, 0.0),
        ("shots", "no cut", "cuts", 0.1, 0.0),
        ("preview", "another layout", "layout", 0.1, 0.1),
        ("preview", "the small one enlarged", "detail", 0.0, 0.0),
        ("background", "no edit", "changed", 0.0, 0.0),
        ("background", "a color filter", "same", 0.4, 0.4),
        ("restyle", "no edit", "changed", 0.0, 0.0),
        ("restyle", "another in that style", "track", 0.1, 0.1),
        ("insert", "no edit", "changed", 0.0, 0.0),
        ("insert", "half transparent", "same", 0.4, 0.4),
        ("edit", "no edit", "changed", 0.0, 0.0),
        ("edit", "a color filter", "same", 0.25, 0.25),
        ("loop", "boomerang", "direction", 0.1, 0.0),
        ("loop", "a still", "moves", 0.0, 0.0),
        ("loop", "the first frame again", "closes", 0.1, 0.1),
        ("loop", "cross-faded seam", "same", 0.25, 0.25),
    ],
)
def test_a_trick_is_seen_through(name: str, who: str, claim: str, most: float, all_claims: float) -> None:
    shares = judged(name, who)
    assert shares[claim] <= most, shares
    assert shares["all claims"] <= all_claims, shares


def test_every_trick_has_a_bound() -> None:
    (rows,) = (mark.args[1] for mark in test_a_trick_is_seen_through.pytestmark if mark.name == "parametrize")
    assert {row[:2] for row in rows} == {(name, who) for name, own in CAPABILITIES.items() for who in own.baselines}


def test_a_thing_that_vanishes_is_not_the_same() -> None:
    """What was given is real: whether the thing is still there has to be read from what was made."""
    case = Case.draw(0)
    frames = case.real.frames.clone()
    frames[11:] = cases.erased(case)[11:]
    assert not CAPABILITIES["extend"].judge(frames, case)["same"]
    assert not CAPABILITIES["animate"].judge(frames, case)["smooth"]


def test_an_edit_is_held_to_the_track_of_its_source() -> None:
    """One pixel is little and three are too many, each way and for any shape: where a heart is found is not its middle,
    in the source as in the edit."""
    case = next(case for case in map(Case.draw, range(60)) if case.scene.things[0].shape == "heart")
    held = CAPABILITIES["edit"].judge
    for side in ((0, 1), (0, -1), (1, 0), (-1, 0)):
        moved = [case.real.frames.roll([pixels * way for way in side], (1, 2)) for pixels in (0, 1, 3)]
        assert [held(frames, case)["track"] for frames in moved] == [True, True, False], side


def test_cases_are_new_and_their_own() -> None:
    drawn = [Case.draw(number) for number in range(6)]
    assert len({case.scene.seed for case in drawn} | {case.rival.seed for case in drawn}) == 12
    for case in drawn:
        assert len(case.real.frames) == LENGTH and case.recolored.things[0].color != case.scene.things[0].color
        assert not is_held_out(case.scene.things[0].shape, case.scene.things[0].color, case.scene.things[0].motion)


def test_a_model_is_judged_and_its_numbers_are_kept(run, tmp_path: Path) -> None:  # noqa: F811
    torch.manual_seed(0)
    single = replace(TINY, dit=replace(TINY.dit, patch=(1, 2, 2)))  # tokens that a frame can be
    sora = Sora.new(single, Tokenizer(), device="cpu")
    sora.save(tmp_path / "model")
    found = judge(sora, "animate", 2)
    assert (
        set(found.reports) == {"model", "floor", "through the VAE", *CAPABILITIES["animate"].baselines}
        and found.decibels is not None
        and found.decibels < 30
    )
    assert str(found).count("\n") == 6 and "dB" in str(found)
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

"""The painter world and its checker: words against state, paint that stays, and what the checker must not believe."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minisora.core.errors import MinisoraError
from minisora.evaluate import persistence
from minisora.worlds import painter
from minisora.worlds.language import mentions
from minisora.worlds.scene import Frame
from tests.checking import agreement

seeds = st.integers(0, 2**40)
sizes = st.sampled_from([(64, 64), (72, 128), (128, 72), (37, 100)])


@settings(max_examples=20, deadline=None)
@given(seed=seeds, seconds=st.sampled_from([1.0, 2.0, 6.0, 60.0]))
def test_captions_name_every_stroke_in_order(seed: int, seconds: float):
    scene = painter.sample(seed, seconds)
    truth = painter.state(scene, 1, 32, 32).things[1:]
    for detail in ("short", "descriptive"):
        text = painter.caption(scene, detail)
        for attribute in ("figure", "color"):
            assert mentions(text, attribute) == [stroke[attribute] for stroke in truth]
        assert mentions(text, "background") == [scene.background]
    assert mentions(painter.caption(scene, "descriptive"), "strokes") == [str(len(truth))]
    assert mentions(painter.caption(scene, "descriptive"), "place") == [stroke["place"] for stroke in truth]


@settings(max_examples=20, deadline=None)
@given(seed=seeds, size=sizes)
def test_a_place_is_where_the_stroke_lies_at_every_aspect(seed: int, size: tuple[int, int]):
    truth = painter.state(painter.sample(seed, 6.0), 1, *size)
    for thing, (x, y) in zip(truth.things[1:], (truth.tracks[1:, 0] / torch.tensor(size[::-1])).tolist(), strict=True):
        assert [side in thing["place"] for side in ("left", "right")] == [x < 1 / 3, x > 2 / 3]
        assert [side in thing["place"] for side in ("top", "bottom")] == [y < 1 / 3, y > 2 / 3]


@settings(max_examples=8, deadline=None)
@given(seed=seeds, size=sizes, seconds=st.sampled_from([1.0, 2.0, 4.0]))
def test_paint_lies_where_the_brush_went_and_stays(seed: int, size: tuple[int, int], seconds: float):
    scene, unit = painter.sample(seed, seconds), Frame(*size).unit
    truth = painter.state(scene, int(64 * seconds) + 1, *size, fps=64.0)
    assert truth.grid is not None
    painted = truth.grid > 0
    assert not painted[0].any() and painted[-1].any()
    assert torch.equal(truth.grid[1:][painted[:-1]], truth.grid[:-1][painted[:-1]]), "what is painted stays as it is"
    assert truth.grid[-1].unique().tolist() == list(range(len(scene.strokes) + 1)), "all is done in the time there is"
    for frame in (len(painted) // 3, len(painted) - 1):
        spots = painted[frame].nonzero().flip(1).double() + 0.5
        distance = torch.cdist(spots, truth.tracks[0, : frame + 1]).amin(1)
        assert len(spots) == 0 or distance.max() < (0.75 * scene.width + 0.02) * unit + 1


@settings(max_examples=20, deadline=None)
@given(seed=seeds, size=sizes)
def test_strokes_keep_clear_of_one_another_and_of_the_desk(seed: int, size: tuple[int, int]):
    scene, unit = painter.sample(seed, 6.0), Frame(*size).unit
    lines = [painter.outline(scene, stroke, Frame(*size).extent) * unit for stroke in scene.strokes]
    for line in lines:
        assert (line > 0.045 * unit).all() and (line < torch.tensor(size[::-1]) - 0.045 * unit).all()
    for stroke, line in enumerate(lines):
        dense = painter.along(line, torch.linspace(0, 1, 100))
        for other in lines[:stroke]:
            assert torch.cdist(dense, painter.along(other, torch.linspace(0, 1, 100))).min() > 1.5 * scene.width * unit


def test_constraints_are_kept_and_mistakes_are_named():
    scene = painter.sample(3, count=2, figure="circle", color=["red", "blue"], background="cream")
    assert {(stroke.figure, stroke.color) for stroke in scene.strokes} == {("circle", "red"), ("circle", "blue")}
    assert scene.background == "cream"
    for wrong in (
        {"count": 4},
        {"count": 0},
        {"figure": "heart"},
        {"color": "red", "count": 2},
        {"background": "gray"},
    ):
        with pytest.raises(MinisoraError):
            painter.sample(0, **wrong)


@pytest.mark.parametrize("control", [name for name in persistence.CONTROLS if name.startswith("fades")])
def test_fading_is_refused_because_the_paint_does_not_last(control: str):
    """A control is refused for its own fault, while everything else about it is confirmed."""
    for seed in range(6):
        scene = painter.sample(seed)
        failed = persistence.check(persistence.CONTROLS[control](scene, 17, 64, 64, 8.0), scene).failed
        assert "lasting" in failed and not {"where", "brush", "paper"} & set(failed)


def test_the_brush_is_found_within_two_pixels():
    for seed in range(6):
        scene = painter.sample(seed)
        reading = persistence.read(painter.render(scene, 17, 64, 64))
        away = (reading.tip - painter.state(scene, 17, 64, 64).tracks[0]).norm(dim=1)
        assert reading.found.all() and away.median() < 2 and away.max() < 5


def test_another_scenes_caption_is_refused():
    for seed in range(12):
        report = persistence.check(painter.render(painter.sample(seed), 17, 64, 64), painter.sample(seed + 1000))
        assert not report.ok


@pytest.mark.parametrize("size", [(1, 32, 32), (9, 32, 32), (1, 100, 37), (17, 64, 64), (2, 20, 90)])
@pytest.mark.parametrize("value", [0, 128, 255])
def test_an_empty_clip_is_refused_and_not_an_error(size: tuple[int, int, int], value: int):
    report = persistence.check(torch.full((*size, 3), value, dtype=torch.uint8), painter.sample(0))
    assert not report.ok and not report.claims["colors"]


def test_noise_is_refused():
    noise = torch.randint(0, 256, (9, 64, 64, 3), generator=torch.Generator().manual_seed(0)).to(torch.uint8)
    assert not persistence.check(noise, painter.sample(0)).ok


@pytest.mark.slow
def test_most_clips_of_the_tiny_preset_can_be_read():
    assert agreement("painter", 300, (9, 32, 32)) >= 0.95

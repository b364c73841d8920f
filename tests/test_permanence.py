"""The occlusion world and its checker: what goes out of sight is truly hidden, and comes back as it was."""

import math

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from minisora.core.errors import MinisoraError
from minisora.evaluate import permanence
from minisora.evaluate.blobs import VIVID, vividness
from minisora.evaluate.pan import follow_camera
from minisora.evaluate.sight import find
from minisora.worlds import language, occlusion
from tests.checking import agreement

seeds = st.integers(0, 2**30)
SIZES = [(64, 64), (72, 128), (128, 72), (32, 32), (40, 400), (100, 37)]


@settings(max_examples=60, deadline=None)
@given(seed=seeds, seconds=st.sampled_from([1.0, 1.5, 2.0]), size=st.sampled_from(SIZES))
def test_it_is_seen_then_wholly_hidden_for_two_frames_then_seen_again(seed: int, seconds: float, size: tuple[int, int]):
    visible = occlusion.state(occlusion.sample(seed, seconds), int(8 * seconds) + 1, *size).visible[0]
    away = (visible == 0).nonzero().flatten().tolist()
    assert len(away) >= 2 and away == list(range(away[0], away[-1] + 1)), "one stretch, without a break"
    assert visible[0] == 1 and visible[away[-1] :].max() > 0.99


@settings(max_examples=40, deadline=None)
@given(seed=seeds, size=st.sampled_from(SIZES))
def test_it_is_hidden_at_the_same_moments_at_every_aspect_give_or_take_a_frame(seed: int, size: tuple[int, int]):
    scene = occlusion.sample(seed)
    square, other = ((occlusion.state(scene, 17, *s).visible[0] == 0).nonzero().flatten() for s in ((64, 64), size))
    assert (square[[0, -1]] - other[[0, -1]]).abs().max() <= 1


@settings(max_examples=20, deadline=None)
@given(seed=seeds, size=st.sampled_from([(64, 64), (72, 128)]))
def test_the_visible_share_is_what_the_pixels_show(seed: int, size: tuple[int, int]):
    scene = occlusion.sample(seed, count=1)
    clip, truth = occlusion.render(scene, 17, *size), occlusion.state(scene, 17, *size).visible[0]
    seen = find(clip, scene.things[0].color)
    assert seen is not None and (seen.share - truth).abs().max() < 0.16
    trace = ((vividness(clip)[truth == 0] - VIVID) / 100).clamp(0, 1).sum((1, 2))
    assert (trace < 1).all(), "while hidden, not one pixel's worth of it: edges are soft by half a pixel"


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_a_scene_goes_on_every_two_seconds(seed: int):
    scene = occlusion.sample(seed, 8.0)
    away = (occlusion.state(scene, 65, 48, 48).visible[0] == 0).int()
    assert int((away.diff() == 1).sum()) in (3, 4)


@settings(max_examples=60, deadline=None)
@given(seed=seeds, seconds=st.sampled_from([1.0, 2.0, 12.0]), detail=st.sampled_from(["short", "descriptive"]))
def test_captions_say_what_is_true(seed: int, seconds: float, detail: str):
    scene = occlusion.sample(seed, seconds)
    text, truth = occlusion.caption(scene, detail), occlusion.state(scene, int(8 * seconds) + 1, 64, 64)
    for name in ("shape", "color", "size", "motion"):
        assert language.mentions(text, name) == [thing[name] for thing in truth.things]
    assert set(language.mentions(text, "background")) == {scene.background}
    other = "wall" if scene.kind == "wall" else "landmarks"
    assert set(language.mentions(text, other)) == {scene.setting}
    x, camera = truth.tracks[0, :, 0], truth.camera
    assert camera is not None
    if scene.kind == "camera":
        assert language.mentions(text, "pan") == ["right" if float(camera[4, 0]) > 0 else "left"]
    else:
        assert truth.things[0]["motion"] == ("right" if x[1] > x[0] else "left") and not camera.any()
    for place in language.mentions(text, "place"):
        assert place == "middle" or (x[0] < 64 / 3 if place == "left" else x[0] > 2 * 64 / 3)
    assert ("then it turns" in text.lower() or "the same again" in text) == (seconds > 4 and detail == "descriptive")


@settings(max_examples=20, deadline=None)
@given(seed=seeds)
def test_a_constraint_is_kept(seed: int):
    scene = occlusion.sample(seed, kind="wall", count=2, color="red", shape="ring", size="small", direction="left")
    assert scene.kind == "wall" and len(scene.things) == 2 and scene.direction == scene.things[0].motion == "left"
    assert {(thing.shape, thing.size) for thing in scene.things} == {("ring", "small")}
    assert scene.things[0].color == "red" != scene.things[1].color


def test_what_cannot_be_is_refused():
    with pytest.raises(MinisoraError, match="1 or 2"):
        occlusion.sample(0, count=3)
    with pytest.raises(MinisoraError, match="too short"):
        occlusion.sample(0, 0.5)
    with pytest.raises(MinisoraError, match="wall, camera"):
        occlusion.sample(0, kind="magic")


@settings(max_examples=15, deadline=None)
@given(seed=seeds, size=st.sampled_from([(64, 64), (72, 128), (32, 32)]))
def test_the_pan_is_read_from_pixels(seed: int, size: tuple[int, int]):
    scene = occlusion.sample(seed, kind="camera")
    truth = occlusion.state(scene, 17, *size).camera
    assert truth is not None
    assert (follow_camera(occlusion.render(scene, 17, *size)) - truth[:, 0]).abs().max() < 0.02 * min(size) + 0.3


def test_it_reads_clips_that_are_soft_or_noisy_or_long():
    for seed in range(6):
        scene, long = occlusion.sample(seed), occlusion.sample(seed, 8.0)
        clip = occlusion.render(scene, 17, 64, 64).float()
        soft = F.avg_pool2d(clip.permute(0, 3, 1, 2), 3, 1, 1, count_include_pad=False).permute(0, 2, 3, 1)
        noise = 5 * torch.randn(clip.shape, generator=torch.Generator().manual_seed(seed))
        for version in (soft, clip + noise):
            assert permanence.check(version.round().clamp(0, 255).to(torch.uint8), scene).ok, seed
        assert permanence.check(occlusion.render(long, 65, 64, 64), long).ok, seed


@pytest.mark.parametrize("kind", ["wall", "camera"])
@pytest.mark.parametrize("shape", [(1, 64, 64), (17, 64, 64), (9, 32, 32), (2, 1, 1), (3, 5, 200)])
def test_nothing_at_all_and_a_flood_and_noise_are_refused(kind: str, shape: tuple[int, int, int]):
    scene = occlusion.sample(1, kind=kind)
    flood = torch.tensor(language.COLORS[scene.things[0].color]).expand(*shape, 3)
    noise = torch.randint(0, 256, (*shape, 3), generator=torch.Generator().manual_seed(0))
    for clip in (torch.zeros(*shape, 3), flood, noise):
        assert not permanence.check(clip.to(torch.uint8), scene).ok


def test_each_control_fails_for_its_own_reason():
    reasons = {
        "no occlusion": "hidden", "vanishing": "returns", "late": "on time", "teleport": "on time",
        "swapped color": "returns", "swapped shape": "shape", "blink": "hidden",
    }  # fmt: skip
    for name, control in permanence.CONTROLS.items():
        for seed in (0, 1, 2):  # both kinds
            scene = occlusion.sample(seed)
            assert reasons[name] in permanence.check(control(scene, 17, 64, 64, 8.0), scene).failed, (name, seed)


@pytest.mark.slow
def test_most_clips_of_the_tiny_preset_can_be_read():
    assert agreement("occlusion", 300, (9, 32, 32)) >= 0.9


def test_a_clip_in_which_the_camera_never_looks_at_the_thing_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """A generated clip may jump about so that the thing should be out of view in every frame."""
    scene = occlusion.sample(3, kind="camera")
    frames = occlusion.render(scene, 17, 64, 64)
    away = torch.full((17,), torch.nan, dtype=torch.float64)
    monkeypatch.setattr(permanence, "follow_camera", lambda frames: away)
    report = permanence.check(frames, scene)
    assert not report.claims["on time"] and report.measures["astray"] == math.inf

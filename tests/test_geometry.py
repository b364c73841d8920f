"""The 3D world and its check: rays against formulas, pixels against state, cameras read back from pictures."""

import math
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minisora.core.errors import MinisoraError
from minisora.evaluate import geometry
from minisora.evaluate.blobs import vividness
from minisora.worlds import ground, orbit, render3d
from minisora.worlds.language import COLORS, mentions
from minisora.worlds.scene import Frame
from minisora.worlds.space import Solid, aim, project

SEEDS = st.integers(0, 10**6)
SIZES = st.tuples(st.integers(1, 5), st.integers(32, 120), st.integers(32, 120))
MOVES = ("circle left", "circle right", "pan left", "pan right", "zoom in", "zoom out", "still")
ONE = torch.ones(1, dtype=torch.float64)


def from_above(distance: float = 4.0):
    """A camera straight above the middle of the floor."""
    return aim(torch.tensor([[0.0, 0.0, distance]], dtype=torch.float64), 0 * ONE, math.pi / 2 * ONE, 2 * ONE)


def rays_that_meet(solid: Solid, frame: Frame) -> float:
    """In pixels."""
    return float(render3d._cast([solid], from_above(), frame).whole.sum()) / render3d.RAYS**2


@given(st.floats(0.2, 0.6), st.floats(0, 1.5))
@settings(max_examples=20, deadline=None)
def test_a_solid_covers_as_many_pixels_as_the_formula_says(radius: float, turn: float):
    """From above, the outline of a box or cylinder is its top at distance 4 − 2 half; a ball's is its tangent cone."""
    frame = Frame(96, 96)
    scale = 2 * frame.unit  # focal length in pixels
    top = scale * radius / (4 - 2 * 0.3)
    cone = scale * radius / math.sqrt((4 - radius) ** 2 - radius**2)
    expected = {"box": 4 * top**2, "cylinder": math.pi * top**2, "sphere": math.pi * cone**2}
    for kind, area in expected.items():
        solid = Solid(kind, (255, 0, 0), 0.0, 0.0, radius, radius if kind == "sphere" else 0.3, turn)
        assert rays_that_meet(solid, frame) == pytest.approx(area, rel=0.03)


def test_a_solid_hides_what_is_behind_it_and_nothing_else():
    """The camera looks along x; a small ball stands behind a large one, another beside it."""
    camera = aim(torch.tensor([[-4.0, 0.0, 0.3]], dtype=torch.float64), 0 * ONE, 0 * ONE, 1.5 * ONE)
    balls = [Solid("sphere", (9, 9, 9), x, y, r, 0.3) for x, y, r in ((0, 0, 0.3), (1, 0, 0.1), (0, 0.8, 0.1))]
    assert render3d.visible(balls, camera, Frame(64, 64))[:, 0].tolist() == [1.0, 0.0, 1.0]


def test_a_shadow_falls_away_from_the_light():
    sun = (math.cos(1.0), 0.0, math.sin(1.0))  # the light comes from +x
    floor = ground.Floor((255, 255, 255), (0, 0, 0), (0, 0, 0), 0.5, sun)
    for kind in ("box", "sphere", "cylinder"):
        lit = ground.bake([Solid(kind, (9, 9, 9), 0.0, 0.0, 0.2, 0.2)], floor, Frame(64, 64))
        middle, step = len(lit) // 2, round(0.35 * len(lit) / (2 * ground.REACH))
        assert lit[middle, middle - step] < 0.8 < 0.85 < lit[middle, middle + step] <= 1


@given(st.floats(-50, 50), st.floats(0.01, 6))
@settings(deadline=None)
def test_the_floor_is_the_average_of_its_squares(x: float, width: float):
    """The closed form against a plain average of many samples."""
    samples = x + width * ((torch.arange(4000, dtype=torch.float64) + 0.5) / 4000 - 0.5)
    average = (1 - 2 * samples.floor().remainder(2)).mean()
    closed = ground._stripes(torch.tensor(x, dtype=torch.float64), torch.tensor(width, dtype=torch.float64))
    assert float(closed) == pytest.approx(float(average), abs=2e-3)


@given(SEEDS)
@settings(max_examples=5, deadline=None)
def test_a_clip_does_not_depend_on_how_it_is_cut_into_chunks(seed: int):
    scene = orbit.sample(seed)
    whole, state = orbit.render(scene, 5, 40, 56), orbit.state(scene, 5, 40, 56)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(render3d, "CHUNK", 1)
        assert torch.equal(orbit.render(scene, 5, 40, 56), whole)
        assert torch.equal(orbit.state(scene, 5, 40, 56).visible, state.visible)


@given(SEEDS, SIZES, st.sampled_from(MOVES))
@settings(max_examples=12, deadline=None)
def test_nothing_is_ever_cut_off(seed: int, size: tuple[int, int, int], move: str):
    """At the ends and in the middle of every move, at every aspect: no vivid pixel touches the frame."""
    scene = orbit.sample(seed, camera=move)
    vivid = vividness(orbit.render(scene, *size, fps=2.0)) > 70
    assert not vivid[:, [0, -1]].any() and not vivid[:, :, [0, -1]].any()


@given(SEEDS)
@settings(max_examples=12, deadline=None)
def test_pixels_agree_with_the_state(seed: int):
    """The patch of each color lies around the projected centre of its solid, wherever nothing hides it."""
    scene = orbit.sample(seed)
    clip, state = orbit.render(scene, 9, 72, 96), orbit.state(scene, 9, 72, 96)
    places, _ = geometry.follow(clip, [thing["color"] for thing in state.things])
    seen = places * 72 + Frame(72, 96).extent / 2 * 72
    clear = state.visible > 0.97
    assert clear.any()
    assert (seen - state.tracks).norm(dim=-1)[clear].max() < 1.2


@given(SEEDS, st.sampled_from(MOVES))
@settings(max_examples=14, deadline=None)
def test_the_camera_is_read_back_from_pixels(seed: int, move: str):
    """Which move, and how much of it: within a fifteenth."""
    scene = orbit.sample(seed, camera=move)
    report = geometry.check(orbit.render(scene, 17, 64, 64), scene)
    assert report.claims["camera"] and report.measures["error"] < 0.4
    assert report.measures["amount"] == pytest.approx(scene.amount, rel=1 / 15)


@given(SEEDS, st.sampled_from(["short", "descriptive"]))
@settings(deadline=None)
def test_the_caption_names_every_thing_and_the_move(seed: int, detail: str):
    scene = orbit.sample(seed)
    text = orbit.caption(scene, detail)
    assert mentions(text, "camera") == [scene.camera]
    assert mentions(text, "floor") == [scene.floor]
    assert mentions(text, "color") == [thing.color for thing in scene.things]
    if detail == "descriptive":
        assert mentions(text, "solid") == [thing.solid for thing in scene.things]
        assert mentions(text, "size") == [thing.size for thing in scene.things]
        assert mentions(text, "count") == [str(len(scene.things))]
        assert mentions(text, "spot") == [orbit.whereabouts(scene, thing) for thing in scene.things]


@given(SEEDS)
@settings(max_examples=40, deadline=None)
def test_words_of_place_are_true_in_the_first_picture(seed: int):
    """Left is left of right, and the back is higher in the picture than the front, at any aspect."""
    scene = orbit.sample(seed, camera=("circle left", "circle right", "zoom in", "still"))
    tracks = orbit.state(scene, 1, 40, 40).tracks[:, 0]
    spots = [orbit.whereabouts(scene, thing) for thing in scene.things]
    for here, a in zip(spots, tracks.tolist(), strict=True):
        assert not ("left" in here and a[0] > 20) and not ("right" in here and a[0] < 20)
        for there, b in zip(spots, tracks.tolist(), strict=True):
            assert not ("back" in here and "front" in there and a[1] >= b[1])


def test_left_and_right_are_the_cameras_own():
    """A camera that pans left sees things move right; one that circles left sees what is near move right."""
    near = torch.tensor([[-0.8, 0.0, 0.1]], dtype=torch.float64)  # heading 0 looks along +x
    for move, amount in (("pan left", 6.0), ("circle left", 30.0)):
        camera = orbit.viewpoint(move, amount, 0.0, 0.75, torch.tensor([0.0, 1.0], dtype=torch.float64), 2.0)
        track = project(camera, near, Frame(64, 64))[0][0]
        assert track[1, 0] > track[0, 0]


@pytest.mark.parametrize("seconds, again", [(2.0, False), (30.0, True)])
def test_a_long_pan_is_said_to_go_back_and_forth(seconds: float, again: bool):
    for seed in range(10):
        assert ("back, " in orbit.caption(orbit.sample(seed, seconds, camera="pan left"))) == again


def test_long_clips_are_checked_piece_by_piece():
    """Good pieces do not make up for one in which the camera stops."""
    scene = orbit.sample(5, 8.0, camera="circle left")
    clip = orbit.render(scene, 65, 64, 64)
    assert geometry.check(clip, scene).ok
    assert not geometry.check(torch.cat([clip[:40], clip[40:41].expand(25, -1, -1, -1)]), scene).ok


@pytest.mark.parametrize(
    "control, claim", [("frozen", "camera"), ("other move", "camera"), ("flat", "camera"), ("independent", "rigid")]
)
def test_each_control_fails_for_its_own_reason(control: str, claim: str):
    for seed in range(5):
        scene = orbit.sample(seed)
        assert claim in geometry.check(geometry.CONTROLS[control](scene, 17, 64, 64, 8.0), scene).failed


@pytest.mark.parametrize("size", [(1, 64, 64), (2, 64, 64), (9, 32, 32), (17, 5, 3), (17, 1, 1)])
def test_mush_is_refused_and_nothing_raises(size: tuple[int, int, int]):
    scene = orbit.sample(3)
    noise = torch.randint(0, 256, (*size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    smooth = noise.float().mean(dim=(1, 2), keepdim=True).expand(*size, 3).to(torch.uint8)
    for clip in (noise, smooth, torch.zeros_like(noise), orbit.render(scene, *size)[:2]):
        assert not geometry.check(clip, scene).ok


def test_softness_and_a_wrong_color():
    """A soft clip still passes; one in which a promised color is missing does not."""
    for seed in range(6):
        scene = orbit.sample(seed)
        clip = orbit.render(scene, 17, 64, 64)
        small = torch.nn.functional.interpolate(clip.movedim(-1, 1).float(), size=(40, 40), mode="area")
        soft = torch.nn.functional.interpolate(small, size=(64, 64), mode="bilinear").movedim(1, -1).to(torch.uint8)
        assert geometry.check(soft, scene).ok
        absent = next(color for color in COLORS if color not in [thing.color for thing in scene.things])
        things = (replace(scene.things[0], color=absent), *scene.things[1:])
        assert "colors" in geometry.check(clip, replace(scene, things=things)).failed


@pytest.mark.parametrize("wrong", [{"count": 5}, {"color": ("red", "blue")}, {"camera": "roll"}, {"solid": "cone"}])
def test_impossible_scenes_are_refused(wrong: dict):
    with pytest.raises(MinisoraError):
        orbit.sample(0, **wrong)

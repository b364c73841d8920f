"""The craft world keeps to the rules of its game, says what it does, and its checker can tell."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minisora.core.errors import MinisoraError
from minisora.evaluate import rules
from minisora.evaluate.grids import read
from minisora.worlds import craft
from minisora.worlds.game import HEADINGS, Action, turned, undo
from minisora.worlds.language import mentions
from minisora.worlds.terrain import recognize
from minisora.worlds.tiles import ART, CELLS, CODE, TILES, average, layout, textures

seeds, sides = st.integers(0, 10**9), st.integers(16, 200)
CODES = {code: name for name, code in CODE.items()}
CLAIM = {  # the claim that each control must break, whatever else it breaks
    "random edits": "nothing else", "teleport": "moves", "through blocks": "moves", "forbidden turn": "rules",
    "idle": "activity", "other activity": "activity", "other way": "activity", "other shirt": "player",
}  # fmt: skip


@given(seeds, st.sampled_from([1.0, 2.0, 7.0, 60.0]))
@settings(max_examples=15, deadline=None)
def test_the_grid_changes_by_the_rules_alone(seed, seconds):
    scene = craft.sample(seed, seconds)
    story = craft.story(scene, seconds, 64, 64)
    for k, action in enumerate(story.actions[:-1]):
        changed = (story.grids[k] != story.grids[k + 1]).nonzero()
        ahead = story.cells[k] + torch.tensor(HEADINGS[action.heading])
        place = (ahead + 1 - torch.tensor(story.plan.first)).long()
        assert len(changed) == (action.verb in ("mine", "place"))
        if len(changed):
            assert torch.equal(changed[0], place)
            before, after = (CODES[int(story.grids[i][tuple(place)])] for i in (k, k + 1))
            assert turned(action, before) == after
        assert torch.equal(story.cells[k + 1], ahead if action.verb == "walk" else story.cells[k])
        assert (story.cells[k + 1] >= -CELLS // 2).all() and (story.cells[k + 1] < CELLS // 2).all()


@given(seeds, sides, sides)
@settings(max_examples=15, deadline=None)
def test_a_wider_frame_shows_the_same_world_and_more(seed, height, width):
    scene, plan = craft.sample(seed), layout(height, width)
    square, wide = craft.state(scene, 9, 64, 64), craft.state(scene, 9, height, width)
    assert square.grid is not None and wide.grid is not None
    top, left = (plan.rows - CELLS) // 2, (plan.columns - CELLS) // 2
    assert torch.equal(wide.grid[:, top : top + CELLS, left : left + CELLS], square.grid)
    centre = (wide.tracks[0] - torch.tensor([width, height]) / 2) / plan.side
    assert torch.allclose(centre, (square.tracks[0] - 32) / 8)
    assert (centre.abs() <= CELLS / 2 - 0.3).all()  # the player is never cut off


@given(seeds, st.sampled_from([1.0, 2.0, 30.0]), st.sampled_from(["short", "descriptive"]))
@settings(max_examples=40, deadline=None)
def test_captions_say_what_happens(seed, seconds, detail):
    scene = craft.sample(seed, seconds)
    text, thing = craft.caption(scene, detail), craft.state(scene, 1, 64, 64).things[0]
    for attribute in ("color", "activity", "heading", "surroundings"):
        assert mentions(text, attribute) == [thing[attribute]]
    assert mentions(text, "count") == ([thing["count"]] if "count" in thing else [])
    if detail == "descriptive":
        assert mentions(text, "side") == ([thing["side"]] if "side" in thing else [])
        grid = craft.state(scene, 1, 64, 64).grid
        assert grid is not None and recognize(grid[0]) == thing["surroundings"]
        around = [sentence for sentence in text.split(". ") if "around" in sentence or "nearby" in sentence.lower()]
        assert all((grid == CODE[tile]).any() for sentence in around for tile in mentions(sentence, "tile"))


@given(st.sampled_from(["mine", "place"]), st.sampled_from(list(TILES)), st.sampled_from(list(TILES)))
def test_only_allowed_turns_are_made_and_each_can_be_undone(verb, tile, before):
    action = Action(verb, "up", tile)
    try:
        after = turned(action, before)
    except (MinisoraError, KeyError):
        return
    assert (CODE[before], CODE[after]) in rules.TURNS
    assert after == "dirt" or turned(undo(action), after) in (before, "dirt")


@given(st.integers(1, 300), st.floats(0.5, 40), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_averaging_conserves_what_is_there(pixels, scale, seed):
    values = torch.rand(int(pixels * scale) + 2, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    edges = torch.linspace(0, len(values), pixels + 1, dtype=torch.float64)
    means = average(values, 0, edges[:-1], edges[1:])
    assert torch.allclose((means * (edges[1:] - edges[:-1])).sum(), values.sum())


def test_every_tile_is_told_from_all_others_at_four_pixels_a_cell():
    colors = textures()[:, :, ART // 4 : -ART // 4, ART // 4 : -ART // 4].mean(dim=(2, 3))
    near = torch.cdist(colors.flatten(0, 1), torch.tensor([color for color, _ in TILES.values()]).float())
    assert torch.equal(near.argmin(1), torch.arange(len(TILES)).repeat_interleave(colors.shape[1]))
    assert (near.topk(2, largest=False).values.diff() > 60).all()


@given(seeds, st.sampled_from([(64, 64), (72, 128), (100, 56), (37, 41)]))
@settings(max_examples=6, deadline=None)
def test_the_grid_and_the_player_are_read_back_exactly(seed, size):
    scene = craft.sample(seed)
    reading, truth = read(craft.render(scene, 17, *size)), craft.state(scene, 17, *size).grid
    seen = reading.grids >= 0
    assert truth is not None and torch.equal(reading.grids[seen], truth[::2][seen])
    assert reading.found.all() and reading.shirt == scene.color
    cells = craft.story(scene, 2.0, *size).cells[:9] - torch.tensor(layout(*size).first)
    assert torch.equal(reading.cells.double(), cells)


def test_real_clips_pass():
    for frames, height, width, seconds in ((17, 64, 64, 2.0), (17, 72, 128, 2.0), (9, 32, 32, 1.0)):
        for seed in range(4):
            scene = craft.sample(seed, seconds)
            assert rules.check(craft.render(scene, frames, height, width), scene).failed == []


@pytest.mark.parametrize("name", rules.CONTROLS)
def test_controls_are_refused_for_what_they_are(name):
    for seed in range(4):
        scene = craft.sample(seed)
        assert CLAIM[name] in rules.check(rules.CONTROLS[name](scene, 17, 64, 64, 8.0), scene).failed


@pytest.mark.parametrize("frames, height, width", [(1, 64, 64), (9, 32, 32), (17, 33, 5), (2, 1, 1)])
def test_nonsense_is_refused_without_a_fuss(frames, height, width):
    scene = craft.sample(3)
    noise = torch.randint(0, 256, (frames, height, width, 3), generator=torch.Generator().manual_seed(0))
    for clip in (noise, torch.zeros_like(noise), torch.full_like(noise, 128)):
        assert not rules.check(clip.to(torch.uint8), scene).ok


def test_what_cannot_be_is_refused_in_one_line():
    for wrong in ("fly", ("walk", "swim"), ()):
        with pytest.raises(MinisoraError):
            craft.sample(0, activity=wrong)
    with pytest.raises(MinisoraError):
        craft.sample(0, color="green")
    with pytest.raises(MinisoraError):
        craft.sample(0, count=9)
    with pytest.raises(MinisoraError):
        craft.sample(0, surroundings="cave", activity="chop")


@pytest.mark.slow
@pytest.mark.parametrize("height, width", [(64, 64), (72, 128)])
def test_hundreds_of_real_clips_pass_and_hundreds_of_each_control_do_not(height, width):
    scenes = [craft.sample(seed) for seed in range(1000, 1500)]
    passed = sum(rules.check(craft.render(scene, 17, height, width), scene).ok for scene in scenes)
    assert passed >= 0.98 * len(scenes)
    for control in rules.CONTROLS.values():
        refused = sum(not rules.check(control(scene, 17, height, width, 8.0), scene).ok for scene in scenes)
        assert refused >= 0.98 * len(scenes)

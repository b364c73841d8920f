"""Laws that every toy world obeys: size, determinism, time, aspect, and captions that say only what is true."""

import inspect
import re
import string

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minisora.core.errors import MinisoraError
from minisora.worlds import WORLDS, language, world
from minisora.worlds.scene import narrow

every_world = pytest.mark.parametrize("name", WORLDS)
seeds = st.integers(0, 2**40)
SIZES = [(1, 32, 32), (9, 32, 32), (17, 72, 128), (5, 128, 72), (3, 100, 37), (2, 33, 250)]


@every_world
@settings(max_examples=12, deadline=None)
@given(seed=seeds, size=st.sampled_from(SIZES), fps=st.sampled_from([4.0, 8.0, 12.5]))
def test_any_size_gives_frames_and_truth_of_that_size(name: str, seed: int, size: tuple[int, int, int], fps: float):
    scene = world(name).sample(seed)
    frames, truth = world(name).render(scene, *size, fps), world(name).state(scene, *size, fps)
    assert frames.dtype == torch.uint8 and frames.shape == (*size, 3)
    assert truth.tracks.shape == (len(truth.things), size[0], 2) and truth.visible.shape == truth.tracks.shape[:2]
    assert truth.tracks.dtype == truth.visible.dtype == torch.float64 and truth.tracks.isfinite().all()
    assert truth.visible.min() >= 0 and truth.visible.max() <= 1
    assert frames.float().std() > 2, "there is something to see"


@every_world
def test_the_largest_size_works(name: str):
    scene = world(name).sample(5, seconds=8.0)
    assert world(name).render(scene, 65, 256, 144).shape == (65, 256, 144, 3)


@every_world
@settings(max_examples=8, deadline=None)
@given(seed=seeds)
def test_a_seed_gives_the_same_bytes(name: str, seed: int):
    one, two = world(name).sample(seed), world(name).sample(seed)
    assert one == two
    assert torch.equal(world(name).render(one, 5, 40, 56), world(name).render(two, 5, 40, 56))
    for detail in ("short", "descriptive"):
        assert world(name).caption(one, detail) == world(name).caption(two, detail)


@every_world
@settings(max_examples=8, deadline=None)
@given(seed=seeds, size=st.sampled_from([(40, 56), (33, 33)]))
def test_a_short_clip_is_the_beginning_of_a_long_one(name: str, seed: int, size: tuple[int, int]):
    scene = world(name).sample(seed)
    assert torch.equal(world(name).render(scene, 7, *size)[:3], world(name).render(scene, 3, *size))
    long, short = world(name).state(scene, 7, *size), world(name).state(scene, 3, *size)
    assert torch.allclose(long.tracks[:, :3], short.tracks) and torch.allclose(long.visible[:, :3], short.visible)


@every_world
@settings(max_examples=8, deadline=None)
@given(seed=seeds)
def test_the_frame_rate_samples_one_and_the_same_motion(name: str, seed: int):
    scene = world(name).sample(seed)
    slow, fast = world(name).state(scene, 9, 64, 64, 8.0), world(name).state(scene, 17, 64, 64, 16.0)
    assert torch.allclose(slow.tracks, fast.tracks[:, ::2], atol=1e-6)


@every_world
@settings(max_examples=10, deadline=None)
@given(seed=seeds, size=st.sampled_from([(64, 64), (72, 128), (128, 72), (64, 192)]))
def test_what_is_seen_whole_lies_inside_the_frame_at_every_aspect(name: str, seed: int, size: tuple[int, int]):
    truth = world(name).state(world(name).sample(seed), 17, *size)
    x, y = truth.tracks.unbind(-1)
    inside = (x > 0) & (x < size[1]) & (y > 0) & (y < size[0])
    assert inside[truth.visible > 0.99].all()


@every_world
@settings(max_examples=4, deadline=None)
@given(seed=seeds)
def test_a_minute_goes_on_and_stays_true(name: str, seed: int):
    scene = world(name).sample(seed, seconds=60.0)
    truth = world(name).state(scene, 481, 64, 64)
    assert truth.tracks.isfinite().all()
    assert world(name).render(scene, 481, 32, 32).shape[0] == 481
    assert world(name).caption(scene, "descriptive")


def words(text: str) -> set[str]:
    return {word.strip(string.punctuation).lower() for word in text.split()} - {""}


VOCABULARY = {"an"}.union(
    *(words(phrase) for values in language.WORDS.values() for phrases in values.values() for phrase in phrases),
    *(words(re.sub(r"\{\w*\}", " ", line)) for lines in language.TEMPLATES.values() for line in lines),
)


@every_world
@settings(max_examples=30, deadline=None)
@given(seed=seeds, detail=st.sampled_from(["short", "descriptive"]))
def test_captions_are_sentences_of_the_listed_vocabulary(name: str, seed: int, detail: str):
    text = world(name).caption(world(name).sample(seed), detail)
    assert words(text) <= VOCABULARY, words(text) - VOCABULARY
    assert "{" not in text and "  " not in text and text == text.strip() and text[0].isupper()
    assert not re.search(r"\ba [aeio]", text, re.IGNORECASE), "articles fit their nouns"


@every_world
def test_captions_vary_in_wording(name: str):
    for detail in ("short", "descriptive"):
        texts = [world(name).caption(world(name).sample(seed), detail) for seed in range(60)]
        assert len(set(texts)) > 40
        assert len({re.sub("|".join(language.COLORS), "", text) for text in texts}) > 10


def test_no_two_values_of_an_attribute_share_a_phrase():
    for attribute, values in language.WORDS.items():
        phrases = [phrase for options in values.values() for phrase in options]
        assert len(phrases) == len(set(phrases)), attribute
        for value, options in values.items():
            for phrase in options:
                assert language.mentions(f"see {phrase}, there", attribute) == [value], (attribute, phrase)


@every_world
@pytest.mark.parametrize("seconds", [0, -1, 1e9, float("nan")])
def test_impossible_durations_are_refused(name: str, seconds: float):
    with pytest.raises(MinisoraError, match="seconds"):
        world(name).sample(0, seconds=seconds)


@every_world
@pytest.mark.parametrize("size", [(0, 64, 64), (17, 0, 64), (17, 64, -3), (10**9, 64, 64), (17, 10**6, 10**6)])
def test_impossible_sizes_are_refused(name: str, size: tuple[int, int, int]):
    with pytest.raises(MinisoraError, match="size"):
        world(name).render(world(name).sample(0), *size)


@every_world
def test_unknown_words_are_refused_with_the_known_ones(name: str):
    with pytest.raises(MinisoraError, match="descriptive"):
        world(name).caption(world(name).sample(0), "poetic")
    with pytest.raises(MinisoraError, match="shapes, physics"):
        world("chess")
    with pytest.raises(MinisoraError, match="red, orange"):
        narrow("color", ["red", "mauve"], language.COLORS)
    with pytest.raises(MinisoraError, match="no color"):
        narrow("color", [], language.COLORS)


COLORED = [
    name  # an orbit scene always has things of six colors or more
    for name in WORLDS
    if "color" in inspect.signature(world(name).sample).parameters and name != "orbit"
]


@pytest.mark.parametrize("name", COLORED)
def test_a_color_that_is_asked_for_is_there_in_every_scene(name: str):
    """Nobody who asks for one thing has to know what else was drawn beside it: a background, a number of strokes."""

    def is_known(color: str) -> bool:
        try:
            world(name).sample(0, 2.0, color=color)
        except MinisoraError as error:
            assert "unknown color" in str(error)
            return False
        return True

    known = [color for color in language.COLORS if is_known(color)]
    assert len(known) > 2
    for color in known:
        for seed in range(12):
            scene = world(name).sample(seed, 2.0, color=color)
            assert color in language.mentions(world(name).caption(scene), "color")

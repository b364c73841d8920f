"""A prompt finds the scene that it asks for."""

import pytest

from minisora.core.errors import MinisoraError
from minisora.worlds import WORLDS, world
from minisora.worlds.prompt import claims, matches, scene_for


@pytest.mark.parametrize(
    "prompt, name",
    [
        ("a large red circle moves to the right on a white background", "shapes"),
        ("A PENCIL SKETCH OF a small blue star that rises", "shapes"),
        ("a red ball drops on the Moon", "physics"),
        ("a brush paints a green spiral on white paper", "painter"),
        ("a player in an orange shirt is chopping two trees", "craft"),
    ],
)
def test_a_prompt_finds_its_world_and_its_words(prompt: str, name: str):
    scene = scene_for(prompt)
    asked = claims(prompt)
    told = [claims(world(name).caption(scene, detail)) for detail in ("short", "descriptive")]
    assert scene.world == name
    assert max(matches(asked, claim) for claim in told) == sum(map(len, asked.values()))
    assert scene_for(prompt) == scene


def test_captions_lead_back_to_their_own_worlds():
    found = [scene_for(world(name).caption(world(name).sample(5), "descriptive")).world for name in WORLDS]
    assert sum(a == b for a, b in zip(found, WORLDS, strict=True)) >= 5, found


@pytest.mark.parametrize("prompt", ["", "a cat plays the piano", "一只猫", "x" * 100_000])
def test_a_prompt_that_no_world_understands_is_refused(prompt: str):
    with pytest.raises(MinisoraError, match="no toy world understands"):
        scene_for(prompt)

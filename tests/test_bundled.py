"""The bundled checkpoints: small enough, whole, repeatable, and as good as their tables say."""

from pathlib import Path

import pytest
import torch

from minisora.evaluate import fidelity
from minisora.evaluate.measure import FIRST
from minisora.evaluate.reconstruction import reconstruct
from minisora.evaluate.shares import MEAN, tally
from minisora.generate.folder import MANIFEST
from minisora.generate.sora import Sora
from minisora.worlds import WORLDS, shapes
from minisora.zoo.presets import parameters

FOLDER = Path(__file__).parents[1] / "data" / "checkpoints"
LARGEST = {"tiny": 2e6, "toy": 16e6}
SHOWN = {"tiny": ["shapes"], "toy": WORLDS}
ASKED = {"tiny": {"count": 1, "style": "flat"}, "toy": {}}
"""What each was trained on: the worlds that its VAE has seen, and the scenes of the shapes world."""
BUNDLED = [name for name in LARGEST if (FOLDER / name / MANIFEST).is_file()]
PROMPT = "a large red circle moves to the right on a white background"
presets = pytest.mark.parametrize("name", BUNDLED)


@pytest.fixture(scope="module")
def models() -> dict[str, Sora]:
    return {name: Sora.from_pretrained(name, device="cpu", dtype="fp32") for name in BUNDLED}


@presets
def test_it_is_as_small_as_promised(models: dict[str, Sora], name: str) -> None:
    assert sum(parameters(models[name].preset).values()) <= LARGEST[name]
    assert all(path.stat().st_size <= 16 * 2**20 for path in (FOLDER / name).iterdir())


@presets
def test_the_same_seed_makes_the_same_frames_and_threads_change_next_to_nothing(
    models: dict[str, Sora], name: str
) -> None:
    """Sums in another order differ in their last digit; twenty steps on, that is at most 2 of 255 grey levels."""
    made = []
    try:
        for threads in (1, 1, 2):
            torch.set_num_threads(threads)
            made.append(models[name].generate(PROMPT, seed=3)[0].frames.int())
    finally:
        torch.set_num_threads(1)
    assert torch.equal(made[0], made[1])
    assert (made[0] - made[2]).abs().max() <= 2


@presets
def test_it_shows_what_prompts_ask_for(models: dict[str, Sora], name: str) -> None:
    """A few prompts of scenes that nothing was trained on; the tables in data/checkpoints ask many more."""
    size, fps = models[name].preset.size, models[name].preset.fps
    scenes = [shapes.sample(FIRST + place, max(1.0, (size[0] - 1) / fps), **ASKED[name]) for place in range(16)]
    clips = models[name].generate([shapes.caption(scene) for scene in scenes], seed=0)
    made, chance = (
        tally([fidelity.check(clip.frames, scene, fps) for clip, scene in zip(some, scenes, strict=True)])[MEAN].value
        for some in (clips, clips[1:] + clips[:1])
    )
    assert made > chance + 0.2


@presets
def test_its_vae_keeps_clips_of_the_worlds_it_was_shown(models: dict[str, Sora], name: str) -> None:
    sora = models[name]
    means = {world: reconstruct(sora.vae, world, 4, sora.preset.size, sora.preset.fps).mean for world in SHOWN[name]}
    assert min(means.values()) > 20 and sum(means.values()) / len(means) > 25, means

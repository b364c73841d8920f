"""The two stages of training a preset, from toy worlds to weights: first the video VAE, then the transformer."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import nn

from minisora.core.checkpoint import load_into, save_tensors, sha256
from minisora.core.errors import MinisoraError
from minisora.core.recipe import Recipe
from minisora.core.runtime import seed_everything
from minisora.data.datasets import Dataset
from minisora.data.loader import Loader
from minisora.models.dit import DiT
from minisora.models.text import TextEncoder
from minisora.models.tokenizer import Tokenizer
from minisora.models.vae import VAE
from minisora.train import dit as dit_stage
from minisora.train import latents
from minisora.train import vae as vae_stage
from minisora.train.engine import fit
from minisora.train.prepare import Ready
from minisora.zoo.presets import Preset

Callback = Callable[[int, nn.Module], object]
TRAINED = "vae.safetensors"


def train_vae(
    preset: Preset, clips: Dataset, out: Path, *, recipe: Recipe | None = None, minutes: float | None = None,
    resume: bool = False, workers: int = 0, init: Path | None = None, side: int | None = None,
    callback: Callback | None = None,
) -> VAE:  # fmt: skip
    """Train the VAE on clips, or on random squares of them with a `side`, and measure its latents.

    `init` is a file of weights to begin with.
    """
    recipe = recipe or preset.recipes["vae"]
    seed_everything(recipe.seed)
    ready = Ready(clips, out / "clips", workers)
    loader = Loader(ready, recipe.batch, recipe.seed, prepare=partial(vae_stage.crop, side=side) if side else None)
    note = {"vae": repr(preset.vae), "clips": repr(ready), "side": side, "init": init and sha256(init)}
    vae = VAE(preset.vae)
    if init is not None:
        load_into(vae, init)
    average = fit(
        vae,
        loader.batch,
        vae_stage.step,
        recipe,
        out / "vae",
        minutes=minutes,
        resume=resume,
        callback=callback,
        note=note,
    )
    assert isinstance(average, VAE)
    few = Loader(ready, min(256, len(ready)), seed=recipe.seed + 1).batch(0)
    vae_stage.measure_latents(average, few)
    save_tensors(out / TRAINED, average.state_dict())
    return average


def train_dit(
    preset: Preset, clips: Dataset, out: Path, *, recipe: Recipe | None = None, minutes: float | None = None,
    resume: bool = False, workers: int = 0, init: Path | None = None, callback: Callable[..., object] | None = None,
) -> tuple[VAE, dit_stage.Learner, Tokenizer]:  # fmt: skip
    """Encode the clips with the trained VAE, and train transformer and text encoder on their latents.

    `callback(steps, vae, learner, tokenizer)` comes with every checkpoint.
    """
    recipe = recipe or preset.recipes["dit"]
    seed_everything(recipe.seed)
    vae = trained_vae(preset, out)
    ready = Ready(clips, out / "clips", workers)
    shelf = latents.encode(vae, ready, out / "latents")
    tokenizer = Tokenizer.train((item["caption"] for item in shelf.items), preset.text.vocabulary)
    text = replace(preset.text, vocabulary=tokenizer.size)
    learner = dit_stage.Learner(DiT(preset.dit), TextEncoder(text))
    if init is not None:
        load_into(learner, init)

    def told(steps: int, average: nn.Module) -> None:
        if callback is not None:
            callback(steps, vae, average, tokenizer)

    loader = Loader(shelf, recipe.batch, recipe.seed)  # type: ignore[arg-type]
    note = {"dit": repr(preset.dit), "latents": ready.of, "init": init and sha256(init)}
    average = fit(
        learner, loader.batch, dit_stage.step_for(tokenizer, preset.vae.compression[0]), recipe, out / "dit",
        minutes=minutes, resume=resume, callback=told, note=note,
    )  # fmt: skip
    assert isinstance(average, dit_stage.Learner)
    return vae, average, tokenizer


def trained_vae(preset: Preset, out: Path) -> VAE:
    if not (out / TRAINED).exists():
        raise MinisoraError(f"{out} holds no trained VAE: run this command with --stage vae first")
    vae = VAE(preset.vae)
    load_into(vae, out / TRAINED)
    return vae.requires_grad_(False).eval()

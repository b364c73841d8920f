"""The two stages of training a preset, from toy worlds to weights: first the video VAE, then the transformer."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from minisora.core.checkpoint import load_into, save_tensors
from minisora.core.errors import MinisoraError
from minisora.core.recipe import Recipe, Run
from minisora.core.runtime import pick_device, seed_everything
from minisora.data.datasets import Dataset
from minisora.data.loader import Loader
from minisora.models.dit import DiT, finer
from minisora.models.text import TextEncoder
from minisora.models.tokenizer import Tokenizer
from minisora.models.vae import VAE
from minisora.train import critic as critic_stage
from minisora.train import dit as dit_stage
from minisora.train import latents
from minisora.train import vae as vae_stage
from minisora.train.critic import Critic, Rivals, Terms
from minisora.train.distributed import join, main_first, wait
from minisora.train.engine import Step, fit
from minisora.train.prepare import Ready
from minisora.train.shelf import fingerprint_of_weights
from minisora.zoo.presets import Preset

Callback = Callable[..., object]
Trained = tuple[VAE, dit_stage.Learner, Tokenizer]
TRAINED = "vae.safetensors"


def train_vae(
    preset: Preset, clips: Dataset, out: Path, *, recipe: Recipe | None = None, run: Run = Run(),
    begun: VAE | None = None, side: int | None = None, terms: Terms = Terms(), rough: float = 0.0,
    callback: Callback | None = None,
) -> VAE:  # fmt: skip
    """Train a VAE, a new one or one that is `begun`, on clips or random squares of a `side`, and measure its latents.

    `rough` is for one whose latents are in use: its encoder stays, and the decoder learns to mend noisy latents.
    """
    recipe = recipe or preset.recipes["vae"]
    if begun is not None and replace(begun.config, mean=(), std=()) != replace(preset.vae, mean=(), std=()):
        raise MinisoraError("the VAE to begin with is not the preset's: name the preset that it was made with")
    seed_everything(recipe.seed)
    with main_first():
        ready = Ready(clips, out / "clips-vae", run.workers)
    few = Loader(ready, min(256, len(ready)), seed=recipe.seed + 1).batch(0)
    loader = Loader(ready, recipe.batch, recipe.seed, prepare=partial(vae_stage.crop, side=side) if side else None)
    vae = VAE(preset.vae) if begun is None else begun.requires_grad_(True)
    note = {"vae": repr(vae.config), "clips": repr(ready), "side": side, "terms": repr(terms), "rough": rough}
    note |= {"begun": begun and fingerprint_of_weights(begun)}
    if begun is None and vae.components is not None:
        vae_stage.measure_components(vae.components, few)
    vae = vae.to(pick_device(run.device))
    if rough:
        if begun is None:
            raise MinisoraError("rough latents are for a VAE that has been trained: give its weights with --init")
        vae_stage.freeze_encoder(vae)

    if terms:
        rivals = Rivals(vae, Critic().to(vae.mean.device))
        step = critic_stage.step_for(terms, rough)
        average = _fit(rivals, loader, step, recipe, out / "vae", run, note, callback).get_submodule("vae")
    else:
        average = _fit(vae, loader, partial(vae_stage.step, rough=rough), recipe, out / "vae", run, note, callback)
    assert isinstance(average, VAE)
    if not rough:
        vae_stage.measure_latents(average, few)
    if join().main:
        save_tensors(out / TRAINED, average.state_dict())
    wait()
    return average


def train_dit(
    preset: Preset, clips: Dataset, out: Path, *, recipe: Recipe | None = None, run: Run = Run(),
    begun: Trained | None = None, callback: Callback | None = None,
) -> Trained:  # fmt: skip
    """Encode the clips with the trained VAE, and train transformer and text encoder on their latents.

    All three go on from what is `begun`: a VAE in `out` takes the place of its VAE, new words join its vocabulary, and
    a transformer of coarser tokens is cut to those of the preset.
    `callback(steps, vae, learner, tokenizer)` comes after every checkpoint.
    """
    recipe = recipe or preset.recipes["dit"]
    seed_everything(recipe.seed)
    device = pick_device(run.device)
    vae = trained_vae(preset, out, begun and begun[0]).to(device)
    with main_first():
        ready = Ready(clips, out / "clips-dit", run.workers)
        shelf = latents.encode(vae, ready, out / "latents")
    captions = (item["caption"] for item in shelf.items)
    tokenizer = Tokenizer.train(captions, preset.text.vocabulary, begun and begun[2])
    note = {"latents": ready.of, "vae": fingerprint_of_weights(vae), "shift": preset.sampling.shift}
    note |= {"begun": begun and fingerprint_of_weights(begun[1])}
    if begun is not None:
        learner = begun[1]
        if learner.dit.config.patch != preset.dit.patch:
            learner.dit = finer(learner.dit, preset.dit.patch)
        learner.text.grow(tokenizer.size)
    else:
        text = TextEncoder(replace(preset.text, vocabulary=tokenizer.size))
        learner = dit_stage.Learner(DiT(preset.dit), text)

    def told(steps: int, average: nn.Module) -> None:
        if callback is not None:
            callback(steps, vae, average, tokenizer)

    loader = Loader(shelf, recipe.batch, recipe.seed)  # type: ignore[arg-type]
    note["dit"] = repr(learner.dit.config)
    step = dit_stage.step_for(tokenizer, vae.config.compression[0], preset.sampling.shift)
    average = _fit(learner.to(device).requires_grad_(True), loader, step, recipe, out / "dit", run, note, told)
    assert isinstance(average, dit_stage.Learner)
    return vae, average, tokenizer


def _fit(
    model: nn.Module, loader: Loader, step: Step, recipe: Recipe, out: Path, run: Run, note: dict[str, Any],
    callback: Callback | None,
) -> nn.Module:  # fmt: skip
    return fit(
        model, loader.batch, step, recipe, out, minutes=run.minutes, resume=run.resume, compile=run.compile,
        tensorboard=run.tensorboard, callback=callback, note=note,
    )  # fmt: skip


def trained_vae(preset: Preset, out: Path, begun: VAE | None = None) -> VAE:
    """The VAE in the folder of a run, or the one that is begun."""
    if (out / TRAINED).exists():
        begun = VAE(preset.vae)
        load_into(begun, out / TRAINED)
    if begun is None:
        raise MinisoraError(f"{out} holds no trained VAE: run this command with --stage vae first")
    return begun.requires_grad_(False).eval()

"""The two stages of training a preset, from toy worlds to weights: first the video VAE, then the transformer."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import nn

from minisora.core.checkpoint import load_into, save_tensors
from minisora.core.errors import MinisoraError
from minisora.core.recipe import Recipe, Run
from minisora.core.runtime import pick_device, seed_everything
from minisora.data.datasets import Dataset
from minisora.data.loader import Loader
from minisora.generate import folder
from minisora.models.dit import DiT
from minisora.models.text import TextEncoder
from minisora.models.tokenizer import Tokenizer
from minisora.models.vae import VAE
from minisora.train import critic as critic_stage
from minisora.train import dit as dit_stage
from minisora.train import latents
from minisora.train import vae as vae_stage
from minisora.train.critic import Critic, Rivals, Terms
from minisora.train.distributed import join, main_first
from minisora.train.engine import Step, fit
from minisora.train.prepare import Ready
from minisora.train.shelf import fingerprint_of_weights
from minisora.zoo.presets import Preset

Callback = Callable[..., object]
TRAINED = "vae.safetensors"


def train_vae(
    preset: Preset, clips: Dataset, out: Path, *, recipe: Recipe | None = None, run: Run = Run(),
    side: int | None = None, terms: Terms = Terms(), rough: float = 0.0, callback: Callback | None = None,
) -> VAE:  # fmt: skip
    """Train the VAE on clips, or on random squares of them with a `side`, and measure its latents.

    `rough` is for a VAE whose latents are in use: its encoder stays, and the decoder learns to mend noisy latents.
    """
    recipe = recipe or preset.recipes["vae"]
    seed_everything(recipe.seed)
    with main_first():
        ready = Ready(clips, out / "clips-vae", run.workers)
    few = Loader(ready, min(256, len(ready)), seed=recipe.seed + 1).batch(0)
    loader = Loader(ready, recipe.batch, recipe.seed, prepare=partial(vae_stage.crop, side=side) if side else None)
    vae = VAE(preset.vae)
    if run.init is not None:
        _take(vae, run.init)
    elif vae.components is not None:
        vae_stage.measure_components(vae.components, few)
    vae = vae.to(pick_device(run.device))
    if rough:
        if run.init is None:
            raise MinisoraError("rough latents are for a VAE that has been trained: give its weights with --init")
        vae_stage.freeze_encoder(vae)

    note = {"vae": repr(preset.vae), "clips": repr(ready), "side": side, "terms": repr(terms), "rough": rough}
    note |= {"init": run.init and fingerprint_of_weights(vae)}
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
    return average


def train_dit(
    preset: Preset, clips: Dataset, out: Path, *, recipe: Recipe | None = None, run: Run = Run(),
    callback: Callback | None = None,
) -> tuple[VAE, dit_stage.Learner, Tokenizer]:  # fmt: skip
    """Encode the clips with the trained VAE, and train transformer and text encoder on their latents.

    `callback(steps, vae, learner, tokenizer)` comes with every checkpoint.
    """
    recipe = recipe or preset.recipes["dit"]
    seed_everything(recipe.seed)
    device = pick_device(run.device)
    begun = None if run.init is None else folder.load(run.init, torch.float32, "cpu")
    vae = trained_vae(preset, out, begun).to(device)
    with main_first():
        ready = Ready(clips, out / "clips-dit", run.workers)
        shelf = latents.encode(vae, ready, out / "latents")
    if begun is not None:
        tokenizer, learner = begun.tokenizer, dit_stage.Learner(begun.dit, begun.text)
    else:
        tokenizer = Tokenizer.train((item["caption"] for item in shelf.items), preset.text.vocabulary)
        text = TextEncoder(replace(preset.text, vocabulary=tokenizer.size))
        learner = dit_stage.Learner(DiT(preset.dit), text)

    def told(steps: int, average: nn.Module) -> None:
        if callback is not None:
            callback(steps, vae, average, tokenizer)

    loader = Loader(shelf, recipe.batch, recipe.seed)  # type: ignore[arg-type]
    note = {"dit": repr(learner.dit.config), "latents": ready.of, "init": begun and begun.digest}
    step = dit_stage.step_for(tokenizer, preset.vae.compression[0], preset.sampling.shift)
    average = _fit(learner.to(device), loader, step, recipe, out / "dit", run, note, told)
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


def trained_vae(preset: Preset, out: Path, begun: folder.Stored | None = None) -> VAE:
    """The VAE in the folder of a run, or the one of the model that the run begins with."""
    if (out / TRAINED).exists():
        vae = VAE(preset.vae)
        load_into(vae, out / TRAINED)
    elif begun is not None:
        vae = begun.vae
    else:
        raise MinisoraError(f"{out} holds no trained VAE: run this command with --stage vae first")
    return vae.requires_grad_(False).eval()


def _take(vae: VAE, init: Path) -> None:
    """The weights of the VAE in a model's folder, or in a file."""
    if init.is_dir():
        vae.load_state_dict(folder.load(init, torch.float32, "cpu").vae.state_dict())
    else:
        load_into(vae, init)

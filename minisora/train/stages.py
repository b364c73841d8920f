"""The three stages of training a preset: the video VAE, the text encoder, and the transformer that needs them both."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from torch import nn

from minisora.core.checkpoint import load_into, open_tensors, save_tensors
from minisora.core.errors import MinisoraError
from minisora.core.recipe import Recipe, Run
from minisora.core.runtime import generator, pick_device, seed_everything
from minisora.data.datasets import Dataset
from minisora.data.loader import Loader
from minisora.diffusion.flow import sample_times
from minisora.models.dit import DiT, finer
from minisora.models.text import TextEncoder
from minisora.models.tokenizer import Tokenizer
from minisora.models.vae import VAE
from minisora.train import critic as critic_stage
from minisora.train import dit as dit_stage
from minisora.train import latents
from minisora.train import text as text_stage
from minisora.train import vae as vae_stage
from minisora.train.critic import Critic, Rivals, Terms
from minisora.train.distributed import join, main_first, wait
from minisora.train.engine import Step, fit
from minisora.train.prepare import Ready
from minisora.train.shelf import fingerprint, fingerprint_of_weights
from minisora.zoo.presets import Preset

Callback = Callable[..., object]
TRAINED, READS, WORDS = "vae.safetensors", "text.safetensors", "tokenizer.json"
"""What the first two stages leave in the folder of a run."""


class Trained(NamedTuple):
    """What it takes to generate."""

    vae: VAE
    dit: DiT
    text: TextEncoder
    tokenizer: Tokenizer


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


def train_text(
    preset: Preset, captions: Sequence[str], out: Path, *, recipe: Recipe | None = None, run: Run = Run(),
    begun: tuple[TextEncoder, Tokenizer] | None = None,
) -> tuple[TextEncoder, Tokenizer]:  # fmt: skip
    """Teach a text encoder to read captions, a new one or one that is `begun`, whose vocabulary new words join.

    Those of any clips will do, `[clip.caption for clip in clips]`; one that names no color teaches its own words only.
    """
    if begun is not None and replace(begun[0].config, vocabulary=preset.text.vocabulary) != preset.text:
        raise MinisoraError("the text encoder to begin with is not the preset's: name the preset that it was made with")
    recipe = recipe or preset.recipes["text"]
    seed_everything(recipe.seed)
    tokenizer = Tokenizer.train(captions, preset.text.vocabulary, begun and begun[1])
    note = {"captions": fingerprint(list(captions)), "begun": begun and fingerprint_of_weights(begun[0])}
    text = begun[0] if begun else TextEncoder(replace(preset.text, vocabulary=tokenizer.size))
    text.grow(tokenizer.size)
    note["text"] = repr(text.config)
    reader = text_stage.Reader(text.requires_grad_(True)).to(pick_device(run.device))
    loader = Loader(captions, recipe.batch, recipe.seed)  # type: ignore[arg-type]
    average = _fit(reader, loader, text_stage.step_for(tokenizer), recipe, out / "text", run, note, None)
    assert isinstance(average, text_stage.Reader)
    if join().main:
        save_tensors(out / READS, average.text.state_dict())
        tokenizer.save(out / WORDS)
    wait()
    return average.text, tokenizer


def train_dit(
    preset: Preset, clips: Dataset, out: Path, *, recipe: Recipe | None = None, run: Run = Run(),
    begun: Trained | None = None, shift: float | None = None, within: tuple[float, float] = (0.0, 1.0),
    callback: Callback | None = None,
) -> Trained:  # fmt: skip
    """Encode clips with the trained VAE and prompts with the trained text encoder, and train the transformer on them.

    It goes on from what is `begun`: a VAE or text encoder in `out` takes the place of that one's, and a transformer of
    coarser tokens is cut to those of the preset. An expert for some times only learns `within` them, with a `shift` of
    its own. `callback(steps, trained)` comes after every checkpoint.
    """
    recipe = recipe or preset.recipes["dit"]
    seed_everything(recipe.seed)
    shift = preset.sampling.shift if shift is None else shift
    sample_times(0, generator(recipe.seed), shift, within=within)  # what cannot be is refused before clips are drawn
    device = pick_device(run.device)
    vae = trained_vae(preset, out, begun and begun.vae).to(device)
    text, tokenizer = trained_text(preset, out, begun and (begun.text, begun.tokenizer))
    text.to(device)
    with main_first():
        ready = Ready(clips, out / "clips-dit", run.workers)
        shelf = latents.encode(vae, ready, out / "latents", alone=preset.dit.patch[0] > 1)
    note = {"latents": ready.of, "vae": fingerprint_of_weights(vae), "shift": shift, "within": within}
    note |= {"text": fingerprint_of_weights(text), "begun": begun and fingerprint_of_weights(begun.dit)}
    dit = DiT(preset.dit) if begun is None else begun.dit
    if dit.config.patch != preset.dit.patch:
        dit = finer(dit, preset.dit.patch)
    if dit.config.text_width != text.config.width:
        raise MinisoraError(f"the transformer reads rows of {dit.config.text_width}, and text has {text.config.width}")

    def told(steps: int, average: nn.Module) -> None:
        if callback is not None:
            callback(steps, Trained(vae, average, text, tokenizer))  # type: ignore[arg-type]

    loader = Loader(shelf, recipe.batch, recipe.seed)  # type: ignore[arg-type]
    note["dit"] = repr(dit.config)
    step = dit_stage.step_for(text, tokenizer, vae.config.compression[0], shift, within)
    average = _fit(dit.to(device).requires_grad_(True), loader, step, recipe, out / "dit", run, note, told)
    assert isinstance(average, DiT)
    return Trained(vae, average, text, tokenizer)


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


def trained_text(
    preset: Preset, out: Path, begun: tuple[TextEncoder, Tokenizer] | None = None
) -> tuple[TextEncoder, Tokenizer]:
    """The text encoder in the folder of a run and its tokenizer, or those that are begun."""
    if (out / READS).exists():
        with open_tensors(out / READS) as file:  # it may have room for more ids than the tokenizer has learnt
            rows = file.get_slice("embedding.weight").get_shape()[0]
        begun = TextEncoder(replace(preset.text, vocabulary=rows)), Tokenizer.load(out / WORDS)
        load_into(begun[0], out / READS)
    if begun is None:
        raise MinisoraError(
            f"{out} holds no trained text encoder: run this command with --stage text first, or begin with a model"
        )
    return begun[0].requires_grad_(False).eval(), begun[1]

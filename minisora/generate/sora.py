"""Prompt to video: read the words, start from noise, follow the guided velocity, decode the latents.

encode text → noise Tokens (+ known) → sampler(guided(dit), schedule) → unpack → VAE decode → clips
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from minisora import __version__
from minisora.core.errors import MinisoraError, check_choice
from minisora.core.runtime import generator, memory_gib, pick_device, pick_dtype
from minisora.data.clip import Clip, Size, from_pixels, parse_size, size_name
from minisora.diffusion.flow import Velocity, mix
from minisora.diffusion.guidance import guided
from minisora.diffusion.samplers import SAMPLERS, sde
from minisora.diffusion.schedule import schedule
from minisora.generate import folder as folders
from minisora.generate.credits import Take
from minisora.models.dit import DiT
from minisora.models.text import TextEncoder
from minisora.models.tokenizer import PretrainedTokenizer, Tokenizer, clean
from minisora.models.vae import VAE
from minisora.tokens.known import Canvas, Known, paint
from minisora.tokens.packing import Tokens, pack_text, unpack
from minisora.zoo.presets import PRESETS, Preset, Sampling
from minisora.zoo.presets import preset as preset_named

Callback = Callable[[int, float, Callable[[], list[Clip]]], object]
"""callback(step, t, clips): after every step, its number, the time just left, and a function that decodes the clean
clips predicted there."""


@dataclass
class Sora:
    """The three models of a preset and the tokenizer of their prompts: all that it takes to generate."""

    name: str
    preset: Preset
    vae: VAE
    dit: DiT
    text: TextEncoder
    tokenizer: Tokenizer | PretrainedTokenizer
    device: torch.device
    dtype: torch.dtype
    """What the DiT computes in. Noise, latents and the VAE stay in fp32, where rounding would be seen."""
    weights: str = "unsaved"
    """The sha256 of the files that the weights came from, or where they were published."""

    @classmethod
    def new(
        cls, preset: str | Preset, tokenizer: Tokenizer, seed: int = 0, device: str = "auto", dtype: str = "fp32"
    ) -> "Sora":
        """Fresh random weights."""
        name, chosen = (preset, preset_named(preset)) if isinstance(preset, str) else ("custom", preset)
        if tokenizer.size > chosen.text.vocabulary:
            raise MinisoraError(
                f"a tokenizer of {tokenizer.size} ids, and the text encoder has {chosen.text.vocabulary}"
            )
        where = pick_device(device)
        kind = pick_dtype(where, dtype)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            vae, dit, text = VAE(chosen.vae), DiT(chosen.dit).lower(kind), TextEncoder(chosen.text)
        return cls(name, chosen, vae.to(where), dit.to(where), text.to(where), tokenizer, where, kind)

    @classmethod
    def from_pretrained(
        cls, name: str | Path, folder: str | Path | None = None, device: str = "auto", dtype: str = "auto"
    ) -> "Sora":
        """A folder that `save` wrote, a preset with a bundled checkpoint, or a preset with open weights.

        Open weights lie in `folder`, as they were downloaded; without one they come from the Hugging Face Hub.
        """
        where = pick_device(device)
        kind = pick_dtype(where, dtype)
        if (Path(name) / folders.MANIFEST).is_file():
            found = Path(name)
        else:
            allowed = f"{', '.join(PRESETS)}, or a folder that Sora.save wrote"
            preset = PRESETS.get(str(name))
            if preset is None:
                raise MinisoraError(f"there is no model {str(name)!r}: choose {allowed}")
            if preset.weights is not None:
                return cls._open(str(name), preset, folder, where, kind)
            found = Path(folder) if folder is not None else folders.bundled(str(name))
        s = folders.load(found, kind, where)
        return cls(s.name, s.preset, s.vae, s.dit, s.text, s.tokenizer, where, kind, s.digest)

    @classmethod
    def _open(
        cls, name: str, preset: Preset, folder: str | Path | None, device: torch.device, dtype: torch.dtype
    ) -> "Sora":
        from minisora.zoo import pretrained

        assert preset.weights is not None
        source = Path(folder) if folder is not None else pretrained.download(preset)
        tokenizer = pretrained.load_tokenizer(source)
        text = pretrained.load_text(preset, source, dtype, device)
        dit = pretrained.load_dit(preset, source, dtype, device)
        vae = pretrained.load_vae(preset, source, device=device)
        return cls(name, preset, vae, dit, text, tokenizer, device, dtype, preset.weights.hub)

    def save(self, folder: str | Path, dtype: str = "bf16") -> Path:
        """Everything in one folder, in files of at most 16 MiB; `dtype` is that of most numbers in it."""
        if not isinstance(self.tokenizer, Tokenizer):
            raise MinisoraError("open weights are not written again: load them from the folder that they came in")
        models = {"vae": self.vae, "dit": self.dit, "text": self.text}
        kind = pick_dtype(self.device, dtype)
        self.weights = folders.save(Path(folder), self.name, self.preset, models, self.tokenizer, kind)
        return Path(folder)

    @torch.no_grad()
    def generate(
        self, prompts: str | Sequence[str], size: str | Size | None = None, *, seed: int = 0, n: int = 1,
        steps: int | None = None, guidance: float | None = None, shift: float | None = None,
        negative: str | None = None, sampler: str | None = None, rescale: float = 0.0,
        interval: tuple[float, float] = (0.0, 1.0), known: Sequence[Known | None] | None = None, start: float = 1.0,
        init: Sequence[Clip | Tensor] | Tensor | None = None, fps: float | None = None,
        callback: Callback | None = None,
    ) -> list[Take]:  # fmt: skip
        """Clips of each prompt from the seeds seed … seed + n - 1, made together in one packed batch.

        A clip depends on its prompt, its seed and the settings, not on what else is in the batch (but for rounding).
        What is not given is the preset's. `known` and `init`, one for each prompt, are latents as `encode` makes them
        (`init` also takes clips); with `start` below 1, sampling begins at that time, at the noised `init`.
        """
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        given = {"steps": steps, "guidance": guidance, "shift": shift, "negative": negative}
        how = replace(self.preset.sampling, **{key: value for key, value in given.items() if value is not None})
        shape = self.check(size, seed, n, how)
        sampler = check_choice("sampler", sampler or ("unipc" if self.preset.weights else "euler"), SAMPLERS)
        facts = {
            "version": __version__, "preset": self.name, "weights": self.weights, "size": size_name(shape),
            "fps": fps or self.preset.fps, "steps": how.steps, "guidance": how.guidance, "shift": how.shift,
            "negative": how.negative, "sampler": sampler, "rescale": rescale, "interval": list(interval),
            "start": start, "given": [word for word, what in (("known", known), ("init", init)) if what is not None],
        }  # fmt: skip
        if (start < 1) != (init is not None):
            raise MinisoraError(
                "init is what sampling starts from at a time below 1: give both start and init, or none"
            )
        parts = known or [None] * len(prompts)
        begin = [self._latents(each, shape) for each in init] if init is not None else [None] * len(prompts)
        if not prompts or not len(parts) == len(begin) == len(prompts):
            raise MinisoraError(f"{len(prompts)} prompts: give at least one, and as many known parts and inits")
        shots = [
            Shot(*each, seed=seed + number) for each in zip(prompts, parts, begin, strict=True) for number in range(n)
        ]
        # New noise is drawn on the way for a whole batch: for `sde` a batch is one clip.
        batches = [[shot] for shot in shots] if sampler == "sde" else [shots]
        guide = partial(guided, scale=how.guidance, rescale=rescale, interval=interval)
        return [
            self._take(z, shot, shape, facts)
            for batch in batches
            for z, shot in zip(self._sample(batch, shape, how, sampler, guide, start, callback), batch, strict=True)
        ]

    def _sample(
        self, shots: "list[Shot]", size: Size, how: Sampling, sampler: str, guide: Callable[..., Velocity],
        start: float, callback: Callback | None,
    ) -> list[Tensor]:  # fmt: skip
        """The clean latents (c, t, h, w) of each shot."""
        noisy = []
        for shot in shots:
            noise = torch.randn(self.latent_shape(size), generator=generator(shot.seed)).to(self.device)
            noisy.append(noise if shot.init is None else mix(shot.init, noise, start))
        patch = self.dit.config.patch
        canvas = paint(noisy, [shot.known for shot in shots], patch, self.vae.config.compression[0])
        prompts = self._velocity(canvas, [shot.prompt for shot in shots])
        negative = self._velocity(canvas, [how.negative] * len(shots))
        velocity = guide(prompts, negative, seg=canvas.tokens.seg[canvas.unknown])

        def latents(x: Tensor) -> list[Tensor]:
            return unpack(canvas.with_unknown(x), patch)

        def report(step: int, t: Tensor, _: Tensor, x0: Tensor) -> None:
            if callback:
                callback(step, float(t), lambda: [self.decode(z, size) for z in latents(x0)])

        follow = partial(sde, generator=generator(shots[0].seed + 1)) if sampler == "sde" else SAMPLERS[sampler]
        return latents(follow(velocity, canvas.start(), self._times(how, start), callback=report))

    def _times(self, how: Sampling, start: float) -> Tensor:
        if self.preset.weights is None:
            return schedule(how.steps, how.shift, start)
        # as the open weights are sampled by their authors: see schedule()
        return schedule(how.steps, how.shift, start, floor=1 / 1000).clamp(max=1 - 1e-6).float()

    def _velocity(self, canvas: Canvas, prompts: Sequence[str]) -> Velocity:
        """The velocity of the unknown tokens, each clip under its prompt."""
        text = pack_text([row.to(self.dtype) for row in self._read(prompts)], self.dit.config.text_length)

        def model(tokens: Tokens, t: Tensor) -> Tensor:
            if self.preset.weights:
                t = (t * 1000).floor() / 1000  # all that they have seen
            return self.dit(tokens.with_x(tokens.x.to(self.dtype)), t, text)

        return canvas.velocity(model)

    def _read(self, prompts: Sequence[str]) -> list[Tensor]:
        """The rows of each prompt. One that is too long is refused: nobody wants a video of half a prompt."""
        limit, texts = self.dit.config.text_length, {clean(prompt): None for prompt in prompts}
        ids = [self.tokenizer.encode(text) for text in texts]
        if (longest := max(map(len, ids))) > limit:
            raise MinisoraError(f"a prompt has {longest} tokens, and {self.name} reads {limit}: shorten it")
        rows = dict(zip(texts, self.text(ids), strict=True))
        if self.preset.weights is None and "" in rows:
            rows[""] = rows[""][:0]  # we drop a prompt by leaving out its rows; open weights encode an empty one
        return [rows[clean(prompt)] for prompt in prompts]

    def check(self, size: str | Size | None, seed: int, n: int, how: Sampling) -> Size:
        """Refuse what cannot be generated, before anything is computed; the size in numbers."""
        frames, height, width = shape = parse_size(size or self.preset.size)
        stride = self.vae.config.compression[0]
        if extra := (frames - 1) % stride:
            below = frames - extra
            raise MinisoraError(
                f"a clip of {frames} frames cannot be generated: {stride}k + 1 can, such as {below} or {below + stride}"
            )
        needed, memory = 4 * frames * height * width * 3 / 2**30, memory_gib(self.device)
        if needed * n > memory:
            raise MinisoraError(
                f"{n} x {size_name(shape)} is {needed * n:.0f} GiB of pixels alone, and {self.device} has {memory:.0f}"
            )
        if not 1 <= how.steps <= 10_000 or not 1 <= n <= 1000 or not 0 <= seed < 2**63 - 1000:
            raise MinisoraError(f"steps go from 1 to 10000, n from 1 to 1000, a seed from 0: {how.steps}, {n}, {seed}")
        if not math.isfinite(how.guidance):
            raise MinisoraError(f"guidance is {how.guidance}: 1 is the model itself, 3 to 8 exaggerate the prompt")
        return shape

    def latent_shape(self, size: Size) -> tuple[int, int, int, int]:
        """(c, t, h, w) of a clip's latents: its sides filled up to whole tokens."""
        config, (_, tall, wide) = self.vae.config, self.dit.config.patch
        time, side, _ = config.compression
        frames, height, width = size
        return (
            config.channels,
            1 + (frames - 1) // time,
            -(-height // side // tall) * tall,
            -(-width // side // wide) * wide,
        )

    @torch.no_grad()
    def encode(self, clip: Clip) -> Tensor:
        """The latents (c, t, h, w) of a clip; its last row and column are repeated up to whole tokens."""
        _, _, h, w = self.latent_shape(clip.shape)
        side = self.vae.config.compression[1]
        more = 0, w * side - clip.shape[2], 0, h * side - clip.shape[1], 0, 0
        return self.vae.encode(F.pad(clip.pixels().to(self.device), more, mode="replicate"))[0]

    @torch.no_grad()
    def decode(self, z: Tensor, size: Size | None = None, fps: float | None = None) -> Clip:
        """The clip of latents (c, t, h, w), cut to a size, a few frames at a time so that none is too long."""
        _, height, width = size or (0, None, None)
        chunks = self.vae.decode_chunks(z[None].to(self.device))
        frames = [from_pixels(chunk[..., :height, :width]).frames for chunk in chunks]
        return Clip(torch.cat(frames), fps or self.preset.fps)

    def _latents(self, init: Clip | Tensor, size: Size) -> Tensor:
        if isinstance(init, Clip) and init.shape != size:
            raise MinisoraError(f"init is {init.size} and the clip to make {size_name(size)}: they have to be the same")
        z = self.encode(init) if isinstance(init, Clip) else init.to(self.device, torch.float32)
        if z.shape != self.latent_shape(size):
            raise MinisoraError(
                f"init has latents of {tuple(z.shape)}: {size_name(size)} has {self.latent_shape(size)}"
            )
        return z

    def _take(self, z: Tensor, shot: "Shot", size: Size, facts: dict[str, Any]) -> Take:
        clip = self.decode(z, size, facts["fps"])
        source = f"minisora {self.name}, seed {shot.seed}"
        recipe = {"prompt": shot.prompt, "seed": shot.seed} | facts
        return Take(clip.frames, clip.fps, shot.prompt, source, recipe=recipe)


@dataclass(frozen=True)
class Shot:
    """One clip of a batch: what is different about it."""

    prompt: str
    known: Known | None
    init: Tensor | None
    seed: int

"""Prompt to video: read the words, start from noise, follow the guided velocity, decode the latents.

encode text → noise Tokens (+ known) → sampler(guided(dit), schedule) → unpack → VAE decode → clips
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from minisora import __version__
from minisora.core.errors import MinisoraError
from minisora.core.runtime import generator, pick_device, pick_dtype
from minisora.data.clip import Clip, Size, from_pixels, size_name
from minisora.diffusion.flow import Velocity, mix
from minisora.diffusion.guidance import guided, relayed, turning
from minisora.diffusion.samplers import SAMPLERS, rewrite, sde
from minisora.diffusion.schedule import schedule
from minisora.generate import folder as folders
from minisora.generate.credits import Take
from minisora.generate.settings import Settings, Shot, check_batch, settle
from minisora.models.dit import DiT
from minisora.models.lora import Addition
from minisora.models.text import TextEncoder
from minisora.models.tokenizer import PretrainedTokenizer, Tokenizer, clean
from minisora.models.vae import VAE
from minisora.tokens.known import Canvas, Known, paint
from minisora.tokens.packing import Tokens, pack_text, unpack
from minisora.zoo.presets import PRESETS, Preset
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
    late: DiT | None = None
    """What takes over where there is little noise, if there are two experts (experts.py)."""
    additions: dict[str, Addition] = field(default_factory=dict)  # what the DiT learned later, see models/lora.py

    @classmethod
    def new(
        cls, preset: str | Preset, tokenizer: Tokenizer, seed: int = 0, device: str = "auto", dtype: str = "fp32"
    ) -> "Sora":
        """Fresh random weights."""
        name, chosen = (preset, preset_named(preset)) if isinstance(preset, str) else ("custom", preset)
        if tokenizer.size > chosen.text.vocabulary:
            raise MinisoraError(f"a tokenizer of {tokenizer.size} ids, and the encoder has {chosen.text.vocabulary}")
        where = pick_device(device)
        kind = pick_dtype(where, dtype)
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            vae, dit, text = VAE(chosen.vae), DiT(chosen.dit).lower(kind), TextEncoder(chosen.text)
        return cls(name, chosen, vae.to(where), dit.to(where), text.to(where), tokenizer, where, kind)

    @classmethod
    def assemble(cls, name: str, preset: Preset, vae: VAE, dit: DiT, text: TextEncoder, tokenizer: Tokenizer) -> "Sora":
        """Models as they were trained, where they are; they are described by their own configs."""
        own = replace(preset, vae=vae.config, dit=dit.config, text=text.config, late=None)
        return cls(name, own, vae, dit, text, tokenizer, dit.table.device, torch.float32)

    @classmethod
    def from_pretrained(
        cls, name: str | Path, folder: str | Path | None = None, device: str = "auto", dtype: str = "auto"
    ) -> "Sora":
        """A folder that `save` wrote, a preset with a bundled checkpoint, or a preset with open weights.

        Open weights lie in `folder`, as they were downloaded; without one they come from the Hugging Face Hub.
        """
        where = pick_device(device)
        kind = pick_dtype(where, dtype)
        preset, own = PRESETS.get(str(name)), Path(name if folder is None else folder)
        if not (own / folders.MANIFEST).is_file():
            if preset is None:
                raise MinisoraError(f"{own} is no folder that Sora.save wrote, and no preset: {', '.join(PRESETS)}")
            if preset.weights is not None:
                return cls._open(str(name), preset, folder, where, kind)
            own = folders.bundled(str(name)) if folder is None else own
        s = folders.load(own, kind, where)
        return cls(s.name, s.preset, s.vae, s.dit, s.text, s.tokenizer, where, kind, s.digest, s.late, s.additions)

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
        models = {"vae": self.vae, "text": self.text, "dit": self.dit}
        models |= {"late-dit": self.late} if self.late is not None else {}
        kind = pick_dtype(self.device, dtype)
        digest = folders.save(Path(folder), self.name, self.preset, models, self.tokenizer, kind, self.additions)
        if kind == torch.float32:  # else what was written is rounded, and clips of this one are made by other weights
            self.weights = digest
        return Path(folder)

    @torch.no_grad()
    def generate(
        self, prompts: str | Sequence[str], size: str | Size | None = None, *, seed: int | Sequence[int] = 0,
        n: int = 1, steps: int | None = None, guidance: float | None = None, shift: float | None = None,
        negative: str | None = None, sampler: str | None = None, eta: float | None = None, fps: float | None = None,
        rescale: float = 0.0, interval: tuple[float, float] | None = None, start: float = 1.0, ring: bool = False,
        known: Sequence[Known | None] | None = None, init: Sequence[Clip | Tensor] | Tensor | None = None,
        toward: Sequence[str | None] | None = None, was: Sequence[str | None] | None = None,
        callback: Callback | None = None,
    ) -> list[Take]:  # fmt: skip
        """Clips of each prompt from the seeds seed … seed + n - 1, made together in one packed batch.

        One `seed` for all prompts begins their clips with the same noise; there may be one for each prompt, too.
        A clip depends on its prompt, its seed and the settings, not on what else is in the batch (but for rounding).
        What is not given is the preset's. `known` and `init`, one for each prompt, are latents as `encode` makes them;
        `init` also takes clips. With `start` below 1, sampling begins at that time with the noised `init`. A `ring`
        is a clip whose last frame is followed by its first. `toward`, one for each prompt as well, are prompts that the
        clips turn to half-way; `was` are prompts of `init`, which is then changed only where the prompts differ.
        """
        prompts = [prompts] if isinstance(prompts, str) else list(prompts)
        settings = settle(
            self.preset, size, fps=fps, steps=steps, guidance=guidance, shift=shift, negative=negative,
            sampler=sampler, rescale=rescale, eta=eta, interval=interval, start=start, ring=ring,
        )  # fmt: skip
        seeds = [seed] * len(prompts) if isinstance(seed, int) else list(seed)
        check_batch(len(prompts), n, seeds, settings.size, self.device)
        if (start < 1) != (init is not None) or (was is not None and init is None):
            raise MinisoraError("sampling from a start below 1 begins with an init: give both, or neither and no `was`")
        parts = [None] * len(prompts) if known is None else known
        first = [None] * len(prompts) if init is None else [self._init(each, settings.size) for each in init]
        then, before = ([None] * len(prompts) if some is None else some for some in (toward, was))
        if not len(parts) == len(first) == len(then) == len(before) == len(prompts):
            wanted = f"toward and was have one part for each prompt: there are {len(prompts)} prompts"
            raise MinisoraError(f"known, init, {wanted}")
        shots = [
            Shot(prompt, own + number, part, x, later, old)
            for prompt, own, part, x, later, old in zip(prompts, seeds, parts, first, then, before, strict=True)
            for number in range(n)
        ]
        batches = [shots] if was is None else [[shot] for shot in shots]
        latents = [z for batch in batches for z in self._sample(batch, settings, callback)]
        return [self._take(z, shot, settings) for z, shot in zip(latents, shots, strict=True)]

    def _sample(self, shots: Sequence[Shot], settings: Settings, callback: Callback | None) -> list[Tensor]:
        """The latents (c, t, h, w) of each shot, of a batch that is packed into one sequence."""
        generators = [generator(shot.seed) for shot in shots]
        shape = self.latent_shape(settings.size)
        noise = [torch.randn(shape, generator=own).to(self.device) for own in generators]
        pairs = zip(shots, noise, strict=True)
        noisy = [x if shot.init is None else mix(shot.init, x, settings.start) for shot, x in pairs]
        patch, rings = self.dit.config.patch, [settings.ring] * len(shots)
        canvas = paint(noisy, [shot.known for shot in shots], patch, self.vae.config.compression[0], rings)
        negative = self._velocity(canvas, [settings.negative] * len(shots))

        def guide(told: Velocity) -> Velocity:
            seg = canvas.tokens.seg[canvas.unknown]
            return guided(told, negative, settings.guidance, settings.rescale, settings.interval, seg)

        velocity = guide(self._told(canvas, shots))

        def latents(x: Tensor) -> list[Tensor]:
            return unpack(canvas.with_unknown(x), patch)

        def report(step: int, t: Tensor, _: Tensor, x0: Tensor) -> None:
            if callback:
                callback(step, float(t), lambda: [self.decode(z, settings.size, settings.fps) for z in latents(x0)])

        counts = [int(part.sum()) for part in canvas.unknown.split(canvas.tokens.lengths)]  # once: it waits for a GPU

        def fresh(x: Tensor) -> Tensor:  # each clip's own noise, whatever else is in the batch
            own = zip(counts, generators, strict=True)
            return torch.cat([torch.randn(count, x.shape[1], generator=each) for count, each in own]).to(x)

        if (shot := shots[0]).init is not None and shot.was is not None:
            old = guide(self._velocity(canvas, [shot.was]))
            begun = paint([shot.init], [shot.known], patch, self.vae.config.compression[0], rings).start()
            return latents(rewrite(old, velocity, begun, self._times(settings), fresh, report))
        sampler = (SAMPLERS | {"sde": partial(sde, fresh=fresh, eta=settings.eta)})[settings.sampler]
        return latents(sampler(velocity, canvas.start(), self._times(settings), callback=report))

    def _told(self, canvas: Canvas, shots: Sequence[Shot]) -> Velocity:
        """The velocity under the prompts; in a clip that turns to another one, that counts more in its second half."""
        told = self._velocity(canvas, [shot.prompt for shot in shots])
        if not any(shot.toward for shot in shots):
            return told
        time = canvas.tokens.pos[canvas.unknown, 0]
        share = (2 * time / time.max().clamp(min=1) - 0.5).clamp(0, 1)  # all of it happens in the middle half
        return turning(told, self._velocity(canvas, [shot.toward or shot.prompt for shot in shots]), share)

    def _velocity(self, canvas: Canvas, prompts: Sequence[str]) -> Velocity:
        """The velocity of the unknown tokens, those of each clip under its prompt; of two experts, that in charge."""
        rows = [row.to(self.dtype) for row in self._read(prompts)]
        early = self._asked(self.dit, canvas, rows)
        if self.late is None or self.preset.late is None:
            return early
        return relayed(early, self._asked(self.late, canvas, rows), self.preset.late.below)

    def _asked(self, dit: DiT, canvas: Canvas, rows: Sequence[Tensor]) -> Velocity:
        text = pack_text(rows, dit.config.text_length, dit.config.padded)

        def model(tokens: Tokens, t: Tensor) -> Tensor:
            if self.preset.weights:
                t = (t * 1000).floor() / 1000  # the open weights were only shown whole thousandths
            return dit(tokens.with_x(tokens.x.to(self.dtype)), t, text)

        return canvas.velocity(model)

    def _read(self, prompts: Sequence[str]) -> list[Tensor]:
        """The rows of each prompt. One that is too long is refused: nobody wants a video of half a prompt."""
        prompts, limit = [clean(prompt) for prompt in prompts], self.dit.config.text_length
        ids = {prompt: self.tokenizer.encode(prompt) for prompt in prompts}
        if (longest := max(map(len, ids.values()))) > limit:
            raise MinisoraError(f"a prompt has {longest} tokens, and {self.name} reads {limit}: shorten it")
        rows = dict(zip(ids, self.text(list(ids.values())), strict=True))
        if self.preset.weights is None and "" in rows:
            rows[""] = rows[""][:0]  # our training drops a prompt by leaving out its rows, Wan's by encoding ""
        return [rows[prompt] for prompt in prompts]

    def _times(self, settings: Settings) -> Tensor:
        if self.preset.weights is None:
            return schedule(settings.steps, settings.shift, settings.start)
        # as the reference sampler of the open weights stops, see schedule()
        return schedule(settings.steps, settings.shift, settings.start, floor=1 / 1000).clamp(max=1 - 1e-6).float()

    def latent_shape(self, size: Size) -> tuple[int, int, int, int]:
        """(c, t, h, w) of a clip's latents, its sides filled up to whole tokens; no frame of a ring stands alone."""
        config, (_, *patch) = self.vae.config, self.dit.config.patch
        time, *cell = config.compression
        h, w = (-(-side // (pixels * n)) * n for side, pixels, n in zip(size[1:], cell, patch, strict=True))
        return config.channels, -(-size[0] // time), h, w

    @torch.no_grad()
    def encode(self, clip: Clip) -> Tensor:
        """The latents (c, t, h, w) of a clip, a few frames at a time; its last row and column fill up whole tokens."""
        _, height, width = clip.shape
        _, _, h, w = self.latent_shape(clip.shape)
        side = self.vae.config.compression[1]
        borders = (0, w * side - width, 0, h * side - height, 0, 0)
        x, time = F.pad(clip.pixels().to(self.device), borders, mode="replicate"), self.vae.config.compression[0]
        later = x[:, :, 1:].split(time, 2) if len(clip.frames) > 1 else ()
        return torch.cat([*self.vae.encode_chunks([x[:, :, :1], *later])], 2)[0]

    @torch.no_grad()
    def decode(self, z: Tensor, size: Size | None = None, fps: float | None = None) -> Clip:
        """The clip of latents (c, t, h, w), cut to a size; a few frames at a time, so that none is too long.

        A size of as many frames as whole latents have is a ring: it is decoded twice round, and the second lap is kept.
        """
        length, height, width = size or (None, None, None)
        time = self.vae.config.compression[0]
        ring = time > 1 and length == z.shape[1] * time
        chunks = self.vae.decode_chunks((torch.cat([z, z], 1) if ring else z)[None].to(self.device))
        frames = torch.cat([from_pixels(chunk[..., :height, :width]).frames for chunk in chunks])
        return Clip(frames[-length:] if length and ring else frames, fps or self.preset.fps)

    def _init(self, init: Clip | Tensor, size: Size) -> Tensor:
        if isinstance(init, Clip) and init.shape != size:
            raise MinisoraError(f"init is {init.size} and the clip to make {size_name(size)}: give both one size")
        z = self.encode(init) if isinstance(init, Clip) else init.to(self.device, torch.float32)
        if z.shape != (wanted := self.latent_shape(size)):
            raise MinisoraError(f"init has latents of shape {tuple(z.shape)}, and {size_name(size)} has {wanted}")
        return z

    def _take(self, z: Tensor, shot: Shot, settings: Settings) -> Take:
        clip = self.decode(z, settings.size, settings.fps)
        beside = [name for name in ("known", "init") if getattr(shot, name) is not None]
        recipe = {"prompt": shot.prompt, "seed": shot.seed} | asdict(settings) | {
            "size": size_name(settings.size), "interval": list(settings.interval), "beside": beside,
            "preset": self.name, "weights": self.weights, "version": __version__,
        }  # fmt: skip
        recipe |= {name: text for name in ("toward", "was") if (text := getattr(shot, name)) is not None}
        recipe |= {} if shot.was is None else {"sampler": "rewrite"}
        return Take(clip.frames, clip.fps, shot.prompt, f"minisora {self.name}, seed {shot.seed}", recipe=recipe)

"""Training the transformer: latents, noise, a time for each clip, something known of some; the loss is one line.

x_t = mix(x, ε, t), where known tokens have t = 0 → v = dit(x_t, t, text) → |v - (ε - x)|² over the unknown tokens
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from minisora.diffusion.flow import loss, mix, sample_times, velocity
from minisora.models.dit import DiT
from minisora.models.text import TextEncoder, truncate
from minisora.models.tokenizer import Tokenizer
from minisora.tokens.known import Known, paint
from minisora.tokens.packing import pack_text
from minisora.train.engine import Metrics
from minisora.train.shelf import Item

DROPPED = 0.1
"""Share of prompts that are left out, so that the model learns what guidance compares with."""
RINGS = 0.3
"""Share of the clips that go round which are shown as rings."""
KNOWN = {"nothing": 0.7, "prefix": 0.1, "ends": 0.08, "frames": 0.04, "region": 0.08}
"""What is given of a clip, and how often."""
ROUGH = 0.3
"""How often what is given is noisy: a clip that is made in many hops is given frames that were generated."""
ROUGHEST = 0.2
"""The latest time that what is given may stand at."""


def step_for(
    encoder: TextEncoder, tokenizer: Tokenizer, stride: int, shift: float = 1.0,
    within: tuple[float, float] = (0.0, 1.0),
) -> Callable:  # fmt: skip
    """The step function of the engine. `stride` is the number of frames in a latent; the encoder stays as it is."""
    ids: dict[str, list[int]] = {}  # captions are few and come again

    def prompt(caption: str, length: int) -> list[int]:
        if caption not in ids:
            ids[caption] = truncate(tokenizer.encode(caption), length)
        return ids[caption]

    def step(model: nn.Module, batch: Sequence[Item], generator: torch.Generator) -> tuple[Tensor, Metrics]:
        assert isinstance(model, DiT)
        config, device = model.config, model.table.device
        # neighbours of equal length make few attention calls
        shown = sorted((show(item, generator) for item in batch), key=Shown.tokens)
        known, rings = [each.known for each in shown], [each.ring for each in shown]
        canvas = paint([each.z.to(device) for each in shown], known, config.patch, stride, rings)

        with torch.no_grad():
            rows = encoder([prompt(each.caption, config.text_length) for each in shown])
        kept = torch.rand(len(shown), generator=generator) >= DROPPED
        rows = [row if keep else row[:0] for row, keep in zip(rows, kept, strict=True)]
        text = pack_text(rows, config.text_length, config.padded)

        x, lengths = canvas.tokens.x, torch.tensor(canvas.tokens.lengths, device=device)
        noise = torch.randn(x.shape, generator=generator).to(device)
        t = sample_times(len(shown), generator, shift, within=within).to(device)
        t = torch.where(canvas.unknown, t.repeat_interleave(lengths), canvas.times)  # what is known is near time 0

        v = model(canvas.tokens.with_x(mix(x, noise, t)), t, text)
        counts = {"weight": int(canvas.unknown.sum()), "clips": len(shown), "tokens": len(x)}
        return loss(v, velocity(x, noise), canvas.unknown), dict(counts)

    return step


@dataclass(frozen=True)
class Shown:
    """A clip as the model gets to see it this time."""

    caption: str
    z: Tensor
    known: Known | None
    ring: bool

    def tokens(self) -> tuple[int, ...]:
        """What its number of tokens follows from."""
        known = self.known or Known()
        return (*self.z.shape, known.region is not None, len(known.frames))


def show(item: Item, source: torch.Generator) -> Shown:
    if "ring" in item and torch.rand((), generator=source) < RINGS:
        return Shown(item["caption"], item["ring"].float(), None, True)
    known = given(item, source)
    if known is not None and torch.rand((), generator=source) < ROUGH:
        known = replace(known, time=ROUGHEST * float(torch.rand((), generator=source)))
    return Shown(item["caption"], item["z"].float(), known, False)


def given(item: Item, source: torch.Generator) -> Known | None:
    """What the model is told of a clip this time, by chance."""
    chance, kinds = torch.tensor(list(KNOWN.values())), list(KNOWN)
    kind = kinds[int(torch.multinomial(chance, 1, generator=source))]
    z = item["z"]
    if kind == "nothing" or "frames" not in item or z.shape[1] < 2:
        return None
    singles = {frame: image.float() for frame, image in zip(item["frames"], item["images"], strict=True)}
    if kind == "prefix":
        count = int(torch.randint(1, z.shape[1], (), generator=source))
        return Known(prefix=z[:, :count].float())
    if kind == "ends":  # the last frame, and the first of two times in three
        last = max(singles)
        first = torch.rand((), generator=source) < 2 / 3
        return Known(prefix=z[:, :1].float() if first else None, frames={last: singles[last]})
    if kind == "frames":
        taken = torch.rand(len(singles), generator=source) < 0.5
        return Known(frames={frame: image for (frame, image), take in zip(singles.items(), taken, strict=True) if take})
    return Known(region=item["region"].float())

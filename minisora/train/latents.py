"""Clips as latents, computed once before the transformer is trained: reading them costs next to nothing.

Beside a clip's own latents lie those of some single frames, encoded as images, and of the clip with a part painted
grey: what the transformer is given as known. The known beginning of a clip needs no entry: in a causal VAE the first
latents of a clip are the latents of its first frames.
"""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor

from minisora.core.runtime import bf16_pays
from minisora.data.clip import Clip, Size
from minisora.data.datasets import Dataset
from minisora.models.vae import VAE
from minisora.train.shelf import Item, Shelf, fill, fingerprint, fingerprint_of_weights

TOGETHER = 16
"""Clips that are encoded at once."""
SINGLES = 4
"""Frames of a clip that are also encoded as images: the last one, and others by chance."""


def encode(
    vae: VAE, clips: Dataset, folder: str | Path, dtype: torch.dtype = torch.bfloat16, alone: bool = False
) -> Shelf:
    """The latents of all clips, from the shelf if these clips have been encoded with these weights.

    Each clip `alone` is enough where nothing can be given: a token of several latents in time holds no single frame.
    """
    of = fingerprint("latents", 0 if alone else SINGLES, clips, fingerprint_of_weights(vae))
    return fill(folder, of, _items(vae, clips, dtype, alone), len(clips), "encoding clips")


@torch.no_grad()
def _items(vae: VAE, clips: Dataset, dtype: torch.dtype, alone: bool) -> Iterator[Item]:
    for start in range(0, len(clips), TOGETHER):
        chunk = [(index, clips[index]) for index in range(start, min(start + TOGETHER, len(clips)))]
        views = [{"z": clip.pixels()[0]} if alone else views_of(clip, index) for index, clip in chunk]
        encoded = iter(encode_all(vae, [x for some in views for x in some.values()], dtype))
        for (_, clip), some in zip(chunk, views, strict=True):
            latents = {name: next(encoded) for name in some}
            frames = [name for name in some if isinstance(name, int)]
            item: Item = {"caption": clip.caption}
            item |= {name: latents[name] for name in some if isinstance(name, str)}
            if frames:
                item |= {"frames": frames, "images": torch.stack([latents[frame] for frame in frames])}
            if "ring" in item:  # the second lap has no beginning
                item["ring"] = item["ring"][:, -((len(clip.frames) - 1) // vae.config.compression[0]) :]
            yield item


def views_of(clip: Clip, index: int) -> dict[str | int, Tensor]:
    """All that is encoded of a clip, (3, t, h, w) each: single frames under their numbers, all else under a name."""
    source, x = torch.Generator().manual_seed(index), clip.pixels()[0]
    views: dict[str | int, Tensor] = {"z": x}
    if not clip.is_image:
        views |= {frame: x[:, frame : frame + 1] for frame in singles(len(clip.frames), source)}
        views["region"] = x * ~region(clip.shape, source)[0]
        if goes_round(clip):
            views["ring"] = torch.cat([x, x[:, 1:]], 1)  # two laps
    return views


def encode_all(vae: VAE, clips: Sequence[Tensor], dtype: torch.dtype) -> list[Tensor]:
    """The latents of clips (3, t, h, w), of this dtype; those of one size are encoded together."""
    alike, latents = defaultdict[torch.Size, list[int]](list), list(clips)
    for index, x in enumerate(clips):
        alike[x.shape].append(index)
    device = vae.mean.device
    for indices in alike.values():
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16 and bf16_pays(device)):
            encoded = vae.encode(torch.stack([clips[index] for index in indices]).to(device)).to(dtype)
        for index, z in zip(indices, encoded, strict=True):
            latents[index] = z
    return latents


def goes_round(clip: Clip) -> bool:
    """Whether the last frame is the first again, and something has moved meanwhile."""
    first, middle, last = (clip.frames[frame].int() for frame in (0, len(clip.frames) // 2, -1))
    return bool((first - last).abs().max() <= 2 < (first - middle).abs().max())


def singles(count: int, source: torch.Generator) -> list[int]:
    """The last frame and some others, but the first, whose image is the first latent anyhow."""
    others = 1 + torch.randperm(max(0, count - 2), generator=source)[: SINGLES - 1]
    return [count - 1, *sorted(others.tolist())]


def region(shape: Size, source: torch.Generator) -> Tensor:
    """A random box of space, through the whole clip: True where it is unknown, (1, 1, 1, h, w)."""
    _, height, width = shape
    mask = torch.zeros(1, 1, 1, height, width, dtype=torch.bool)
    sides = [int(size * (0.25 + 0.5 * torch.rand((), generator=source))) for size in (height, width)]
    top, left = (
        int(torch.randint(0, size - side + 1, (), generator=source))
        for size, side in zip((height, width), sides, strict=True)
    )
    mask[..., top : top + sides[0], left : left + sides[1]] = True
    return mask

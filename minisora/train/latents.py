"""Clips as latents, computed once before the transformer is trained: reading them costs next to nothing.

Beside a clip's own latents lie those of some single frames, encoded as images, and of the clip with a part painted
grey: what the transformer is given as known. The known beginning of a clip needs no entry: in a causal VAE the first
latents of a clip are the latents of its first frames.
"""

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from minisora.data.clip import Clip
from minisora.data.datasets import Dataset
from minisora.models.vae import VAE
from minisora.train.shelf import Item, Shelf, fill, fingerprint, fingerprint_of_weights

SINGLES = 4
"""Frames of a clip that are also encoded as images: the last one, and others by chance."""


def encode(vae: VAE, clips: Dataset, folder: str | Path, dtype: torch.dtype = torch.bfloat16) -> Shelf:
    """The latents of all clips, from the shelf if these clips have been encoded with these weights."""
    of = fingerprint("latents", SINGLES, clips, fingerprint_of_weights(vae))
    return fill(folder, of, _items(vae, clips, dtype), len(clips), "encoding clips")


@torch.no_grad()
def _items(vae: VAE, clips: Dataset, dtype: torch.dtype) -> Iterator[Item]:
    device = vae.mean.device
    for index in range(len(clips)):
        clip = clips[index]
        source = torch.Generator().manual_seed(index)
        x = clip.pixels().to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=dtype == torch.bfloat16):
            item: Item = {"caption": clip.caption, "z": vae.encode(x)[0].to(dtype)}
            if not clip.is_image:
                frames = singles(len(clip.frames), source)
                images = vae.encode(x[0].movedim(1, 0)[frames][:, :, None])  # a batch of one-frame clips
                mask = region(clip, source).to(device)
                item |= {"frames": frames, "images": images.to(dtype), "region": vae.encode(x * ~mask)[0].to(dtype)}
                if goes_round(clip):
                    item["ring"] = ring(vae, x)[0].to(dtype)
        yield item


def goes_round(clip: Clip) -> bool:
    """Whether the last frame is the first again, and something has moved meanwhile."""
    first, middle, last = (clip.frames[frame].int() for frame in (0, len(clip.frames) // 2, -1))
    return bool((first - last).abs().max() <= 2 < (first - middle).abs().max())


def ring(vae: VAE, x: Tensor) -> Tensor:
    """The latents of a clip that goes round, without its beginning: two laps are encoded and the second is kept."""
    laps = torch.cat([x, x[:, :, 1:]], 2)
    return vae.encode(laps)[:, :, -(x.shape[2] - 1) // vae.config.compression[0] :]


def singles(count: int, source: torch.Generator) -> list[int]:
    """The last frame and some others, but the first, whose image is the first latent anyhow."""
    others = 1 + torch.randperm(max(0, count - 2), generator=source)[: SINGLES - 1]
    return [count - 1, *sorted(others.tolist())]


def region(clip: Clip, source: torch.Generator) -> Tensor:
    """A random box of space, through the whole clip: True where it is unknown, (1, 1, 1, h, w)."""
    _, height, width = clip.shape
    mask = torch.zeros(1, 1, 1, height, width, dtype=torch.bool)
    sides = [int(size * (0.25 + 0.5 * torch.rand((), generator=source))) for size in (height, width)]
    top, left = (
        int(torch.randint(0, size - side + 1, (), generator=source))
        for size, side in zip((height, width), sides, strict=True)
    )
    mask[..., top : top + sides[0], left : left + sides[1]] = True
    return mask

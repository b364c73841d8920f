"""How much of a clip survives the video VAE: its peak signal-to-noise ratio in dB, world by world, on unseen scenes."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from scipy.stats import t

from minisora.core.errors import MinisoraError
from minisora.data.clip import Clip, Size, from_pixels, size_name
from minisora.data.datasets import rendered
from minisora.evaluate.measure import FIRST
from minisora.models.vae import VAE
from minisora.worlds import world


@dataclass(frozen=True)
class Reconstructed:
    """The PSNR of each clip of one world, and the first clip with what became of it."""

    world: str
    size: Size
    psnr: tuple[float, ...]
    shown: tuple[Clip, ...]

    @property
    def mean(self) -> float:
        return sum(self.psnr) / len(self.psnr)

    def __str__(self) -> str:
        n = len(self.psnr)
        error = t.ppf(0.975, n - 1) * torch.tensor(self.psnr).std().item() / n**0.5 if n > 1 else math.inf
        return f"{self.world:<12}{self.mean:6.2f} ± {error:.2f} dB   worst clip {min(self.psnr):.2f}"

    def facts(self) -> dict[str, Any]:
        return {"size": size_name(self.size), "mean": self.mean, "psnr": list(self.psnr)}


@torch.no_grad()
def reconstruct(
    vae: VAE, name: str, n: int, size: Size, fps: float, progress: Callable[[int], object] = lambda done: None
) -> Reconstructed:
    """`n` scenes that nothing was trained on, encoded and decoded."""
    if n < 1:
        raise MinisoraError(f"{n} clips cannot be measured: take 1 or more")
    values, shown = [], list[Clip]()
    for place in range(n):
        clip = rendered(world(name).sample(FIRST + place, max(1.0, (size[0] - 1) / fps)), size, fps)
        back = from_pixels(vae.decode(vae.encode(clip.pixels().to(vae.mean.device))))
        values.append(psnr(clip, back))
        shown += [clip, back] if place == 0 else []
        progress(1)
    return Reconstructed(name, size, tuple(values), tuple(shown))


def psnr(a: Clip, b: Clip) -> float:
    """-10 log10 of the mean squared error of pixels in 0 … 1, as they are in the file: whole numbers from 0 to 255."""
    error = (a.frames.float() - b.frames.float()).square().mean() / 255**2
    return -10 * torch.log10(error.clamp(min=1e-10)).item()


def table(results: Sequence[Reconstructed]) -> str:
    mean = sum(result.mean for result in results) / len(results)
    worst = min(results, key=lambda result: result.mean)
    return "\n".join([*map(str, results), f"mean of worlds {mean:.2f} dB, worst {worst.world} {worst.mean:.2f} dB"])

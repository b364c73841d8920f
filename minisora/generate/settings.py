"""What is asked for: settings, complete and checked before anything is computed, and the shots that share them."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from minisora.core.errors import MinisoraError, check_choice, check_size
from minisora.core.runtime import memory_gib
from minisora.data.clip import Size, parse_size, size_name
from minisora.diffusion.samplers import SAMPLERS
from minisora.tokens.known import Known
from minisora.zoo.presets import Preset


@dataclass(frozen=True)
class Settings:
    """How all clips of a batch are generated."""

    size: Size
    fps: float
    steps: int
    guidance: float
    """How far to go beyond what the prompt says; 1 is the model itself."""
    shift: float
    negative: str
    """What to keep away from."""
    sampler: str
    rescale: float = 0.0
    """The share of the contrast that guidance added and that is taken back."""
    eta: float = 1.0
    """How much of the noise the sampler `sde` exchanges."""
    interval: tuple[float, float] = (0.0, 1.0)
    """The times between which there is guidance."""
    start: float = 1.0
    """The time to begin at; below 1 with a clip to begin from."""
    ring: bool = False
    """The clip goes round: after its last frame comes its first, and none of them is special."""

    def __post_init__(self) -> None:
        check_size(*self.size, self.fps)
        check_choice("sampler", self.sampler, SAMPLERS)
        if not 1 <= self.steps <= 10_000:
            raise MinisoraError(f"a clip cannot be generated in {self.steps} steps: take 1 to 10000")
        if not math.isfinite(self.guidance):
            raise MinisoraError(f"guidance is {self.guidance}: 1 is the model itself, 3 to 8 exaggerate the prompt")


@dataclass(frozen=True)
class Shot:
    """One clip of a batch: what it has for itself."""

    prompt: str
    seed: int
    known: Known | None = None
    init: Tensor | None = None
    toward: str | None = None
    """The prompt that it turns to as it goes on."""
    was: str | None = None
    """The prompt of `init`, to change only what the two prompts tell apart."""


def settle(preset: Preset, size: str | Size | None, **given: Any) -> Settings:
    """Complete what is given (and is not None) with what the preset does."""
    ring = bool(given.get("ring"))
    least, stride = preset.lengths(ring=ring)
    frames, height, width = parse_size(size) if size else preset.size
    if size is None and ring:
        frames = max(least, frames - frames % stride)
    if more := (frames - least) % stride:
        below = max(frames - more, least)
        near = below if 2 * more < stride else below + stride
        kind, can = ("ring", f"{stride}k can") if ring else ("clip", f"{stride}k + {least} can")
        raise MinisoraError(
            f"a {kind} of {frames} frames cannot be generated: {can}, such as {below} and "
            f"{below + stride}; the nearest is {size_name((near, height, width))}"
        )
    shape = (frames, height, width)
    own: dict[str, Any] = asdict(preset.sampling) | {"fps": preset.fps}
    if given.get("start", 1.0) < 1:  # more noise than the path adds makes new plans, and this clip begins with one
        own["eta"] = min(own["eta"], 1.0)
    return Settings(shape, **own | {name: value for name, value in given.items() if value is not None})


def check_batch(prompts: int, n: int, seeds: Sequence[int], size: Size, device: torch.device) -> None:
    """Refuse what no batch can be, or what could never fit."""
    if prompts < 1 or not 1 <= n <= 1000 or not all(0 <= seed < 2**63 - 1000 for seed in seeds):
        told = ", ".join(map(str, seeds[:3]))
        raise MinisoraError(f"{prompts} prompts, {n} clips of each, seed {told}: take 1 or more, 1 to 1000, 0 or more")
    if len(seeds) != prompts:
        raise MinisoraError(f"there are {len(seeds)} seeds for {prompts} prompts: give one for each, or one for all")
    needed, memory = 4 * 3 * prompts * n * math.prod(size) / 2**30, memory_gib(device)
    if needed > memory:
        raise MinisoraError(
            f"{prompts * n} clips of {size_name(size)} are {needed:.0f} GiB of pixels alone, and {device} has "
            f"{memory:.0f}: ask for fewer or smaller ones"
        )

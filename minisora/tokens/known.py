"""Known parts of a clip: tokens at time 0 among the noisy ones. All of animate, extend, connect and fill is this."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from minisora.core.errors import MinisoraError
from minisora.tokens.packing import Tokens, pack
from minisora.tokens.patches import Grid, grid_of, patchify, positions


@dataclass(frozen=True)
class Known:
    """What is given of one clip, as latents. Several may be given together."""

    prefix: Tensor | None = None
    """(c, 1 + k, h, w): the first latents, written in their place."""
    frames: Mapping[int, Tensor] = field(default_factory=dict)
    """Frame number → (c, 1, h, w): single frames, encoded as images and appended. A causal latent holds a mix of
    several frames, so one of them cannot be written into it."""
    region: Tensor | None = None
    """(c, t, h, w): the whole clip with its unknown part painted grey, appended."""
    time: float = 0.0
    """At which time all of it stands; above 0, the noise on it is told, and its details are not taken for true."""


@dataclass(frozen=True)
class Canvas:
    """Packed tokens of which some are known: a sampler sees and moves only the unknown ones."""

    tokens: Tokens
    unknown: Tensor
    """(n,): True where a token is to be made."""
    times: Tensor
    """(n,): how noisy a known token is; of no meaning where a token is to be made."""

    def start(self) -> Tensor:
        """The unknown tokens, where a sampler begins."""
        return self.tokens.x[self.unknown]

    def with_unknown(self, x: Tensor) -> Tokens:
        """All tokens, the unknown ones replaced by x."""
        full = self.tokens.x.clone()
        full[self.unknown] = x
        return self.tokens.with_x(full)

    def velocity(self, model: Callable[[Tokens, Tensor], Tensor]) -> Callable[[Tensor, Tensor], Tensor]:
        """A model of all tokens and their times as a function of the unknown ones and one time, for a sampler."""

        def velocity(x: Tensor, t: Tensor) -> Tensor:
            times = torch.where(self.unknown, t.to(self.times), self.times)
            return model(self.with_unknown(x), times)[self.unknown]

        return velocity


def place_of(frame: int, stride: int) -> float:
    """Where a pixel frame stands on the time axis of the latents: frame 0 at 0, then `stride` frames to a latent."""
    return 0.0 if frame == 0 else (frame + (stride - 1) / 2) / stride


def paint(
    clips: Sequence[Tensor], known: Sequence[Known | None], patch: Grid, stride: int, rings: Sequence[bool] = ()
) -> Canvas:
    """Pack noisy latents (c, t, h, w), write their known prefixes in place and append what else is known of them.

    `stride` is the number of frames in a latent; `rings` says of each clip whether its time goes round.
    """
    tokens = pack(clips, patch, rings)
    xs, places, unknown, times, lengths = [], [], [], [], []
    parts = zip(tokens.x.split(tokens.lengths), tokens.pos.split(tokens.lengths), clips, known, strict=True)
    for x, pos, clip, given in parts:
        given = given or Known()
        extra = _appended(clip, given, patch, stride)
        before = 0
        if given.prefix is not None:
            _check_same(clip, given.prefix, "prefix", frames=clip.shape[1])
            start = patchify(given.prefix.to(x), patch)
            x, before = torch.cat([start, x[len(start) :]]), len(start)
        xs += [x, *(tokens for tokens, _ in extra)]
        places += [pos, *(place for _, place in extra)]
        lengths.append(len(x) + sum(len(tokens) for tokens, _ in extra))
        mask = torch.zeros(lengths[-1], dtype=torch.bool, device=x.device)
        mask[before : len(x)] = True
        unknown.append(mask)
        times.append(torch.full(mask.shape, given.time, dtype=torch.float64, device=x.device))
    packed = Tokens(torch.cat(xs), torch.cat(places), tokens.grids, tuple(lengths), tokens.rings)
    return Canvas(packed, torch.cat(unknown), torch.cat(times))


def _appended(clip: Tensor, given: Known, patch: Grid, stride: int) -> list[tuple[Tensor, Tensor]]:
    """Tokens and positions of what cannot be written in place."""
    if given.frames and patch[0] != 1:
        raise MinisoraError(f"single known frames need tokens of one latent in time, and a patch has {patch[0]}")
    frames = 1 + (clip.shape[1] - 1) * stride
    extra = []
    for frame, latent in sorted(given.frames.items()):
        if not 0 <= frame < frames:
            raise MinisoraError(f"frame {frame} is given, and the clip has frames 0 to {frames - 1}")
        _check_same(clip, latent, f"frame {frame}", frames=1)
        place = positions(grid_of(latent, patch), clip.device)
        extra.append((patchify(latent.to(clip), patch), place + place.new_tensor([place_of(frame, stride), 0, 0])))
    if given.region is not None:
        _check_same(clip, given.region, "region", frames=clip.shape[1])
        if given.region.shape[1] != clip.shape[1]:
            raise MinisoraError(f"the region has {given.region.shape[1]} latents in time, and the clip {clip.shape[1]}")
        extra.append((patchify(given.region.to(clip), patch), positions(grid_of(clip, patch), clip.device)))
    return extra


def _check_same(clip: Tensor, latent: Tensor, what: str, frames: int) -> None:
    c, t, h, w = latent.shape
    if (c, h, w) != (clip.shape[0], *clip.shape[2:]) or t > frames:
        raise MinisoraError(
            f"the known {what} has latents of shape {tuple(latent.shape)}, and the clip {tuple(clip.shape)}: "
            f"channels, height and width have to be the same, and at most {frames} in time"
        )

"""Packing: clips of any size, length and shape laid end to end in one sequence, without padding."""

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import torch
import torch.nn.functional as F
from torch import Tensor

from minisora.core.errors import MinisoraError
from minisora.tokens.patches import Grid, grid_of, patchify, positions, unpatchify


@dataclass(frozen=True)
class Tokens:
    """A packed batch of clips. A segment is one clip's tokens: its grid first, then any known tokens appended to it."""

    x: Tensor
    """(n, d): the tokens."""
    pos: Tensor
    """(n, 3): where each stands in time, height and width; may be fractional."""
    grids: tuple[Grid, ...]
    """The grid of each segment."""
    lengths: tuple[int, ...]
    """The number of tokens of each segment: its grid and what is appended to it."""
    rings: tuple[bool, ...] = ()
    """Whether the time of each segment goes round, so that its last frame is followed by its first; empty if none."""

    @property
    def seg(self) -> Tensor:
        """(n,): the number of the segment that each token belongs to."""
        lengths = torch.tensor(self.lengths, device=self.x.device)
        return torch.arange(len(self.lengths), device=self.x.device).repeat_interleave(lengths)

    @property
    def ring(self) -> Tensor | None:
        """(n,): how many places in time a token's ring has, 0 where time does not go round; None if it never does."""
        if not any(self.rings):
            return None
        sizes = [grid[0] * goes_round for grid, goes_round in zip(self.grids, self.rings, strict=True)]
        lengths = torch.tensor(self.lengths, device=self.x.device)
        return torch.tensor(sizes, device=self.x.device).repeat_interleave(lengths)

    def with_x(self, x: Tensor) -> "Tokens":
        """The same places with other contents: what a sampler changes from step to step."""
        return replace(self, x=x)


@dataclass(frozen=True)
class Text:
    """Packed prompts. Each ends in a null row of zeros, so that a dropped prompt is still something to look at."""

    x: Tensor
    """(m, d): the rows of all prompts."""
    lengths: tuple[int, ...]
    """The number of rows of each prompt, its null row included."""
    bias: Tensor
    """(m,): added to the attention scores of each row: the null row stands for many equal ones."""


def pack(clips: Sequence[Tensor], patch: Grid, rings: Sequence[bool] = ()) -> Tokens:
    """Clips (c, t, h, w) of any mix of sizes, images as one-frame clips → one packed sequence."""
    if not len(clips):
        raise MinisoraError("there is no clip to pack: give at least one")
    grids = tuple(grid_of(clip, patch) for clip in clips)
    places = {grid: positions(grid, clips[0].device) for grid in set(grids)}
    return Tokens(
        x=torch.cat([patchify(clip, patch) for clip in clips]),
        pos=torch.cat([places[grid] for grid in grids]),
        grids=grids,
        lengths=tuple(t * h * w for t, h, w in grids),
        rings=tuple(rings),
    )


def unpack(tokens: Tokens, patch: Grid) -> list[Tensor]:
    """One packed sequence → the clips (c, t, h, w); appended tokens are left behind."""
    segments = tokens.x.split(tokens.lengths)
    return [
        unpatchify(segment[: t * h * w], (t, h, w), patch)
        for segment, (t, h, w) in zip(segments, tokens.grids, strict=True)
    ]


def pack_text(prompts: Sequence[Tensor], length: int, padded: bool = True) -> Text:
    """Rows (l, d) of each prompt → packed text, as if every prompt were padded to `length` rows of zeros.

    The n = length - l rows of padding are all equal, and so are their keys and their scores s: since
    n exp(s) = exp(s + log n), one null row with the bias log n takes the place of them all. Prompts that are not
    padded have a null row that counts as one, so that a fresh model does not look at it most of the time.
    """
    lengths, bias = [], []
    for prompt in prompts:
        padding = length - len(prompt)
        if padding < 0:
            raise MinisoraError(f"a prompt has {len(prompt)} tokens, and {length} are allowed: shorten it")
        lengths.append(len(prompt) + (padding > 0))
        bias += [0.0] * len(prompt) + [math.log(max(padding, 1)) if padded else 0.0] * (padding > 0)
    rows = [F.pad(prompt, (0, 0, 0, rows - len(prompt))) for prompt, rows in zip(prompts, lengths, strict=True)]
    return Text(torch.cat(rows), tuple(lengths), torch.tensor(bias, device=rows[0].device))


def fill(lengths: Iterable[int], budget: int, window: int = 64) -> Iterator[list[int]]:
    """Greedy packing of a stream: yields lists of indices whose lengths add up to at most `budget` tokens.

    It looks at the next `window` clips and always takes the longest that still fits, but begins with the one that has
    waited longest, so nothing waits for ever.
    """
    if window < 1:
        raise MinisoraError(f"the window is {window} clips: it has to be at least 1")
    waiting: list[tuple[int, int]] = []  # (index, length), oldest first
    stream = enumerate(lengths)
    taken, left = [], budget
    while True:
        for index, length in islice(stream, window - len(waiting)):
            if not 0 < length <= budget:
                raise MinisoraError(f"clip {index} has {length} tokens, and the budget of a batch is {budget}")
            waiting.append((index, length))
        if fitting := [clip for clip in waiting if clip[1] <= left]:
            clip = max(fitting, key=lambda clip: clip[1]) if taken else fitting[0]
            waiting.remove(clip)
            taken.append(clip)
            left -= clip[1]
        elif taken:
            # equal lengths side by side: attention takes each run of them in one call
            yield [index for index, _ in sorted(taken, key=lambda clip: (clip[1], clip[0]))]
            taken, left = [], budget
        else:
            return

"""Modulation: how the time of a token (how noisy it is) shifts, scales and gates what a block does to it.

Every token has its own time, but neighbours share it: tables are made once for each run of equal times.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Times:
    """The times of n tokens as runs of equal ones."""

    values: Tensor
    """(u,): the time of each run."""
    counts: tuple[int, ...]
    """How many tokens each run has."""
    index: Tensor | None
    """(n,): the run that each token belongs to; None if all runs are equally long, where a view is enough."""

    @classmethod
    def of(cls, t: Tensor, tokens: int) -> "Times":
        """From a time per token (n,), or one for all of them ()."""
        if t.dim() == 0:
            return cls(t[None], (tokens,), None)
        values, counts = torch.unique_consecutive(t, return_counts=True)
        sizes = tuple(counts.tolist())
        equal = len(set(sizes)) == 1
        index = None if equal else torch.arange(len(sizes), device=t.device).repeat_interleave(counts)
        return cls(values, sizes, index)

    def beside(self, x: Tensor, *tables: Tensor) -> list[Tensor]:
        """Tokens (n, d) and tables (u, d) in shapes that broadcast against each other."""
        if self.index is None:
            return [x.unflatten(0, (len(self.counts), -1)), *(table[:, None] for table in tables)]
        return [x, *(table.index_select(0, self.index) for table in tables)]  # indexing has a slow gradient


def modulate(x: Tensor, shift: Tensor, scale: Tensor, times: Times, eps: float) -> Tensor:
    """norm(x) · (1 + scale) + shift, in fp32, with one (u, d) row of shift and scale for each run of times."""
    normed = F.layer_norm(x, x.shape[-1:], eps=eps)
    normed, shift, scale = times.beside(normed, shift.to(x.dtype), (1 + scale).to(x.dtype))
    return (normed * scale).add_(shift).view(x.shape)


def gated(x: Tensor, update: Tensor, gate: Tensor, times: Times) -> Tensor:
    """x + gate · update: the gate says how much a block may change a token at its time."""
    update, gate = times.beside(update, gate.to(x.dtype))
    return (update * gate).view(x.shape).add_(x)


def time_features(t: Tensor, width: int) -> Tensor:
    """(u,) times in 0 … 1 → (u, width): cosines, then sines, of 1000 t at frequencies from 1 to 1/10000."""
    half = width // 2
    frequency = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float64, device=t.device) / half)
    angle = 1000 * t.double()[:, None] * frequency
    return torch.cat([angle.cos(), angle.sin()], -1).float()

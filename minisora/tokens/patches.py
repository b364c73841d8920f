"""Spacetime patches: a video is cut into small boxes of space and time, each of which becomes one token."""

import torch
from einops import rearrange
from torch import Tensor

from minisora.core.errors import MinisoraError

Grid = tuple[int, int, int]
"""How many tokens a clip has along (time, height, width)."""


def grid_of(x: Tensor, patch: Grid) -> Grid:
    """The grid of tokens that a (c, t, h, w) clip is cut into; an image is a clip with t = 1."""
    t, h, w = (size // side for size, side in zip(x.shape[-3:], patch, strict=True))
    if (t * patch[0], h * patch[1], w * patch[2]) != tuple(x.shape[-3:]):
        given, sides = ("x".join(map(str, sizes)) for sizes in (x.shape[-3:], patch))
        raise MinisoraError(f"a clip of {given} cannot be cut into patches of {sides}: each size has to be a multiple")
    return t, h, w


def patchify(x: Tensor, patch: Grid) -> Tensor:
    """(c, t, h, w) → (n, d): tokens in reading order of (time, height, width), d = patch volume · c, channel last."""
    t, h, w = grid_of(x, patch)
    pt, ph, pw = patch
    return rearrange(x, "c (t pt) (h ph) (w pw) -> (t h w) (pt ph pw c)", t=t, h=h, w=w, pt=pt, ph=ph, pw=pw)


def unpatchify(tokens: Tensor, grid: Grid, patch: Grid) -> Tensor:
    """(n, d) → (c, t, h, w), the inverse of `patchify`."""
    (t, h, w), (pt, ph, pw) = grid, patch
    return rearrange(tokens, "(t h w) (pt ph pw c) -> c (t pt) (h ph) (w pw)", t=t, h=h, w=w, pt=pt, ph=ph, pw=pw)


def positions(grid: Grid, device: torch.device | str | None = None) -> Tensor:
    """(n, 3): where each token of a grid stands in time, height and width."""
    axes = [torch.arange(size, dtype=torch.float32, device=device) for size in grid]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, 2)

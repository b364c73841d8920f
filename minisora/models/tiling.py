"""Large frames piece by piece: overlapping tiles, each encoded or decoded alone, faded into one another."""

from collections.abc import Callable, Iterator

import torch
from torch import Tensor

from minisora.core.errors import MinisoraError


def tiled(change: Callable[[Tensor], Tensor], x: Tensor, tile: int, overlap: int) -> Tensor:
    """Apply a VAE's `encode` or `decode` to tiles of (…, h, w) with sides of `tile`, at least `overlap` of it shared.

    The seams fade from one tile to the next in a straight line. A tile that covers everything gives the very result.
    """
    if not 0 <= overlap < tile:
        raise MinisoraError(f"tiles of {tile} cannot overlap by {overlap}: the overlap lies between 0 and {tile - 1}")
    total = weight = None
    for rows in _spans(x.shape[-2], tile, overlap):
        for columns in _spans(x.shape[-1], tile, overlap):
            y = change(x[..., rows, columns])
            taken = rows.stop - rows.start, columns.stop - columns.start
            scale = [out / size for out, size in zip(y.shape[-2:], taken, strict=True)]
            if total is None or weight is None:
                sides = [round(size * s) for size, s in zip(x.shape[-2:], scale, strict=True)]
                total, weight = y.new_zeros(*y.shape[:-2], *sides), y.new_zeros(sides)
            fades = [
                _fade(span, size, overlap, s, y)
                for span, size, s in zip((rows, columns), x.shape[-2:], scale, strict=True)
            ]
            fade = fades[0][:, None] * fades[1]
            place = tuple(
                slice(round(span.start * s), round(span.stop * s))
                for span, s in zip((rows, columns), scale, strict=True)
            )
            total[..., *place] += y * fade
            weight[place] += fade
    assert total is not None and weight is not None
    return total / weight


def _spans(size: int, tile: int, overlap: int) -> Iterator[slice]:
    """Tiles over one axis, evenly spread, sharing at least `overlap`."""
    if size <= tile:
        yield slice(0, size)
        return
    count = -(-(size - overlap) // (tile - overlap))
    for i in range(count):
        start = round(i * (size - tile) / (count - 1))
        yield slice(start, start + tile)


def _fade(span: slice, size: int, overlap: int, scale: float, like: Tensor) -> Tensor:
    """Weights along one axis of a tile: rising from an inner border over the overlap, 1 at the borders of the frame."""
    length, ramp = round((span.stop - span.start) * scale), max(1, round(overlap * scale))
    place = torch.arange(length, dtype=like.dtype, device=like.device) + 0.5
    up = (place / ramp).clamp(max=1) if span.start > 0 else torch.ones_like(place)
    down = ((length - place) / ramp).clamp(max=1) if span.stop < size else torch.ones_like(place)
    return up * down

"""Following one thing by its color alone, in full sight, partly covered and away.

While something covers it from one side, its outer edge on the other side still tells where it is.
"""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from minisora.evaluate.blobs import color_index, vividness
from minisora.worlds.language import COLORS

GONE, WHOLE = 0.05, 0.9  # shares of a thing's full area: less is out of sight, more is in full sight
LEAST, MOST = 0.004, 0.1  # the area of any thing in this world, in squares of the picture's short side
OUTER = 0.12  # a thing's outer edge is where this share of its area lies outside


@dataclass(frozen=True)
class Sight:
    """One thing as its color shows it: how much there is of it, and where, in every frame."""

    weight: Tensor  # (t, h, w) 0 … 1
    share: Tensor  # (t,) of its full area
    left: Tensor  # (t,) x of its outer edge when something covers its right side, moved to where its centre would be
    right: Tensor  # (t,) the same from its right side
    width: Tensor  # (t,) columns that show it
    area: float  # pixels, in full sight

    @property
    def whole(self) -> Tensor:
        return self.share > WHOLE

    def whole_frames(self, start: int, end: int) -> Tensor:
        """The frames from start to end in which the whole thing can be seen."""
        return start + self.whole[start:end].nonzero().flatten()

    @property
    def half(self) -> float:
        """Half the width of the whole thing in pixels."""
        return float(self.width[self.whole].float().median()) / 2


def find(frames: Tensor, color: str) -> Sight | None:
    """Whatever has this color, or nothing where no frame shows enough of it to be a thing, or all of them a flood."""
    weight, unit = _color_weight(frames, color), min(frames.shape[1:3])
    columns = weight.sum(1)  # (t, w)
    areas = columns.sum(1)
    full = float(areas.topk(min(3, len(areas))).values.median())
    if not max(4.0, LEAST * unit**2) < full < max(30.0, MOST * unit**2):
        return None
    left = _edge(columns, OUTER * full)
    right = columns.shape[1] - _edge(columns.flip(1), OUTER * full)
    share = areas / full
    inset = float(((right - left) / 2)[share > WHOLE].median())
    return Sight(weight, share, left + inset, right - inset, (weight.amax(1) > 0.3).sum(1), full)


def _color_weight(frames: Tensor, color: str) -> Tensor:
    """(t, h, w) how much of this color each pixel shows, beside pixels that show it strongly: noise does not count."""
    share = vividness(frames) / float(np.ptp(COLORS[color]))
    colored = share > 0.25
    weight = torch.zeros_like(share)
    weight[colored] = share[colored].clamp(0, 1) * (color_index(frames[colored]) == list(COLORS).index(color))
    return weight * F.max_pool2d((weight > 0.5).float()[:, None], 3, 1, 1)[:, 0]


def _edge(columns: Tensor, amount: float) -> Tensor:
    """(t,) the x at which the sum over columns (t, w) from the left reaches an amount, between two columns too."""
    summed = F.pad(columns.cumsum(1), (1, 0))
    after = (summed[:, 1:] < amount).sum(1).clamp_max(columns.shape[1] - 1)[:, None]
    below, above = summed.gather(1, after), summed.gather(1, after + 1)
    return (after + (amount - below) / (above - below).clamp_min(1e-6)).squeeze(1).clamp(0, columns.shape[1])


def gaps(share: Tensor) -> list[tuple[int, int]]:
    """Stretches (first, end) of two frames or more in which a thing is out of sight, having been seen before."""
    gone, found, start = (share < GONE).tolist(), [], None
    for frame, away in enumerate([*gone, False]):
        if away and start is None:
            start = frame
        elif not away and start is not None:
            if start > 0 and frame - start >= 2:
                found.append((start, frame))
            start = None
    return found

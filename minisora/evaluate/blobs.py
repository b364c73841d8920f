"""Reading things back from pixels: segment a clip, find the blobs of each frame, link them into tracks.

Things in the toy worlds wear vivid colors and everything else is pale, dark or gray, so how vivid a pixel is says
whether it shows a thing, and its hue says which. Positions are in pixels, with (0.5, 0.5) the first pixel's centre.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from einops import rearrange
from scipy import ndimage
from torch import Tensor

from minisora.worlds.language import COLORS
from minisora.worlds.raster import SHAPES, coverage

VIVID = 60  # grey levels between a pixel's strongest and weakest channel; no background reaches it
IN_PLANE = np.array([np.zeros((3, 3)), np.ones((3, 3)), np.zeros((3, 3))])  # neighbours within one frame only


@dataclass(frozen=True)
class Blob:
    """One connected patch of one frame."""

    color: str
    x: float
    y: float
    area: float  # pixels, soft edges counted in part
    box: tuple[int, int, int, int]  # top, left, bottom, right; half open


Track = dict[int, Blob]  # frame → blob


def vividness(frames: Tensor) -> Tensor:
    """(t, h, w) how far each pixel is from gray, in grey levels."""
    rgb = frames.float()
    return rgb.amax(-1) - rgb.amin(-1)


def hue(rgb: Tensor) -> Tensor:
    """(…, 3) → (…, 2): a color's direction around the gray axis; shading and fading leave it as it is."""
    r, g, b = rgb.float().unbind(-1)
    return F.normalize(torch.stack([r - (g + b) / 2, (g - b) * 3**0.5 / 2], dim=-1), dim=-1, eps=1e-6)


def color_index(rgb: Tensor) -> Tensor:
    """(…, 3) → (…): the color of COLORS with the nearest hue, as its position in that table."""
    known = hue(torch.tensor(list(COLORS.values())))
    return (hue(rgb) @ known.T).argmax(-1)


def find_blobs(frames: Tensor, least: float = 4.0) -> list[list[Blob]]:
    """The vivid things of each frame (t, h, w, 3), largest first; anything under `least` pixels is left out."""
    vivid = vividness(frames)
    index = color_index(frames)
    found: list[list[Blob]] = [[] for _ in frames]
    for position, color in enumerate(COLORS):
        mask = (vivid > VIVID) & (index == position)
        if mask.any():
            for frame, blob in components(mask, (vivid / max(np.ptp(COLORS[color]), 1)).clamp(0, 1), color):
                if blob.area >= least:
                    found[frame].append(blob)
    return [sorted(blobs, key=lambda blob: -blob.area) for blobs in found]


def components(mask: Tensor, weight: Tensor, color: str = "") -> list[tuple[int, Blob]]:
    """The connected patches of a mask (t, h, w), each as (frame, blob); `weight` (t, h, w) softens the edges."""
    labels, number = ndimage.label(mask.numpy(), structure=IN_PLANE)  # pyright: ignore[reportGeneralTypeIssues]
    if not number:
        return []
    boxes = ndimage.find_objects(labels)
    t, y, x = np.nonzero(labels)
    label, w = labels[t, y, x], weight.numpy()[t, y, x]
    area = np.bincount(label, w, number + 1)[1:].clip(1e-6)
    centre_x = np.bincount(label, w * (x + 0.5), number + 1)[1:] / area
    centre_y = np.bincount(label, w * (y + 0.5), number + 1)[1:] / area
    return [
        (box[0].start, Blob(color, cx, cy, a, (box[1].start, box[2].start, box[1].stop, box[2].stop)))
        for box, cx, cy, a in zip(boxes, centre_x.tolist(), centre_y.tolist(), area.tolist(), strict=True)
    ]


def link(found: Sequence[Sequence[Blob]], reach: float, gap: int = 1) -> list[Track]:
    """Blobs of one color, followed from frame to frame: the nearest within `reach` pixels a frame.

    A track may miss up to `gap` frames. Longest tracks first.
    """
    tracks: list[Track] = []
    for frame, blobs in enumerate(found):
        open_tracks = [track for track in tracks if frame - max(track) <= gap + 1]
        pairs = sorted(
            (distance, i, j)
            for i, track in enumerate(open_tracks)
            for j, blob in enumerate(blobs)
            if (last := track[max(track)]).color == blob.color
            and (distance := np.hypot(last.x - blob.x, last.y - blob.y)) <= reach * (frame - max(track))
        )
        taken: set[int] = set()
        for _, i, j in pairs:
            if j not in taken and frame not in open_tracks[i]:
                open_tracks[i][frame] = blobs[j]
                taken.add(j)
        tracks += [{frame: blob} for j, blob in enumerate(blobs) if j not in taken]
    return sorted(tracks, key=len, reverse=True)


def positions(track: Track, frames: int) -> Tensor:
    """(t, 2) the x, y of a track in every frame, with missing frames filled in on a straight line."""
    known = sorted(track)
    xy = np.array([(track[frame].x, track[frame].y) for frame in known])
    return torch.tensor(np.stack([np.interp(range(frames), known, xy[:, axis]) for axis in (0, 1)], axis=1))


def mean_patch(images: Tensor, centres: Tensor, side: int) -> Tensor:
    """(side, side, c) what images (t, h, w, c) show around centres (t, 2), averaged over time to sub-pixel accuracy."""
    height, width = images.shape[1:3]
    offset = torch.arange(side) + 0.5 - side / 2
    y, x = torch.meshgrid(offset, offset, indexing="ij")
    where = torch.stack([x, y], dim=-1) + centres[:, None, None].float()
    grid = where / torch.tensor([width, height]) * 2 - 1
    patches = F.grid_sample(rearrange(images.float(), "t h w c -> t c h w"), grid, align_corners=False)
    return rearrange(patches.mean(0), "c h w -> h w c")


def shape_mask(shape: str, radius: float, side: int) -> Tensor:
    """(side, side) the coverage of a shape of this radius, its centroid in the middle."""
    offset = torch.arange(side) + 0.5 - side / 2
    y, x = offset[:, None] / radius + _centroid(shape), offset[None, :] / radius
    return coverage(SHAPES[shape](x.expand(side, side), y.expand(side, side)) * radius)


@cache
def _centroid(shape: str) -> float:
    """How far the centroid of a shape of radius 1 lies below its origin."""
    offset = (torch.arange(512) + 0.5) / 512 * 2.6 - 1.3
    y, x = torch.meshgrid(offset, offset, indexing="ij")
    return float(y[SHAPES[shape](x, y) < 0].mean())

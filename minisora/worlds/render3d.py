"""A small 3D renderer in torch: boxes, spheres and upright cylinders on a checkered floor, under one light.

The solids are ray cast with several rays a pixel, each only in the few pixels around it. The floor, which is smooth
but for its squares, needs one ray a pixel.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

import torch
from torch import Tensor

from minisora.worlds.ground import Floor, bake, ground
from minisora.worlds.scene import Frame
from minisora.worlds.space import Camera, Solid, directions, project

RAYS = 3  # a pixel across and down, for the edges of solids
CHUNK = 1 << 20  # rays drawn at a time, so that memory does not grow with the length of a clip


def draw(solids: Sequence[Solid], floor: Floor, camera: Camera, frame: Frame) -> Tensor:
    """uint8 (t, h, w, 3)."""
    baked = bake(solids, floor, frame)
    clip = torch.empty(len(camera.focal), frame.height, frame.width, 3, dtype=torch.uint8)
    for frames in _chunks(camera, frame):
        picture = ground(floor, baked, camera[frames], frame)
        hits = _cast(solids, camera[frames], frame)
        for channel, color in enumerate(_shade(solids, hits, floor.sun)):
            # The rays of a pixel are averaged; those that meet no solid see the floor.
            light = hits.pixel.bincount(color, minlength=hits.bare.numel()) / RAYS**2
            picture[..., channel] = picture[..., channel] * hits.bare + light.view_as(hits.bare)
        clip[frames] = picture.round_().clamp_(0, 255).to(torch.uint8)
    return clip


def visible(solids: Sequence[Solid], camera: Camera, frame: Frame) -> Tensor:
    """(n, t) the share of each solid's rays that meet no other solid first."""
    shares = []
    for frames in _chunks(camera, frame):
        hits = _cast(solids, camera[frames], frame)
        place = hits.number * hits.bare.shape[0] + hits.pixel // (frame.height * frame.width)
        seen = place.bincount(minlength=hits.whole.numel()).view_as(hits.whole)
        shares.append(seen / hits.whole.clamp_min(1))
    return torch.cat(shares, dim=1).double()


def _chunks(camera: Camera, frame: Frame) -> Iterator[slice]:
    step = max(1, CHUNK // (frame.height * frame.width * RAYS**2))
    for start in range(0, len(camera.focal), step):
        yield slice(start, start + step)


@dataclass(frozen=True)
class _Hits:
    """The rays of some frames that meet a solid, each with the first one that it meets."""

    number: Tensor  # (m,) which solid
    pixel: Tensor  # (m,) position in the flat list of pixels
    ray: Tensor  # (3, m) its direction
    point: Tensor  # (3, m) where it meets the solid, seen from the solid's centre
    bare: Tensor  # (t, h, w) share of each pixel's rays that meet nothing
    whole: Tensor  # (n, t) how many rays would meet each solid, were it alone


def _cast(solids: Sequence[Solid], camera: Camera, frame: Frame) -> _Hits:
    """Ray cast the solids, alike ones together, and keep what is in front."""

    def build(number: int) -> tuple[str, float, float]:
        return solids[number].kind, solids[number].radius, solids[number].half

    shape = (len(camera.focal), frame.height, frame.width)
    whole = torch.zeros(len(solids), shape[0], dtype=torch.long)
    found = []
    for _, numbers in groupby(sorted(range(len(solids)), key=build), key=build):
        group = list(numbers)
        met, index, pixel, depth, ray, origin = _meet_alike([solids[number] for number in group], camera, frame)
        whole[group] = met.flatten(2).sum(2)
        kept = met.flatten().nonzero()[:, 0]
        number = torch.tensor(group).repeat_interleave(whole[group].sum(1))
        depth, *ray = (part.flatten().index_select(0, kept) for part in (depth, *ray))
        start = origin.flatten(1).repeat_interleave(whole[group].flatten(), dim=1)
        point = [torch.addcmul(start[k], depth, ray[k]) for k in range(3)]
        index, pixel = (part.flatten().index_select(0, kept) for part in (index, pixel))
        found.append((index, depth, number, pixel, *ray, *point))
    index, depth, number, pixel, *rest = (torch.cat(parts) for parts in zip(*found, strict=True))
    nearest = torch.full((math.prod(shape) * RAYS**2,), math.inf).scatter_reduce_(0, index, depth, "amin")
    front = (nearest.index_select(0, index) == depth).nonzero()[:, 0]
    number, pixel, *rest = (part.index_select(0, front) for part in (number, pixel, *rest))
    bare = 1 - pixel.bincount(minlength=math.prod(shape)).view(shape) / RAYS**2
    return _Hits(number, pixel, torch.stack(rest[:3]), torch.stack(rest[3:]), bare, whole)


def _meet_alike(alike: Sequence[Solid], camera: Camera, frame: Frame) -> tuple[Tensor, ...]:
    """Cast the rays in a square around each of some solids of one build, n of them.

    Returns whether each ray meets it, the ray's place in the flat list of rays, its pixel's place in the flat list of
    pixels, and its depth, all (n, t, s, s); the rays (3, n, t, s, s) and their start (3, n, t), seen from the solid.
    """
    solid = alike[0]
    centres = torch.tensor([each.centre for each in alike], dtype=torch.float64)
    turns = torch.tensor([each.turn for each in alike], dtype=torch.float64)
    places, depths = project(camera, centres, frame)
    size = (solid.reach * camera.focal / (depths - solid.reach)).max() * frame.unit
    side = 2 * math.ceil(float(size) * RAYS) + RAYS
    start = (places * RAYS).floor().long() - side // 2
    columns, rows = (
        start[..., axis, None].clamp(0, max(length - side, 0)) + torch.arange(min(side, length))
        for axis, length in enumerate((frame.width * RAYS, frame.height * RAYS))
    )
    clock = torch.arange(len(camera.focal))[:, None]
    index = ((clock * frame.height * RAYS + rows) * frame.width * RAYS)[..., None] + columns[..., None, :]
    pixel = ((clock * frame.height + rows // RAYS) * frame.width)[..., None] + (columns // RAYS)[..., None, :]
    x, y = (
        ((line + 0.5) / (RAYS * frame.unit) - extent / 2) / camera.focal[:, None]
        for line, extent in zip((columns, rows), frame.extent.tolist(), strict=True)
    )
    right, down, forward = (
        _turned(axis.expand(len(alike), -1, -1), turns).float() for axis in (camera.right, camera.down, camera.forward)
    )
    ray = directions(right, down, forward, x.float(), y.float())
    origin = _turned(camera.position - centres[:, None], turns).float().movedim(-1, 0)
    depth, met = _meet(solid, origin[..., None, None], ray)
    return met, index, pixel, depth, ray, origin


def _turned(vectors: Tensor, turns: Tensor) -> Tensor:
    """Vectors (n, t, 3) as solids see them that are turned about the vertical by `turns` (n,)."""
    cos, sin = turns.cos()[:, None], turns.sin()[:, None]
    x, y, z = vectors.unbind(-1)
    return torch.stack([cos * x + sin * y, cos * y - sin * x, z], dim=-1)


def _dot(one: Sequence[Tensor] | Tensor, two: Sequence[Tensor] | Sequence[float] | Tensor) -> Tensor:
    products = [a * b for a, b in zip(one, two, strict=True)]
    return torch.stack(products).sum(0)


def _meet(solid: Solid, origin: Tensor, ray: Tensor) -> tuple[Tensor, Tensor]:
    """The depth at which rays enter a solid that stands at the origin, and whether they meet it at all.

    A solid is where slabs (between two planes) and rounds (a ball, a tube about the vertical) overlap. A ray is inside
    the solid from the moment it has entered the last of them until it leaves the first.
    """
    enter, leave = torch.tensor(-math.inf), torch.tensor(math.inf)
    if solid.kind != "box":
        axes = range(2 if solid.kind == "cylinder" else 3)
        a = _dot([ray[k] for k in axes], [ray[k] for k in axes])
        b = _dot([origin[k] for k in axes], [ray[k] for k in axes])
        c = _dot([origin[k] for k in axes], [origin[k] for k in axes]) - solid.radius**2
        root = (b * b - a * c).sqrt()  # NaN, hence no meeting, where a ray passes by
        enter, leave = (-b - root) / a, (root - b) / a
    for k in {"box": (0, 1, 2), "cylinder": (2,), "sphere": ()}[solid.kind]:
        pace = 1 / (ray[k] + 1e-9)
        middle, spread = -origin[k] * pace, (solid.half if k == 2 else solid.radius) * pace.abs()
        enter, leave = torch.maximum(enter, middle - spread), torch.minimum(leave, middle + spread)
    return enter, enter < leave


def _normal(solid: Solid, point: Tensor) -> Tensor:
    """(3, m) the direction in which the surface faces at points of a solid that stands at the origin."""
    if solid.kind == "sphere":
        return point / solid.radius
    x, y, z = point[0] / solid.radius, point[1] / solid.radius, point[2] / solid.half
    if solid.kind == "cylinder":
        top = z > torch.hypot(x, y)
        return torch.stack([x.masked_fill(top, 0), y.masked_fill(top, 0), top.float()])
    across, along, up = x.abs(), y.abs(), z.abs()
    faces = (across >= along) & (across > up), (along > across) & (along > up), (up >= across) & (up >= along)
    return torch.stack([axis.sign() * face for axis, face in zip((x, y, z), faces, strict=True)])


def _shade(solids: Sequence[Solid], hits: _Hits, sun: tuple[float, float, float]) -> Tensor:
    """(3, m) colors: light from the sun, from the sky, a little less near the floor, and a soft highlight."""
    colors = torch.empty_like(hits.ray)
    for number, solid in enumerate(solids):
        mine = (hits.number == number).nonzero()[:, 0]
        point, ray = hits.point.index_select(1, mine), hits.ray.index_select(1, mine)
        normal = _normal(solid, point)
        toward = _turned(torch.tensor([[sun]]), torch.tensor([solid.turn])).flatten().tolist()
        back = ray * ray.square().sum(0).rsqrt()
        facing = _dot(normal, toward)
        shine = facing - _dot(normal, back)  # along the direction halfway between the sun and the eye
        half = 2 - 2 * _dot(back, toward)  # that direction's squared length
        gloss = 34 * (shine.clamp_min(0).square() / half).pow(16)
        height = point[2] + solid.half
        light = (0.66 + 0.08 * normal[2] + 0.38 * facing.clamp_min(0)) * (0.86 + height.clamp_max(0.14))
        colors.index_copy_(1, mine, torch.stack([channel * light + gloss for channel in solid.paint]))
    return colors

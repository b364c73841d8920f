"""A small 3D renderer in torch: boxes, spheres and upright cylinders on a checkered floor, one light, a pinhole camera.

The solids are ray cast, each only in the few pixels around it, with several rays a pixel. The floor needs one ray a
pixel: its squares are averaged over the pixel in closed form, and its light is baked once, since nothing moves on it.
x and y lie in the floor, z points up. A picture's short side is 1, as everywhere in the worlds.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from minisora.worlds.raster import Color
from minisora.worlds.scene import Frame, reflect

RAYS = 3  # a pixel across and down, for the edges of solids
CHUNK = 1 << 19  # rays drawn at a time, so that memory does not grow with the length of a clip
REACH = 2.2  # the baked light covers the floor this far from its centre
SLICES = 8  # a solid casts its shadow as a pile of this many slices
PENUMBRA = 0.22  # how much softer a shadow grows with every unit of height


@dataclass(frozen=True)
class Solid:
    kind: str  # "box", "sphere" or "cylinder"
    paint: Color
    x: float
    y: float
    radius: float  # half its width
    half: float  # half its height: its centre is that far above the floor
    turn: float = 0.0  # radians about the vertical

    @property
    def centre(self) -> tuple[float, float, float]:
        return self.x, self.y, self.half

    @property
    def reach(self) -> float:
        """The radius of the ball around it."""
        corner = {"box": math.sqrt(2), "cylinder": 1.0, "sphere": 0.0}[self.kind]
        return math.hypot(corner * self.radius, self.half)


@dataclass(frozen=True)
class Floor:
    light: Color  # of one half of the squares
    dark: Color  # of the other half
    haze: Color  # into which the floor fades far away
    square: float  # side of one square
    sun: tuple[float, float, float]  # unit vector towards the light


@dataclass(frozen=True)
class Camera:
    """Where a pinhole camera is in each of t frames; every field is float64 (t, 3), the focal length (t,)."""

    position: Tensor
    right: Tensor
    down: Tensor
    forward: Tensor
    focal: Tensor  # in short sides

    def __getitem__(self, frames: slice) -> "Camera":
        fields = (self.position, self.right, self.down, self.forward, self.focal)
        return Camera(*(field[frames] for field in fields))


def aim(position: Tensor, heading: Tensor, pitch: Tensor, focal: Tensor) -> Camera:
    """A camera that looks along a heading (radians from x towards y) and `pitch` radians down; it never rolls."""
    cos, sin, level, drop = heading.cos(), heading.sin(), pitch.cos(), pitch.sin()
    right = torch.stack([sin, -cos, torch.zeros_like(sin)], dim=-1)
    down = torch.stack([-cos * drop, -sin * drop, -level], dim=-1)
    forward = torch.stack([cos * level, sin * level, -drop], dim=-1)
    return Camera(position, right, down, forward, focal)


def project(camera: Camera, points: Tensor, frame: Frame) -> tuple[Tensor, Tensor]:
    """Points (n, 3) → their places in the picture (n, t, 2), in pixels, and their depths (n, t)."""
    away = points[:, None, :] - camera.position
    depth = (away * camera.forward).sum(-1)
    across, down = ((away * axis).sum(-1) * camera.focal / depth for axis in (camera.right, camera.down))
    return (torch.stack([across, down], dim=-1) + frame.extent / 2) * frame.unit, depth


def draw(solids: Sequence[Solid], floor: Floor, camera: Camera, frame: Frame) -> Tensor:
    """uint8 (t, h, w, 3)."""
    baked = bake(solids, floor, frame)
    clip = torch.empty(len(camera.focal), frame.height, frame.width, 3, dtype=torch.uint8)
    for frames in _chunks(camera, frame):
        ground = _ground(floor, baked, camera[frames], frame)
        buffer = _cast(solids, camera[frames], frame, floor.sun)
        rgba = buffer.rgba.view(-1, frame.height, RAYS, frame.width, RAYS, 4).mean(dim=(2, 4))
        clip[frames] = (rgba[..., :3] + ground * (1 - rgba[..., 3:])).round_().clamp_(0, 255).to(torch.uint8)
    return clip


def visible(solids: Sequence[Solid], camera: Camera, frame: Frame) -> Tensor:
    """(n, t) the share of each solid's rays that meet no other solid first."""
    shares = []
    for frames in _chunks(camera, frame):
        buffer = _cast(solids, camera[frames], frame, None)
        seen = [(buffer.first == number).flatten(1).sum(1) for number in range(len(solids))]
        shares.append(torch.stack(seen) / torch.stack(buffer.whole).clamp_min(1))
    return torch.cat(shares, dim=1).double()


def _chunks(camera: Camera, frame: Frame) -> Iterator[slice]:
    step = max(1, CHUNK // (frame.height * frame.width * RAYS**2))
    for start in range(0, len(camera.focal), step):
        yield slice(start, start + step)


def _directions(camera: Camera, x: Tensor, y: Tensor) -> Tensor:
    """(3, t, h, w) rays through x (t, 1, w) and y (t, h, 1), in short sides from the picture's centre.

    They are one unit long along the camera's axis, so a distance along a ray is a depth.
    """
    right, down = ((axis / camera.focal[:, None]).float() for axis in (camera.right, camera.down))
    forward = camera.forward.float()
    parts = [x * right[:, k, None, None] + (y * down[:, k, None, None] + forward[:, k, None, None]) for k in range(3)]
    return torch.stack(parts)


# ---- solids


class _Buffer:
    """What the rays have met so far: rgb and opacity, the depth, and the number of the solid that is in front."""

    def __init__(self, frames: int, frame: Frame, shaded: bool):
        self.rows, self.columns = frame.height * RAYS, frame.width * RAYS
        shape = (frames, self.rows, self.columns)
        self.depth = torch.full(shape, math.inf)
        self.first = torch.full(shape, -1, dtype=torch.int8)
        self.rgba = torch.zeros(*shape, 4) if shaded else torch.empty(0)
        self.whole: list[Tensor] = []  # (t,) rays that meet each solid, were it alone

    def window(self, centre: Tensor, side: int) -> tuple[Tensor, Tensor, Tensor]:
        """The rays in a square around each frame's centre (t, 2): flat index (t, s, s), columns (t, s), rows (t, s)."""
        columns, rows = (
            (centre[:, axis].floor().long() - side // 2).clamp(0, max(size - side, 0))[:, None]
            + torch.arange(min(side, size))
            for axis, size in enumerate((self.columns, self.rows))
        )
        frame = torch.arange(len(centre))[:, None]
        return ((frame * self.rows + rows) * self.columns)[:, :, None] + columns[:, None, :], columns, rows


def _cast(
    solids: Sequence[Solid], camera: Camera, frame: Frame, sun: tuple[float, float, float] | None
) -> _Buffer:
    """Ray cast every solid. Without a sun only depth and order are found, no colors."""
    buffer = _Buffer(len(camera.focal), frame, sun is not None)
    places, depths = project(camera, torch.tensor([solid.centre for solid in solids], dtype=torch.float64), frame)
    for number, solid in enumerate(solids):
        size = (solid.reach * camera.focal / (depths[number] - solid.reach)).max() * frame.unit
        index, columns, rows = buffer.window(places[number] * RAYS, 2 * math.ceil(float(size) * RAYS) + RAYS)
        x = (columns + 0.5) / (RAYS * frame.unit) - frame.extent[0].item() / 2
        y = (rows + 0.5) / (RAYS * frame.unit) - frame.extent[1].item() / 2
        rays = _turn(_directions(camera, x[:, None, :].float(), y[:, :, None].float()), solid.turn)
        origin = _turn((camera.position - torch.tensor(solid.centre, dtype=torch.float64)).T, solid.turn)
        origin = origin.float()[:, :, None, None]
        depth, normal, hit = _meet(solid, origin, rays)
        nearer = hit & (depth < buffer.depth.view(-1)[index])
        buffer.whole.append(hit.flatten(1).sum(1))
        chosen = index[nearer]
        buffer.depth.view(-1)[chosen] = depth[nearer]
        buffer.first.view(-1)[chosen] = number
        if sun is not None:
            height = (origin[2] + depth * rays[2] + solid.half)[nearer]
            toward_sun = _turn(torch.tensor(sun)[:, None], solid.turn)[:, 0].tolist()
            color = _shade(solid.paint, normal[:, nearer], rays[:, nearer], toward_sun, height)
            buffer.rgba.view(-1, 4)[chosen] = color
    return buffer


def _turn(vectors: Tensor, angle: float) -> Tensor:
    """Vectors (3, …) as a solid sees them that is turned by an angle about the vertical."""
    cos, sin = math.cos(angle), math.sin(angle)
    return torch.stack([cos * vectors[0] + sin * vectors[1], cos * vectors[1] - sin * vectors[0], vectors[2]])


def _meet(solid: Solid, origin: Tensor, rays: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Where rays (3, t, h, w) enter a solid: depth, outward normal, and whether they meet it at all.

    A solid is where slabs (between two planes) and rounds (balls, or tubes about the vertical) overlap. A ray is inside
    the solid from the moment it has entered the last of them until it leaves the first.
    """
    slabs = {"box": (0, 1, 2), "cylinder": (2,), "sphere": ()}[solid.kind]
    enter, leave = torch.full_like(rays[0], -math.inf), torch.full_like(rays[0], math.inf)
    normal = torch.zeros_like(rays)
    if solid.kind != "box":
        axes = 2 if solid.kind == "cylinder" else 3
        o, d = origin[:axes].expand(axes, *rays.shape[1:]), rays[:axes]
        a, b = (d * d).sum(0), (o * d).sum(0)
        root = (b * b - a * ((o * o).sum(0) - solid.radius**2)).sqrt()  # NaN where a ray passes by
        enter, leave = (-b - root) / a, (-b + root) / a
        normal[:axes] = (o + enter * d) / solid.radius
    for axis in slabs:
        side = -rays[axis].sign()
        extent = solid.half if axis == 2 else solid.radius
        near, far = (side * extent - origin[axis]) / rays[axis], (-side * extent - origin[axis]) / rays[axis]
        last = near > enter
        enter, leave = torch.where(last, near, enter), torch.minimum(leave, far)
        normal = torch.where(last, 0, normal)
        normal[axis] = torch.where(last, side, normal[axis])
    return enter, normal, enter < leave


def _shade(paint: Color, normal: Tensor, rays: Tensor, sun: list[float], height: Tensor) -> Tensor:
    """(n, 4) opaque colors: light from the sun, from the sky, a little back from the floor, and a soft highlight."""
    length = rays.square().sum(0).rsqrt()
    facing = (normal[0] * sun[0] + normal[1] * sun[1] + normal[2] * sun[2]).clamp_min(0)
    half = [axis - ray * length for axis, ray in zip(sun, rays, strict=True)]
    gloss = (normal[0] * half[0] + normal[1] * half[1] + normal[2] * half[2]).clamp_min(0)
    gloss = 34 * (gloss.square() / (half[0] ** 2 + half[1] ** 2 + half[2] ** 2)).pow(16)
    near_floor = (height / 0.16).clamp_max(1)
    light = (0.6 + 0.1 * normal[2] + 0.42 * facing) * (0.86 + 0.14 * near_floor)
    return torch.stack([light * channel + gloss for channel in paint] + [torch.ones_like(light)], dim=-1)


# ---- floor


def bake(solids: Sequence[Solid], floor: Floor, frame: Frame) -> Tensor:
    """(n, n) how brightly each spot of the floor is lit, out to REACH on every side.

    Every slice of a solid shades the spot that lies below it along the light, the more softly the higher it hangs. One
    wide, faint shade around the foot stands for the sky's light that the solid keeps away.
    """
    n = min(max(2 * frame.unit, 96), 1024)
    axis = (torch.arange(n) + 0.5) * (2 * REACH / n) - REACH
    lit = torch.ones(n, n)
    slope = (floor.sun[0] / floor.sun[2], floor.sun[1] / floor.sun[2])
    heights = (torch.arange(SLICES) + 0.5) / SLICES
    for solid in solids:
        far = 2 * solid.half * max(map(abs, slope)) + 1.5 * solid.radius + 0.45
        box = [_span(axis, at - far, at + far) for at in (solid.y, solid.x)]
        y, x = axis[box[0]][:, None] - solid.y, axis[box[1]][None, :] - solid.x
        shade = torch.zeros(y.shape[0], x.shape[1])
        for share in heights.tolist():
            z = 2 * solid.half * share
            radius = solid.radius * (2 * math.sqrt(share * (1 - share)) if solid.kind == "sphere" else 1)
            edge = _outline(solid, x + z * slope[0], y + z * slope[1], radius)
            shade = torch.maximum(shade, _soft(edge, 0.03 + PENUMBRA * z))
        foot = _soft(_outline(solid, x, y, solid.radius * (0.5 if solid.kind == "sphere" else 1)) - 0.06, 0.3)
        lit[box[0], box[1]] *= (1 - 0.42 * shade) * (1 - 0.3 * foot)
    return lit


def _span(axis: Tensor, low: float, high: float) -> slice:
    return slice(int((axis < low).sum()), int((axis < high).sum()))


def _outline(solid: Solid, x: Tensor, y: Tensor, radius: float) -> Tensor:
    """Signed distance to the edge of a level slice of a solid."""
    if solid.kind != "box":
        return torch.hypot(x, y) - radius
    cos, sin = math.cos(solid.turn), math.sin(solid.turn)
    u, v = (cos * x + sin * y).abs() - radius, (cos * y - sin * x).abs() - radius
    return torch.hypot(u.clamp_min(0), v.clamp_min(0)) + torch.maximum(u, v).clamp_max(0)


def _soft(distance: Tensor, width: float) -> Tensor:
    """1 inside an edge, 0 outside, smooth over a width."""
    x = (0.5 - distance / width).clamp(0, 1)
    return x * x * (3 - 2 * x)


def _ground(floor: Floor, baked: Tensor, camera: Camera, frame: Frame) -> Tensor:
    """float (t, h, w, 3) the floor as it would look without the solids, but with their shadows, and the haze beyond."""
    x = ((torch.arange(frame.width) + 0.5) / frame.unit - frame.extent[0].item() / 2).float()
    y = ((torch.arange(frame.height) + 0.5) / frame.unit - frame.extent[1].item() / 2).float()
    rays = _directions(camera, x[None, None, :], y[None, :, None])
    position = camera.position.float()[:, :, None, None]
    reach = position[:, 2] / (-rays[2]).clamp_min(1e-3)
    spot = [position[:, k] + reach * rays[k] for k in range(2)]
    # How far one pixel's step to the right and one down go on the floor: the size of the pixel's footprint there.
    right, down = ((axis / camera.focal[:, None]).float() / frame.unit for axis in (camera.right, camera.down))
    slant = down[:, 2, None, None] * reach / position[:, 2]
    waves = []
    for k in range(2):
        size = right[:, k, None, None].abs() + (down[:, k, None, None] + slant * rays[k]).abs()
        waves.append(_stripes(spot[k] / floor.square, (reach * size / floor.square).clamp_min(1e-4)))
    squares = 0.5 + 0.5 * waves[0] * waves[1]
    grid = torch.stack(spot, dim=-1) / REACH
    lit = grid_sample(baked.expand(len(grid), 1, -1, -1), grid, padding_mode="border", align_corners=False)[:, 0]
    away = spot[0].square() + spot[1].square()
    lit = lit * (0.8 + 0.24 / (1 + 0.16 * away))  # a pool of light around the middle
    fog = 1 - torch.exp(-0.012 * (away - 1.5).clamp_min(0))
    light, dark, haze = (torch.tensor(color, dtype=torch.float32) for color in (floor.light, floor.dark, floor.haze))
    ground = (dark + squares[..., None] * (light - dark)) * lit[..., None]
    return torch.lerp(ground, haze, fog[..., None])


def _stripes(x: Tensor, width: Tensor) -> Tensor:
    """A wave that is 1 on even and −1 on odd stripes, averaged over `width` around x, in closed form."""
    return (reflect(x + width / 2) - reflect(x - width / 2)) / width  # reflect is the wave's integral

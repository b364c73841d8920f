"""Is it one rigid scene, seen by one moving camera? The check of the orbit world, from pixels only.

Every solid wears a color of its own, so it can be followed by color. For a camera with three parameters (which move,
how much, how steeply it looks down) the solids' places in space follow in closed form; the camera whose solids,
projected back into the picture, lie nearest to where they were seen is the one that is read.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from minisora.evaluate.blobs import color_index, components, vividness
from minisora.evaluate.report import Control, Report
from minisora.worlds import orbit, render3d
from minisora.worlds.language import COLORS, WORDS
from minisora.worlds.orbit import OrbitScene, sweep_time, viewpoint
from minisora.worlds.scene import Frame, clock, dice, reflect
from minisora.worlds.space import Camera

POINTS = 6  # fewer do not tell a rigid scene from a loose one
PRESENT = 0.8  # of the frames, in which a solid must be found
LEAST = 4.5 / 64**2  # of the short side squared: smaller patches are not looked at
HIDDEN = 0.3  # a solid of which a smaller share is seen counts as hidden
LIMIT = 0.6  # pixels of a picture whose short side is 64: reprojection error of a rigid scene
NOISE = 0.5 / 64  # short sides: how well a solid's place is measured, against how well its height is known
HEIGHT = (0.18, 0.05)  # solids stand on the floor: their centres' height, give or take
RANGES = {"circle": orbit.CIRCLE, "pan": orbit.PAN, "zoom": orbit.ZOOM, "still": (0.0, 0.0)}
STEEP = tuple(map(math.radians, orbit.PITCH))


@dataclass(frozen=True)
class Reading:
    """The camera that explains what was seen best."""

    move: str
    amount: float
    pitch: float  # radians
    error: float  # pixels of a picture whose short side is 64


def check(frames: Tensor, scene: OrbitScene, fps: float = 8.0) -> Report:
    """Whether a clip shows the scene's colors, its camera's move, and one rigid scene.

    Long clips are judged piece by piece, in pieces as long as the longest pan, and every piece must hold.
    """
    colors = [thing.color for thing in scene.things]
    pieces = max(1, math.ceil(len(frames) / (orbit.SWEEP * fps + 1)))
    length, height, width = frames.shape[:3]
    seconds = clock(length, height, width, fps)
    found, readings = [], []
    for piece, moments in zip(frames.tensor_split(pieces), seconds.tensor_split(pieces), strict=True):
        places, weights = follow(piece, colors)
        known = (weights > HIDDEN**4).double().mean(1) >= PRESENT
        found.append(known)
        readings.append(read_camera(places[known], weights[known], moments, sweep_time(scene.seconds)))
    fewest = min(int(known.sum()) for known in found)
    error = max(reading.error for reading in readings)
    claims = {
        "points": fewest >= POINTS,
        "colors": all(bool(known.all()) for known in found),
        "camera": all(reading.move == scene.camera for reading in readings),
        "rigid": fewest >= POINTS and error <= LIMIT,
    }
    return Report(claims, {"points": fewest, "error": error, "amount": readings[0].amount})


def follow(frames: Tensor, colors: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Places (n, t, 2) of the most solid patch of each color, in short sides from the picture's middle; weights (n, t).

    A patch of which a share is hidden weighs that share to the fourth power, for its middle is not the solid's.
    """
    t, height, width = frames.shape[:3]
    frame, vivid, index = Frame(height, width), vividness(frames), color_index(frames)
    measured = torch.zeros(len(colors), t, 3, dtype=torch.float64)  # x, y, area
    around = max(1, frame.unit // 42)  # pixels
    for number, color in enumerate(colors):
        strength = vivid * (2 / (max(COLORS[color]) - min(COLORS[color])))
        mask = (index == list(COLORS).index(color)) & (strength > 0.7)
        share = avg_pool2d(mask[:, None].float(), 2 * around + 1, 1, around)[:, 0].numpy()
        best = torch.zeros(t)
        for moment, blob in components(mask, strength.clamp(0, 1)):
            # The seam along which two other colors blend into this one is thin: little of it lies around its middle.
            score = blob.area * float(share[moment, int(blob.y), int(blob.x)]) ** 2
            if score > best[moment] and blob.area > LEAST * frame.unit**2:
                best[moment] = score
                measured[number, moment] = torch.tensor([blob.x, blob.y, blob.area], dtype=torch.float64)
    area = measured[..., 2]
    usual = area / area.median(dim=1, keepdim=True).values.clamp_min(1e-6)
    weights = (usual / usual.median(dim=0).values.clamp_min(1e-6)).clamp(0, 1) ** 4  # a zoom enlarges all alike
    return measured[..., :2] / frame.unit - frame.extent / 2, weights


def read_camera(places: Tensor, weights: Tensor, seconds: Tensor, sweep: float) -> Reading:
    """The best of all moves: a coarse search over how much each one moves, then ever finer around the best."""
    if len(places) < 3 or len(seconds) < 3:
        return Reading("", 0.0, 0.0, math.inf)

    def judge(move: str, amount: Tensor, pitch: Tensor) -> Reading:
        error = misfit(viewpoint(move, amount[:, None], 0.0, pitch[:, None], seconds, sweep), places, weights)
        best = int(error.argmin())
        return Reading(move, float(amount[best]), float(pitch[best]), float(error[best]))

    steps = torch.linspace(0, 1, 9, dtype=torch.float64)
    middle = torch.full_like(steps, sum(STEEP) / 2)
    tried = []
    for move in WORDS["camera"]:
        low, high = RANGES[move.split()[0]]
        tried.append(judge(move, low + steps * (high - low), middle))
    best = min(tried, key=lambda reading: reading.error)
    low, high = RANGES[best.move.split()[0]]
    around = torch.cartesian_prod(*[torch.tensor([-1.0, 0.0, 1.0], dtype=torch.float64)] * 2)
    for step in (1 / 8, 1 / 16, 1 / 32, 1 / 64):
        amount = best.amount + step * (high - low) * around[:, 0]
        pitch = best.pitch + 2 * step * (STEEP[1] - STEEP[0]) * around[:, 1]
        best = judge(best.move, amount, pitch)
    return best


def misfit(camera: Camera, places: Tensor, weights: Tensor) -> Tensor:
    """(k,) how far, in pixels at 64, k cameras with the solids where they suit each one best are from what was seen.

    A point X at depth d is seen at x when (focal · right − x · forward) · (X − position) = 0, and so for y: equations
    that are linear in X, three unknowns for two equations a frame. One more says that the solid stands on the floor.
    """
    seen = places[None, ..., None]  # (1, n, t, 2, 1)
    axes = torch.stack([camera.right, camera.down], dim=-2)[:, None]  # (k, 1, t, 2, 3)
    lines = camera.focal[:, None, :, None, None] * axes - seen * camera.forward[:, None, :, None, :]
    offset = (lines * camera.position[:, None, :, None, :]).sum(-1)
    trust = (weights / (NOISE * orbit.DISTANCE) ** 2)[None, ..., None, None]
    normal = torch.einsum("kntai,kntaj->knij", lines * trust, lines)
    right = torch.einsum("kntai,knta->kni", lines * trust, offset)
    height, slack = HEIGHT
    normal[..., 2, 2] += 1 / slack**2
    right[..., 2] += height / slack**2
    points = torch.linalg.solve(normal + 1e-6 * torch.eye(3), right)
    away = points[:, :, None] - camera.position[:, None]
    depth = (away * camera.forward[:, None]).sum(-1, keepdim=True)
    back = (away[..., None, :] * axes).sum(-1) * camera.focal[:, None, :, None] / depth
    distance = ((back - places).square().sum(-1) * weights).sum((1, 2)) / weights.sum()
    return 64 * distance.sqrt()


# ---- clips that must be refused


def frozen(scene: OrbitScene, frames: int, height: int, width: int, fps: float) -> Tensor:
    """The camera stays where it starts; where it should hold still, it circles."""
    if scene.camera == "still":
        return orbit.render(replace(scene, camera="circle left", amount=30.0), frames, height, width, fps)
    return orbit.render(scene, 1, height, width, fps).expand(frames, -1, -1, -1)


def other_move(scene: OrbitScene, frames: int, height: int, width: int, fps: float) -> Tensor:
    """The same still life under another of the camera's moves."""
    rng = dice("orbit", scene.seed, "other move")
    move = rng.choice([move for move in WORDS["camera"] if move != scene.camera])
    amount = rng.uniform(*RANGES[move.split()[0]])
    return orbit.render(replace(scene, camera=move, amount=amount), frames, height, width, fps)


def independent(scene: OrbitScene, frames: int, height: int, width: int, fps: float) -> Tensor:
    """The camera moves as asked, but every solid goes its own way over the floor, about as fast."""
    rng = dice("orbit", scene.seed, "independent")
    seconds, camera = clock(frames, height, width, fps), orbit.view(scene, clock(frames, height, width, fps))
    ways = [(rng.uniform(0.2, 0.4), rng.uniform(0, 2 * math.pi)) for _ in scene.things]
    pictures = []
    for moment, now in enumerate(seconds.tolist()):
        solids = []
        for thing, (speed, way) in zip(scene.things, ways, strict=True):
            gone = torch.tensor([math.cos(way), math.sin(way)]) * speed * now
            x, y = (2 * reflect((torch.tensor([thing.x, thing.y]) + gone + 1) / 2) - 1).tolist()
            solids.append(replace(thing, x=x, y=y).body)
        pictures.append(render3d.draw(solids, orbit.floor_of(scene), camera[moment : moment + 1], Frame(height, width)))
    return torch.cat(pictures)


def flat(scene: OrbitScene, frames: int, height: int, width: int, fps: float) -> Tensor:
    """A photograph of the scene, slid sideways; enlarged instead where sliding is what a small pan looks like."""
    photo = orbit.render(scene, 1, height, width, fps).movedim(-1, 1).float()
    share = torch.linspace(0, 1, frames)
    scale = torch.ones(frames)
    slide = torch.zeros(frames)
    if scene.camera.startswith("pan"):
        scale = 1 - 0.3 * share
    else:
        slide = 0.3 * share * (1 if "left" in scene.camera else -1)
    theta = torch.zeros(frames, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = scale
    theta[:, 0, 2] = slide
    grid = torch.nn.functional.affine_grid(theta, [frames, 3, height, width], align_corners=False)
    moved = torch.nn.functional.grid_sample(
        photo.expand(frames, -1, -1, -1), grid, padding_mode="reflection", align_corners=False
    )
    return moved.movedim(1, -1).round().clamp(0, 255).to(torch.uint8)


CONTROLS: dict[str, Control] = {  # type: ignore[assignment]
    "frozen": frozen, "other move": other_move, "independent": independent, "flat": flat,
}  # fmt: skip

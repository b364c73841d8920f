"""The claims of directing: is what was given kept, is the seam smooth, is the thing still the same thing?"""

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from minisora.evaluate import fidelity
from minisora.evaluate.cases import SHOT, SHOTS, SIDE, Case
from minisora.worlds.shapes import ShapesScene

NEAR, FOLLOWS = 1.5, 2.0
"""Pixels: how exactly a step at the seam keeps to the motion, and an edit or a preview to the tracks of its source."""
STILL = 1.0
"""Gray levels: nobody sees what changes less from frame to frame."""
BORDER = 12.0
"""Gray levels between the two sides of a border that nobody sees."""
SAME = ("count", "shape", "color", "size")

Claims = dict[str, bool]


def same_thing(reading: fidelity.Reading, scene: ShapesScene) -> bool:
    """Shape, color, size and number are as the caption says."""
    claims = fidelity.compare(reading, scene).claims
    return all(claims[name] for name in SAME)


def keeps_step(reading: fidelity.Reading, case: Case, at: int) -> bool:
    """From frame at - 1 to frame `at` the thing moves as it really does, within NEAR pixels."""
    assert case.real.state is not None
    (truth,) = case.real.state.tracks
    if not reading.things:
        return False
    tracks = (seen.track for seen in reading.things)
    track = min(tracks, key=lambda track: float((track[at - 1] - truth[at - 1]).norm()))
    return bool(((track[at] - track[at - 1]) - (truth[at] - truth[at - 1])).norm() <= NEAR)


def steps(frames: Tensor) -> Tensor:
    """(t - 1,) how much each frame differs from the one before, in gray levels."""
    return frames.float().diff(dim=0).abs().mean((1, 2, 3))


def is_smooth(frames: Tensor) -> bool:
    """No step is larger than twice an ordinary one of the clip."""
    return bool(steps(frames).max() <= 2 * steps(frames).median().clamp_min(STILL))


def continues(at: int) -> Callable[[Tensor, Case], Claims]:
    """Judge a clip that goes from given to generated frames at `at`."""

    def judge(frames: Tensor, case: Case) -> Claims:
        reading = fidelity.read(frames, case.real.fps)
        return {
            "same": same_thing(reading, case.scene),
            "seam": keeps_step(reading, case, at),
            "smooth": is_smooth(frames),
        }

    return judge


def goes_round(frames: Tensor, case: Case) -> Claims:
    """The step from the last frame to the first is like those inside, it moves, and shows what was asked for.

    Like those inside: from their 5th to their 95th percentile, and a tenth beyond, since of fifteen steps of a real
    loop the seam's own may well be the largest.
    """
    inner, seam = steps(frames), (frames[0].float() - frames[-1].float()).abs().mean()
    low, high = inner.quantile(torch.tensor([0.05, 0.95]))
    moves = bool(inner.mean() >= steps(case.real.frames).mean() / 2)
    turned = frames.roll(len(frames) // 2, 0)
    direction = fidelity.check(turned, case.scene, case.real.fps).claims
    same = same_thing(fidelity.read(frames, case.real.fps), case.scene)
    closes = bool(0.9 * low <= seam <= 1.1 * high)
    return {"same": same, "closes": closes, "moves": moves, "direction": direction["motion"]}


def changes(claim: str, wanted: Callable[[Case], ShapesScene]) -> Callable[[Tensor, Case], Claims]:
    """Judge an edit: what was asked for is there, all else of the thing too, and it goes where it went."""

    def judge(frames: Tensor, case: Case) -> Claims:
        assert case.real.state is not None
        reading, scene = fidelity.read(frames, case.real.fps), wanted(case)
        apart = [float((seen.track - case.real.state.tracks[0]).norm(dim=1).max()) for seen in reading.things]
        return {
            "changed": fidelity.compare(reading, scene).claims[claim],
            "same": same_thing(reading, scene),
            "track": bool(apart) and min(apart) <= FOLLOWS,
        }

    return judge


def is_whole(frames: Tensor, case: Case) -> Claims:
    """Half-way between two clips, a frame is one of this world: the thing of one of them, whole, counted and opaque."""
    middle = fidelity.read(frames[len(frames) // 2][None])
    return {"halfway": any(same_thing(middle, scene) for scene in (case.scene, case.rival))}


def turns(frames: Tensor, case: Case) -> Claims:
    """It begins as the one and ends as the other, and half-way it is one of them."""
    begins, ends = (fidelity.read(some) for some in (frames[:1], frames[-1:]))
    return {"begins": same_thing(begins, case.scene), "ends": same_thing(ends, case.rival)} | is_whole(frames, case)


def is_mended(frames: Tensor, case: Case) -> Claims:
    """The thing that was cut out is there again, and the border of the box cannot be seen in the middle frame."""
    grown = F.max_pool2d(case.box[None, None].float(), 3, 1, 1)[0, 0].bool()
    shrunk = ~F.max_pool2d((~case.box)[None, None].float(), 3, 1, 1)[0, 0].bool()
    middle = frames[len(frames) // 2].float()
    outside, inside = (middle[ring].median(0).values for ring in (grown & ~case.box, case.box & ~shrunk))
    border = bool((outside - inside).abs().mean() <= BORDER)
    return {"same": same_thing(fidelity.read(frames, case.real.fps), case.scene), "border": border}


def keeps_layout(frames: Tensor, case: Case) -> Claims:
    """The small clip and the full one after it have equally many things, and each is where it was."""
    small, full = (fidelity.read(half, case.real.fps).things for half in frames.chunk(2))
    if not small or len(small) != len(full):
        return {"layout": False}
    far = [min(float((a.track - b.track).norm(dim=1).mean()) for b in full) for a in small]
    return {"layout": max(far) <= FOLLOWS * SIDE / 64}


def is_one_character(frames: Tensor, case: Case) -> Claims:
    """The same thing in every shot, as it was asked for, and real cuts between them."""
    readings = [fidelity.read(shot, case.real.fps) for shot in frames.split(SHOT)]
    looks = {tuple((seen.shape, seen.color, seen.size) for seen in reading.things) for reading in readings}
    inner = torch.stack([steps(shot).median() for shot in frames.split(SHOT)]).median()
    cuts = steps(frames)[SHOT - 1 :: SHOT][: SHOTS - 1]
    return {
        "kept": len(looks) == 1 and () not in looks,
        "asked": all(same_thing(reading, case.scene) for reading in readings),
        "cuts": bool((cuts > 2 * inner).all()),
    }

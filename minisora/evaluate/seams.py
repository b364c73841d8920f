"""The claims of directing: is what was given kept, is the seam smooth, is the thing still the same thing?"""

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from minisora.evaluate import fidelity
from minisora.evaluate.cases import SHOT, SHOTS, SIDE, Case
from minisora.worlds import shapes
from minisora.worlds.shapes import ShapesScene

NEAR, FOLLOWS = 1.5, 2.0
"""Pixels: how exactly a step at the seam keeps to the motion, and an edit or a preview to the tracks of its source."""
PHASES = 24
"""How finely a turn is divided where nobody can know how far it has come."""
STILL = 1.0
"""Gray levels: nobody sees what changes less from frame to frame."""
BORDER = 12.0
"""Gray levels between the two sides of a border that nobody sees."""
DETAIL = 1.1
"""How many times the detail of an enlarged clip a full-size one has at least."""
SAME = ("count", "shape", "color", "size")

Claims = dict[str, bool]


def same_thing(reading: fidelity.Reading, scene: ShapesScene) -> bool:
    """Shape, color, size and number are as the caption says."""
    claims = fidelity.compare(reading, scene).claims
    return all(claims[name] for name in SAME)


def nearest(reading: fidelity.Reading, truth: Tensor, at: int) -> Tensor:
    """(t, 2) the track that is nearest to where the thing really is in frame `at`; nowhere if there is none."""
    tracks = [seen.track for seen in reading.things] or [torch.full_like(truth, torch.inf)]
    return min(tracks, key=lambda track: float((track[at] - truth[at]).norm()))


def keeps_step(track: Tensor, truth: Tensor, at: int) -> bool:
    """From frame at - 1 to frame `at` the thing moves as it really does, within NEAR pixels."""
    return bool(((track[at] - track[at - 1]) - (truth[at] - truth[at - 1])).norm() <= NEAR)


def lawful(case: Case, given: int) -> Tensor:
    """(k, t, 2) the tracks that a thing may take after so many given frames.

    Two frames tell how it goes on; one does not tell how far a motion that repeats has come, so any will do.
    """
    if given > 1:
        assert case.real.state is not None
        return case.real.state.tracks
    (thing,), size = case.scene.things, case.real.shape
    scenes = [replace(case.scene, things=(replace(thing, phase=turn / PHASES),)) for turn in range(PHASES)]
    return torch.cat([shapes.state(scene, *size, case.real.fps).tracks for scene in scenes])


def goes_on(track: Tensor, truth: Tensor, made: slice) -> bool:
    """In the frames that were made the thing travels at least half as far as it really does."""
    traveled, ought = (some[made.start - 1 : made.stop].diff(dim=0).norm(dim=1).sum() for some in (track, truth))
    return bool(traveled >= ought / 2)


def steps(frames: Tensor) -> Tensor:
    """(t - 1,) how much each frame differs from the one before, in gray levels."""
    return frames.float().diff(dim=0).abs().mean((1, 2, 3))


def ordinary(frames: Tensor) -> Tensor:
    """() the step that a clip usually takes."""
    return steps(frames).median().clamp_min(STILL)


def is_smooth(frames: Tensor) -> bool:
    """No step is larger than twice an ordinary one of the clip."""
    return bool(steps(frames).max() <= 2 * ordinary(frames))


def continues(made: slice) -> Callable[[Tensor, Case], Claims]:
    """Judge a clip of which the frames `made` were generated and the others given.

    Whether it is the same thing is read from the generated frames alone: the given ones are real. After a single given
    frame the seam is two steps, which tell a law.
    """

    def judge(frames: Tensor, case: Case) -> Claims:
        assert case.real.state is not None
        reading, (truth,) = fidelity.read(frames, case.real.fps), case.real.state.tracks
        track = nearest(reading, truth, made.start - 1)
        borders = [at for at in (made.start, made.stop) if at < len(frames)] + [2] * (made.start == 1)
        asked = fidelity.compare(reading, case.scene).claims["motion"]
        return {
            "same": same_thing(fidelity.read(frames[made], case.real.fps), case.scene),
            "seam": any(all(keeps_step(track, law, at) for at in borders) for law in lawful(case, given=made.start)),
            "motion": asked and goes_on(track, truth, made),
            "smooth": is_smooth(frames),
        }

    return judge


def goes_round(frames: Tensor, case: Case) -> Claims:
    """The step from the last frame to the first is like those inside, it moves, and shows what was asked for.

    Like those inside: from their 5th to their 95th percentile, and a tenth beyond, since of fifteen steps of a real
    loop the seam's own may well be the largest. The thing has to be itself in the three frames on each side of it, too.
    """
    inner, seam = steps(frames), (frames[0].float() - frames[-1].float()).abs().mean()
    low, high = inner.quantile(torch.tensor([0.05, 0.95]))
    turned = frames.roll(len(frames) // 2, 0)
    readings = [fidelity.read(some, case.real.fps) for some in (frames, frames[:3], frames[-3:])]
    return {
        "same": all(same_thing(reading, case.scene) for reading in readings),
        "closes": bool(0.9 * low <= seam <= 1.1 * high),
        "moves": bool(inner.mean() >= steps(case.real.frames).mean() / 2),
        "direction": fidelity.check(turned, case.scene, case.real.fps).claims["motion"],
    }


def changes(asked: Sequence[str], wanted: Callable[[Case], ShapesScene]) -> Callable[[Tensor, Case], Claims]:
    """Judge an edit: the claims that were asked for are there, all else is as before, and the thing goes where it went.

    Where it went is read from the source as it is from the edit: a heart is found a pixel beside its middle in both.
    """

    def judge(frames: Tensor, case: Case) -> Claims:
        assert case.real.state is not None
        reading, (truth,) = fidelity.read(frames, case.real.fps), case.real.state.tracks
        found = fidelity.compare(reading, wanted(case)).claims
        source = nearest(fidelity.read(case.real.frames, case.real.fps), truth, 0)
        apart = [float((seen.track - source).norm(dim=1).max()) for seen in reading.things]
        return {
            "changed": all(found[name] for name in asked),
            "same": all(found[name] for name in (*SAME, "background") if name not in asked),
            "track": bool(apart) and min(apart) <= FOLLOWS,
        }

    return judge


def is_between(made: slice) -> Callable[[Tensor, Case], Claims]:
    """Judge a clip that goes from one clip to another in the frames `made`: neither a cross-fade nor a cut.

    Half-way a frame is one of this world, the thing of one of them, whole, counted and opaque; and no single step, the
    seams included, is half of the whole way.
    """

    def judge(frames: Tensor, case: Case) -> Claims:
        middle = fidelity.read(frames[len(frames) // 2][None])
        way = (frames[made.stop].float() - frames[made.start - 1].float()).abs().mean()
        largest = steps(frames)[made.start - 1 : made.stop].max()
        return {
            "halfway": any(same_thing(middle, scene) for scene in (case.scene, case.rival)),
            "gradual": bool(largest <= torch.maximum(way / 2, 2 * ordinary(frames))),
        }

    return judge


def turns(made: slice) -> Callable[[Tensor, Case], Claims]:
    """It begins as the one and ends as the other, and between them it is neither a cross-fade nor a cut."""

    def judge(frames: Tensor, case: Case) -> Claims:
        begins, ends = (fidelity.read(some) for some in (frames[:1], frames[-1:]))
        kept = {"begins": same_thing(begins, case.scene), "ends": same_thing(ends, case.rival)}
        return kept | is_between(made)(frames, case)

    return judge


def is_mended(frames: Tensor, case: Case) -> Claims:
    """The thing that was cut out is there again, and the border of the box cannot be seen in the middle frame."""
    grown = F.max_pool2d(case.box[None, None].float(), 3, 1, 1)[0, 0].bool()
    shrunk = ~F.max_pool2d((~case.box)[None, None].float(), 3, 1, 1)[0, 0].bool()
    middle = frames[len(frames) // 2].float()
    outside, inside = (middle[ring].median(0).values for ring in (grown & ~case.box, case.box & ~shrunk))
    border = bool((outside - inside).abs().mean() <= BORDER)
    return {"same": same_thing(fidelity.read(frames, case.real.fps), case.scene), "border": border}


def detail(frames: Tensor) -> Tensor:
    """() how sharp a clip is: how much a pixel differs from the mean of its four neighbors."""
    gray = frames.float().mean(-1)
    around = gray[:, 2:, 1:-1] + gray[:, :-2, 1:-1] + gray[:, 1:-1, 2:] + gray[:, 1:-1, :-2]
    return (gray[:, 1:-1, 1:-1] - around / 4).square().mean()


def keeps_layout(frames: Tensor, case: Case) -> Claims:
    """The full clip after the small one has as many things where they were, and is more than the small one enlarged."""
    halves = frames.chunk(2)
    small, full = (fidelity.read(half, case.real.fps).things for half in halves)
    far = [min((float((a.track - b.track).norm(dim=1).mean()) for b in full), default=torch.inf) for a in small]
    return {
        "layout": bool(small) and len(small) == len(full) and max(far) <= FOLLOWS * SIDE / 64,
        "detail": bool(detail(halves[1]) > DETAIL * detail(halves[0])),
    }


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

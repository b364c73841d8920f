"""What directing is judged by: unseen clips of the shapes world, and tricks that look plausible and are not it.

A still is no animation, a cross-fade no connection, a boomerang no loop, an average no blend.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import count

import torch
import torch.nn.functional as F
from torch import Tensor

from minisora.data.clip import Clip
from minisora.data.datasets import rendered
from minisora.evaluate.measure import FIRST
from minisora.generate.direct import GREY
from minisora.worlds import shapes
from minisora.worlds.language import BACKGROUNDS, COLORS
from minisora.worlds.shapes import ShapesScene, Thing, stands_out
from minisora.worlds.turning import turned

LENGTH, GIVEN, SIDE = 17, 9, 64
"""Frames of a real clip, how many of them an extension is given, and its height and width."""
GAP = slice(5, 12)
"""The frames that are filled."""
BRIDGE = 7
"""Frames between two clips that are connected."""
SHOT, SHOTS = 9, 3
"""Frames of a shot, and how many shots there are of one character."""
MARGIN = 4
"""Pixels around a thing that are made anew with it."""
CLEAR = 0.05
"""Short sides between two things, at least."""
ELSEWHERE = 1_000_000
"""From the seed of a scene to that of another one like it."""


@dataclass(frozen=True)
class Case:
    """A real clip of one thing, and another one for what needs two."""

    real: Clip
    scene: ShapesScene
    other: Clip
    rival: ShapesScene

    @classmethod
    def draw(cls, number: int, motion: str | Sequence[str] | None = None) -> "Case":
        first, second = (
            shapes.sample(FIRST + 2 * number + k, LENGTH / 8, count=1, style="flat", motion=motion) for k in (0, 1)
        )
        size = (LENGTH, SIDE, SIDE)
        return cls(rendered(first, size), first, rendered(second, size), second)

    @property
    def prompt(self) -> str:
        return shapes.caption(self.scene)

    @property
    def recolored(self) -> ShapesScene:
        """The same scene with its thing in the next color that stands out."""
        (thing,) = self.scene.things
        names = [name for name in COLORS if name != thing.color and stands_out(name, self.scene.background)]
        return replace(self.scene, things=(replace(thing, color=names[self.scene.seed % len(names)]),))

    @property
    def elsewhere(self) -> ShapesScene:
        """The same scene before another background."""
        return self._one_of(shapes.elsewhere(self.scene))

    @property
    def restyled(self) -> ShapesScene:
        """The same scene in another style."""
        return self._one_of(shapes.restyled(self.scene))

    def _one_of(self, scenes: Sequence[ShapesScene]) -> ShapesScene:
        return scenes[self.scene.seed % len(scenes)]

    @cached_property
    def accompanied(self) -> ShapesScene:
        """The same scene with another thing in it, which keeps clear of the one that is there."""
        (thing,), seconds, extent = self.scene.things, torch.linspace(0, 2, 33), torch.ones(2)
        track = shapes.centres(thing, seconds, extent)
        others = (
            shapes.sample(
                number, LENGTH / 8, count=1, style="flat", background=self.scene.background,
                color=[name for name in COLORS if name != thing.color],
            ).things[0]
            for number in count(self.scene.seed + ELSEWHERE, ELSEWHERE)
        )  # fmt: skip

        def is_clear(other: Thing) -> bool:
            apart = (shapes.centres(other, seconds, extent) - track).norm(dim=1).min()
            return bool(apart > thing.reach + other.reach + CLEAR)

        return replace(self.scene, things=(thing, next(filter(is_clear, others))))

    def again(self, number: int) -> ShapesScene:
        """A scene of the same thing somewhere else, and doing something else."""
        (thing,) = self.scene.things
        return shapes.sample(
            self.scene.seed + ELSEWHERE * (1 + number), LENGTH / 8, count=1, shape=thing.shape, color=thing.color,
            size=thing.size, style="flat", background=self.scene.background, held_out=None,
        )  # fmt: skip

    @cached_property
    def box(self) -> Tensor:
        """(h, w): True where the thing is in any frame, and a little around it."""
        assert self.real.state is not None
        (track,), reach = self.real.state.tracks, self.scene.things[0].reach * SIDE + MARGIN
        (left, top), (right, bottom) = track.amin(0) - reach, track.amax(0) + reach
        place = torch.arange(SIDE) + 0.5
        return ((place >= top) & (place <= bottom))[:, None] & ((place >= left) & (place <= right))


def still(case: Case) -> Tensor:
    return case.real.frames[:1].expand_as(case.real.frames)


def stopped(given: int) -> Callable[[Case], Tensor]:
    """So many real frames, one true step more, and nothing moves any longer."""
    return lambda case: torch.cat(
        [case.real.frames[: given + 1], case.real.frames[given][None].expand(LENGTH - given - 1, -1, -1, -1)]
    )


def repeated(case: Case) -> Tensor:
    return torch.cat([case.real.frames[:GIVEN], case.real.frames[GIVEN - 1 :][:1].expand(LENGTH - GIVEN, -1, -1, -1)])


def boomerang(case: Case) -> Tensor:
    return torch.cat([case.real.frames[:GIVEN], case.real.frames[: GIVEN - 1].flip(0)])


def faded(first: Tensor, second: Tensor, count: int) -> Tensor:
    """`count` frames from one frame to another, each a mean of both."""
    share = torch.linspace(0, 1, count + 2)[1:-1, None, None, None]
    return ((1 - share) * first.float() + share * second.float()).round().byte()


def interpolated(case: Case) -> Tensor:
    frames = case.real.frames.clone()
    frames[GAP] = faded(frames[GAP.start - 1], frames[GAP.stop], GAP.stop - GAP.start)
    return frames


def cross_fade(case: Case) -> Tensor:
    return _joined(case, faded(case.real.frames[-1], case.other.frames[0], BRIDGE))


def cut(case: Case) -> Tensor:
    return _joined(case, case.real.frames[-1:].expand(BRIDGE, -1, -1, -1))


def bridged(case: Case) -> Tensor:
    """A connection by hand: place and thing turn one after the other, while the thing goes on."""
    begin, end = LENGTH - 1, LENGTH + BRIDGE
    return turned(case.scene, case.rival, end + LENGTH, SIDE, SIDE, begin, end, later=end)


def _joined(case: Case, bridge: Tensor) -> Tensor:
    return torch.cat([case.real.frames, bridge, case.other.frames])


def mean(first: Tensor, second: Tensor) -> Tensor:
    return ((first.float() + second.float()) / 2).round().byte()


def average(case: Case) -> Tensor:
    return mean(case.real.frames, case.other.frames)


def overlaid(first: Tensor, second: Tensor) -> Tensor:
    """Both clips at once, the one fading out while the other fades in."""
    share = torch.linspace(0, 1, len(first))[:, None, None, None]
    return torch.lerp(first.float(), second.float(), share).round().byte()


def switched(case: Case) -> Tensor:
    """The first half of the one, the second half of the other."""
    half = LENGTH // 2
    return torch.cat([case.real.frames[:half], case.other.frames[half:]])


def blended(case: Case) -> Tensor:
    """A blend by hand: the same over the whole clip."""
    return turned(case.scene, case.rival, LENGTH, SIDE, SIDE, 0, LENGTH - 1)


def tinted(old: Sequence[float], new: Sequence[float], frames: Tensor) -> Tensor:
    """Everything shifted by as much as one color has to be to become another."""
    return (frames.float() + torch.tensor(new) - torch.tensor(old)).clamp(0, 255).round().byte()


def closed(case: Case) -> Tensor:
    """Three quarters of a round, and a cross-fade back to its beginning."""
    frames, last = case.real.frames[:-1], 3 * (LENGTH - 1) // 4
    return torch.cat([frames[:last], faded(frames[last - 1], frames[0], len(frames) - last)])


def doubled(case: Case) -> Tensor:
    """A clip that ends with its own first frame."""
    return torch.cat([case.real.frames[:-2], case.real.frames[:1]])


def pasted(case: Case) -> Tensor:
    """What is to come in laid over the clip, half transparent."""
    return mean(case.real.frames, rendered(case.accompanied, case.real.shape).frames)


def grey_box(case: Case) -> Tensor:
    return torch.where(case.box[..., None], torch.tensor(GREY, dtype=torch.uint8), case.real.frames)


def erased(case: Case) -> Tensor:
    """Nothing but background where the thing was."""
    color = torch.tensor(BACKGROUNDS[case.scene.background]).round().byte()
    return torch.where(case.box[..., None], color, case.real.frames)


def previewed(case: Case, full: ShapesScene | None = None) -> Tensor:
    """A small clip, as large as the full one after it."""
    small = rendered(case.scene, (LENGTH, 3 * SIDE // 4, 3 * SIDE // 4)).frames
    return torch.cat([enlarged(small), rendered(full or case.scene, (LENGTH, SIDE, SIDE)).frames])


def small_again(case: Case) -> Tensor:
    """The small clip for the full one, too."""
    small = previewed(case)[:LENGTH]
    return torch.cat([small, small])


def enlarged(frames: Tensor) -> Tensor:
    """(t, h, w, 3) at full height and width."""
    larger = F.interpolate(frames.movedim(-1, 1).float(), (SIDE, SIDE), mode="bilinear")
    return larger.movedim(1, -1).round().byte()


def shots(case: Case, alike: bool = True) -> Tensor:
    """Three shots of one thing, or of three things."""
    scenes = [case.again(number) for number in range(SHOTS)] if alike else [case.scene, case.rival, case.again(0)]
    return torch.cat([rendered(scene, (SHOT, SIDE, SIDE)).frames for scene in scenes])


def uncut(case: Case) -> Tensor:
    return rendered(case.scene, (SHOTS * SHOT + 2, SIDE, SIDE)).frames[: SHOTS * SHOT]

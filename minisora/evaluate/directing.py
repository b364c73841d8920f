"""Directing in numbers: is what was given kept, is the seam smooth, is the thing still the same thing?

Cases are unseen clips of the shapes world, so the truth about every frame is known. Each capability stands between a
floor, the real clip, and baselines that look plausible and are not it: a still is no animation, a cross-fade no
connection, a boomerang no loop.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from minisora.data.clip import Clip
from minisora.data.datasets import rendered
from minisora.evaluate import fidelity
from minisora.evaluate.measure import FIRST
from minisora.evaluate.report import Report
from minisora.evaluate.shares import MEAN, tally
from minisora.generate import direct
from minisora.generate.sora import Sora
from minisora.worlds import shapes
from minisora.worlds.language import COLORS
from minisora.worlds.shapes import ShapesScene, stands_out

LENGTH, GIVEN = 17, 9
"""Frames of a real clip, and how many of them an extension is given."""
GAP = slice(5, 12)
"""The frames that are filled."""
NEAR, FOLLOWS = 1.5, 2.0
"""Pixels: how exactly a step at the seam keeps to the motion, and an edit to the tracks of its source."""
STILL = 0.3
"""Gray levels: what changes less from frame to frame stands still."""
SAME = ("count", "shape", "color", "size")

Maker = Callable[[Sora, "Case", int], direct.Directed]


@dataclass(frozen=True)
class Case:
    """A real clip, and another one for what needs two."""

    real: Clip
    scene: ShapesScene
    other: Clip
    rival: ShapesScene

    @classmethod
    def draw(cls, number: int, motion: str | Sequence[str] | None = None) -> "Case":
        first, second = (
            shapes.sample(FIRST + 2 * number + k, LENGTH / 8, count=1, style="flat", motion=motion) for k in (0, 1)
        )
        size = (LENGTH, 64, 64)
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


@dataclass(frozen=True)
class Capability:
    """How to do it, how to judge it, what must lose against it, and what nothing can beat."""

    make: Maker
    judge: Callable[[Tensor, Case], Mapping[str, bool]]
    baselines: Mapping[str, Callable[[Case], Tensor]]
    floor: Callable[[Case], Tensor] | None
    given: Sequence[int] = ()
    """The frames that were given: how well the model itself renders them is told in decibels."""
    motion: tuple[str, ...] | None = None


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


def is_smooth(frames: Tensor, case: Case) -> bool:
    """No step is larger than twice an ordinary one of the real clip."""
    return bool(steps(frames).max() <= 2 * steps(case.real.frames).median().clamp_min(STILL))


def continues(at: int) -> Callable[[Tensor, Case], dict[str, bool]]:
    """Judge a clip that goes from given to generated frames at `at`."""

    def judge(frames: Tensor, case: Case) -> dict[str, bool]:
        reading = fidelity.read(frames, case.real.fps)
        return {
            "same": same_thing(reading, case.scene),
            "seam": keeps_step(reading, case, at),
            "smooth": is_smooth(frames, case),
        }

    return judge


def goes_round(frames: Tensor, case: Case) -> dict[str, bool]:
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


def is_changed(frames: Tensor, case: Case) -> dict[str, bool]:
    """The thing has its new color and all else of it, and goes where it went."""
    assert case.real.state is not None
    reading, wanted = fidelity.read(frames, case.real.fps), case.recolored
    apart = [float((seen.track - case.real.state.tracks[0]).norm(dim=1).max()) for seen in reading.things]
    return {
        "changed": fidelity.compare(reading, wanted).claims["color"],
        "same": same_thing(reading, wanted),
        "track": bool(apart) and min(apart) <= FOLLOWS,
    }


def is_whole(frames: Tensor, case: Case) -> dict[str, bool]:
    """Half-way between two clips, a frame is one of this world: the thing of one of them, whole, counted and opaque."""
    middle = fidelity.read(frames[len(frames) // 2][None])
    return {"halfway": any(same_thing(middle, scene) for scene in (case.scene, case.rival))}


def _still(case: Case) -> Tensor:
    return case.real.frames[:1].expand_as(case.real.frames)


def _repeated(case: Case) -> Tensor:
    return torch.cat([case.real.frames[:GIVEN], case.real.frames[GIVEN - 1 :][:1].expand(LENGTH - GIVEN, -1, -1, -1)])


def _boomerang(case: Case) -> Tensor:
    return torch.cat([case.real.frames[:GIVEN], case.real.frames[: GIVEN - 1].flip(0)])


def _faded(first: Tensor, second: Tensor, count: int) -> Tensor:
    """`count` frames from one frame to another, each a mean of both."""
    share = torch.linspace(0, 1, count + 2)[1:-1, None, None, None]
    return ((1 - share) * first.float() + share * second.float()).round().byte()


def _interpolated(case: Case) -> Tensor:
    frames = case.real.frames.clone()
    frames[GAP] = _faded(frames[GAP.start - 1], frames[GAP.stop], GAP.stop - GAP.start)
    return frames


def _cross_fade(case: Case) -> Tensor:
    between = _faded(case.real.frames[-1], case.other.frames[0], 7)
    return torch.cat([case.real.frames, between, case.other.frames])


def _gap() -> Tensor:
    mask = torch.zeros(LENGTH, dtype=torch.bool)
    mask[GAP] = True
    return mask


def _extended(sora: Sora, case: Case, seed: int) -> direct.Directed:
    given = Clip(case.real.frames[:GIVEN], case.real.fps)
    return direct.extend(sora, given, case.prompt, LENGTH - GIVEN, seed=seed)


CAPABILITIES: dict[str, Capability] = {
    "animate": Capability(
        lambda sora, case, seed: direct.animate(sora, case.real, case.prompt, LENGTH, seed=seed),
        continues(1), {"a still": _still}, lambda case: case.real.frames, [0],
    ),
    "extend": Capability(
        _extended, continues(GIVEN), {"the last frame repeated": _repeated, "boomerang": _boomerang},
        lambda case: case.real.frames, range(GIVEN),
    ),
    "fill": Capability(
        lambda sora, case, seed: direct.fill(sora, case.real, _gap(), case.prompt, seed=seed),
        continues(GAP.start), {"linear interpolation": _interpolated}, lambda case: case.real.frames,
        [*range(GAP.start), *range(GAP.stop, LENGTH)],
    ),
    "connect": Capability(
        lambda sora, case, seed: direct.connect(sora, case.real, case.other, shapes.caption(case.rival), 7, seed=seed),
        is_whole, {"cross-fade": _cross_fade}, None,
    ),
    "edit": Capability(
        lambda sora, case, seed: direct.edit(sora, case.real, shapes.caption(case.recolored), seed=seed),
        is_changed, {"no edit": lambda case: case.real.frames},
        lambda case: rendered(case.recolored, case.real.shape).frames,
    ),
    "loop": Capability(
        lambda sora, case, seed: direct.loop(sora, case.prompt, LENGTH - 1, seed=seed),
        goes_round, {"boomerang": lambda case: _boomerang(case)[:-1], "a still": lambda case: _still(case)[:-1]},
        lambda case: case.real.frames[:-1], motion=("clockwise", "counterclockwise"),
    ),
}  # fmt: skip
"""Loops are asked of what goes round in two seconds, so that a real one exists."""


@dataclass(frozen=True)
class Judged:
    """What came of one capability: a report for each case, by who made it, and what the model made of given frames."""

    reports: Mapping[str, Sequence[Report]]
    decibels: float | None
    shown: Sequence[Clip]

    def __str__(self) -> str:
        """A row for the model, for the floor and for each baseline; a column for each claim."""
        tallies = {who: tally(reports) for who, reports in self.reports.items()}
        names = [name for name in tallies["model"] if name != MEAN]
        lines = ["".join([f"{'':<26}", *(f"{name:<20}" for name in names)]).rstrip()]
        lines += [
            "".join([f"{who:<26}", *(f"{rows[name]!s:<20}" for name in names)]).rstrip()
            for who, rows in tallies.items()
        ]
        told = [] if self.decibels is None else [f"given frames, as the model decodes them: {self.decibels:.1f} dB"]
        return "\n".join(lines + told)

    def facts(self) -> dict[str, object]:
        rows = {who: {name: share.facts() for name, share in tally(some).items()} for who, some in self.reports.items()}
        return {"claims": rows, "decibels": self.decibels}


def judge(sora: Sora, name: str, n: int, seed: int = 0, tick: Callable[[], object] = lambda: None) -> Judged:
    """Do it `n` times and judge all: model, floor and baselines."""
    capability, reports, squared, shown = CAPABILITIES[name], dict[str, list[Report]](), list[Tensor](), list[Clip]()
    for number in range(n):
        case = Case.draw(number, capability.motion)
        made = capability.make(sora, case, seed * n + number)
        others = {"floor": capability.floor} if capability.floor else {}
        clips = {"model": made.frames} | {who: of(case) for who, of in (others | dict(capability.baselines)).items()}
        for who, frames in clips.items():
            reports.setdefault(who, []).append(Report(capability.judge(frames, case)))
        if len(capability.given) and made.raw is not None:
            places = list(capability.given)
            squared.append((made.raw[places].float() - case.real.frames[places].float()).square().mean())
        verdict = ", ".join(reports["model"][-1].failed) or "all right"
        shown += [replace(made, caption=f"{name}: {verdict}")] if number < 4 else []
        tick()
    decibels = 20 * torch.log10(255 / torch.stack(squared).mean().sqrt()).item() if squared else None
    return Judged(reports, decibels, shown)

"""Directing in numbers: every capability between a floor, the real clip, and tricks that look plausible and are not it.

The claims are those of seams.py, the clips and the tricks those of cases.py. Beside the floor stand the same real clips
as the model's VAE decodes them, with what was given put back as directing does: what a perfect transformer would make.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from minisora.data.clip import Clip
from minisora.data.datasets import rendered
from minisora.evaluate import cases
from minisora.evaluate.cases import BRIDGE, GAP, GIVEN, LENGTH, SHOT, SHOTS, Case
from minisora.evaluate.report import Report
from minisora.evaluate.seams import (
    changes,
    continues,
    goes_round,
    is_between,
    is_mended,
    is_one_character,
    keeps_layout,
    turns,
)  # fmt: skip
from minisora.evaluate.shares import MEAN, tally
from minisora.generate import direct
from minisora.generate.given import eased
from minisora.generate.sora import Sora
from minisora.worlds import shapes
from minisora.worlds.language import BACKGROUNDS, COLORS
from minisora.worlds.shapes import ShapesScene

Maker = Callable[[Sora, Case, int], direct.Directed]
Picture = Callable[[Case], Tensor]


def _frames(*places: int) -> Picture:
    """Whole frames, as a mask (t, 1, 1)."""

    def mask(case: Case) -> Tensor:
        marked = torch.zeros(LENGTH, 1, 1, dtype=torch.bool)
        marked[list(places)] = True
        return marked

    return mask


@dataclass(frozen=True)
class Capability:
    """How to do it, how to judge it, what must lose against it, and a clip that has every claim."""

    make: Maker
    judge: Callable[[Tensor, Case], Mapping[str, bool]]
    baselines: Mapping[str, Picture]
    floor: Picture
    given: Picture | None = None
    """The pixels that were given, a mask that fits (t, h, w): how well the model renders them is told in decibels."""
    coded: bool = True
    """Whether the floor can be held against itself as the VAE decodes it; a ring and clips of several shots cannot."""
    motion: tuple[str, ...] | None = None
    rivals: Mapping[str, Maker] = field(default_factory=dict)
    """Tricks that need the model, too."""


def _gap() -> Tensor:
    mask = torch.zeros(LENGTH, dtype=torch.bool)
    mask[GAP] = True
    return mask


def _extended(sora: Sora, case: Case, seed: int) -> direct.Directed:
    given = Clip(case.real.frames[:GIVEN], case.real.fps)
    return direct.extend(sora, given, case.prompt, LENGTH - GIVEN, seed=seed)


def _previewed(sora: Sora, case: Case, seed: int) -> direct.Directed:
    small, full = direct.preview(sora, case.prompt, case.real.shape, seed=seed)
    return replace(full, frames=torch.cat([cases.enlarged(small.frames), full.frames]))


def _shots(sora: Sora, case: Case, seed: int) -> direct.Directed:
    scenes = [case.again(number) for number in range(SHOTS)]
    return direct.storyboard(sora, [direct.Panel(shapes.caption(scene), SHOT, cut=True) for scene in scenes], seed=seed)


def _same_seed(sora: Sora, case: Case, seed: int) -> direct.Directed:
    """A small clip and a full one of the same prompt and seed, which do not know each other."""
    small, _ = direct.preview(sora, case.prompt, case.real.shape, seed=seed)
    (full,) = sora.generate(case.prompt, case.real.shape, seed=seed)
    return replace(small, frames=torch.cat([cases.enlarged(small.frames), full.frames]))


def _real(case: Case) -> Tensor:
    return case.real.frames


def _editing(asked: Sequence[str], wanted: Callable[[Case], ShapesScene], trick: str, tricked: Picture) -> Capability:
    """From the prompt of a case to that of the wanted scene, which differs in the claims that are asked for."""
    return Capability(
        lambda sora, case, seed: direct.edit(sora, case.real, shapes.caption(wanted(case)), seed=seed),
        changes(asked, wanted), {"no edit": _real, trick: tricked},
        lambda case: rendered(wanted(case), case.real.shape).frames,
    )  # fmt: skip


CAPABILITIES: dict[str, Capability] = {
    "animate": Capability(
        lambda sora, case, seed: direct.animate(sora, case.real, case.prompt, LENGTH, seed=seed),
        continues(slice(1, LENGTH)), {"a still": cases.still, "one step, then still": cases.stopped(1)},
        _real, _frames(0),
    ),
    "extend": Capability(
        _extended, continues(slice(GIVEN, LENGTH)),
        {
            "the last frame repeated": cases.repeated, "boomerang": cases.boomerang,
            "one step, then still": cases.stopped(GIVEN),
        },
        _real, _frames(*range(GIVEN)),
    ),
    "fill": Capability(
        lambda sora, case, seed: direct.fill(sora, case.real, _gap(), case.prompt, seed=seed),
        continues(GAP), {"linear interpolation": cases.interpolated},
        _real, _frames(*range(GAP.start), *range(GAP.stop, LENGTH)),
    ),
    "region": Capability(
        lambda sora, case, seed: direct.fill(sora, case.real, case.box, case.prompt, seed=seed),
        is_mended, {"a grey box": cases.grey_box, "nothing there": cases.erased}, _real, lambda case: ~case.box[None],
    ),
    "edit": _editing(
        ["color"], lambda case: case.recolored, "a color filter",
        lambda case: cases.tinted(
            COLORS[case.scene.things[0].color], COLORS[case.recolored.things[0].color], case.real.frames
        ),
    ),
    "background": _editing(
        ["background"], lambda case: case.elsewhere, "a color filter",
        lambda case: cases.tinted(
            BACKGROUNDS[case.scene.background], BACKGROUNDS[case.elsewhere.background], case.real.frames
        ),
    ),
    "restyle": _editing(
        ["style"], lambda case: case.restyled, "another in that style",
        lambda case: rendered(replace(case.again(0), style=case.restyled.style), case.real.shape).frames,
    ),
    "insert": _editing(["count", "motion"], lambda case: case.accompanied, "half transparent", cases.pasted),
    "loop": Capability(
        lambda sora, case, seed: direct.loop(sora, case.prompt, LENGTH - 1, seed=seed),
        goes_round,
        {
            "boomerang": lambda case: cases.boomerang(case)[:-1], "a still": lambda case: cases.still(case)[:-1],
            "the first frame again": cases.doubled, "cross-faded seam": cases.closed,
        },
        lambda case: case.real.frames[:-1], coded=False, motion=("clockwise", "counterclockwise"),
    ),
    "connect": Capability(
        lambda sora, case, seed: direct.connect(
            sora, case.real, case.other, case.prompt, BRIDGE, shapes.caption(case.rival), seed=seed
        ),
        is_between(slice(LENGTH, LENGTH + BRIDGE)), {"cross-fade": cases.cross_fade, "a still and a cut": cases.cut},
        cases.bridged, coded=False,
    ),
    "blend": Capability(
        lambda sora, case, seed: direct.blend(
            sora, case.real, case.other, case.prompt, shapes.caption(case.rival), seed=seed
        ),
        turns(slice(1, LENGTH - 1)),
        {
            "cross-fade": lambda case: cases.overlaid(case.real.frames, case.other.frames),
            "average": cases.average, "a cut": cases.switched,
        },
        cases.blended, _frames(0, LENGTH - 1),
    ),
    "shots": Capability(
        _shots, is_one_character,
        {"three characters": lambda case: cases.shots(case, alike=False), "no cut": cases.uncut},
        cases.shots, coded=False,
    ),
    "preview": Capability(
        _previewed, keeps_layout,
        {
            "another layout": lambda case: cases.previewed(case, case.again(0)),
            "the small one enlarged": cases.small_again,
        },
        cases.previewed, coded=False, rivals={"the same seed": _same_seed},
    ),
}  # fmt: skip
"""Loops are asked of what goes round in two seconds, so that a real one exists."""


@dataclass(frozen=True)
class Judged:
    """What came of one capability: a report for each case, by who made it, and what the model made of given frames."""

    reports: Mapping[str, Sequence[Report]]
    decibels: float | None
    shown: Sequence[direct.Directed]

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


def attempt(sora: Sora, name: str, number: int) -> tuple[Case, direct.Directed, Report]:
    """A case, what the model makes of it, with the verdict as its caption, and the verdict."""
    capability = CAPABILITIES[name]
    case = Case.draw(number, capability.motion)
    made = capability.make(sora, case, number)
    report = Report(capability.judge(made.frames, case))
    verdict = f"not {', '.join(report.failed)}" if report.failed else "all right"
    return case, replace(made, caption=f"{name}: {verdict}"), report


def judge(sora: Sora, name: str, n: int, seeds: int = 1, tick: Callable[[], object] = lambda: None) -> Judged:
    """Do it for `n` new cases in each of so many runs and judge all: model, floor and baselines."""
    capability, reports, squared, shown = CAPABILITIES[name], dict[str, list[Report]](), list[Tensor](), []
    for number in range(n * seeds):
        case, made, report = attempt(sora, name, number)
        reports.setdefault("model", []).append(report)
        clips = _beside(sora, case, capability)
        clips |= {who: rival(sora, case, number).frames for who, rival in capability.rivals.items()}
        for who, frames in clips.items():
            reports.setdefault(who, []).append(Report(capability.judge(frames, case)))
        if capability.given is not None and made.raw is not None:
            given = capability.given(case).expand(made.frames.shape[:3])
            squared.append((made.raw[given].float() - made.frames[given].float()).square().mean())
        shown += [made] if number < 4 else []
        tick()
    decibels = 20 * torch.log10(255 / torch.stack(squared).mean().sqrt()).item() if squared else None
    return Judged(reports, decibels, shown)


def _beside(sora: Sora, case: Case, capability: Capability) -> dict[str, Tensor]:
    """What the model's clip is held against, by name."""
    real, baselines = capability.floor(case), {who: of(case) for who, of in capability.baselines.items()}
    if not capability.coded:
        return {"floor": real} | baselines
    coded = sora.decode(sora.encode(Clip(real, case.real.fps)), case.real.shape).frames
    if capability.given is not None:
        coded = _put_back(real, coded, capability.given(case))
    return {"floor": real, "through the VAE": coded} | baselines


def _put_back(real: Tensor, coded: Tensor, given: Tensor) -> Tensor:
    """Decoded frames with what was given of them as it was, as `direct` does it: whole frames, or parts of each."""
    if given.shape[1:] == (1, 1):
        return eased(coded, real, given.flatten().nonzero().flatten().tolist())
    return torch.where(given[..., None], real, coded)

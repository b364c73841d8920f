"""How much of what prompts ask for a generator shows: unseen scenes, its clips of them, each judged by its checker.

Every number stands between two others: the floor (the checker on the real clips of the same scenes) and chance
(the generated clips, judged by another scene's prompt).
"""

import importlib
import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from types import ModuleType
from typing import Any

from minisora.core.errors import MinisoraError, check_choice
from minisora.data.clip import Clip, Size, size_name
from minisora.data.datasets import SEEDS, rendered
from minisora.evaluate.report import Report
from minisora.evaluate.shares import Share, tally
from minisora.generate.settings import Settings
from minisora.generate.sora import Sora
from minisora.worlds import Scene, world

CHECKERS = {
    "shapes": "fidelity", "physics": "physics", "occlusion": "permanence",
    "orbit": "geometry", "painter": "persistence", "craft": "rules",
}  # fmt: skip
# Training takes the scenes from 0 up (WorldClips of seed 0), its validation those of seed 1, the bundled samples those
# of seed 2026. These are nobody's. Only the seeds are new: a short prompt can come up in training by chance, which is
# why a held-out composition is the harder question.
FIRST = 2027 * SEEDS
LEAST = 0.7  # a checker that surely confirms less than this of its own world is no judge; one near 1 is a good one
SHOWN = 8

Generate = Callable[[Sequence[str], Sequence[int]], Sequence[Clip]]
"""generate(prompts, seeds): a clip of each prompt, from the noise of its seed."""


@dataclass(frozen=True)
class Plan:
    """What is asked of a generator: `n` scenes of a world in each of a number of runs, new scenes and noise in each.

    No scene is asked for twice and no two clips begin with one noise, so all are independent draws, and one interval
    can span the runs.
    """

    world: str = "shapes"
    n: int = 300
    runs: int = 3
    held_out: bool | None = None  # only compositions never trained on, only the others, or as they fall
    detail: str = "short"
    batch: int = 16

    def __post_init__(self) -> None:
        check_choice("world", self.world, CHECKERS)
        check_choice("caption detail", self.detail, ("short", "descriptive"))
        if not (1 <= self.n <= 10**6 and 1 <= self.runs <= 1000 and 1 <= self.batch <= 1000):
            raise MinisoraError(
                f"{self.n} clips of each of {self.runs} seeds in batches of {self.batch} cannot be measured: "
                "take 1 to 1000000, 1 to 1000 and 1 to 1000"
            )
        if self.held_out is not None and not self._holds_out():
            raise MinisoraError(f"{self.world} holds no compositions out, shapes does: leave out --held-out and --seen")

    def _holds_out(self) -> bool:
        return "held_out" in inspect.signature(world(self.world).sample).parameters

    @property
    def name(self) -> str:
        return self.world + {True: ", held out", False: ", seen", None: ""}[self.held_out]

    @property
    def total(self) -> int:
        return self.n * self.runs

    def scenes(self, size: Size, fps: float) -> list[Scene]:
        """The scenes of all runs, one run after another; and one more, so that each has a next one."""
        options: dict[str, Any] = {"held_out": self.held_out} if self._holds_out() else {}
        seconds = max(1.0, (size[0] - 1) / fps)
        return [world(self.world).sample(FIRST + place, seconds, **options) for place in range(self.total + 1)]

    def prompt(self, scene: Scene) -> str:
        return world(self.world).caption(scene, self.detail)

    def batches(self) -> list[range]:
        """The places of all clips, of those generated at once side by side. A clip's place is the seed of its noise."""
        return [range(start, min(start + self.batch, self.total)) for start in range(0, self.total, self.batch)]


@dataclass(frozen=True)
class Trial:
    """One prompt, and what the checker says of three clips."""

    run: int
    seed: int
    scene: Scene
    prompt: str
    made: Report  # the generated clip
    real: Report  # what the world renders: the floor
    other: Report  # the generated clip, held against the next scene's prompt: chance

    def facts(self) -> dict[str, Any]:
        wrong = {name: getattr(self, name).failed for name in ("made", "real", "other")}
        return {"scene": self.scene.seed, "prompt": self.prompt, "run": self.run, "seed": self.seed, "wrong": wrong}


@dataclass(frozen=True)
class Row:
    """A claim: how often it is right, the least and the most of single runs, and what it stands between."""

    made: Share
    runs: tuple[float, ...]
    floor: Share
    chance: Share | None  # no other scene made this claim

    def facts(self) -> dict[str, Any]:
        chance = self.chance.facts() if self.chance else None
        return self.made.facts() | {"runs": list(self.runs), "floor": self.floor.facts(), "chance": chance}

    def __str__(self) -> str:
        runs = f"{100 * min(self.runs):.1f} … {100 * max(self.runs):.1f}"
        return f"{self.made!s:<20}{runs:<16}{self.floor!s:<20}{self.chance or '–'!s}"


@dataclass(frozen=True)
class Measured:
    plan: Plan
    size: Size
    trials: tuple[Trial, ...]
    shown: tuple[Clip, ...]
    """The first clips; their captions begin with the verdict."""

    def rows(self) -> dict[str, Row]:
        runs = [tally([t.made for t in self.trials if t.run == run]) for run in range(self.plan.runs)]
        floor, chance = (tally([getattr(trial, name) for trial in self.trials]) for name in ("real", "other"))
        return {
            name: Row(made, tuple(run[name].value for run in runs if name in run), floor[name], chance.get(name))
            for name, made in tally([trial.made for trial in self.trials]).items()
        }

    def __str__(self) -> str:
        plan = self.plan
        head = f"{plan.name}: {plan.n} prompts of each of {plan.runs} seeds, {size_name(self.size)}; % (95 % interval)"
        columns = f"{'claim':<15}{'generated':<20}{'seeds':<16}{'floor':<20}chance"
        return "\n".join([head, columns, *(f"{name:<15}{row}" for name, row in self.rows().items())])

    def facts(self) -> dict[str, Any]:
        """All of it, for a JSON file."""
        claims = {name: row.facts() for name, row in self.rows().items()}
        return {"claims": claims, "clips": [trial.facts() for trial in self.trials]}


def checker_of(name: str) -> ModuleType:
    """The module whose `check(frames, scene, fps)` judges clips of a world."""
    return importlib.import_module(f"minisora.evaluate.{CHECKERS[check_choice('world', name, CHECKERS)]}")


def measure(
    plan: Plan, generate: Generate, size: Size, fps: float = 8.0, progress: Callable[[int], object] = lambda done: None
) -> Measured:
    """Judge a generator's clips of unseen scenes; `progress` hears of every clip, real or generated, that is done."""
    scenes, check = plan.scenes(size, fps), checker_of(plan.world).check
    real = _floor(plan, scenes[:-1], size, fps, progress)
    trials, shown = [], []
    for places in plan.batches():
        prompts = [plan.prompt(scenes[place]) for place in places]
        clips = generate(prompts, places)
        for place, prompt, clip in zip(places, prompts, clips, strict=True):
            if clip.shape != size:
                raise MinisoraError(f"the generator made a clip of {clip.size}, and {size_name(size)} was asked for")
            made, other = (check(clip.frames, scenes[one], fps) for one in (place, place + 1))
            trials.append(Trial(place // plan.n, place, scenes[place], prompt, made, real[place], other))
            if place < SHOWN:
                shown.append(replace(clip, caption=f"{_verdict(made)} | {prompt}"))
            progress(1)
    return Measured(plan, size, tuple(trials), tuple(shown))


def _floor(
    plan: Plan, scenes: Sequence[Scene], size: Size, fps: float, progress: Callable[[int], object]
) -> list[Report]:
    """The checker on real clips. It comes first, before minutes of generation that nobody could judge."""
    reports = []
    for scene in scenes:
        reports.append(checker_of(plan.world).check(rendered(scene, size, fps).frames, scene, fps))
        progress(1)
    share = Share(sum(report.ok for report in reports), len(reports))
    if share.interval[1] < LEAST:
        raise MinisoraError(
            f"the checker of {plan.world} confirms only {share.yes} of {share.of} real clips of {size_name(size)}, "
            "so it cannot judge this size: take a larger or longer one, such as 17x64x64"
        )
    return reports


def _verdict(report: Report) -> str:
    return "right" if report.ok else f"wrong: {', '.join(report.failed)}"


def clips_of(sora: Sora, settings: Settings) -> Generate:
    """A trained model as a generator to measure."""
    names = ("fps", "steps", "guidance", "shift", "negative", "sampler", "rescale", "eta", "interval")
    how = {name: getattr(settings, name) for name in names}

    def generate(prompts: Sequence[str], seeds: Sequence[int]) -> Sequence[Clip]:
        return sora.generate(prompts, settings.size, seed=seeds, **how)

    return generate

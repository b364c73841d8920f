"""Measuring a generator: a perfect one is at the floor, a blind one at chance, and a mixture is where it should be."""

import random
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import binom

from minisora import cli
from minisora.core.checkpoint import load_json
from minisora.core.errors import MinisoraError
from minisora.data import bundle
from minisora.data.clip import Clip
from minisora.data.datasets import SEEDS, WorldClips, rendered
from minisora.evaluate.measure import CHECKERS, Generate, Measured, Plan, clips_of, measure
from minisora.evaluate.report import Report
from minisora.evaluate.shares import ALL, MEAN, Share, tally
from minisora.generate.settings import settle
from minisora.generate.sora import Sora
from minisora.models.tokenizer import Tokenizer
from minisora.worlds import WORLDS, Scene, shapes
from minisora.zoo.presets import PRESETS
from tests import checking

SIZE = (9, 32, 32)
Run = Callable[..., int]


def generator_of(scenes: Sequence[Scene]) -> Generate:
    """A generator that renders these scenes, one for each prompt, whatever the prompt says."""
    clips = iter(rendered(scene, SIZE) for scene in scenes)

    def generate(prompts: Sequence[str], seeds: Sequence[int]) -> list[Clip]:
        return [next(clips) for _ in prompts]

    return generate


def perfect(plan: Plan) -> Generate:
    return generator_of(plan.scenes(SIZE, 8.0))


def blind(plan: Plan) -> Generate:
    """Each prompt gets the clip of the scene before it."""
    first, *others = plan.scenes(SIZE, 8.0)
    return generator_of([others[-1], first, *others])


def mixture(plan: Plan, p: float) -> Generate:
    scenes, rng = plan.scenes(SIZE, 8.0), random.Random(1)
    right = [rng.random() < p for _ in scenes]
    return generator_of(
        [scene if own else scenes[k - 1] for k, (scene, own) in enumerate(zip(scenes, right, strict=True))]
    )


def overlap(one: Share, other: Share) -> bool:
    return one.interval[0] <= other.interval[1] and other.interval[0] <= one.interval[1]


# --- laws of the measurement


@pytest.mark.parametrize("world", WORLDS)
def test_a_perfect_generator_is_at_the_floor(world: str):
    plan = Plan(world, n=5, runs=2, batch=4)
    measured = measure(plan, perfect(plan), SIZE)
    assert [trial.made for trial in measured.trials] == [trial.real for trial in measured.trials]
    for name, row in measured.rows().items():
        assert row.made == row.floor, name


def test_a_blind_generator_is_at_chance_and_a_perfect_one_is_not():
    plan = Plan(n=20, runs=2, held_out=False)
    known, unknown = measure(plan, perfect(plan), SIZE), measure(plan, blind(plan), SIZE)
    # chance is the clip of one scene and the words of the next; and that is what the blind one makes
    assert [trial.other for trial in known.trials[:-1]] == [trial.made for trial in unknown.trials[1:]]
    for name in (ALL, MEAN):
        row, row_blind = known.rows()[name], unknown.rows()[name]
        assert row.chance and row_blind.chance
        assert overlap(row_blind.made, row_blind.chance) and overlap(row_blind.made, row.chance)
        assert row.made.interval[0] > max(row.chance.interval[1], row_blind.made.interval[1])


@pytest.mark.parametrize("p", [0.3, 0.7])
def test_a_mixture_is_measured_within_its_interval(p: float):
    plan = Plan("physics", n=60, runs=2)
    low, high = measure(plan, mixture(plan, p), SIZE).rows()[ALL].made.interval
    assert low < p < high and high - low < 0.2


@pytest.fixture(scope="module")
def measured() -> Measured:
    plan = Plan("craft", n=7, runs=3, batch=3)
    return measure(plan, mixture(plan, 0.5), SIZE)


def test_the_counts_add_up(measured: Measured):
    rows, trials = measured.rows(), measured.trials
    assert rows[ALL].made.of == len(trials) == 21
    assert rows[ALL].made.yes == sum(not trial.facts()["wrong"]["made"] for trial in trials)
    for row in rows.values():
        assert sum(row.runs) / 3 == pytest.approx(row.made.value)  # runs are equally long
        assert row.made.of == row.floor.of == 21
    names = [name for name in rows if name not in (ALL, MEAN)]
    assert rows[MEAN].made.value == pytest.approx(sum(rows[name].made.value for name in names) / len(names))
    assert rows[ALL].made.value <= min(rows[name].made.value for name in names)


def test_the_first_clips_begin_with_their_verdict(measured: Measured):
    assert len(measured.shown) == 8
    for clip, trial in zip(measured.shown, measured.trials[:8], strict=True):
        assert clip.caption.startswith("right |" if trial.made.ok else "wrong: ")
        assert clip.caption.endswith(trial.prompt)
        assert all(name in clip.caption for name in trial.made.failed)


# --- the plan


def test_scenes_are_those_of_no_training_run():
    plan = Plan(n=10**6, runs=1000)
    first = replace(plan, n=1, runs=1).scenes(SIZE, 8.0)[0].seed
    last = first + plan.total
    for seed in (0, 1, bundle.SEED):  # training, its validation, the bundled samples
        source = WorldClips("shapes", SEEDS, seed).seed * SEEDS
        assert source + SEEDS <= first or last < source
    seeds = [scene.seed for scene in Plan(n=4, runs=3).scenes(SIZE, 8.0)]
    assert len(set(seeds)) == 13, "no scene is asked for twice"


@pytest.mark.parametrize("held_out", [True, False])
def test_held_out_compositions_are_apart(held_out: bool):
    for scene in Plan(n=10, runs=1, held_out=held_out).scenes(SIZE, 8.0):
        assert isinstance(scene, shapes.ShapesScene)
        kinds = [shapes.is_held_out(thing.shape, thing.color, thing.motion) for thing in scene.things]
        assert kinds[0] == held_out and not any(kinds[1:])


@pytest.mark.parametrize("n, runs, batch", [(7, 3, 3), (1, 1, 16), (4, 1, 1), (16, 2, 16), (5, 4, 2)])
def test_batches_hold_every_clip_once(n: int, runs: int, batch: int):
    plan = Plan(n=n, runs=runs, batch=batch)
    batches = plan.batches()
    assert [place for places in batches for place in places] == list(range(plan.total))
    assert all(len(places) <= batch for places in batches) and len(batches) == -(-plan.total // batch)


def test_no_two_clips_begin_with_one_noise():
    plan, seen = Plan("physics", n=5, runs=2, batch=4), list[int]()
    rendering = perfect(plan)

    def generate(prompts: Sequence[str], seeds: Sequence[int]) -> Sequence[Clip]:
        seen.extend(seeds)
        return rendering(prompts, seeds)

    trials = measure(plan, generate, SIZE).trials
    assert len(set(seen)) == plan.total and [trial.seed for trial in trials] == seen


def test_the_checkers_are_those_that_are_themselves_checked():
    assert CHECKERS == checking.CHECKERS and tuple(CHECKERS) == WORLDS


@pytest.mark.parametrize(
    "change, named",
    [
        ({"world": "oceans"}, "shapes, physics"), ({"n": 0}, "0 clips"), ({"runs": 0}, "0 seeds"),
        ({"batch": 0}, "batches of 0"), ({"detail": "long"}, "descriptive"),
        ({"world": "physics", "held_out": True}, "shapes does"),
    ],
)  # fmt: skip
def test_a_plan_that_cannot_be_is_refused(change: dict[str, object], named: str):
    with pytest.raises(MinisoraError, match=named) as caught:
        replace(Plan(), **change)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("world, size", [("occlusion", (1, 32, 32)), ("shapes", (9, 8, 8)), ("craft", (9, 12, 12))])
def test_a_size_that_cannot_be_judged_is_refused_before_anything_is_generated(world: str, size: tuple[int, int, int]):
    def never(prompts: Sequence[str], seeds: Sequence[int]) -> list[Clip]:
        raise AssertionError

    with pytest.raises(MinisoraError, match=r"real clips of .* take a larger or longer one") as caught:
        measure(Plan(world, n=8, runs=1), never, size)
    assert "\n" not in str(caught.value)


def test_a_generator_of_another_size_is_refused():
    plan = Plan("physics", n=2, runs=1)
    with pytest.raises(MinisoraError, match="9x32x32, and 9x32x40"):
        measure(plan, perfect(plan), (9, 32, 40))


# --- shares


def coverage(n: int, p: np.ndarray, width: float = 1.0) -> np.ndarray:
    """How often an interval from n answers, `width` times as wide, holds each p: a sum over all that can happen."""
    ends = np.array([Share(yes, n).interval for yes in range(n + 1)])
    middle, reach = ends.mean(1), width * (ends[:, 1] - ends[:, 0]) / 2
    holds = np.abs(p[:, None] - middle) <= reach + 1e-12
    return (binom.pmf(np.arange(n + 1), n, p[:, None]) * holds).sum(1)


@pytest.mark.parametrize("n", [10, 40, 300, 900])
def test_wilson_covers_the_truth_as_often_as_it_says(n: int):
    p = np.linspace(0.0005, 0.9995, 1000)
    assert coverage(n, p).mean() == pytest.approx(0.95, abs=0.01)
    assert coverage(n, p[50:-50]).min() > 0.88  # for a single p, it oscillates
    assert coverage(n, p, width=0.8).mean() < 0.92 and coverage(n, p, width=1.2).mean() > 0.965


def test_wilson_of_fractions_covers_too():
    """Means of five claims that hold or fail together, which vary as much as a coin, or on their own, and less."""
    rng = random.Random(3)
    for together in (0.0, 0.5, 1.0):
        inside = 0
        for _ in range(600):
            clips = []
            for _ in range(60):
                common = rng.random() < 0.7
                clips.append(sum(common if rng.random() < together else rng.random() < 0.7 for _ in range(5)) / 5)
            low, high = Share(sum(clips), 60).interval
            inside += low <= 0.7 <= high
        assert inside / 600 > 0.92


@pytest.mark.parametrize("yes, of", [(0, 1), (1, 1), (0, 300), (300, 300), (1, 3)])
def test_an_interval_holds_its_share_and_stays_in_bounds(yes: int, of: int):
    low, high = Share(yes, of).interval
    assert 0 <= low <= yes / of <= high + 1e-12 <= 1 + 1e-12 and high > low


def test_a_known_interval():
    """The example of Newcombe (1998): 81 of 263."""
    assert Share(81, 263).interval == pytest.approx((0.2553, 0.3662), abs=1e-4)


def test_a_tally_by_hand():
    shares = tally([Report({"a": True, "b": False}), Report({"a": True}), Report({"a": False, "b": True})])
    assert shares == {ALL: Share(1, 3), MEAN: Share(2, 3), "a": Share(2, 3), "b": Share(1, 2)}


# --- the command


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tiny = PRESETS["tiny"]
    preset = replace(
        tiny,
        vae=replace(tiny.vae, base=8),
        dit=replace(tiny.dit, patch=(1, 2, 2), width=48, heads=2, layers=1, mlp=96, text_width=32, text_length=256),
        text=replace(tiny.text, vocabulary=258, width=32, heads=2, mlp=48, layers=1),
    )
    return Sora.new(preset, Tokenizer(), device="cpu").save(tmp_path_factory.mktemp("model"), "fp32")


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    def command(*words: str) -> int:
        monkeypatch.setattr(
            sys, "argv", ["minisora", "evaluate", "fidelity", "--out", str(tmp_path / "f.json"), *words]
        )
        try:
            cli.main()
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    return command


def test_the_command_leaves_numbers_and_a_sheet(
    run: Run, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
):
    words = ["--preset", str(model), "--n", "3", "--seeds", "2", "--steps", "1", "--batch", "2", "--guidance", "2"]
    assert run(*words, "--worlds", "shapes", "--held-out", "--seen") == 0
    told, printed = load_json(tmp_path / "f.json"), "\n" + capsys.readouterr().out
    assert told["command"].startswith("minisora evaluate fidelity --out") and "--held-out" in told["command"]
    assert len(told["weights"]) == 64 and told["settings"]["guidance"] == 2 and "torch" in told["machine"]["libraries"]
    assert list(told["results"]) == ["shapes, held out", "shapes, seen"]
    for name, result in told["results"].items():
        assert len(result["clips"]) == result["claims"][ALL]["of"] == 6
        assert len(result["claims"]["motion"]["runs"]) == 2
        assert f"\n{name}: 3 prompts of each of 2 seeds, 9x32x32" in printed
    assert (tmp_path / "f.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    "words, named",
    [
        (["--worlds", "oceans"], "unknown world 'oceans'"), (["--n", "0"], "0 clips"), (["--worlds"], "name a world"),
        (["--worlds", "craft", "--seen"], "craft holds no compositions out"), (["--out", "a.png"], ".json"),
        (["--size", "1x8x8", "--n", "9"], "cannot judge this size"), (["--steps", "0"], "0 steps"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line(
    run: Run, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], named: str
):
    assert run("--preset", str(model), *words) == 2
    err = capsys.readouterr().err
    assert err.startswith("minisora: ") and named in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_model_is_measured_with_all_settings_that_are_asked_for() -> None:
    """Its shift and sampler, too: for a while they stood in the report and not in the clips."""
    sora = Sora.new("tiny", Tokenizer.train(["a red circle"], 300))
    settings = settle(sora.preset, "9x32x32", steps=2, guidance=1.5, shift=2.0, sampler="heun", negative="a star")
    (made,) = clips_of(sora, settings)(["a red circle"], [5])
    told = sora.generate(
        "a red circle", "9x32x32", seed=5, steps=2, guidance=1.5, shift=2.0, sampler="heun", negative="a star"
    )
    assert torch.equal(made.frames, told[0].frames)
    assert not torch.equal(made.frames, sora.generate("a red circle", "9x32x32", seed=5, steps=2)[0].frames)

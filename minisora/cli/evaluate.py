"""minisora evaluate: what a model can do, in numbers."""

import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import arg

from minisora.core.errors import MinisoraError

app = tyro.extras.SubcommandApp()


@app.command
def fidelity(
    preset: Annotated[str, arg(help="A preset, or a folder with a trained model.")] = "toy",
    n: Annotated[int, arg(help="Prompts of each world for each seed.")] = 300,
    worlds: Annotated[tuple[str, ...], arg(help="The toy worlds to ask for.")] = ("shapes",),
    held_out: Annotated[bool, arg(help="Compositions that are never trained on.")] = False,
    seen: Annotated[bool, arg(help="All other compositions; with --held-out, both are reported apart.")] = False,
    seeds: Annotated[int, arg(help="How many runs, each with scenes and noise of its own.")] = 3,
    size: Annotated[str | None, arg(help="frames x height x width; the preset's if not given.")] = None,
    steps: Annotated[int | None, arg(help="Steps of the sampler.")] = None,
    guidance: Annotated[float | None, arg(help="How far to go beyond what the prompt says.")] = None,
    shift: Annotated[float | None, arg(help="Above 1, more steps are spent on the noisy part.")] = None,
    sampler: Annotated[str | None, arg(help="euler, heun, unipc or sde.")] = None,
    batch: Annotated[int, arg(help="Clips generated at once.")] = 16,
    detail: Annotated[str, arg(help="Which captions are the prompts: short or descriptive.")] = "short",
    device: Annotated[str, arg(help="auto, cpu, cuda or cuda:1.")] = "auto",
    dtype: Annotated[str, arg(help="auto, fp32 or bf16.")] = "auto",
    out: Annotated[Path, arg(help="Where the numbers go, as .json; a sheet goes beside it.")] = Path(
        "out/fidelity.json"
    ),
) -> None:
    """How much of what unseen prompts ask for a model shows, beside real clips and another scene's prompts."""
    from minisora.evaluate.measure import Plan, clips_of
    from minisora.generate.settings import settle
    from minisora.generate.sora import Sora

    if out.suffix != ".json" or not worlds:
        raise MinisoraError(f"fidelity of {', '.join(worlds) or 'no world'} to {out}: name a world, and a .json file")
    kinds = [True] * held_out + [False] * seen or [None]
    plans = [Plan(world, n, seeds, kind, detail, batch) for world in worlds for kind in kinds]
    sora = Sora.from_pretrained(preset, device=device, dtype=dtype)
    settings = settle(sora.preset, size, steps=steps, guidance=guidance, shift=shift, sampler=sampler)
    recipe = {"preset": sora.name, "weights": sora.weights, "dtype": str(sora.dtype), "device": str(sora.device)}
    _measure(plans, clips_of(sora, settings), settings, recipe, out)


@app.command
def reconstruction(
    preset: Annotated[str, arg(help="A preset, or a folder with a trained model.")] = "toy",
    n: Annotated[int, arg(help="Clips of each world.")] = 50,
    worlds: Annotated[tuple[str, ...], arg(help="The toy worlds to show it; all if none is named.")] = (),
    size: Annotated[str | None, arg(help="frames x height x width; the preset's if not given.")] = None,
    device: Annotated[str, arg(help="auto, cpu, cuda or cuda:1.")] = "auto",
    out: Annotated[Path, arg(help="Where the numbers go, as .json; a sheet goes beside it.")] = Path(
        "out/reconstruction.json"
    ),
) -> None:
    """How much of unseen clips survives a model's VAE, world by world."""
    from tqdm import tqdm

    from minisora.core.checkpoint import save_json
    from minisora.data.clip import parse_size
    from minisora.evaluate.reconstruction import reconstruct, table
    from minisora.generate.sora import Sora
    from minisora.viz.sheets import write_sheet
    from minisora.worlds import WORLDS

    if n < 1 or out.suffix != ".json":
        raise MinisoraError(f"{n} clips of each world to {out}: take 1 or more, and a .json file")
    sora = Sora.from_pretrained(preset, device=device, dtype="fp32")
    shape, names = parse_size(size or sora.preset.size), worlds or WORLDS
    with tqdm(total=n * len(names), unit="clip", disable=None) as bar:
        results = [reconstruct(sora.vae, name, n, shape, sora.preset.fps, bar.update) for name in names]
    print(table(results))
    facts = {"command": command(), "preset": sora.name, "weights": sora.weights}
    save_json(out, facts | {"worlds": {result.world: result.facts() for result in results}})
    page = write_sheet(out.with_suffix(".png"), [clip for result in results for clip in result.shown])
    print(f"numbers: {out.resolve()}\nsheet, real clips above decoded ones: {page.resolve()}")


@app.command
def directing(
    preset: Annotated[str, arg(help="A preset, or a folder with a trained model.")] = "toy",
    n: Annotated[int, arg(help="Cases of each capability for each seed.")] = 34,
    only: Annotated[
        tuple[str, ...],
        arg(
            help="animate, extend, fill, region, edit, background, restyle, insert, loop, connect, blend, shots, "
            "preview; or all."
        ),
    ] = (),
    seeds: Annotated[int, arg(help="How many runs, each with cases and noise of its own.")] = 3,
    device: Annotated[str, arg(help="auto, cpu, cuda or cuda:1.")] = "auto",
    out: Annotated[Path, arg(help="Where the numbers go, as .json; a sheet goes beside it.")] = Path(
        "out/directing.json"
    ),
) -> None:
    """How well a model animates, extends, fills, edits, loops and more, beside real clips and cheap tricks."""
    from tqdm import tqdm

    from minisora.core.checkpoint import save_json
    from minisora.core.errors import check_choice
    from minisora.evaluate.directing import CAPABILITIES, judge
    from minisora.generate.sora import Sora
    from minisora.viz.sheets import write_sheet

    names = [check_choice("capability", name, CAPABILITIES) for name in only or CAPABILITIES]
    if min(n, seeds) < 1 or out.suffix != ".json":
        raise MinisoraError(f"{n} cases of {seeds} seeds to {out}: take 1 or more of each, and a .json file")
    sora, facts, shown = Sora.from_pretrained(preset, device=device), {}, []
    for name in names:
        with tqdm(desc=name, total=n * seeds, unit="clip", disable=None) as bar:
            judged = judge(sora, name, n, seeds, bar.update)
        facts[name] = judged.facts()
        save_json(out, {"command": command(), "preset": sora.name, "weights": sora.weights, "results": facts})
        print(f"{name}: {n * seeds} cases; % (95 % interval)\n{judged}\n", flush=True)
        shown += judged.shown
    print(f"numbers: {out.resolve()}\nsheet: {write_sheet(out.with_suffix('.png'), shown).resolve()}")


def command() -> str:
    """What was typed, so that a file of numbers says how to get them again."""
    return shlex.join(["minisora", *sys.argv[1:]])


def _measure(plans: Any, generate: Any, settings: Any, recipe: dict[str, Any], out: Path) -> None:
    """Measure, print the tables, and leave the numbers with how they came about, and a sheet of the first clips."""
    from dataclasses import asdict

    from tqdm import tqdm

    from minisora.core.checkpoint import save_json
    from minisora.core.machine import describe
    from minisora.evaluate.measure import measure
    from minisora.viz.sheets import write_sheet

    results, shown = {}, []
    recipe = {"command": command()} | recipe | {"settings": asdict(settings), "machine": describe()}
    for plan in plans:
        with tqdm(desc=plan.name, total=2 * plan.total, unit="clip", disable=None) as bar:  # real, then generated
            measured = measure(plan, generate, settings.size, settings.fps, bar.update)
        results[plan.name] = {"plan": asdict(plan)} | measured.facts()
        shown += measured.shown
        save_json(out, recipe | {"results": results})  # each as soon as it is there: the next one may fail
        print(f"{measured}\n")
    print(f"numbers: {out.resolve()}\nsheet: {write_sheet(out.with_suffix('.png'), shown).resolve()}")

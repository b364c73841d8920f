"""The command line: one thin command each, generated from signatures, with every import where it is used.

A user's mistake is printed as one line and ends with status 2; a bug keeps its traceback.
"""

import sys
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import OmitArgPrefixes, Positional, arg

from minisora.core.errors import MinisoraError, check_size
from minisora.core.recipe import Run

app = tyro.extras.SubcommandApp()
data = tyro.extras.SubcommandApp()
evaluate = tyro.extras.SubcommandApp()
SAMPLES = Path("data/worlds")


@app.command
def info() -> None:
    """What this machine has: versions, device, precision, memory, and which extras are missing; and the presets."""
    from minisora.core.machine import describe
    from minisora.zoo.presets import PRESETS, parameters

    for name, value in describe().items():
        print(f"{name:<12} {value}")
    print(f"\n{'preset':<16} {'video':<15} {'tokens':>8}   millions of parameters: DiT, VAE, text")
    for name, preset in PRESETS.items():
        size, (t, h, w), counts = "x".join(map(str, preset.size)), preset.grid, parameters(preset)
        millions = "".join(f"{counts[part] / 1e6:9.1f}" for part in ("dit", "vae", "text"))
        print(f"{name:<16} {size:<15} {t * h * w:>8,}   {millions}")


@data.command
def make(
    folder: Annotated[Path, arg(help="Where the samples, their sheet and their manifest go.")] = SAMPLES,
    clips: Annotated[int, arg(help="Clips of each world.")] = 72,
) -> None:
    """Render the bundled samples of every world, and write their manifest."""
    from minisora.data import bundle
    from minisora.data.datasets import WorldClips
    from minisora.viz.sheets import write_sheet
    from minisora.worlds import WORLDS

    if not 1 <= clips <= 10_000:
        raise MinisoraError(f"{clips} clips of each world are not a sample: ask for 1 to 10000")
    for name, entry in bundle.make(folder, clips)["files"].items():
        print(f"{folder / name}: {entry['clips']} clips, {entry['bytes'] / 2**20:.2f} MiB")
    one_of_each = [WorldClips(name, 1, seed=7, sizes=["17x128x128"])[0] for name in WORLDS]
    print(f"{write_sheet(folder / 'sheet.png', one_of_each, height=128)}: one clip of every world")


@data.command
def show(
    world: Annotated[Positional[str], arg(metavar="WORLD", help="One of the six toy worlds.")] = "shapes",
    prompt: Annotated[str, arg(help="Show what these words ask for, and not a world's seeds.")] = "",
    seed: Annotated[int, arg(help="The first seed.")] = 0,
    count: Annotated[int, arg(help="How many clips.")] = 4,
    size: Annotated[str, arg(help="frames x height x width.")] = "17x128x128",
    fps: Annotated[float, arg(help="Frames a second.")] = 8.0,
    detail: Annotated[str, arg(help="Which caption: short or descriptive.")] = "short",
    out: Annotated[Path, arg(help="Video file: .mp4, .gif or .png; a sheet goes beside it.")] = Path("out/show.mp4"),
) -> None:
    """Clips of a toy world: the first as a video, all of them as a sheet of their frames."""
    from minisora.data.clip import parse_size
    from minisora.data.datasets import rendered
    from minisora.data.video_io import write_video
    from minisora.viz.sheets import write_sheet
    from minisora.worlds import world as world_named
    from minisora.worlds.prompt import scene_for

    shape = parse_size(size)
    check_size(*shape, fps)
    seconds = min(120.0, max(1.0, (shape[0] - 1) / fps))
    if not 1 <= count <= 64:
        raise MinisoraError(f"{count} clips cannot be shown: ask for 1 to 64")
    if prompt:
        scenes = [scene_for(prompt, seed, seconds)]
        print(f"No model is bundled yet: the toy world '{scenes[0].world}' renders this clip, no network does.")
    else:
        scenes = [world_named(world).sample(seed + number, seconds) for number in range(count)]
    clips = [rendered(scene, shape, fps, detail) for scene in scenes]
    write_video(out, clips[0])
    page = write_sheet(out.with_name(f"{out.stem}-sheet.png"), clips)
    for clip in clips:
        print(f"{clip.source}: {clip.caption}")
    print(f"video: {out.resolve()} ({clips[0].size} at {fps:g} frames a second)\nsheet: {page.resolve()}")


@data.command
def check(folder: Annotated[Path, arg(help="The folder with the manifest.")] = SAMPLES) -> None:
    """Hold the bundled samples against their manifest, and every clip against the scene that it shows."""
    from minisora.data import bundle

    for line in bundle.check(folder):
        print(line)


@app.command
def train(
    name: Annotated[Positional[str], arg(metavar="PRESET", help="tiny, toy, small: `minisora info` lists them.")],
    stage: Annotated[str, arg(help="vae, then dit.")] = "vae",
    out: Annotated[Path, arg(help="Where checkpoints, logs and prepared clips go.")] = Path("out/train"),
    steps: Annotated[int | None, arg(help="Steps, if not as many as the preset says.")] = None,
    worlds: Annotated[tuple[str, ...], arg(help="The toy worlds to learn, one more often if named twice.")] = (),
    clips: Annotated[int, arg(help="Clips to render once and train on.")] = 6000,
    sizes: Annotated[tuple[str, ...], arg(help="frames x height x width, several if you like.")] = (),
    side: Annotated[int | None, arg(help="Train the VAE on random squares of this side.")] = None,
    perceptual: Annotated[float, arg(help="For the VAE: weight of the features that a critic sees.")] = 0.0,
    adversarial: Annotated[float, arg(help="For the VAE: weight of what a critic takes for real.")] = 0.0,
    run: Annotated[Run, OmitArgPrefixes] = Run(),
) -> None:
    """Train a preset on the toy worlds: first the video VAE, then the transformer on its latents."""
    from dataclasses import replace

    from minisora.core.errors import check_choice
    from minisora.data.datasets import WorldClips
    from minisora.train import stages
    from minisora.train.critic import Terms
    from minisora.train.vae import psnr
    from minisora.worlds import WORLDS
    from minisora.zoo.presets import preset

    chosen = preset(name)
    check_choice("stage", stage, ("vae", "dit"))
    recipe = replace(chosen.recipes[stage], steps=steps) if steps else chosen.recipes[stage]
    data = WorldClips(worlds or WORLDS, clips, sizes=sizes or (chosen.size,), fps=chosen.fps, detail="either")
    if stage == "vae":
        terms = Terms(perceptual, adversarial)
        vae = stages.train_vae(chosen, data, out, recipe=recipe, run=run, side=side, terms=terms)
        unseen = replace(data, seed=1, count=60)
        print(f"{out}: the VAE reconstructs 60 unseen clips at {psnr(vae, unseen):.1f} dB PSNR")
    else:
        _train_dit(name, chosen, data, out, recipe, run)


def _train_dit(name: str, chosen: Any, data: Any, out: Path, recipe: Any, run: Run) -> None:
    """Train the transformer, with sheets of samples on the way, and put a model together that generates."""
    from dataclasses import replace

    import torch

    from minisora.generate.sora import Sora
    from minisora.train import stages
    from minisora.viz.sheets import write_sheet

    def sora(vae: Any, learner: Any, tokenizer: Any) -> Sora:
        own = replace(chosen, text=learner.text.config)
        return Sora(name, own, vae, learner.dit, learner.text, tokenizer, learner.dit.table.device, torch.float32)

    brief = replace(data, detail="short", count=min(4, len(data)))
    shown = [brief[index] for index in range(len(brief))]

    def samples(steps: int, *trained: Any) -> None:
        takes = sora(*trained).generate([clip.caption for clip in shown], seed=0, steps=10)
        write_sheet(out / "samples" / f"{steps:06d}.png", takes)

    trained = stages.train_dit(chosen, data, out, recipe=recipe, run=run, callback=samples)
    print(f"trained; next: minisora generate PROMPT --preset {sora(*trained).save(out / 'model')}")


@app.command
def generate(
    prompt: Annotated[Positional[str], arg(metavar="PROMPT", help="What the video shows.")],
    preset: Annotated[str, arg(help="A preset, or a folder with a trained model.")] = "toy",
    weights: Annotated[Path | None, arg(help="Where open weights were downloaded to.")] = None,
    size: Annotated[str | None, arg(help="frames x height x width; the preset's if not given.")] = None,
    seed: Annotated[int, arg(help="Another seed, another video.")] = 0,
    n: Annotated[int, arg(help="How many videos, from as many seeds.")] = 1,
    steps: Annotated[int | None, arg(help="More are slower and finer.")] = None,
    guidance: Annotated[float | None, arg(help="How far to go beyond what the prompt says.")] = None,
    shift: Annotated[float | None, arg(help="Above 1, more steps are spent on the noisy part.")] = None,
    negative: Annotated[str | None, arg(help="What the video should not show.")] = None,
    sampler: Annotated[str | None, arg(help="euler, heun, unipc or sde.")] = None,
    fps: Annotated[float | None, arg(help="Frames a second.")] = None,
    device: Annotated[str, arg(help="auto, cpu, cuda or cuda:1.")] = "auto",
    dtype: Annotated[str, arg(help="auto, fp32 or bf16.")] = "auto",
    out: Annotated[Path, arg(help="Video file: .mp4, .gif or .png; a sheet goes beside it.")] = Path("out/video.mp4"),
) -> None:
    """A prompt to a video: each clip as a file that carries its recipe, and a sheet of them all."""
    from tqdm import tqdm

    from minisora.data.clip import parse_size
    from minisora.data.video_io import check_ending
    from minisora.generate.credits import write_take
    from minisora.generate.sora import Sora
    from minisora.viz.sheets import write_sheet

    sora = Sora.from_pretrained(preset, weights, device, dtype)
    ending = check_ending(out, parse_size(size or sora.preset.size)[0])  # before minutes of work
    total = (steps or sora.preset.sampling.steps) * (n if sampler == "sde" else 1)
    with tqdm(total=total, unit="step", disable=None) as bar:  # shown in a terminal only
        takes = sora.generate(
            prompt, size, seed=seed, n=n, steps=steps, guidance=guidance, shift=shift, negative=negative,
            sampler=sampler, fps=fps, callback=lambda step, t, clips: bar.update(),
        )  # fmt: skip
    for number, take in enumerate(takes):
        path = write_take(out.with_name(f"{out.stem}-{number + 1}{ending}") if number else out, take)
        print(f"video: {path.resolve()} ({take.size} at {take.fps:g} frames a second, {take.source})")
    print(f"sheet: {write_sheet(out.with_name(f'{out.stem}-sheet.png'), takes).resolve()}")


@evaluate.command
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
    settings = settle(sora.preset, size, steps=steps, guidance=guidance)
    recipe = {"preset": sora.name, "weights": sora.weights, "dtype": str(sora.dtype), "device": str(sora.device)}
    _measure(plans, clips_of(sora, settings), settings, recipe, out)


def _measure(plans: Any, generate: Any, settings: Any, recipe: dict[str, Any], out: Path) -> None:
    """Measure, print the tables, and leave the numbers with how they came about, and a sheet of the first clips."""
    import shlex
    from dataclasses import asdict

    from tqdm import tqdm

    from minisora.core.checkpoint import save_json
    from minisora.core.machine import describe
    from minisora.evaluate.measure import measure
    from minisora.viz.sheets import write_sheet

    results, shown = {}, []
    for plan in plans:
        with tqdm(desc=plan.name, total=2 * plan.total, unit="clip", disable=None) as bar:  # real, then generated
            measured = measure(plan, generate, settings.size, settings.fps, bar.update)
        results[plan.name] = {"plan": asdict(plan)} | measured.facts()
        shown += measured.shown
        print(f"{measured}\n")
    recipe = {"command": shlex.join(["minisora", *sys.argv[1:]])} | recipe
    save_json(out, recipe | {"settings": asdict(settings), "machine": describe(), "results": results})
    print(f"numbers: {out.resolve()}\nsheet: {write_sheet(out.with_suffix('.png'), shown).resolve()}")


app.command(data, name="data", help="The toy worlds and the bundled samples: make, show, check.")
app.command(evaluate, name="evaluate", help="What a model can do, in numbers: fidelity.")


def main() -> None:
    try:
        app.cli(prog="minisora", description="Build Sora from scratch: toy worlds, models, training, generation.")
    except MinisoraError as error:
        print(f"minisora: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("minisora: stopped", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()

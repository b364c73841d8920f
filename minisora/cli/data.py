"""minisora data: the toy worlds and the bundled samples."""

from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional, arg

from minisora.core.errors import MinisoraError, check_size

app = tyro.extras.SubcommandApp()
SAMPLES = Path("data/worlds")


@app.command
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


@app.command
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
        print(f"The toy world '{scenes[0].world}' renders this clip, no network does.")
    else:
        scenes = [world_named(world).sample(seed + number, seconds) for number in range(count)]
    clips = [rendered(scene, shape, fps, detail) for scene in scenes]
    write_video(out, clips[0])
    page = write_sheet(out.with_name(f"{out.stem}-sheet.png"), clips)
    for clip in clips:
        print(f"{clip.source}: {clip.caption}")
    print(f"video: {out.resolve()} ({clips[0].size} at {fps:g} frames a second)\nsheet: {page.resolve()}")


@app.command
def check(folder: Annotated[Path, arg(help="The folder with the manifest.")] = SAMPLES) -> None:
    """Hold the bundled samples against their manifest, and every clip against the scene that it shows."""
    from minisora.data import bundle

    for line in bundle.check(folder):
        print(line)

"""minisora direct: what Sora does with a video, one subcommand for each."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import tyro
from tyro.conf import OmitArgPrefixes, Positional, arg

from minisora.core.errors import MinisoraError

app = tyro.extras.SubcommandApp()
Prompt = Annotated[Positional[str], arg(metavar="PROMPT", help="What the video shows.")]
File = Annotated[Positional[Path], arg(metavar="CLIP", help="A video, GIF, image or folder of PNGs.")]


@dataclass(frozen=True)
class How:
    """How to generate, the same for all of them."""

    preset: str = "toy"
    """A preset, or a folder with a trained model."""
    seed: int = 0
    """Another seed, another video."""
    steps: int | None = None
    """More are slower and finer."""
    guidance: float | None = None
    """How far to go beyond what the prompt says."""
    out: Path = Path("out/directed.mp4")
    """Video file: .mp4 or .gif, or a new folder for PNGs; a sheet goes beside it."""

    def sora(self) -> Any:
        from minisora.data.video_io import check_ending
        from minisora.generate.sora import Sora

        check_ending(self.out, 2)  # before minutes of work
        return Sora.from_pretrained(self.preset)

    @property
    def options(self) -> dict[str, Any]:
        return {"seed": self.seed, "steps": self.steps, "guidance": self.guidance}


Given = Annotated[How, OmitArgPrefixes]


@app.command
def animate(clip: File, prompt: Prompt, frames: int | None = None, how: Given = How()) -> None:
    """A clip that begins with an image."""
    from minisora.generate import direct

    sora = how.sora()
    _keep(direct.animate(sora, _read(clip, sora), prompt, frames, **how.options), how)


@app.command
def extend(
    clip: File,
    prompt: Prompt,
    frames: int = 16,
    backward: bool = False,
    rough: Annotated[float, arg(help="Noise on what each hop sees, from 0 to 1; a little for very long clips.")] = 0.0,
    how: Given = How(),
) -> None:
    """So many more frames after a clip, or before it."""
    from minisora.generate import direct

    sora = how.sora()
    _keep(direct.extend(sora, _read(clip, sora), prompt, frames, backward, rough, **how.options), how)


@app.command
def connect(
    first: File,
    second: File,
    prompt: Prompt,
    frames: Annotated[int | None, arg(help="How many to generate in between.")] = None,
    toward: Annotated[str | None, arg(help="A prompt of its own for the second clip.")] = None,
    how: Given = How(),
) -> None:
    """One clip, then generated frames, then another clip."""
    from minisora.data.sizes import fit
    from minisora.generate import direct

    sora = how.sora()
    one, other = _read(first, sora), _read(second, sora)
    other = fit(other, [(len(other.frames), *one.shape[1:])])
    _keep(direct.connect(sora, one, other, prompt, frames, toward, **how.options), how)


@app.command
def blend(first: File, second: File, prompt: Prompt, toward: Prompt, how: Given = How()) -> None:
    """One clip of two: it begins as the first, under PROMPT, and turns half-way into the second, under TOWARD."""
    from minisora.data.sizes import fit
    from minisora.generate import direct

    sora = how.sora()
    one, other = _read(first, sora, whole=True), _read(second, sora, whole=True)
    one, other = (fit(clip, [(min(len(one.frames), len(other.frames)), *one.shape[1:])]) for clip in (one, other))
    _keep(direct.blend(sora, one, other, prompt, toward, **how.options), how)


@app.command
def fill(
    clip: File,
    prompt: Prompt,
    frames: Annotated[tuple[int, int] | None, arg(help="First and last of the file's frames to make anew.")] = None,
    box: Annotated[
        tuple[int, int, int, int] | None,
        arg(help="Top, left, bottom, right of a region instead, in the file's pixels."),
    ] = None,
    how: Given = How(),
) -> None:
    """Make some frames, or a region, anew and leave the rest as it is."""
    import torch

    from minisora.data.clip import Clip
    from minisora.data.video_io import read_video
    from minisora.generate import direct

    if (frames is None) == (box is None):
        raise MinisoraError("say what to make anew: --frames FIRST LAST, or --box TOP LEFT BOTTOM RIGHT")
    sora = how.sora()
    video = read_video(clip)
    marked = torch.zeros_like(video.frames)
    if frames:
        marked[max(0, frames[0]) : frames[1] + 1] = 255
    elif box:
        marked[:, max(0, box[0]) : max(0, box[2]), max(0, box[1]) : max(0, box[3])] = 255
    # the mask goes the same way as the video: to the model's rate and size
    given, mark = (_fitted(some, sora, whole=True) for some in (video, Clip(marked, video.fps)))
    mask = mark.frames[..., 0] > 127
    _keep(direct.fill(sora, given, mask[:, 0, 0] if frames else mask[0], prompt, **how.options), how)


@app.command
def edit(
    clip: File,
    prompt: Prompt,
    was: Annotated[str | None, arg(help="A prompt for the clip as it is: what both prompts say then stays.")] = None,
    strength: Annotated[
        float | None, arg(help="Show the model nothing, but begin there: from 0, as it was, to 1, something new.")
    ] = None,
    how: Given = How(),
) -> None:
    """The same clip under another prompt."""
    from minisora.generate import direct

    sora = how.sora()
    _keep(direct.edit(sora, _read(clip, sora, whole=True), prompt, was, strength, **how.options), how)


@app.command
def loop(prompt: Prompt, frames: int | None = None, how: Given = How()) -> None:
    """A clip that goes round without a seam."""
    from minisora.generate import direct

    _keep(direct.loop(how.sora(), prompt, frames, **how.options), how)


@app.command
def preview(prompt: Prompt, size: str | None = None, how: Given = How()) -> None:
    """A small clip quickly, and the full one with the same layout."""
    from minisora.generate import direct

    small, full = direct.preview(how.sora(), prompt, size, **how.options)
    _keep(full, how, beside=small)


@app.command
def views(
    prompt: Annotated[Positional[str], arg(metavar="PROMPT", help="A scene, and a camera that goes round it.")],
    count: Annotated[int, arg(help="How many views.")] = 4,
    size: str | None = None,
    how: Given = How(),
) -> None:
    """A scene at rest, seen from several sides."""
    from minisora.generate import direct

    _keep(direct.views(how.sora(), prompt, count, size=size, **how.options), how)


@app.command
def storyboard(
    board: Annotated[
        Positional[Path], arg(metavar="YAML", help="A list of panels: {prompt: …, frames: 17, cut: true}.")
    ],
    how: Given = How(),
) -> None:
    """Prompts on a time line as one clip, with or without cuts."""
    from minisora.generate import direct

    _keep(direct.storyboard(how.sora(), _panels(board), **how.options), how)


def _panels(board: Path) -> list[Any]:
    """A storyboard's file: a list of panels, or words to stand for others ("character: a red star") and `panels`."""
    import yaml

    from minisora.core.errors import one_line
    from minisora.generate.direct import Panel

    try:
        content = yaml.safe_load(board.read_text(encoding="utf-8"))
        words = dict(content) if isinstance(content, dict) else {"panels": content}
        return [
            Panel(str(panel["prompt"]).format(**words), int(panel["frames"]), bool(panel.get("cut", False)))
            for panel in words.pop("panels")
        ]
    except (OSError, UnicodeDecodeError, yaml.YAMLError, LookupError, TypeError, ValueError, AttributeError) as error:
        raise MinisoraError(
            f"{board} is no storyboard ({one_line(error)}): write lines such as '- {{prompt: it rises, frames: 17}}'"
        ) from error


def _read(path: Path, sora: Any, whole: bool = False) -> Any:
    from minisora.data.video_io import read_video

    return _fitted(read_video(path), sora, whole)


def _fitted(clip: Any, sora: Any, whole: bool) -> Any:
    """A clip at the model's rate and nearest native size; `whole` cuts it to a number of frames that can be encoded."""
    from minisora.data.sizes import at_rate, fit, native_sizes

    _, height, width = sora.preset.size
    side = sora.vae.config.compression[1] * sora.dit.config.patch[1]
    frames = len(at_rate(len(clip.frames), clip.fps, sora.preset.fps))
    frames -= (frames - 1) % sora.vae.config.compression[0] if whole else 0
    planes = {plane[1:] for plane in native_sizes(height * width, [1], side)}
    return fit(clip, [(frames, *plane) for plane in sorted(planes)], sora.preset.fps)


def _keep(made: Any, how: How, beside: Any = None) -> None:
    from minisora.generate.credits import write_take
    from minisora.viz.sheets import write_sheet

    path = write_take(how.out, made)
    print(f"video: {path.resolve()} ({made.size} at {made.fps:g} frames a second)")
    if beside is not None:
        small = write_take(how.out.with_name(f"{how.out.stem}-preview{how.out.suffix}"), beside)
        print(f"preview: {small.resolve()} ({beside.size})")
    print(f"sheet: {write_sheet(how.out.with_name(f'{how.out.stem}-sheet.png'), [made]).resolve()}")

"""minisora generate: a prompt to a video."""

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


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
    with tqdm(total=steps or sora.preset.sampling.steps, unit="step", disable=None) as bar:  # shown in a terminal only
        takes = sora.generate(
            prompt, size, seed=seed, n=n, steps=steps, guidance=guidance, shift=shift, negative=negative,
            sampler=sampler, fps=fps, callback=lambda step, t, clips: bar.update(),
        )  # fmt: skip
    for number, take in enumerate(takes):
        path = write_take(out.with_name(f"{out.stem}-{number + 1}{ending}") if number else out, take)
        print(f"video: {path.resolve()} ({take.size} at {take.fps:g} frames a second, {take.source})")
    print(f"sheet: {write_sheet(out.with_name(f'{out.stem}-sheet.png'), takes).resolve()}")

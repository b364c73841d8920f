"""Native sizes or square crops: two models of the same budget, and how often each cuts its subject off.

    python -m tests.benchmarks.crops [--minutes 5] [--n 200]

The clips are wide, 9x32x56, one flat thing each, which the world never cuts off. One model sees random squares of them,
as was usual for images and video; the other sees them as they are. Sora's report shows what comes of it, here it is
counted: a clip cuts its subject off if more than a speck of something else than background touches the border. The two
train side by side, a core each, with the same VAE and text encoder.
"""

import argparse
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from shutil import copy

import torch
from torch import Tensor

from minisora.core.machine import describe
from minisora.core.recipe import Run
from minisora.data.clip import Clip
from minisora.data.datasets import WorldClips
from minisora.evaluate.blobs import components
from minisora.evaluate.fidelity import APART, read_backdrop
from minisora.evaluate.measure import FIRST
from minisora.evaluate.shares import Share
from minisora.generate.sora import Sora
from minisora.train import stages
from minisora.train.vae import crop
from minisora.worlds import shapes
from minisora.zoo.presets import Preset, preset

WIDE, SQUARE = (9, 32, 56), (9, 32, 32)
ONE = {"count": 1, "style": "flat"}
CLIPS, SPECK = 3000, 4.0


@dataclass(frozen=True)
class Squares:
    """A random square of each clip."""

    clips: WorldClips

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, index: int) -> Clip:
        return crop(self.clips[index], index, SQUARE[1])


def data(size: tuple[int, int, int]) -> WorldClips | Squares:
    clips = WorldClips("shapes", CLIPS, sizes=[WIDE], constraints={"shapes": ONE})
    return clips if size == WIDE else Squares(clips)


def shaped(size: tuple[int, int, int]) -> Preset:
    return replace(preset("tiny"), size=size)


def cuts_off(frames: Tensor) -> bool:
    """Whether what is larger than a speck touches the border in two frames or more."""
    *_, backdrop = read_backdrop(frames)
    distance, (height, width) = (frames.float() - backdrop).norm(dim=-1), frames.shape[1:3]
    cut = set[int]()
    for frame, blob in components(distance > APART, distance.clamp_max(200) / 200):
        top, left, bottom, right = blob.box
        if blob.area > SPECK and (min(top, left) <= 0 or bottom >= height or right >= width):
            cut.add(frame)
    return len(cut) > 1


def learn(size: tuple[int, int, int], out: Path, minutes: float, n: int) -> list[bool]:
    """Train the transformer on clips of a size, ask it for `n` of them, and say which cut their subject off."""
    torch.set_num_threads(1)
    own = shaped(size)
    trained = stages.train_dit(own, data(size), out, run=Run(minutes=minutes))  # type: ignore[arg-type]
    sora = Sora.assemble("tiny", own, *trained)
    made: list[bool] = []
    for start in range(0, n, 50):
        scenes = [shapes.sample(FIRST + place, 1.0, **ONE) for place in range(start, min(start + 50, n))]  # type: ignore[arg-type]
        takes = sora.generate([shapes.caption(scene) for scene in scenes], seed=range(start, start + len(scenes)))
        made += [cuts_off(take.frames) for take in takes]
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--minutes",
        type=float,
        default=5.0,
        help="for each transformer; the VAE has a fifth of it, the text encoder a tenth",
    )
    parser.add_argument("--n", type=int, default=200)
    options = parser.parse_args()
    print(f"{describe()['device']}, {describe()['cores']}")
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(2, get_context("spawn")) as pool:
        outs = {size: Path(folder) / name for size, name in ((SQUARE, "square"), (WIDE, "wide"))}
        stages.train_vae(shaped(WIDE), data(WIDE), outs[WIDE], run=Run(minutes=options.minutes / 5, workers=2))  # type: ignore[arg-type]
        outs[SQUARE].mkdir(parents=True)
        captions = [data(WIDE).caption(index) for index in range(CLIPS)]  # type: ignore[union-attr]
        stages.train_text(shaped(WIDE), captions, outs[WIDE], run=Run(minutes=options.minutes / 10))
        for name in (stages.TRAINED, stages.READS, stages.WORDS):
            copy(outs[WIDE] / name, outs[SQUARE])
        jobs = {size: pool.submit(learn, size, out, options.minutes, options.n) for size, out in outs.items()}
        for size, job in jobs.items():
            real = [cuts_off(data(size)[index].frames) for index in range(options.n)]
            made = job.result()
            name = "native, 9x32x56" if size == WIDE else "square crops   "
            print(
                f"{name}: cut off in {Share(sum(made), len(made))} % of generated clips, "
                f"{Share(sum(real), len(real))} % of real ones"
            )


if __name__ == "__main__":
    main()

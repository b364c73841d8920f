"""Native sizes or square crops: two models of the same budget, and how often each cuts its subject off.

    python -m tests.benchmarks.crops [--minutes 8] [--n 150]

Clips are wide, 17x48x80, one flat thing each, which the world never cuts off. One model sees random squares of them, as
was usual for images and video; the other sees them as they are. Sora's report shows what comes of it, here it is
counted: a clip cuts its subject off if more than a speck of something else than background touches the border. Both go
on from the bundled toy, which cuts nothing off, side by side, a core each: the one difference is what they see.
"""

import argparse
import tempfile
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path

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
from minisora.models.text import TextEncoder
from minisora.models.tokenizer import Tokenizer
from minisora.train import stages
from minisora.train.vae import crop
from minisora.worlds import shapes

WIDE, SQUARE = (17, 48, 80), (17, 48, 48)
ONE = {"count": 1, "style": "flat"}
CLIPS, SPECK = 1500, 4.0
RATE = 0.1  # of the preset's, which are those of a beginner


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
    sora = Sora.from_pretrained("toy", device="cpu", dtype="fp32")
    own, recipe = replace(sora.preset, size=size), sora.preset.recipes["dit"]
    assert recipe.matrix_rate and isinstance(sora.text, TextEncoder) and isinstance(sora.tokenizer, Tokenizer)
    recipe = replace(recipe, batch=16, rate=RATE * recipe.rate, matrix_rate=RATE * recipe.matrix_rate, ema=0.98)
    begun = stages.Trained(sora.vae, sora.dit, sora.text, sora.tokenizer)
    trained = stages.train_dit(own, data(size), out, recipe=recipe, run=Run(minutes=minutes), begun=begun)
    taught = Sora.from_pretrained(Sora.assemble("toy", own, *trained).save(out / "model"), device="cpu")
    made: list[bool] = []
    for start in range(0, n, 50):
        scenes = [shapes.sample(FIRST + place, 2.0, **ONE) for place in range(start, min(start + 50, n))]  # type: ignore[arg-type]
        takes = taught.generate([shapes.caption(scene) for scene in scenes], seed=range(start, start + len(scenes)))
        made += [cuts_off(take.frames) for take in takes]
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=8.0)
    parser.add_argument("--n", type=int, default=150)
    options = parser.parse_args()
    print(f"{describe()['device']}, {describe()['cores']}")
    with tempfile.TemporaryDirectory() as folder, ProcessPoolExecutor(2, get_context("spawn")) as pool:
        outs = {size: Path(folder) / name for size, name in ((SQUARE, "square"), (WIDE, "wide"))}
        jobs = {size: pool.submit(learn, size, out, options.minutes, options.n) for size, out in outs.items()}
        for size, job in jobs.items():
            real = [cuts_off(data(size)[index].frames) for index in range(options.n)]
            made = job.result()
            name = "native, 17x48x80" if size == WIDE else "square crops    "
            print(
                f"{name}: cut off in {Share(sum(made), len(made))} % of generated clips, "
                f"{Share(sum(real), len(real))} % of real ones"
            )


if __name__ == "__main__":
    main()

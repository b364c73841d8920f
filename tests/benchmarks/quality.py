"""Train to quality: `tiny` from nothing, VAE included, then how often its clips show what prompts ask for.

    OMP_NUM_THREADS=1 torchrun --standalone --nproc-per-node 2 -m tests.benchmarks.quality [--minutes 6] [--out DIR]

One flat thing on a plain background, 9x32x32. All of it counts: drawing clips, components, VAE, text encoder, latents,
transformer.
Judged on scenes that nothing was trained on, guidance as the preset says; the floor is the checker on real clips.
"""

import argparse
import os
import shutil
import tempfile
import time
from pathlib import Path

import torch

from minisora.core.machine import describe
from minisora.core.recipe import Run
from minisora.core.runtime import ranks
from minisora.data.clip import Clip
from minisora.data.datasets import WorldClips, rendered
from minisora.evaluate import fidelity
from minisora.evaluate.measure import FIRST
from minisora.evaluate.shares import tally
from minisora.generate.sora import Sora
from minisora.train import stages
from minisora.worlds import shapes
from minisora.zoo.presets import preset

ONE = {"count": 1, "style": "flat"}
CLIPS, ASKED = 6000, 300


def train(minutes: float, out: Path) -> Sora:
    """The recipes of the preset, cut to a budget: what is left of it after all else is the DiT's."""
    begin, tiny = time.monotonic(), preset("tiny")
    clips = WorldClips("shapes", CLIPS, sizes=[tiny.size], fps=tiny.fps, constraints={"shapes": ONE})
    stages.train_vae(tiny, clips, out, run=Run(minutes=0.05 * minutes, workers=2))
    stages.train_text(tiny, [clips.caption(index) for index in range(CLIPS)], out, run=Run(minutes=0.04 * minutes))
    before = (time.monotonic() - begin) / 60
    trained = stages.train_dit(tiny, clips, out, run=Run(minutes=minutes - before - 0.25, workers=2))
    spent = (time.monotonic() - begin) / 60
    if ranks().main:
        print(f"trained in {spent:.2f} minutes, of which {before:.2f} before the latents")
    return Sora.assemble("tiny", tiny, *trained)


def judge(sora: Sora) -> None:
    scenes = [shapes.sample(FIRST + place, 1.0, **ONE) for place in range(ASKED)]  # type: ignore[arg-type]
    made: list[Clip] = []
    for start in range(0, ASKED, 50):
        prompts = [shapes.caption(scene) for scene in scenes[start : start + 50]]
        made += sora.generate(prompts, seed=range(start, start + len(prompts)))
    real = [rendered(scene, sora.preset.size, sora.preset.fps) for scene in scenes]
    for name, clips in (("generated", made), ("floor", real), ("chance", made[1:] + made[:1])):
        reports = [fidelity.check(clip.frames, scene, clip.fps) for clip, scene in zip(clips, scenes, strict=True)]
        print(f"{name:<10}" + "  ".join(f"{claim} {100 * share.value:.1f}" for claim, share in tally(reports).items()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=6.0)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(max(1, 2 // ranks().world))
    folder = Path(tempfile.gettempdir()) / f"quality-{os.environ.get('TORCHELASTIC_RUN_ID', os.getpid())}"
    sora = train(options.minutes, folder)  # one folder for both ranks
    if ranks().main:
        print("\n".join(f"{name:10s} {value}" for name, value in describe().items() if name in ("device", "cores")))
        judge(sora)
        if options.out is not None:
            print(f"saved: {sora.save(options.out)}")
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()

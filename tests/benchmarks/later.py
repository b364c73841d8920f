"""What the bundled `toy` learned later, as low-rank additions to its weights: things that turn, gaps, edits.

    python -m tests.benchmarks.later turning|gaps|edits --out OUT [--minutes 35] [--rank 32] [--kept 24]

Half a minute of a GPU (--batch-scale 8), or half an hour of one CPU core. All else that the model does
stays exactly as it was. What comes out is a folder for `--preset`.
"""

import argparse
import copy
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from minisora.core.recipe import Recipe
from minisora.core.runtime import pick_device
from minisora.generate import folder as folders
from minisora.models.lora import addition, attach, truncated
from minisora.nn.causal import CausalConv
from tests.benchmarks import static
from tests.benchmarks.artists import Artists, Wanted
from tests.benchmarks.static import Group, Pool
from tests.benchmarks.toy import SEED, WANTED, pool, read, train_dit

SHIFT = 5.0


@dataclass(frozen=True)
class Lesson:
    """Clips of which some is known: so many first latents and single frames, or all that was there before an edit."""

    wanted: Wanted
    clips: int
    """In one step."""
    before: int = 0


LESSONS = {
    "turning": {
        "connected": Lesson(WANTED["connected"], clips=10, before=2),
        "blended": Lesson(WANTED["blended"], clips=6, before=1),
    },
    "gaps": {
        "5 to 11": Lesson(WANTED["gaps"], clips=8, before=2),
        "3 to 9": Lesson(Wanted(0, known=(1, 2, 10, 11, 12, 13, 16)), clips=3, before=1),
        "7 to 13": Lesson(Wanted(0, known=(5, 6, 14, 15, 16)), clips=3, before=2),
        "9 to 14": Lesson(Wanted(0, known=(15, 16)), clips=2, before=3),
    },
    "edits": {"edited": Lesson(Wanted(0, edited=True), clips=16)},
}
"""Gaps are those of a clip that goes on as it was, with what `direct.fill` gives of it."""


def groups(pools: dict[str, Pool], lessons: dict[str, Lesson], stride: int, scale: float) -> list[Group]:
    counts = {name: max(1, int(lesson.clips * scale)) for name, lesson in lessons.items()}
    return [
        static.with_region(pools[name], counts[name])
        if lesson.wanted.edited
        else static.between(pools[name], counts[name], stride, lesson.before)
        for name, lesson in lessons.items()
    ]


def main() -> None:
    asked = arguments()
    torch.manual_seed(asked.seed)
    torch.set_float32_matmul_precision("high")
    device, CausalConv.forward = pick_device(), static.flat_forward  # type: ignore[method-assign]
    folder = folders.bundled("toy") if asked.init == "toy" else Path(asked.init)
    model = folders.load(folder, torch.float32, device)
    lessons, total = LESSONS[asked.what], sum(lesson.clips for lesson in LESSONS[asked.what].values())
    kinds = {
        name: replace(lesson.wanted, count=asked.clips * lesson.clips // total) for name, lesson in lessons.items()
    }
    artists, words = Artists(kinds, SEED + 100 * asked.seed, asked.folder), dict[str, int]()
    try:
        pools = {name: pool(model.vae.eval(), artists, name, words, device) for name in kinds}
        captions = read(model.text.eval(), artists.spell(model.tokenizer, words))
    finally:
        artists.pool.shutdown(cancel_futures=True)

    dit, stride = attach(copy.deepcopy(model.dit), asked.rank), model.preset.vae.compression[0]
    recipe = Recipe(rate=asked.rate, matrix_rate=0.0, warmup=20, decay=0.7, ema=0.98)
    average = train_dit(
        dit, lambda: groups(pools, lessons, stride, asked.batch_scale), captions, recipe,
        lambda: 60 * asked.minutes, SHIFT, stage=asked.what,
    )  # fmt: skip

    models = {"vae": model.vae, "text": model.text, "dit": model.dit}
    learned = model.additions | {asked.what: truncated(addition(average), asked.kept)}
    folders.save(asked.out, model.name, model.preset, models, model.tokenizer, torch.bfloat16, learned)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=LESSONS)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", default="toy", help="a model's folder, or toy")
    parser.add_argument("--minutes", type=float, default=35)
    parser.add_argument("--batch-scale", type=float, default=1.0, help="times 16 clips in a step")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--rank", type=int, default=32, help="of what is learned")
    parser.add_argument("--kept", type=int, default=24, help="of what is kept of it")
    parser.add_argument("--clips", type=int, default=12_000, help="in all")
    parser.add_argument("--seed", type=int, default=78)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm/later"), help="where drawn clips wait")
    return parser.parse_args()


if __name__ == "__main__":
    main()

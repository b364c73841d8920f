"""How the bundled `toy` learned to turn one thing into another: a low-rank addition to its weights.

    python -m tests.benchmarks.turning --out OUT [--minutes 35] [--batch-scale 1] [--rank 32] [--kept 24]

A minute or two of a GPU (--batch-scale 8), or the better part of an hour of one CPU core. All else that the model does
stays exactly as it was. What comes out is a folder for `--preset`.
"""

import argparse
import copy
from dataclasses import replace
from pathlib import Path

import torch

from minisora.core.recipe import Recipe
from minisora.core.runtime import pick_device
from minisora.generate import folder as folders
from minisora.models.lora import addition, attach, truncated
from minisora.nn.causal import CausalConv
from tests.benchmarks import static
from tests.benchmarks.artists import Artists
from tests.benchmarks.static import Group, Pool
from tests.benchmarks.toy import SEED, WANTED, pool, read, train_dit

SHIFT = 5.0


def groups(pools: dict[str, Pool], stride: int, scale: float) -> list[Group]:
    return [
        static.between(pools["connected"], max(1, int(10 * scale)), stride, 2),
        static.between(pools["blended"], max(1, int(6 * scale)), stride, 1),
    ]


def main() -> None:
    asked = arguments()
    torch.manual_seed(asked.seed)
    torch.set_float32_matmul_precision("high")
    device, CausalConv.forward = pick_device(), static.flat_forward  # type: ignore[method-assign]
    folder = folders.bundled("toy") if asked.init == "toy" else Path(asked.init)
    model = folders.load(folder, torch.float32, device)
    kinds = {name: replace(WANTED[name], count=asked.clips) for name in ("connected", "blended")}
    artists, words = Artists(kinds, SEED + 100 * asked.seed, asked.folder), dict[str, int]()
    try:
        pools = {name: pool(model.vae.eval(), artists, name, words, device) for name in kinds}
        captions = read(model.text.eval(), artists.spell(model.tokenizer, words))
    finally:
        artists.pool.shutdown(cancel_futures=True)

    dit, stride = attach(copy.deepcopy(model.dit), asked.rank), model.preset.vae.compression[0]
    recipe = Recipe(rate=asked.rate, matrix_rate=0.0, warmup=20, decay=0.7, ema=0.98)
    average = train_dit(
        dit, lambda: groups(pools, stride, asked.batch_scale), captions, recipe, lambda: 60 * asked.minutes, SHIFT,
        stage="turning",
    )  # fmt: skip

    models = {"vae": model.vae, "text": model.text, "dit": model.dit}
    learned = {"turning": truncated(addition(average), asked.kept)}
    folders.save(asked.out, model.name, model.preset, models, model.tokenizer, torch.bfloat16, learned)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", default="toy", help="a model's folder, or toy")
    parser.add_argument("--minutes", type=float, default=35)
    parser.add_argument("--batch-scale", type=float, default=1.0, help="times 16 clips in a step")
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--rank", type=int, default=32, help="of what is learned")
    parser.add_argument("--kept", type=int, default=24, help="of what is kept of it")
    parser.add_argument("--clips", type=int, default=6000, help="of each kind")
    parser.add_argument("--seed", type=int, default=78)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm/turning"), help="where drawn clips wait")
    return parser.parse_args()


if __name__ == "__main__":
    main()

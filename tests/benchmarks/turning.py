"""How the bundled `toy` learned to turn one thing into another, on one CPU core: a low-rank addition to its weights.

    OMP_NUM_THREADS=1 python -m tests.benchmarks.turning --out OUT [--minutes 35] [--rank 32] [--kept 24]

All else that the model does stays exactly as it was. What comes out is a folder for `--preset`.
"""

import argparse
import copy
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, nn

from minisora.core.runtime import pick_device
from minisora.generate.sora import Sora
from minisora.models.lora import addition, attach, truncated
from minisora.nn.causal import CausalConv
from minisora.train.ema import kept
from tests.benchmarks import static
from tests.benchmarks.artists import Artists
from tests.benchmarks.static import Captions, Group, Pool
from tests.benchmarks.toy import SEED, WANTED, pool, read, tell

SHIFT, WARMUP, DECAY, EMA = 5.0, 20, 0.7, 0.98


def groups(pools: dict[str, Pool], stride: int) -> list[Group]:
    return [static.between(pools["connected"], 10, stride, 2), static.between(pools["blended"], 6, stride, 1)]


def learn(model: nn.Module, make_loss: Callable[[], Tensor], rate: float, minutes: float) -> Iterator[dict[str, float]]:
    """Train what is not frozen; in the end it is its own average over the last steps."""
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    average = [parameter.detach().clone() for parameter in learnt]
    optimiser = torch.optim.AdamW(learnt, rate, (0.9, 0.97), weight_decay=0.0)
    begun, step, total = time.monotonic(), 0, 0.0
    while (share := (time.monotonic() - begun) / (60 * minutes)) < 1:
        optimiser.param_groups[0]["lr"] = rate * min(1.0, (step + 1) / WARMUP, (1 - share) / DECAY)
        loss = make_loss()
        loss.backward()
        nn.utils.clip_grad_norm_(learnt, 1.0)
        optimiser.step()
        optimiser.zero_grad()
        torch._foreach_lerp_(average, [parameter.detach() for parameter in learnt], 1 - kept(EMA, step))
        step, total = step + 1, total + loss.item()
        if step % 25 == 0:
            yield {"step": step, "loss": total / 25, "seconds": time.monotonic() - begun}
            total = 0.0
    for parameter, mean in zip(learnt, average, strict=True):
        parameter.data.copy_(mean)


def main() -> None:
    asked = arguments()
    torch.manual_seed(asked.seed)
    device, CausalConv.forward = pick_device(), static.flat_forward  # type: ignore[method-assign]
    sora = Sora.from_pretrained(asked.init, device=str(device), dtype="fp32")
    kinds = {name: replace(WANTED[name], count=asked.clips) for name in ("connected", "blended")}
    artists, words = Artists(kinds, SEED + 100 * asked.seed, asked.folder), dict[str, int]()
    try:
        pools = {name: pool(sora.vae.eval(), artists, name, words, device) for name in kinds}
    finally:
        artists.pool.shutdown(cancel_futures=True)
    captions: Captions = read(sora.text.eval(), sora.tokenizer, words)  # type: ignore[arg-type]

    dit, stride = attach(copy.deepcopy(sora.dit), asked.rank), sora.vae.config.compression[0]
    block = torch.compile(static.run_block, fullgraph=True, dynamic=False)
    for record in learn(
        dit, lambda: static.lesson(dit, block, groups(pools, stride), captions, SHIFT), asked.rate, asked.minutes
    ):
        tell("turning", **record)
    sora.additions["turning"] = truncated(addition(dit), asked.kept)
    sora.save(asked.out)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--init", default="toy", help="a model's folder, or toy")
    parser.add_argument("--minutes", type=float, default=35)
    parser.add_argument("--rate", type=float, default=1e-3)
    parser.add_argument("--rank", type=int, default=32, help="of what is learned")
    parser.add_argument("--kept", type=int, default=24, help="of what is kept of it")
    parser.add_argument("--clips", type=int, default=6000, help="of each kind")
    parser.add_argument("--seed", type=int, default=78)
    parser.add_argument("--folder", type=Path, default=Path("/dev/shm/turning"), help="where drawn clips wait")
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""Twelve sizes in one packed batch, against padding to the largest and against batches of equal size, same model:

python -m tests.benchmarks.packing
"""

import torch

from minisora.models.dit import DiT
from minisora.tokens.packing import Tokens, fill, pack, pack_text
from minisora.zoo.presets import preset
from tests.benchmarks.timing import start, take_turns

# tokens in time, height and width, four clips of each: images and videos, square, wide and tall
SIZES = (
    (1, 4, 4), (1, 4, 7), (1, 7, 4), (1, 8, 8), (3, 4, 4), (3, 4, 7),
    (3, 7, 4), (5, 4, 4), (5, 4, 7), (5, 7, 4), (9, 4, 4), (5, 8, 8),
)  # fmt: skip
COPIES = 4


def main() -> None:
    start()
    plan = preset("toy")
    config = plan.dit
    side = config.patch[1]
    clips = [torch.randn(config.channels, t, h * side, w * side) for _ in range(COPIES) for t, h, w in SIZES]
    counts = [t * h * w for _ in range(COPIES) for t, h, w in SIZES]  # sizes mixed up
    order = next(iter(fill(counts, sum(counts), window=len(clips))))  # equal sizes side by side, as the packer gives
    prompts = [torch.randn(16, config.text_width) for _ in clips]

    def batch(chosen: list[int], length: int | None = None) -> tuple[Tokens, torch.Tensor]:
        parts = [pack([clips[i]], config.patch) for i in chosen]
        if length:  # every clip as long as the longest: padding that is computed and thrown away
            parts = [pack([torch.zeros(config.channels, 1, side, side * length)], config.patch) for _ in chosen]
        tokens = Tokens(
            torch.cat([part.x for part in parts]), torch.cat([part.pos for part in parts]),
            sum((part.grids for part in parts), ()), sum((part.lengths for part in parts), ()),
        )  # fmt: skip
        return tokens, torch.rand(len(chosen)).repeat_interleave(torch.tensor(tokens.lengths))

    for dtype in (torch.float32, torch.bfloat16):
        model = DiT(config).lower(dtype)

        def forward(batches: list[tuple[list[int], Tokens, torch.Tensor]], model=model, dtype=dtype) -> None:
            for chosen, tokens, t in batches:
                text = pack_text([prompts[i].to(dtype) for i in chosen], config.text_length)
                model(tokens.with_x(tokens.x.to(dtype)), t, text)

        buckets = {
            count: [i for i in order if clips[i].shape == shape] for count, shape in enumerate({c.shape for c in clips})
        }
        sets = {
            "packed": [(order, *batch(order))],
            "buckets of equal size": [(chosen, *batch(chosen)) for chosen in buckets.values()],
            "padded to the largest": [(order, *batch(order, max(counts)))],
        }
        with torch.no_grad():
            seconds = take_turns({name: lambda batches=batches: forward(batches) for name, batches in sets.items()})
        print(f"{dtype}: {len(clips)} clips of 12 sizes, {sum(counts)} tokens, {max(counts)} in the largest")
        for name, value in seconds.items():
            print(
                f"  {name:24s} {len(clips) / value:7.1f} clips/s   {seconds['packed'] / value:.2f} of packed",
                flush=True,
            )


if __name__ == "__main__":
    main()

"""The moving average of the weights: it forgets the noise of the last steps, and is what a model is judged by."""

import torch
from torch import Tensor, nn


def kept(ema: float, step: int) -> float:
    """The share of the average that step 0, 1, … keeps.

    At 0.999 from the start, a third of the average would still be the random first weights after 1000 steps. So it
    looks back on about the last tenth of the run, however long that is, until `ema` is reached.
    """
    return min(ema, (1 + step) / (10 + step))


@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, keep: float) -> None:
    """average ← keep · average + (1 - keep) · model. Buffers, which are not learnt, are taken as they are."""
    old: list[Tensor] = list(average.parameters())
    new: list[Tensor] = list(model.parameters())
    torch._foreach_lerp_(old, new, 1 - keep)  # pyright: ignore[reportPrivateImportUsage]
    for kept_buffer, buffer in zip(average.buffers(), model.buffers(), strict=True):
        kept_buffer.copy_(buffer)

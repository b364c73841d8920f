"""Two transformers for one clip, as in Wan 2.2: one where there is much noise, the other where there is little.

What a thing is to do is decided in noise, what it looks like after that: a model that is better at the one need not be
better at the other, and a step asks only one of them.
"""

from dataclasses import replace

import torch

from minisora.core.errors import MinisoraError
from minisora.generate.sora import Sora
from minisora.zoo.presets import Late


def paired(early: Sora, late: Sora, below: float = 0.9) -> Sora:
    """The early model, which the late one takes over from as soon as the time is `below` or less."""
    if not 0 < below < 1:
        raise MinisoraError(f"the late expert takes over at {below}: take a time between 0 and 1, such as 0.9")
    ours, theirs = ((each.preset.vae, each.dit.config.patch, each.tokenizer.size) for each in (early, late))
    if ours != theirs or not all(
        torch.equal(getattr(early.vae, name), getattr(late.vae, name)) for name in ("mean", "std")
    ):
        raise MinisoraError("two experts share the VAE, the size of tokens and the tokenizer: train one from the other")
    preset = replace(early.preset, late=Late(late.dit.config, late.text.config, below))
    dit = late.dit.to(early.device).lower(early.dtype)
    return replace(early, preset=preset, late=(dit, late.text.to(early.device)), weights="unsaved")

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
    shared = early.vae.mean, early.vae.std, *early.text.parameters()
    theirs = late.vae.mean, late.vae.std, *late.text.parameters()
    same = all(a.shape == b.shape and torch.equal(a, b.to(a)) for a, b in zip(shared, theirs, strict=False))
    ours, others = (
        (each.preset.vae, each.preset.text, each.dit.config.patch, each.tokenizer.size) for each in (early, late)
    )
    if ours != others or not same:
        raise MinisoraError(
            "two experts share the VAE, the text encoder and the size of tokens: train one from the other"
        )
    preset = replace(early.preset, late=Late(late.dit.config, below))
    return replace(early, preset=preset, late=late.dit.to(early.device).lower(early.dtype), weights="unsaved")

"""An edit by a model that has learned to edit: it sees the clip beside the one that it makes."""

from dataclasses import replace
from typing import Any

import torch

from minisora.data.clip import Clip, size_name
from minisora.generate.credits import Take
from minisora.generate.sora import Sora
from minisora.tokens.known import Known


def shown(sora: Sora, clip: Clip, prompt: str, seed: int = 0, **options: Any) -> Take:
    """The clip made anew under a prompt. A long one is made window by window, each from the last frame before it."""
    options, window, takes = options | {"fps": clip.fps}, sora.preset.size[0], list[Take]()
    for first in range(0, max(1, len(clip.frames) - 1), window - 1):
        part = Clip(clip.frames[first : first + window], clip.fps)
        before = sora.encode(Clip(takes[-1].frames[-1:])) if takes else None
        known = Known(before, region=sora.encode(part))
        takes += sora.generate(prompt, size_name(part.shape), known=[known], seed=seed + len(takes), **options)
    frames = torch.cat([takes[0].frames, *(take.frames[1:] for take in takes[1:])])
    return replace(takes[0], frames=frames, recipe=dict(takes[0].recipe) | {"size": size_name(clip.shape)})

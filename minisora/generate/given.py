"""Given frames: where they stand in a clip, and how generated frames go on from them and not from a copy of them."""

import torch
from torch import Tensor

KEPT = 0.8
"""How much of what a VAE loses is still put back in the frame after, of what is put back in a frame."""
ALIKE = 10.0
"""Gray levels by which a pixel may differ from the given frame and still get back a third of what was lost there."""


def eased(raw: Tensor, real: Tensor, given: list[int]) -> Tensor:
    """Frames of which the `given` ones are exact, and the others go on from them without a jump.

    The VAE loses a little of every frame. If only the given frames had it back, there would be a jump beside them, so
    the frames after and before get it back as well, where they look as the nearest given one did, and ever less.
    """
    frames = []
    for at, decoded in enumerate(raw):
        near = min(given, key=lambda place: abs(place - at))
        frame, model = decoded.float(), raw[near].float()
        alike = torch.exp(-(frame - model).norm(dim=-1, keepdim=True) / ALIKE)
        lost = real[near].float() - model
        frames.append((frame + KEPT ** abs(near - at) * alike * lost).clamp(0, 255).round().byte())
    return torch.stack(frames)


def tail(frames: Tensor, most: int, stride: int) -> Tensor:
    """The last 1 + stride k frames, at most so many."""
    count = min(most, len(frames))
    return frames[-(count - (count - 1) % stride) :]


def whole(frames: int, stride: int) -> int:
    """The least 1 + stride k that is not below `frames`."""
    return 1 + -(-(frames - 1) // stride) * stride


def places(count: int, length: int) -> list[int]:
    """Where the frames of an ending of `count` stand in a clip of `length`."""
    return list(range(length - count, length))


def filled(start: Tensor, end: Tensor, length: int) -> Tensor:
    """Frames of a clip of which only the beginning and the end are known."""
    some = start if len(start) else end
    between = torch.zeros(length - len(start) - len(end), *some.shape[1:], dtype=torch.uint8)
    return torch.cat([start, between, end])

"""Principal components: the linear autoencoder that a video VAE begins with, and its networks have to improve on.

A network from random weights took twenty minutes to get as far as an eigenvalue problem gets in a second.
"""

from math import prod

import torch
from einops import rearrange
from torch import Tensor, nn


class Components(nn.Module):
    """Boxes of pixels ↔ their principal components, the best that a matrix can do: measured, and not trained.

    A box holds the pixels that become one latent. Frame 0 has boxes of its own, one frame deep; its latents are
    lengthened by √time, as they would be if they stood for as many frames as the others.
    """

    first_mean: Tensor
    first_basis: Tensor
    later_mean: Tensor
    later_basis: Tensor

    def __init__(self, channels: int, box: tuple[int, int, int]) -> None:
        super().__init__()
        time, height, width = box
        self.boxes, self.lengths = ((1, height, width), (time, height, width)), (time**0.5, 1.0)
        for name, box in zip(("first", "later"), self.boxes, strict=True):
            basis = torch.zeros(3 * prod(box), channels).fill_diagonal_(1)  # eye is slow on the meta device
            self.register_buffer(f"{name}_mean", torch.zeros(len(basis)))
            self.register_buffer(f"{name}_basis", basis)  # its columns are of length 1 and at right angles

    def fold(self, x: Tensor, started: bool) -> list[Tensor]:
        """Clips (b, 3, t, h, w) → the boxes of frame 0, and those of later frames: (b, t', h', w', pixels) each."""
        parts = zip(_frame_0_and_later(x, started), self.boxes, strict=True)
        return [
            rearrange(part, "b c (t ft) (h fh) (w fw) -> b t h w (c ft fh fw)", ft=box[0], fh=box[1], fw=box[2])
            for part, box in parts
        ]

    def encode(self, x: Tensor, started: bool) -> Tensor:
        parts = zip(self.fold(x, started), self._measured(), self.lengths, strict=True)
        return torch.cat([length * (boxes - mean) @ basis for boxes, (mean, basis), length in parts], 1).movedim(-1, 1)

    def decode(self, z: Tensor, started: bool) -> Tensor:
        parts = zip(_frame_0_and_later(z, started), self._measured(), self.boxes, self.lengths, strict=True)
        frames = [
            _unfold(part.movedim(1, -1) / length @ basis.T + mean, box) for part, (mean, basis), box, length in parts
        ]
        return torch.cat(frames, 2)

    def _measured(self) -> list[tuple[Tensor, Tensor]]:
        return [(self.first_mean, self.first_basis), (self.later_mean, self.later_basis)]


def _unfold(boxes: Tensor, box: tuple[int, int, int]) -> Tensor:
    ft, fh, fw = box
    return rearrange(boxes, "b t h w (c ft fh fw) -> b c (t ft) (h fh) (w fw)", ft=ft, fh=fh, fw=fw)


def _frame_0_and_later(x: Tensor, started: bool) -> tuple[Tensor, Tensor]:
    first = 0 if started else 1
    return x[:, :, :first], x[:, :, first:]

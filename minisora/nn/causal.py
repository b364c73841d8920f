"""Convolution that looks only at the past, and what it has to remember to go on with the next frames of a video."""

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass
class Stream:
    """The memory of a causal network between two chunks of one video. A fresh one begins a video."""

    frames: dict[nn.Module, Tensor] = field(default_factory=dict)
    """The last frames that each convolution saw."""
    started: bool = False
    """Whether a chunk has gone through: the first frame of a video is treated by itself."""
    last: bool = False
    """Nothing follows this chunk, so nothing is kept."""

    def past(self, owner: nn.Module, x: Tensor, count: int) -> Tensor:
        """x with the `count` frames before it in front, zeros at the beginning of a video; remembers x's last ones."""
        before = self.frames.get(owner)
        x = F.pad(x, (0, 0, 0, 0, count, 0)) if before is None else torch.cat([before, x], 2)
        return self.keep(owner, x, count)

    def keep(self, owner: nn.Module, x: Tensor, count: int) -> Tensor:
        if not self.last:
            self.frames[owner] = x[:, :, -count:].clone()  # a view would keep all of x alive
        return x


class CausalConv(nn.Conv3d):
    """3D convolution over (b, c, t, h, w): frame k sees frames k - 2, k - 1, k and the neighbouring pixels in them."""

    def __init__(self, channels_in: int, channels_out: int, kernel: tuple[int, int, int] = (3, 3, 3)) -> None:
        super().__init__(channels_in, channels_out, kernel, padding=(0, kernel[1] // 2, kernel[2] // 2))

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        memory = self.kernel_size[0] - 1
        return super().forward(stream.past(self, x, memory) if memory else x)


class TimeDown(nn.Module):
    """Half as many frames: 1 + 2k → 1 + k. Frame 0 passes as it is, then each pair is seen with the frame before."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, channels, (3, 1, 1), stride=(2, 1, 1))

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        if stream.started:
            return self.conv(stream.past(self, x, 1))
        first = stream.keep(self, x, 1)[:, :, :1]
        return first if x.shape[2] == 1 else torch.cat([first, self.conv(x)], 2)


class TimeUp(nn.Module):
    """Twice as many frames: 1 + k → 1 + 2k. Frame 0 passes as it is, and the others do not see it."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = CausalConv(channels, 2 * channels, (3, 1, 1))

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        if stream.started:
            return self._double(x, stream)
        return torch.cat([x[:, :, :1], self._double(x[:, :, 1:], stream)], 2) if x.shape[2] > 1 else x

    def _double(self, x: Tensor, stream: Stream) -> Tensor:
        early, late = self.conv(x, stream).chunk(2, 1)
        return torch.stack([early, late], 3).flatten(2, 3)  # b c t 2 h w → b c (t 2) h w


class SpaceDown(nn.Conv2d):
    """Half the height and width, frame by frame."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return by_frame(super().forward, F.pad(x, (0, 1, 0, 1)))


class SpaceUp(nn.Conv2d):
    """Twice the height and width, frame by frame."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return by_frame(lambda frames: super(SpaceUp, self).forward(F.interpolate(frames, scale_factor=2.0)), x)


def by_frame(change, x: Tensor) -> Tensor:
    """Apply a function of images (b, c, h, w) to every frame of (b, c, t, h, w)."""
    frames = change(x.transpose(1, 2).flatten(0, 1))
    return frames.unflatten(0, (len(x), -1)).transpose(1, 2)

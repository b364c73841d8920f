"""Ways around a stage that changes a clip's size, without a parameter: means on the way down, copies on the way up."""

import torch.nn.functional as F
from einops import rearrange
from torch import Tensor


def average_down(x: Tensor, time: int, space: int, channels: int) -> Tensor:
    """Fewer places by averaging, without a parameter. Frame 0 is paired with a black one."""
    x = F.pad(x, (0, 0, 0, 0, -x.shape[2] % time, 0))
    x = rearrange(x, "b c (t ft) (h fh) (w fw) -> b (c ft fh fw) t h w", ft=time, fh=space, fw=space)
    return x.unflatten(1, (channels, -1)).mean(2)


def duplicate_up(x: Tensor, time: int, space: int, channels: int, started: bool) -> Tensor:
    """More places by repeating, without a parameter. Frame 0 stays a single one."""
    x = x.repeat_interleave(channels * time * space * space // x.shape[1], 1)
    x = rearrange(x, "b (c ft fh fw) t h w -> b c (t ft) (h fh) (w fw)", ft=time, fh=space, fw=space)
    return x if started else x[:, :, time - 1 :]

# %% [markdown] tags=["header"]
# # 03 · The video VAE
#
# > **How do we shrink video 48 times and still decode it?**
#
# **You will build** the smaller video that the transformer works in: principal components, causal convolution, and from
# these an encoder and a decoder that read a clip whole or piece by piece, pictures included.
#
# **You need** notebook 02, and to have seen a convolution before.
#
# **Measured** · runs in 163 s on two CPU cores without bf16 · needs 1.1 GiB · reads in about 59 minutes

# %% tags=["parameters"]
PROFILE = "fast"  # "full" trains ten times longer

# %%
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise
from math import prod

import ipywidgets as widgets
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from minisora.core.errors import MinisoraError
from minisora.core.runtime import bf16_pays
from minisora.course.exercises import exercise
from minisora.data.clip import from_pixels
from minisora.data.datasets import WorldClips
from minisora.generate.sora import Sora
from minisora.models.vae import VAEConfig
from minisora.nn.norm import RMSNorm
from minisora.train import vae as training
from minisora.viz.figures import picture
from minisora.viz.player import show
from minisora.viz.style import PALETTE, use_style
from minisora.viz.widgets import explore

use_style()
torch.manual_seed(0)
LONGER = 10 if PROFILE == "full" else 1

# %% [markdown]
# ## The question
#
# Two seconds of small video, 17 frames of 64x64, is 208,896 numbers, and attention compares everything with everything. But
# most of those numbers can be guessed from their neighbours: the background stays, and a thing that moves is the same thing a
# moment later. So first make the video smaller, in a way that can be undone, and let the transformer work there. This is
# what the toy model's VAE makes of a clip; the numbers are **latents**.

# %%
clips = WorldClips(("shapes", "occlusion", "painter", "craft"), 400, sizes=["17x64x64"], seed=5)
clip = clips[4]
toy = Sora.from_pretrained("toy")
with torch.no_grad():
    z = toy.vae.encode(clip.pixels())[0]
figure, axes = plt.subplots(2, 5, figsize=(9, 4.1))
for k, (above, below) in enumerate(zip(*axes, strict=True)):
    above.imshow(clip.frames[4 * k])
    below.imshow(rearrange(z[:, k].clamp(-3, 3), "(a b) h w -> (a h) (b w)", a=4), cmap="cividis")
    above.set(title=f"frame {4 * k}")
    below.set(title=f"latent {k}")
    for ax in (above, below):
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
print(f"{clip.frames.numel():,} numbers of pixels, {z.numel():,} of latents {tuple(z.shape)}")
picture(figure, "Above, five frames of a clip; below, its five latents, each drawn as thirty-two little pictures, one a channel.")

# %% [markdown]
# ## How good is a copy?
#
# We compare a clip with its copy by the mean squared error, and write it as *peak signal to noise*, in decibels:
#
# $$\text{PSNR} = 10 \log_{10} \frac{\text{peak}^2}{\text{mean squared error}}, \qquad \text{peak} = 2 \text{ for pixels in } {-1} \ldots 1.$$
#
# Ten decibels more are a tenth of the error. At 20 one sees the damage at once, at 30 one has to look for it.

# %% tags=["draft"]
def decibels(x: Tensor, y: Tensor) -> float:
    """PSNR of two clips in −1 … 1."""
    return 10 * math.log10(4 / (x - y).square().mean().item())


# %%
x = clip.pixels()
for amount in (0.02, 0.1, 0.3):
    print(f"noise of {amount:4.2f}: {decibels(x, x + amount * torch.randn(x.shape)):.1f} dB")

# %% [markdown]
# ## The best that a matrix can do
#
# Before any network: cut the clip into boxes of 4 frames by 8 by 8 pixels, 768 numbers each, and keep a few numbers of every box.
# Which ones? Say a box is $b$, its mean over all boxes $\mu$, and we keep $z = B^\top (b - \mu)$ for a matrix $B$ with $c$ columns of
# length one at right angles. The copy is $\mu + B z$, and its mean squared error is
#
# $$\mathbb{E}\,|b - \mu - B B^\top (b - \mu)|^2 = \operatorname{tr} C - \operatorname{tr} B^\top C B, \qquad C = \mathbb{E}\,(b - \mu)(b - \mu)^\top.$$
#
# The second term is largest when the columns are the $c$ eigenvectors of $C$ with the largest eigenvalues: the *principal
# components*. No gradient step is needed; an eigenvalue problem gives them in a second.

# %% tags=["draft"]
def boxes_of(x: Tensor, box: tuple[int, int, int]) -> Tensor:
    """(b, 3, t, h, w) → (boxes, numbers in a box)."""
    t, h, w = box
    return rearrange(x, "b c (t ft) (h fh) (w fw) -> (b t h w) (c ft fh fw)", ft=t, fh=h, fw=w)


def principal(x: Tensor, box: tuple[int, int, int]) -> tuple[Tensor, Tensor, Tensor]:
    """The mean box, all directions by falling variance, and the variances."""
    boxes = boxes_of(x, box)
    variances, directions = torch.linalg.eigh(torch.cov(boxes.T).double())
    return boxes.mean(0), directions.flip(1).float(), variances.flip(0).clamp(min=0).float()


# %%
later = torch.cat([clips[index].pixels()[:, :, 1:] for index in range(160)])
mean, directions, variances = principal(later, (4, 8, 8))
kept = torch.tensor([1, 2, 4, 8, 16, 32, 64, 128, 256])
error = torch.stack([variances[count:].sum() for count in kept]) / len(mean)
figure, ax = plt.subplots(figsize=(6, 3))
ax.plot(kept, 10 * torch.log10(4 / error), marker="o")
ax.set(xscale="log", xticks=kept, xticklabels=kept.tolist(), xlabel="numbers kept of 768", ylabel="dB", title="Rate against distortion")
picture(figure, "Decibels against how many components of each box are kept, from 1 to 256: a curve that rises steadily.")

# %%
figure, axes = plt.subplots(2, 8, figsize=(10, 2.9))
for number, column in enumerate(axes.T):
    frames = rearrange(directions[:, number], "(c t h w) -> t h w c", c=3, t=4, h=8)
    for ax, frame in zip(column, (frames[0], frames[3]), strict=True):
        ax.imshow(frame / (2 * directions[:, number].abs().max()) + 0.5)
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
    column[0].set(title=f"{number}")
picture(figure, "The first eight components, their first and last frame: plain tones, slopes and a spot that stay, then stripes that turn into their opposite.")

# %% [markdown]
# The first two are plain tones, then come three slopes and a spot, all of which stay. Then come stripes that turn into their
# opposite from the first frame to the last (6, 7): time is in the box, and the matrix has found that things change in it.

# %% [markdown]
# ## It fails first: one frame at a time
#
# Would an image compressor do, frame by frame? For as many numbers, each frame then has a quarter of them: boxes of one
# frame and 4 numbers instead of boxes of four and 16. To be as good takes 8 numbers a frame, twice as many. And there is something
# worse. A generator never gets latents quite right, so let every number be wrong by a tenth of its spread. Now look where
# the clip does not change at all: how much does the copy change there, from frame to frame? That is what the eye sees as **flicker**.

# %% tags=["draft"]
def copy(x: Tensor, fit: tuple[Tensor, Tensor, Tensor], box: tuple[int, int, int], count: int, wrong: float = 0.0) -> Tensor:
    """A clip through `count` components of its boxes and back, each number `wrong` by a share of its spread."""
    mean, basis = fit[0], fit[1][:, :count]
    numbers = (boxes_of(x, box) - mean) @ basis
    numbers = numbers + wrong * numbers.std(0) * torch.randn(numbers.shape, generator=torch.Generator().manual_seed(0))
    size = {name: length // side for name, length, side in zip("thw", x.shape[2:], box, strict=True)}
    parts = dict(zip(("ft", "fh", "fw"), box, strict=True))
    return rearrange(numbers @ basis.T + mean, "(b t h w) (c ft fh fw) -> b c (t ft) (h fh) (w fw)", c=3, **size, **parts)


def flicker(x: Tensor, y: Tensor) -> float:
    """How much a copy changes from frame to frame, in gray levels, at pixels that do not change in the clip."""
    still = x.diff(dim=2).abs().amax(1, keepdim=True) < 0.01
    return 127.5 * y.diff(dim=2).abs()[still.expand(-1, 3, -1, -1, -1)].mean().item()


# %%
test = torch.cat([clips[index].pixels()[:, :, 1:] for index in range(300, 340)])
one, four = principal(later, (1, 8, 8)), principal(later, (4, 8, 8))
ways = {"each frame, 4 numbers": (one, (1, 8, 8), 4), "each frame, 8 numbers": (one, (1, 8, 8), 8), "four frames, 16 numbers": (four, (4, 8, 8), 16)}
for name, how in ways.items():
    exact, rough = copy(test, *how), copy(test, *how, wrong=0.1)
    print(f"{name:24s} {decibels(test, exact):5.1f} dB;  a little wrong: {decibels(test, rough):.1f} dB, flicker {flicker(test, rough):.1f} gray levels")
show([from_pixels(copy(test[:1], *how, wrong=0.1)[0], caption=name) for name, how in ways.items()])

# %% [markdown]
# As many numbers, and the box with time in it is four decibels better; as good a copy, and it flickers less than half as much, since one
# number speaks for four frames. A video is not a pile of pictures.

# %% [markdown]
# ## Frame 0 stands alone
#
# Boxes of four frames do not fit 17 of them, and they do not fit a picture, which is a clip of one. The way out: frame 0
# gets boxes of its own, one frame deep, and then come whole boxes: 1 + 4k frames. Its latents are made longer by $\sqrt 4$, as if they
# stood for four frames too.

# %% tags=["source: minisora.models.components._frame_0_and_later"]
def _frame_0_and_later(x: Tensor, started: bool) -> tuple[Tensor, Tensor]:
    first = 0 if started else 1
    return x[:, :, :first], x[:, :, first:]


# %% tags=["source: minisora.models.components._unfold"]
def _unfold(boxes: Tensor, box: tuple[int, int, int]) -> Tensor:
    ft, fh, fw = box
    return rearrange(boxes, "b t h w (c ft fh fw) -> b c (t ft) (h fh) (w fw)", ft=ft, fh=fh, fw=fw)


# %% tags=["source: minisora.models.components.Components"]
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


# %%
matrix = Components(16, (4, 8, 8))
training.measure_components(matrix, [clips[index] for index in range(160)])
held = torch.cat([clips[index].pixels() for index in range(300, 340)])
by_matrix = decibels(held, matrix.decode(matrix.encode(held, False), False))
print(f"16 components of 4x8x8, frame 0 alone: {by_matrix:.1f} dB on clips that were not measured")

# %% [markdown]
# ## It fails next: a convolution that sees the future
#
# A network can do better than a matrix, if it looks beyond the edges of its box. In space nothing speaks against
# an ordinary convolution. In time it breaks two promises. It sees frames that come later, so the start of a video cannot be
# encoded before the end is there. And a picture is not a clip that stops after one frame:

# %%
ordinary = nn.Conv3d(3, 8, 3, padding=1)
some = torch.randn(1, 3, 9, 16, 16)
with torch.no_grad():
    whole, picture_alone = ordinary(some), ordinary(some[:, :, :1])
print(f"frame 0 in a clip and alone differ by {(whole[:, :, :1] - picture_alone).abs().max():.2f}")


# %% [markdown]
# ## Causal convolution
#
# Pad only the past: frame $k$ sees frames $k-2$, $k-1$ and $k$. What comes before frame 0 is zeros. Then the start never depends
# on the end, and a long video can go through in chunks, if each convolution keeps the last two frames that it saw. That
# memory is a `Stream`.

# %% tags=["source: minisora.nn.causal.Stream"]
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


# %% tags=["source: minisora.nn.causal.CausalConv"]
class CausalConv(nn.Conv3d):
    """3D convolution over (b, c, t, h, w): frame k sees frames k - 2, k - 1, k and the neighbouring pixels in them."""

    def __init__(self, channels_in: int, channels_out: int, kernel: tuple[int, int, int] = (3, 3, 3)) -> None:
        super().__init__(channels_in, channels_out, kernel, padding=(0, kernel[1] // 2, kernel[2] // 2))

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        memory = self.kernel_size[0] - 1
        return super().forward(stream.past(self, x, memory) if memory else x)


# %%
conv = CausalConv(3, 8)
with torch.no_grad():
    whole = conv(some, Stream(last=True))
    torch.testing.assert_close(conv(some[:, :, :1], Stream(last=True)), whole[:, :, :1])
    stream = Stream()
    torch.testing.assert_close(torch.cat([conv(part, stream) for part in some.split([1, 4, 3, 1], 2)], 2), whole)
print("a picture is a clip of one frame, and four chunks are one clip")


# %% [markdown]
# ## Fewer frames, fewer pixels
#
# Time is halved by a convolution with stride two, in which frame 0 passes as it is and each pair is seen with the frame
# before it: 1 + 2k frames become 1 + k. Twice, and 17 frames are 5. On the way back each frame becomes two.

# %% tags=["source: minisora.nn.causal.TimeDown"]
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


# %% tags=["source: minisora.nn.causal.TimeUp"]
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


# %% [markdown]
# Space is halved frame by frame, as in any image network.

# %% tags=["source: minisora.nn.causal.by_frame"]
def by_frame(change, x: Tensor) -> Tensor:
    """Apply a function of images (b, c, h, w) to every frame of (b, c, t, h, w)."""
    frames = change(x.transpose(1, 2).flatten(0, 1))
    return frames.unflatten(0, (len(x), -1)).transpose(1, 2)


# %% tags=["source: minisora.nn.causal.SpaceDown"]
class SpaceDown(nn.Conv2d):
    """Half the height and width, frame by frame."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, channels, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        return by_frame(super().forward, F.pad(x, (0, 1, 0, 1)))


# %% tags=["source: minisora.nn.causal.SpaceUp"]
class SpaceUp(nn.Conv2d):
    """Twice the height and width, frame by frame."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__(channels_in, channels_out, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return by_frame(lambda frames: super(SpaceUp, self).forward(F.interpolate(frames, scale_factor=2.0)), x)


# %% [markdown]
# **A way around.** Steps that change the size are where gradients get lost. So each stage's input is also carried around
# it, without a parameter: averaged on the way down, repeated on the way up (as in
# [Chen et al. 2024](https://arxiv.org/abs/2410.10733) and Wan 2.2).

# %% tags=["source: minisora.nn.shortcuts.average_down"]
def average_down(x: Tensor, time: int, space: int, channels: int) -> Tensor:
    """Fewer places by averaging, without a parameter. Frame 0 is paired with a black one."""
    x = F.pad(x, (0, 0, 0, 0, -x.shape[2] % time, 0))
    x = rearrange(x, "b c (t ft) (h fh) (w fw) -> b (c ft fh fw) t h w", ft=time, fh=space, fw=space)
    return x.unflatten(1, (channels, -1)).mean(2)


# %% tags=["source: minisora.nn.shortcuts.duplicate_up"]
def duplicate_up(x: Tensor, time: int, space: int, channels: int, started: bool) -> Tensor:
    """More places by repeating, without a parameter. Frame 0 stays a single one."""
    x = x.repeat_interleave(channels * time * space * space // x.shape[1], 1)
    x = rearrange(x, "b (c ft fh fw) t h w -> b c (t ft) (h fh) (w fw)", ft=time, fh=space, fw=space)
    return x if started else x[:, :, time - 1 :]


# %% [markdown]
# ## Blocks
#
# The rest is a stack of residual blocks, each of which begins as nothing: `_silence` sets its last layer to zero, so that a
# fresh deep network hands on what it got, and learns to add to it.

# %% tags=["source: minisora.models.vae.Norm"]
class Norm(RMSNorm):
    """RMSNorm over the channels of (b, c, t, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-24)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


# %% tags=["source: minisora.models.vae._silence"]
def _silence(layer: nn.Linear | nn.Conv3d) -> None:
    """A fresh block hands on its input as it is: a deep network then begins as a shallow one, and trains faster."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


# %% tags=["source: minisora.models.vae.ResBlock"]
class ResBlock(nn.Module):
    """Two causal convolutions around which the input is carried."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = Norm(channels_in), CausalConv(channels_in, channels_out)
        self.norm2, self.conv2 = Norm(channels_out), CausalConv(channels_out, channels_out)
        self.skip = CausalConv(channels_in, channels_out, (1, 1, 1)) if channels_in != channels_out else None
        _silence(self.conv2)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        h = self.conv1(F.silu(self.norm1(x)), stream)
        h = self.conv2(F.silu(self.norm2(h)), stream)
        return h + (x if self.skip is None else self.skip(x, stream))


# %% tags=["source: minisora.models.vae.FrameAttention"]
class FrameAttention(nn.Module):
    """The places of one frame look at each other."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm, self.qkv, self.out = Norm(channels), nn.Linear(channels, 3 * channels), nn.Linear(channels, channels)
        _silence(self.out)

    def forward(self, x: Tensor) -> Tensor:
        b, _, _, h, _ = x.shape
        places = rearrange(self.norm(x), "b c t h w -> (b t) 1 (h w) c")
        seen = F.scaled_dot_product_attention(*self.qkv(places).chunk(3, -1))
        return x + rearrange(self.out(seen), "(b t) 1 (h w) c -> b c t h w", b=b, h=h)


# %% tags=["source: minisora.models.vae.Middle"]
class Middle(nn.Module):
    """The deepest stage, in encoder and decoder alike."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block1, self.attention = ResBlock(channels, channels), FrameAttention(channels)
        self.block2 = ResBlock(channels, channels)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        return self.block2(self.attention(self.block1(x, stream)), stream)


# %% tags=["source: minisora.models.vae.DownStage"]
class DownStage(nn.Module):
    """Residual blocks at one resolution, then the step down to the next."""

    def __init__(self, channels_in: int, channels_out: int, config: VAEConfig, space: bool, time: bool) -> None:
        super().__init__()
        sizes = [channels_in] + [channels_out] * config.blocks
        self.blocks = nn.ModuleList(ResBlock(*pair) for pair in pairwise(sizes))
        self.space = SpaceDown(channels_out) if space else None
        self.time = TimeDown(channels_out) if time else None
        self.shortcut = (1 + time, 1 + space, channels_out) if config.shortcuts else None

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        h = x
        for block in self.blocks:
            h = block(h, stream)
        if self.space is not None:
            h = self.space(h)
        if self.time is not None:
            h = self.time(h, stream)
        return h if self.shortcut is None else h + average_down(x, *self.shortcut)


# %% tags=["source: minisora.models.vae.UpStage"]
class UpStage(nn.Module):
    """Residual blocks at one resolution, then the step up to the next."""

    def __init__(self, channels_in: int, channels_out: int, config: VAEConfig, space: bool, time: bool) -> None:
        super().__init__()
        sizes = [channels_in] + [channels_out] * (config.blocks + 1)
        self.blocks = nn.ModuleList(ResBlock(*pair) for pair in pairwise(sizes))
        self.time = TimeUp(channels_out) if time else None
        self.space = SpaceUp(channels_out, channels_out // (1 if config.shortcuts else 2)) if space else None
        self.shortcut = (1 + time, 1 + space, channels_out) if config.shortcuts and (space or time) else None

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        h = x
        for block in self.blocks:
            h = block(h, stream)
        if self.time is not None:
            h = self.time(h, stream)
        if self.space is not None:
            h = self.space(h)
        return h if self.shortcut is None else h + duplicate_up(x, *self.shortcut, stream.started)


# %% tags=["source: minisora.models.vae.Encoder"]
class Encoder(nn.Module):
    """Pixels, folded → mean and log-variance of raw latents."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        sizes = [config.base * multiple for multiple in (1, *config.stages)]
        steps = [*zip(config.space, config.time, strict=True), (False, False)]
        self.first = CausalConv(3 * config.patch**2, sizes[0])
        self.stages = nn.ModuleList(
            DownStage(*pair, config, *step) for pair, step in zip(pairwise(sizes), steps, strict=True)
        )
        self.middle = Middle(sizes[-1])
        self.norm, self.last = Norm(sizes[-1]), CausalConv(sizes[-1], 2 * config.channels)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        x = self.first(x, stream)
        for stage in self.stages:
            x = stage(x, stream)
        return self.last(F.silu(self.norm(self.middle(x, stream))), stream)


# %% tags=["source: minisora.models.vae.Decoder"]
class Decoder(nn.Module):
    """Raw latents → pixels, folded."""

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        base = config.decoder_base or config.base
        sizes = [base * multiple for multiple in (config.stages[-1], *config.stages[::-1])]
        steps = [*zip(config.space[::-1], config.time[::-1], strict=True), (False, False)]
        halved = [  # what the step up leaves
            size // 2 if space and not config.shortcuts else size
            for size, (space, _) in zip(sizes[1:-1], steps, strict=False)
        ]
        self.first = CausalConv(config.channels, sizes[0])
        self.middle = Middle(sizes[0])
        pairs = zip([sizes[0], *halved], sizes[1:], strict=True)
        self.stages = nn.ModuleList(UpStage(*pair, config, *step) for pair, step in zip(pairs, steps, strict=True))
        self.norm, self.last = Norm(sizes[-1]), CausalConv(sizes[-1], 3 * config.patch**2)

    def forward(self, z: Tensor, stream: Stream) -> Tensor:
        x = self.middle(self.first(z, stream), stream)
        for stage in self.stages:
            x = stage(x, stream)
        return self.last(F.silu(self.norm(x)), stream)


# %% [markdown]
# ## The VAE
#
# Why *variational*? If every clip were one exact point, the decoder could be wild between the points, and a transformer's latents
# are never exact. So the encoder gives a mean and a variance, the decoder gets a sample, and a term in the loss keeps the
# cloud of all samples near a Gaussian. For one channel with mean $m$ and variance $s^2$ that term is
#
# $$\text{KL} = \int q \ln \frac{q}{p} = \tfrac12 \big( m^2 + s^2 - 1 - \ln s^2 \big), \qquad q = \mathcal N(m, s^2),\; p = \mathcal N(0, 1),$$
#
# which exercise 03.2 asks you to derive. Its weight is tiny here (`KL` = 1e-6 a number): we want latents that are a little soft, not
# latents that say nothing.
#
# The components are carried around both networks: a fresh VAE *is* the matrix, and learns what no matrix can.

# %% tags=["source: minisora.models.vae._channels_last"]
def _channels_last(x: Tensor) -> Tensor:
    """Channels beside each other in memory, as convolutions and norms read them: bf16 ran twice as fast so on CPUs."""
    return x.contiguous(memory_format=torch.channels_last_3d)


# %% tags=["method: minisora.models.vae.VAE.__init__"]
class VAE(nn.Module):
    """Clips (b, 3, 1 + 4k, h, w) in -1 … 1 ↔ normalised latents (b, c, 1 + k, h / 8, w / 8)."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: VAEConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder, self.decoder = Encoder(config), Decoder(config)
        self.to_latent = CausalConv(2 * config.channels, 2 * config.channels, (1, 1, 1))
        self.from_latent = CausalConv(config.channels, config.channels, (1, 1, 1))
        self.components = Components(config.channels, config.compression) if config.components else None
        if self.components is not None:  # a fresh network leaves everything to them, and latents almost without noise
            for layer in (self.to_latent, self.decoder.last):
                _silence(layer)
            nn.init.constant_(self.to_latent.bias[config.channels :], -6.0)  # type: ignore[index]
        self.register_buffer("mean", torch.tensor(config.mean or [0.0] * config.channels))
        self.register_buffer("std", torch.tensor(config.std or [1.0] * config.channels))


# %% tags=["method: minisora.models.vae.VAE.posterior"]
def posterior(self, x: Tensor, stream: Stream | None = None) -> tuple[Tensor, Tensor]:
    """Mean and log-variance of the raw latents, what a VAE is trained on."""
    stream = stream or Stream(last=True)
    self._check(x, stream)
    p = self.config.patch
    folded = rearrange(x, "b c t (h ph) (w pw) -> b (c pw ph) t h w", ph=p, pw=p)
    mean, log_variance = self.to_latent(self.encoder(_channels_last(folded), stream), stream).chunk(2, 1)
    if self.components is not None:
        mean = mean + self.components.encode(x, stream.started)
    stream.started = True
    return mean, log_variance


VAE.posterior = posterior


# %% tags=["method: minisora.models.vae.VAE.encode"]
def encode(self, x: Tensor, stream: Stream | None = None) -> Tensor:
    """The likeliest latents of a clip, normalised. With a stream, of the next chunk of a clip."""
    return self.normalise(self.posterior(x, stream)[0])


VAE.encode = encode


# %% tags=["method: minisora.models.vae.VAE.decode"]
def decode(self, z: Tensor, stream: Stream | None = None) -> Tensor:
    """Latents → pixels. With a stream, the pixels of the next latents."""
    stream = stream or Stream(last=True)
    z = self.denormalise(z)
    x = self.decoder(self.from_latent(_channels_last(z), stream), stream)
    p = self.config.patch
    x = rearrange(x, "b (c pw ph) t h w -> b c t (h ph) (w pw)", ph=p, pw=p)
    if self.components is not None:
        x = x + self.components.decode(z, stream.started)
    stream.started = True
    return x


VAE.decode = decode


# %% tags=["method: minisora.models.vae.VAE.normalise"]
def normalise(self, z: Tensor) -> Tensor:
    return (z - self.mean.view(-1, 1, 1, 1).to(z)) / self.std.view(-1, 1, 1, 1).to(z)


VAE.normalise = normalise


# %% tags=["method: minisora.models.vae.VAE.denormalise"]
def denormalise(self, z: Tensor) -> Tensor:
    return z * self.std.view(-1, 1, 1, 1).to(z) + self.mean.view(-1, 1, 1, 1).to(z)


VAE.denormalise = denormalise


# %% [markdown]
# (Latents are given *normalised*, each channel with mean 0 and spread 1, which is what a diffusion model expects of its data.)
#
# A video of any length goes through in chunks, and the memory needed is that of one:

# %% tags=["method: minisora.models.vae.VAE._check"]
def _check(self, x: Tensor, stream: Stream) -> None:
    time, side, _ = self.config.compression
    t, h, w = x.shape[-3:]
    if x.dim() != 5 or x.shape[1] != 3 or h % side or w % side or (t - (not stream.started)) % time or t < 1:
        frames = f"{time}k" if stream.started else f"{time}k + 1"
        raise MinisoraError(
            f"the VAE got pixels of shape {tuple(x.shape)}: it takes (batch, 3, {frames} frames, height, width), "
            f"height and width in multiples of {side}"
        )


VAE._check = _check


# %% tags=["method: minisora.models.vae.VAE.encode_chunks"]
def encode_chunks(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
    """Encode a video that comes in chunks of 1 + 4k, then 4k frames: the memory needed is that of one chunk."""
    stream = Stream()
    return (self.encode(chunk, stream) for chunk in chunks)


VAE.encode_chunks = encode_chunks


# %% tags=["method: minisora.models.vae.VAE.decode_chunks"]
def decode_chunks(self, z: Tensor, latents: int = 1) -> Iterator[Tensor]:
    """Decode a few latents at a time: the memory needed does not grow with the length of the video."""
    stream = Stream()
    return (self.decode(chunk, stream) for chunk in z.split(latents, 2))


VAE.decode_chunks = decode_chunks

# %%
config = VAEConfig(channels=16, base=32, stages=(1, 1, 1), space=(True, False), time=(True, True), blocks=1, patch=4, shortcuts=True, components=True)
vae = VAE(config)
assert vae.components is not None
training.measure_components(vae.components, [clips[index] for index in range(160)])
with torch.no_grad():
    for part in vae.parameters():  # a fresh network says nothing: make it speak, to see what it mixes
        part.add_(0.1 * torch.randn(part.shape) * part.std() if part.numel() > 1 else 0.0)
    long = torch.rand(1, 3, 33, 16, 16) * 2 - 1
    z = vae.encode(long)
    parts = long[:, :, :1], *long[:, :, 1:].split(8, 2)
    torch.testing.assert_close(torch.cat([*vae.encode_chunks(parts)], 2), z, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(torch.cat([*vae.decode_chunks(z)], 2), vae.decode(z), atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(vae.encode(long[:, :, :1]), z[:, :, :1], atol=1e-4, rtol=1e-3)
print(f"{sum(part.numel() for part in vae.parameters()):,} parameters; chunks equal the whole, and a picture is frame 0")

# %% [markdown]
# ## What does a latent see?
#
# Ask the gradient: how much does one latent change if a pixel changes? Causality is what you do not see: no color in any frame
# after those of the latent's own box.

# %% tags=["draft"]
def receptive(latent: int) -> plt.Figure:
    """How strongly the middle of a latent frame depends on each pixel of 17 frames."""
    pixels = (torch.rand(1, 3, 17, 48, 48, generator=torch.Generator().manual_seed(0)) * 2 - 1).requires_grad_()
    (toy.vae.encode(pixels)[0, :, latent, 3, 3].square().sum()).backward()
    seen = (pixels.grad[0].abs().sum(0) + 1e-9).log10()
    figure, axes = plt.subplots(2, 9, figsize=(11, 2.9))
    for frame, ax in enumerate(axes.flat):
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
        if frame < 17:
            ax.imshow(seen[frame], vmin=seen.max() - 4, vmax=seen.max(), cmap="cividis")
            ax.set_title(f"{frame}", fontsize=9, color=PALETTE[1] if -(-frame // 4) == latent else "black")
        else:
            ax.axis("off")
    figure.suptitle(f"pixels that latent {latent} sees, strongest brightest; frames of its own box are numbered in color")
    return figure


# %%
picture(receptive(2), "Seventeen frames as heat maps: latent 2 sees a bright square in frames 5 to 8, weaker ones before, nothing after.")

# %%
explore(lambda latent: picture(receptive(latent), "what one latent sees").png, latent=widgets.IntSlider(value=2, min=0, max=4, description="latent"))

# %% [markdown]
# ## Training
#
# $|x - y| + |x - y|^2$, the same error of the *change* from frame to frame, $|\Delta x - \Delta y|$, and the KL term, on random squares of 32 pixels: a convolution learns from a quarter of a frame as
# well as from all of it. The change has a term of its own, since a small error that comes and goes is seen as flicker, and the same error
# all the time is not seen at all. Once from nothing, and once around the components.

# %% tags=["draft"]
def train(vae: nn.Module, steps: int) -> list[tuple[int, float]]:
    """Returns the decibels of clips that it has not seen, as they were along the way."""
    squares = [training.crop(clips[index], seed=index, side=32) for index in range(300)]
    optimiser = torch.optim.AdamW(vae.parameters(), 2e-3, (0.9, 0.95))
    rate = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min((step + 1) / 20, (steps - step) / steps))
    source, curve = torch.Generator().manual_seed(0), []
    for step in range(steps + 1):
        if step % (steps // 10) == 0:
            with torch.no_grad():
                curve.append((step, decibels(held[:5], vae.decode(vae.encode(held[:5])))))
        chosen = torch.randint(len(squares), (8,), generator=source).tolist()
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16_pays(held.device)):  # seventy times slower where it does not
            error, _, _ = training.reconstruct(vae, [squares[index] for index in chosen], source)
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        rate.step()
    return curve


# %%
torch.manual_seed(0)
bare, vae = VAE(replace(config, components=False)), VAE(config)
training.measure_components(vae.components, [clips[index] for index in range(160)])
curves = {"network alone": train(bare, 200 * LONGER), "network around the components": train(vae, 200 * LONGER)}
with torch.no_grad():
    long_run = decibels(held[:5], toy.vae.decode(toy.vae.encode(held[:5])))
figure, ax = plt.subplots(figsize=(6.5, 3))
for name, curve in curves.items():
    ax.plot(*zip(*curve, strict=True), marker="o", label=f"{name}: {curve[-1][1]:.1f} dB")
ax.axhline(long_run, color="black", linestyle=":", linewidth=1, label=f"the toy model's VAE: {long_run:.1f} dB")
ax.set(xlabel="steps", ylabel="dB", title="Clips that it has not seen")
ax.legend()
picture(figure, "Decibels against steps: a network alone climbs slowly from below, one around components begins near the top.")

# %% [markdown]
# Two hundred gradient steps get nowhere near what an eigenvalue problem gives in a second, which is why this VAE begins
# with it. Around the components as many steps add nothing that can be seen. What no matrix can know comes slowly: of what
# lies between the upper curve and the dotted line, more channels are about one decibel, and the toy's long run is the rest.

# %% [markdown]
# The toy model's VAE keeps 32 numbers of each box and was trained like this with Muon (notebook 07): half an hour on two cores, five minutes on
# GPUs, and its decoder for longer. First the clip, then ours, then the toy's:

# %%
with torch.no_grad():
    pair = held[:2]
    ours, toys = vae.decode(vae.encode(pair)), toy.vae.decode(toy.vae.encode(pair))
show([from_pixels(frames) for three in zip(pair, ours, toys, strict=True) for frames in three], columns=3)

# %% [markdown]
# ## What could go wrong
#
# - **A frame too many.** 16 or 18 frames do not fit 1 + 4k. `_check` says so; a silent crop would cost a frame in every clip.
# - **Latents that are not normalised.** Their spread is the unit of the noise. A channel of spread 20 is never noisy
#   enough, one of 0.05 is lost at once.
# - **Better decibels, worse model.** Finer latents copy better and are harder to generate. The toy's first VAE kept four times as many
#   numbers, was a little better than the one it has now, and its transformer made blobs; the README of the checkpoints has the table.

# %% [markdown]
# ## Exercise 03.1 · 5 minutes · easy
#
# How many times fewer numbers are latents? For a clip of any size, a compression such as (4, 8, 8) and a number of channels,
# count both and divide.
#
# <details><summary>Hint</summary>
#
# Frame 0 is a latent of its own: $1 + 4k$ frames are $1 + k$ latents.
#
# </details>

# %% tags=["exercise: 03.1"]
def shrinks(size: tuple[int, int, int], compression: tuple[int, int, int], channels: int) -> float:
    """Numbers of pixels divided by numbers of latents."""
    raise NotImplementedError("exercise 03.1")


# %% tags=["check: 03.1"]
with exercise("03.1"):
    assert abs(shrinks((17, 64, 64), (4, 8, 8), 16) - 40.8) < 1e-6, "208,896 pixels and 5,120 latents"
    assert shrinks((1, 64, 64), (4, 8, 8), 16) == 12, "for a picture, time cannot help"
    assert abs(shrinks((14401, 64, 64), (4, 8, 8), 16) - 48) < 0.01, "a long video comes near 48"

# %% tags=["solution: 03.1"] jupyter={"source_hidden": true}
def shrinks(size: tuple[int, int, int], compression: tuple[int, int, int], channels: int) -> float:
    """Numbers of pixels divided by numbers of latents."""
    (frames, height, width), (time, tall, wide) = size, compression
    latents = (1 + (frames - 1) // time) * (height // tall) * (width // wide)
    return 3 * frames * height * width / (channels * latents)


# %% [markdown]
# ## Exercise 03.2 · 20 minutes · medium
#
# Derive the KL term above, with $\mathbb{E}_q[x^2] = m^2 + s^2$, and write it for tensors of means and log-variances: the sum
# over all numbers. The check estimates the integral from samples.
#
# <details><summary>Hint</summary>
#
# $\ln q - \ln p = -\tfrac12 \ln s^2 - \frac{(x - m)^2}{2 s^2} + \frac{x^2}{2}$. Take the mean over $q$ of each part.
#
# </details>

# %% tags=["exercise: 03.2"]
def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) | N(0, 1)), the sum over all numbers."""
    raise NotImplementedError("exercise 03.2")


# %% tags=["check: 03.2"]
with exercise("03.2"):
    assert divergence(torch.zeros(5), torch.zeros(5)) == 0, "of a thing to itself it is nothing"
    m, s = torch.tensor([0.7, -0.3]), torch.tensor([0.5, 1.4])
    q, p = torch.distributions.Normal(m, s), torch.distributions.Normal(torch.zeros(2), torch.ones(2))
    drawn = q.sample((200_000,))
    estimate = (q.log_prob(drawn) - p.log_prob(drawn)).mean(0).sum()
    assert abs(divergence(m, (s**2).log()) - estimate) < 0.02, f"samples say {estimate:.3f}"

# %% tags=["solution: 03.2"] jupyter={"source_hidden": true}
def divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL(N(mean, variance) | N(0, 1)), the sum over all numbers."""
    return 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()


# %% [markdown]
# ## Exercise 03.3 · 20 minutes · hard
#
# Causality can be tested without reading the code. For any function of a clip (b, 3, 1 + 4k, h, w) that gives latents, say
# whether it is causal: change the clip after the frames of latent $j$, at random, and latents $0 \ldots j$ must not
# move.
#
# <details><summary>Hint</summary>
#
# Latent $j$ ends with frame $4j$. Change frames from $4j + 1$ on, encode both, compare up to `j + 1`.
#
# </details>

# %% tags=["exercise: 03.3"]
def is_causal(encode, frames: int = 17) -> bool:
    """Whether no latent depends on a frame after its own."""
    raise NotImplementedError("exercise 03.3")


# %% tags=["check: 03.3"]
with exercise("03.3"), torch.no_grad():
    assert is_causal(toy.vae.encode) is True, "the toy's VAE is"
    seen_before = nn.Conv3d(3, 4, (9, 1, 1), padding=(4, 0, 0), stride=(4, 1, 1))
    assert is_causal(seen_before) is False, "this one looks four frames ahead"
    assert is_causal(lambda x: x[:, :, ::4]) is True, "every fourth frame, as it is"
    assert is_causal(lambda x: x[:, :, ::4] + 1e-2 * x[:, :, -1:]) is False, "only a little of the last frame"

# %% tags=["solution: 03.3"] jupyter={"source_hidden": true}
def is_causal(encode, frames: int = 17) -> bool:
    """Whether no latent depends on a frame after its own."""
    x = torch.rand(1, 3, frames, 16, 16) * 2 - 1
    for j in range((frames - 1) // 4):
        other = x.clone()
        other[:, :, 4 * j + 1 :] = torch.rand_like(other[:, :, 4 * j + 1 :])
        if not torch.allclose(encode(x)[:, :, : j + 1], encode(other)[:, :, : j + 1], atol=1e-4):
            return False
    return True


# %% [markdown] tags=["quiz"]
# ## Quiz
#
# 1. *Why not let the transformer work on pixels?*
#    <details><summary>Answer</summary>It could. Two seconds of 64x64 would be forty times as many numbers, nearly all of which say what
#    their neighbours say, and the cost of attention grows with the square.</details>
# 2. *The KL weight is raised a thousandfold. What happens?*
#    <details><summary>Answer</summary>The encoder pays for every bit it says, so it says less: latents become pure noise where a pixel
#    is not worth its price, and copies blur. At 1e-3 ours stopped at 15 dB.</details>
# 3. *Why can the beginning of a video be shown before its end is decoded, and not the other way round?*
#    <details><summary>Answer</summary>A frame needs the latents before it, never those after it. That is causality, and it holds in one
#    direction.</details>
#
# ## Where next
#
# - **04 · Flow matching**: how latents are made from nothing.
# - Kingma and Welling, *Auto-Encoding Variational Bayes*, 2013: [arXiv:1312.6114](https://arxiv.org/abs/1312.6114)
# - Rombach et al., *High-Resolution Image Synthesis with Latent Diffusion Models*, 2021: [arXiv:2112.10752](https://arxiv.org/abs/2112.10752)
# - Yu et al., *Language Model Beats Diffusion: Tokenizer is Key to Visual Generation* (causal 3D convolution), 2023:
#   [arXiv:2310.05737](https://arxiv.org/abs/2310.05737)
# - Wan Team, *Wan: Open and Advanced Large-Scale Video Generative Models*, 2025: [arXiv:2503.20314](https://arxiv.org/abs/2503.20314)

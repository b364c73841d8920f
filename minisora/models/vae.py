"""The causal video VAE: clips to latents, 4x8x8 times fewer places, and back. Frame 0 stands alone, so images fit too.

It works on a whole clip or chunk by chunk with the same result: what a chunk needs of the past is in a `Stream`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from minisora.core.errors import MinisoraError
from minisora.models.components import Components
from minisora.nn.causal import CausalConv, SpaceDown, SpaceUp, Stream, TimeDown, TimeUp
from minisora.nn.norm import RMSNorm
from minisora.nn.shortcuts import average_down, duplicate_up


@dataclass(frozen=True)
class VAEConfig:
    """A causal video VAE of any size: the Wan 2.1 layout, or the 2.2 one with `patch` 2 and `shortcuts`."""

    channels: int = 16
    """Channels of a latent."""
    base: int = 96
    """Channels at full resolution; each stage has a multiple."""
    decoder_base: int | None = None
    """The same for the decoder, if it differs."""
    stages: tuple[int, ...] = (1, 2, 4, 4)
    """Multiples of the base; each stage works at one resolution."""
    space: tuple[bool, ...] = ()
    """Whether height and width are halved after each stage but the last; if not given, they are after each."""
    time: tuple[bool, ...] = (False, True, True)
    """Whether time is halved after each stage but the last."""
    blocks: int = 2
    """Residual blocks in a stage of the encoder; the decoder has one more."""
    patch: int = 1
    """Side of the squares of pixels that are folded into channels first."""
    shortcuts: bool = False
    """Carry each stage's input around it, averaged on the way down and repeated on the way up."""
    components: bool = False
    """Carry the principal components of each box of pixels around both networks, which learn the rest."""
    level: bool = True
    """Bring each channel to the same spread. If not, they keep their own, so that what varies most is made first."""
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    """Mean and standard deviation of each raw latent channel; latents are given normalised."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "space", self.space or (True,) * (len(self.stages) - 1))
        if not len(self.time) == len(self.space) == len(self.stages) - 1:
            steps = len(self.stages) - 1
            raise MinisoraError(f"a VAE with {steps + 1} stages needs {steps} values for space, and as many for time")
        if self.shortcuts and self.stages[-2:-1] not in ((), self.stages[-1:]):
            raise MinisoraError(
                f"with shortcuts the last two stages have one multiple, and here they are {self.stages}"
            )
        if any(len(values) not in (0, self.channels) for values in (self.mean, self.std)):
            raise MinisoraError(f"a VAE with {self.channels} latent channels needs as many means and stds")

    @property
    def compression(self) -> tuple[int, int, int]:
        """How many frames, rows and columns of pixels become one latent."""
        side = self.patch * 2 ** sum(self.space)
        return 2 ** sum(self.time), side, side


class Norm(RMSNorm):
    """RMSNorm over the channels of (b, c, t, h, w)."""

    def __init__(self, channels: int) -> None:
        super().__init__(channels, eps=1e-24)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.movedim(1, -1)).movedim(-1, 1)


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


def _silence(layer: nn.Linear | nn.Conv3d) -> None:
    """A fresh block hands on its input as it is: a deep network then begins as a shallow one, and trains faster."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)


class Middle(nn.Module):
    """The deepest stage, in encoder and decoder alike."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.block1, self.attention = ResBlock(channels, channels), FrameAttention(channels)
        self.block2 = ResBlock(channels, channels)

    def forward(self, x: Tensor, stream: Stream) -> Tensor:
        return self.block2(self.attention(self.block1(x, stream)), stream)


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

    def encode(self, x: Tensor, stream: Stream | None = None) -> Tensor:
        """The likeliest latents of a clip, normalised. With a stream, of the next chunk of a clip."""
        return self.normalise(self.posterior(x, stream)[0])

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

    def encode_chunks(self, chunks: Iterable[Tensor]) -> Iterator[Tensor]:
        """Encode a video that comes in chunks of 1 + 4k, then 4k frames: the memory needed is that of one chunk."""
        stream = Stream()
        return (self.encode(chunk, stream) for chunk in chunks)

    def decode_chunks(self, z: Tensor, latents: int = 1) -> Iterator[Tensor]:
        """Decode a few latents at a time: the memory needed does not grow with the length of the video."""
        stream = Stream()
        return (self.decode(chunk, stream) for chunk in z.split(latents, 2))

    def normalise(self, z: Tensor) -> Tensor:
        return (z - self.mean.view(-1, 1, 1, 1).to(z)) / self.std.view(-1, 1, 1, 1).to(z)

    def denormalise(self, z: Tensor) -> Tensor:
        return z * self.std.view(-1, 1, 1, 1).to(z) + self.mean.view(-1, 1, 1, 1).to(z)

    def _check(self, x: Tensor, stream: Stream) -> None:
        time, side, _ = self.config.compression
        t, h, w = x.shape[-3:]
        if x.dim() != 5 or x.shape[1] != 3 or h % side or w % side or (t - (not stream.started)) % time or t < 1:
            frames = f"{time}k" if stream.started else f"{time}k + 1"
            raise MinisoraError(
                f"the VAE got pixels of shape {tuple(x.shape)}: it takes (batch, 3, {frames} frames, height, width), "
                f"height and width in multiples of {side}"
            )


def _channels_last(x: Tensor) -> Tensor:
    """Channels beside each other in memory, as convolutions and norms read them: bf16 ran twice as fast so on CPUs."""
    return x.contiguous(memory_format=torch.channels_last_3d)

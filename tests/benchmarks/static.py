"""The transformer's training step in shapes that never change: model and loss are those of minisora/train/dit.py.

The package's step takes clips as they come, and known parts by chance. Here each step has the same groups of clips:
so many squares, wide and tall ones, pictures, rings, clips with known frames. The lengths of all segments are then
constants: a compiler can fuse the blocks, and a GPU can replay the step (recorded.py). A test holds both to one answer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from minisora.core.runtime import bf16_pays
from minisora.diffusion.flow import mix, velocity
from minisora.diffusion.schedule import shift as shifted
from minisora.models.dit import Block, DiT
from minisora.nn.attention import _product
from minisora.nn.causal import CausalConv, Stream
from minisora.nn.modulation import time_features
from minisora.nn.rope import rotations
from minisora.tokens.patches import positions
from minisora.train.dit import DROPPED, ROUGH, ROUGHEST

UNIT = 4  # tokens that share one row of modulation: it divides the length of every segment


@dataclass
class Pool:
    """Latents of equally large clips, on the GPU, tokens of one latent each."""

    z: Tensor
    """(n, t·h·w, c)"""
    grid: tuple[int, int, int]
    text: Tensor
    """(n,): each clip's row in the table of captions."""
    images: Tensor | None = None
    """(n, k, h·w, c): single frames, the last one first."""
    frames: Tensor | None = None
    """(n, k): their numbers."""
    region: Tensor | None = None
    """(n, t·h·w, c)"""


@dataclass
class Group:
    """Some clips of a batch, all with equally many tokens: (b, n, c) and what is known of them."""

    x: Tensor
    pos: Tensor
    unknown: Tensor
    text: Tensor
    ring: int = 0


def plain(pool: Pool, count: int, prefixed: float = 0.0, ring: bool = False) -> Group:
    """Clips of which nothing is known, or with a known beginning."""
    index = torch.randint(len(pool.z), (count,), device=pool.z.device)
    t, h, w = pool.grid
    x = pool.z[index].float()
    unknown = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    if prefixed:
        has = torch.rand(count, 1, device=x.device) < prefixed
        known = torch.randint(1, t, (count, 1), device=x.device) * (h * w)
        unknown = ~(has & (torch.arange(t * h * w, device=x.device) < known))
    pos = positions(pool.grid, x.device).expand(count, -1, -1)
    return Group(x, pos, unknown, pool.text[index], t if ring else 0)


def with_frames(pool: Pool, count: int, stride: int, ends: bool) -> Group:
    """The last frame is known, and mostly the first; or two frames by chance."""
    assert pool.frames is not None
    device, (_, h, w) = pool.z.device, pool.grid
    index = torch.randint(len(pool.z), (count,), device=device)
    known = torch.zeros(count, 1, dtype=torch.long, device=device)
    chosen = torch.zeros(count, 1, dtype=torch.long, device=device)
    if ends:
        known = (h * w) * (torch.rand(count, 1, device=device) < 2 / 3)
    else:
        chosen = torch.rand(count, pool.frames.shape[1], device=device).argsort(1)[:, :2]
    return beside(pool, index, known, chosen, stride)


def between(pool: Pool, count: int, stride: int, before: int) -> Group:
    """The first latents are known, and all single frames that the pool has."""
    assert pool.frames is not None
    device, (_, h, w) = pool.z.device, pool.grid
    index = torch.randint(len(pool.z), (count,), device=device)
    chosen = torch.arange(pool.frames.shape[1], device=device).expand(count, -1)
    known = torch.full((count, 1), before * h * w, device=device)
    return beside(pool, index, known, chosen, stride)


def beside(pool: Pool, index: Tensor, known: Tensor, chosen: Tensor, stride: int) -> Group:
    """Clips whose first `known` (b, 1) tokens are given, and beside them the `chosen` (b, k) of their single frames."""
    assert pool.images is not None and pool.frames is not None
    device, (count, k), (_, h, w) = pool.z.device, chosen.shape, pool.grid
    x = pool.z[index].float()
    unknown = torch.arange(x.shape[1], device=device) >= known
    rows = torch.arange(count, device=device)[:, None]
    frames, images = pool.frames[index][rows, chosen], pool.images[index][rows, chosen].float()
    place = positions((1, h, w), device) + 0 * frames[..., None, None]  # as `place_of`, for all
    place[..., 0] = ((frames + (stride - 1) / 2) / stride).masked_fill(frames == 0, 0.0)[..., None].float()
    pos = positions(pool.grid, device).expand(count, -1, -1)
    given = torch.zeros(count, k * h * w, dtype=torch.bool, device=device)
    return Group(
        torch.cat([x, images.flatten(1, 2)], 1), torch.cat([pos, place.flatten(1, 2)], 1),
        torch.cat([unknown, given], 1), pool.text[index],
    )  # fmt: skip


def with_region(pool: Pool, count: int) -> Group:
    """The whole clip with a part painted grey is known."""
    assert pool.region is not None
    index = torch.randint(len(pool.z), (count,), device=pool.z.device)
    x, region = pool.z[index].float(), pool.region[index].float()
    pos = positions(pool.grid, x.device).expand(count, -1, -1)
    unknown = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
    return Group(
        torch.cat([x, region], 1), torch.cat([pos, pos], 1), torch.cat([unknown, ~unknown], 1), pool.text[index]
    )  # fmt: skip


@dataclass
class Captions:
    """The rows of all captions, made once by the frozen text encoder: (captions, most, width) and how many each has."""

    rows: Tensor
    lengths: Tensor

    def of(self, index: Tensor, dropped: float = DROPPED) -> tuple[Tensor, Tensor, Tensor]:
        """Rows (b, most, width), the bias of each (b, most), and the mean row (b, width), null row included."""
        lengths = self.lengths[index]
        lengths = lengths * (torch.rand(lengths.shape, device=lengths.device) >= dropped)
        place = torch.arange(self.rows.shape[1], device=lengths.device)
        rows = self.rows[index].float() * (place < lengths[:, None])[..., None]
        bias = torch.zeros(place.shape, device=lengths.device).masked_fill(place > lengths[:, None], float("-inf"))
        return rows, bias, rows.sum(1) / (lengths + 1)[:, None]


def velocity_of(
    dit: DiT, block: Callable, groups: list[Group], xs: Tensor, t: Tensor, text: list[tuple[Tensor, Tensor, Tensor]]
) -> Tensor:
    """The model's answer, as DiT.forward gives it; t is (n / UNIT,)."""
    config, device = dit.config, xs.device
    assert config.places and config.pooled and not config.padded and not config.clean
    width = config.width // config.heads
    pos, sizes = torch.cat([group.pos.flatten(0, 1) for group in groups]), sizes_of(groups)
    ring = rings(sizes, tuple(group.ring for group in groups), device)
    turns = rotations(pos, width, config.theta, ring)
    pos = pos.masked_fill((ring > 0)[:, None] & (torch.arange(3, device=device) == 0), 0.0)
    places = torch.view_as_real(rotations(pos, width, config.theta)).flatten(1)

    x = dit.embed(xs) + dit.embed_place(places)
    means = dit.embed_prompt(torch.cat([mean for *_, mean in text]))
    parts = zip(means.split([count for count, _ in sizes]), sizes, strict=True)
    x = x + torch.cat([part[:, None].expand(-1, length, -1).flatten(0, 1) for part, (_, length) in parts])
    rows = dit.embed_text(torch.cat([rows.flatten(0, 1) for rows, *_ in text]))
    bias = torch.cat([bias.flatten() for _, bias, _ in text])
    with torch.autocast(device.type, enabled=False):
        moment = dit.embed_time(time_features(t, config.time_features))
        mod = dit.modulation(F.silu(moment))
    for each in dit.blocks:
        x = block(x, rows, mod, turns.real, turns.imag, bias, sizes, config.heads, config.eps, *weights(each))  # type: ignore[arg-type]
    shift, scale = (dit.table + moment[:, None]).unbind(1)
    return dit.head(modulated(x, shift, scale, config.eps))


Sizes = tuple[tuple[int, int], ...]
"""For each group the number of its clips, and of the tokens of each."""


def sizes_of(groups: list[Group]) -> Sizes:
    return tuple((len(group.x), group.x.shape[1]) for group in groups)


@lru_cache
def segments(sizes: Sizes, unit: int, device: torch.device) -> Tensor:
    """The clip that each token belongs to, or each `unit` of them."""
    counts = torch.tensor([length // unit for count, length in sizes for _ in range(count)])
    return torch.arange(len(counts)).repeat_interleave(counts).to(device)


@lru_cache
def rings(sizes: Sizes, laps: tuple[int, ...], device: torch.device) -> Tensor:
    """How many places in time each token's ring has; 0 where time does not go round."""
    each = [torch.full((count * length,), lap) for (count, length), lap in zip(sizes, laps, strict=True)]
    return torch.cat(each).to(device)


def weights(block: Block) -> list[Tensor]:
    parts = [getattr(part, name) for part in (block.attend, block.read) for name in ("q", "k", "v", "out")]
    layers = [tensor for layer in (*parts, block.mlp_in, block.mlp_out) for tensor in (layer.weight, layer.bias)]
    norms = [norm.weight for part in (block.attend, block.read) for norm in (part.norm_q, part.norm_k)]
    return [*layers, *norms, block.norm_text.weight, block.norm_text.bias, block.table]


def run_block(x, rows, mod, cos, sin, bias, sizes, heads, eps, *given):
    """Block.forward, written so that a compiler can fuse it: real rotations, modulation for every UNIT tokens."""
    layer = [(given[2 * n], given[2 * n + 1]) for n in range(10)]
    norm_q, norm_k, norm_read_q, norm_read_k, text_weight, text_bias, table = given[20:]
    shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = (table + mod.unflatten(1, (6, -1))).unbind(1)

    h = modulated(x, shift, scale, eps)
    q, k = normed(F.linear(h, *layer[0]), norm_q, eps), normed(F.linear(h, *layer[1]), norm_k, eps)
    q, k = rotated(q, cos, sin, heads), rotated(k, cos, sin, heads)
    seen = attend(q, k, F.linear(h, *layer[2]).unflatten(-1, (heads, -1)), sizes, None)
    x = gated(x, F.linear(seen, *layer[3]), gate)

    h = F.layer_norm(x.float(), x.shape[-1:], text_weight, text_bias, eps).to(x.dtype)
    q, k = normed(F.linear(h, *layer[4]), norm_read_q, eps), normed(F.linear(rows, *layer[5]), norm_read_k, eps)
    q, k, v = (part.unflatten(-1, (heads, -1)) for part in (q, k, F.linear(rows, *layer[6])))
    x = x + F.linear(attend(q, k, v, sizes, bias), *layer[7]).to(x.dtype)

    h = modulated(x, shift_mlp, scale_mlp, eps)
    return gated(x, F.linear(F.gelu(F.linear(h, *layer[8]), approximate="tanh"), *layer[9]), gate_mlp)


def modulated(x: Tensor, shift: Tensor, scale: Tensor, eps: float) -> Tensor:
    units = F.layer_norm(x.float(), x.shape[-1:], eps=eps).unflatten(0, (-1, UNIT))
    return (units * (1 + scale[:, None].float()) + shift[:, None].float()).flatten(0, 1).to(x.dtype)


def gated(x: Tensor, update: Tensor, gate: Tensor) -> Tensor:
    return x + (update.unflatten(0, (-1, UNIT)).float() * gate[:, None].float()).flatten(0, 1).to(x.dtype)


def flat_forward(self: CausalConv, x: Tensor, stream: Stream) -> Tensor:
    """CausalConv.forward as a convolution of images, whose channels are those of all frames that the kernel sees."""
    deep = self.kernel_size[0]
    x = stream.past(self, x, deep - 1) if deep > 1 else x
    count = x.shape[2] - deep + 1
    x = torch.cat([x[:, :, first : first + count] for first in range(deep)], 1)
    images = x.transpose(1, 2).flatten(0, 1).contiguous(memory_format=torch.channels_last)
    weight = self.weight.movedim(2, 1).flatten(1, 2)
    y = F.conv2d(images, weight, self.bias, padding=self.padding[1:])  # type: ignore[arg-type]
    return y.unflatten(0, (len(x), count)).transpose(1, 2)


def normed(x: Tensor, weight: Tensor, eps: float) -> Tensor:
    wide = x.float()
    return (wide * torch.rsqrt(wide.square().mean(-1, keepdim=True) + eps) * weight).to(x.dtype)


def rotated(x: Tensor, cos: Tensor, sin: Tensor, heads: int) -> Tensor:
    """(n, width) → (n, heads, head width): the pairs of channels are complex numbers, turned."""
    real, imaginary = x.float().unflatten(-1, (heads, -1, 2)).unbind(-1)
    cos, sin = cos[:, None], sin[:, None]
    return torch.stack([real * cos - imaginary * sin, real * sin + imaginary * cos], -1).flatten(-2).to(x.dtype)


def attend(q: Tensor, k: Tensor, v: Tensor, sizes: Sizes, bias: Tensor | None) -> Tensor:
    """Each group is a batch of its own; keys are the group's own tokens, or its prompts where there is a bias."""
    total = sum(count for count, _ in sizes)
    seen, first, prompt = [], 0, 0
    for count, length in sizes:  # neighbours of one length are not joined: the compiler of torch 2.11 failed on that
        queries = q[first : first + count * length]
        step = length if bias is None else len(k) // total
        start = first if bias is None else prompt
        keys, values = (part[start : start + count * step] for part in (k, v))
        mask = None if bias is None else bias[start : start + count * step].view(count, 1, 1, step).to(q.dtype)
        mask = None if mask is None else mask.expand(-1, q.shape[1], length, -1)
        queries, keys, values = (part.unflatten(0, (count, -1)).transpose(1, 2) for part in (queries, keys, values))
        one = _product(queries, keys, values, mask)
        seen.append(one.transpose(1, 2).flatten(0, 1).flatten(1))
        first, prompt = first + count * length, prompt + count * step
    return torch.cat(seen)


def autocast(device: torch.device, half: bool = True) -> torch.autocast:
    """Half precision where it pays: on a CPU that does not know bf16 it is seventy times slower."""
    return torch.autocast(device.type, torch.bfloat16, enabled=half and bf16_pays(device))


def lesson(
    dit: DiT, block: Callable, groups: list[Group], captions: Captions, shift: float, half: bool = True
) -> Tensor:
    """The loss of one batch: noise, a time for each clip, what is known near time 0."""
    device = groups[0].x.device
    xs = torch.cat([group.x.flatten(0, 1) for group in groups])
    unknown = torch.cat([group.unknown.flatten() for group in groups])
    total = sum(len(group.x) for group in groups)
    t = shifted(torch.randn(total, device=device).sigmoid(), shift)  # as sample_times, on the device
    rough = (torch.rand(total, device=device) < ROUGH) * ROUGHEST * torch.rand(total, device=device)
    owner = segments(sizes_of(groups), UNIT, device)
    t, rough = t[owner], rough[owner]
    t = torch.where(unknown[::UNIT], t, rough)
    noise = torch.randn_like(xs)
    text = [captions.of(group.text) for group in groups]
    noisy = mix(xs, noise, t.repeat_interleave(UNIT, output_size=len(xs)))
    with autocast(device, half):
        v = velocity_of(dit, block, groups, noisy, t, text)
    error = (v.float() - velocity(xs, noise)).square().mean(1)
    return (error * unknown).sum() / unknown.sum()

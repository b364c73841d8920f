"""The text encoder: a T5-style transformer that turns a prompt into one row of features per token.

The layout is UMT5's, in which every layer has its own table of relative position biases. A small config learns to
read captions before the toy video model is trained, and then stays as it is (train/text.py); the config of UMT5-XXL
holds the weights that the full-size model reads.
"""

import math
from dataclasses import dataclass, fields, replace

import torch
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import gelu, scaled_dot_product_attention
from torch.nn.utils.rnn import pad_sequence

from minisora.core.errors import MinisoraError
from minisora.models.tokenizer import PAD
from minisora.nn.norm import RMSNorm


@dataclass(frozen=True)
class TextConfig:
    """The size of a text encoder."""

    vocabulary: int = 512
    """How many ids there are: a tokenizer's `size`, or more."""
    width: int = 128
    heads: int = 4
    head_width: int = 32
    """Width of one head; heads x head_width need not be the width."""
    mlp: int = 320
    """Hidden width of the MLP."""
    layers: int = 3
    buckets: int = 32
    """Distances between tokens are told apart in this many classes, half of them to each side."""
    max_distance: int = 128
    """From here on all distances are one class."""
    eps: float = 1e-6

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) > 0:
                raise MinisoraError(f"text encoder: {field.name} is {getattr(self, field.name)}: it has to be above 0")
        if self.buckets % 4 or self.max_distance <= self.buckets // 4:
            raise MinisoraError(
                f"text encoder: {self.buckets} buckets up to distance {self.max_distance} cannot be laid out: buckets "
                "are a multiple of 4, and the distance is above a quarter of them"
            )


class TextEncoder(nn.Module):
    """Prompts of any lengths, as lists of ids, to a (length, width) tensor for each."""

    def __init__(self, config: TextConfig = TextConfig()) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)  # N(0, 1), T5's init and torch's default
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.width, config.eps)

    def grow(self, vocabulary: int) -> None:
        """Room for ids that a tokenizer has learnt since; the old ones keep their meaning."""
        old = self.embedding.weight
        new = torch.randn(max(0, vocabulary - len(old)), old.shape[1]).to(old)
        self.embedding = nn.Embedding.from_pretrained(torch.cat([old.detach(), new]), freeze=not old.requires_grad)
        self.config = replace(self.config, vocabulary=len(old) + len(new))

    def forward(self, prompts: list[list[int]]) -> list[Tensor]:
        for prompt in prompts:
            if not prompt or min(prompt) < 0 or max(prompt) >= self.config.vocabulary:
                raise MinisoraError(
                    f"cannot encode the ids {str(prompt)[:80]}: a prompt has one id or more (the empty text is its "
                    f"end mark), each from 0 to {self.config.vocabulary - 1}: use the tokenizer of this encoder"
                )
        if not prompts:
            return []
        ids = pad_sequence([torch.tensor(prompt) for prompt in prompts], batch_first=True, padding_value=PAD)
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        present = torch.arange(ids.shape[1]) < lengths[:, None]  # (b n) a token, and not padding
        buckets = distance_buckets(ids.shape[1], self.config)  # (n n) the same for all layers
        ids, present, buckets = (index.to(self.embedding.weight.device) for index in (ids, present, buckets))

        x = self.embedding(ids)  # (b n c)
        for block in self.blocks:
            x = block(x, buckets, present)
        return [self.norm(rows[: len(prompt)]) for rows, prompt in zip(x, prompts, strict=True)]


class Block(nn.Module):
    """Attention, then the MLP, each on a normed copy of x; x itself is normed only at the very end."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width, config.eps)
        self.attention = Attention(config)
        self.mlp_norm = RMSNorm(config.width, config.eps)
        self.mlp = GatedMLP(config)

    def forward(self, x: Tensor, buckets: Tensor, present: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x), buckets, present)
        return x + self.mlp(self.mlp_norm(x))


class Attention(nn.Module):
    """softmax(q·k + bias[bucket(distance)]) v. The scores are not divided by √head_width: q's init does it instead."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        inner = config.heads * config.head_width
        self.heads = config.heads
        self.q = linear(config.width, inner, shrink=config.head_width**-0.5)
        self.k = linear(config.width, inner)
        self.v = linear(config.width, inner)
        self.out = linear(inner, config.width)
        self.bias = nn.Embedding(config.buckets, config.heads)
        nn.init.normal_(self.bias.weight, std=config.width**-0.5)

    def forward(self, x: Tensor, buckets: Tensor, present: Tensor) -> Tensor:
        q, k, v = (rearrange(project(x), "b n (h d) -> b h n d", h=self.heads) for project in (self.q, self.k, self.v))
        bias = rearrange(self.bias(buckets), "q k h -> 1 h q k")
        bias = bias.masked_fill(~rearrange(present, "b k -> b 1 1 k"), -math.inf)  # padding is never a key
        x = scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype), scale=1.0)
        return self.out(rearrange(x, "b h n d -> b n (h d)"))


class GatedMLP(nn.Module):
    """down(gelu(gate x) · up x), with the tanh form of GELU (Shazeer, 2020)."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.gate = linear(config.width, config.mlp)
        self.up = linear(config.width, config.mlp)
        self.down = linear(config.mlp, config.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(gelu(self.gate(x), approximate="tanh") * self.up(x))


def linear(inputs: int, outputs: int, shrink: float = 1.0) -> nn.Linear:
    """T5's init: no bias, and weights N(0, 1 / inputs), so that outputs are as large as inputs."""
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(layer.weight, std=shrink * inputs**-0.5)
    return layer


def distance_buckets(length: int, config: TextConfig) -> Tensor:
    """(length, length) the class of the distance from each query (row) to each key (column).

    Half of the classes are for keys after the query. In either half, one half of it counts distances one by one, and
    the rest grows by equal factors up to max_distance: near words are told apart exactly, far ones roughly. Always
    worked out in fp32 on the CPU, so that no device rounds a logarithm across the edge of a class.
    """
    side, exact = config.buckets // 2, config.buckets // 4
    position = torch.arange(length)
    distance = position[None, :] - position[:, None]
    far = distance.abs().clamp(min=exact)  # near distances are taken as they are, below
    growth = torch.log(far.float() / exact) / math.log(config.max_distance / exact)  # 0 … 1 up to max_distance
    rough = (exact + (growth * (side - exact)).long()).clamp(max=side - 1)
    return side * (distance > 0) + torch.where(distance.abs() < exact, distance.abs(), rough)


def truncate(ids: list[int], limit: int) -> list[int]:
    """At most `limit` ids, the last of which, the end mark, is kept."""
    if limit < 1:
        raise MinisoraError(f"a prompt cannot be cut to {limit} ids: its end mark takes one")
    return ids if len(ids) <= limit else [*ids[: limit - 1], ids[-1]]

"""Attention over segments: the tokens of a clip see each other and nobody else. One meaning, several backends."""

from collections.abc import Callable
from functools import lru_cache
from itertools import groupby

import torch
import torch.nn.functional as F
from torch import Tensor

from minisora.core.errors import MinisoraError, check_choice

Lengths = tuple[int, ...]
SHORT = 768  # tokens
BACKENDS = ("auto", "runs", "loop", "mask", "flex", "varlen")


def attention(
    q: Tensor, k: Tensor, v: Tensor, queries: Lengths, keys: Lengths, bias: Tensor | None = None, backend: str = "auto"
) -> Tensor:
    """Queries (n, heads, d) look at the keys and values (m, heads, d) of their own segment → (n, heads, d).

    `queries` and `keys` are the lengths of the segments, `bias` (m,) is added to the scores of each key.
    """
    if len(queries) != len(keys):
        raise MinisoraError(f"there are queries of {len(queries)} segments and keys of {len(keys)}: give both of each")
    if backend == "auto":
        few = len(_runs(queries, keys)) <= 4
        half = q.dtype in (torch.bfloat16, torch.float16)
        backend = "varlen" if q.is_cuda and half and bias is None and not few else "runs"
    if backend == "runs":
        return _in_runs(q, k, v, bias, _runs(queries, keys))
    if backend == "loop":
        return _in_runs(q, k, v, bias, [(length, (count,)) for length, count in zip(queries, keys, strict=True)])
    if backend == "mask":
        return _masked(q, k, v, bias, queries, keys)
    if backend == "flex":
        return _flex(q, k, v, bias, queries, keys)
    check_choice("attention backend", backend, BACKENDS)
    return _varlen(q, k, v, bias, queries, keys)


@lru_cache(maxsize=256)
def _runs(queries: Lengths, keys: Lengths) -> list[tuple[int, Lengths]]:
    """Neighbours with equally many queries: (how many each has, the number of keys of each)."""
    runs = groupby(zip(queries, keys, strict=True), key=lambda lengths: lengths[0])
    return [(length, tuple(count for _, count in run)) for length, run in runs]


def _in_runs(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, runs: list[tuple[int, Lengths]]) -> Tensor:
    """Segments with equally many queries that lie side by side are a batch: one call for each run of them."""
    if len(runs) == 1:
        return _batched(q, k, v, bias, runs[0][1])
    sizes_q, sizes_k = [length * len(keys) for length, keys in runs], [sum(keys) for _, keys in runs]
    biases = bias.split(sizes_k) if bias is not None else [None] * len(runs)
    parts = zip(q.split(sizes_q), k.split(sizes_k), v.split(sizes_k), biases, runs, strict=True)
    return torch.cat([_batched(q_, k_, v_, extra, keys) for q_, k_, v_, extra, (_, keys) in parts])


def _batched(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, keys: Lengths) -> Tensor:
    """Segments with equally many queries: (b · length, heads, d) → (b, heads, length, d) and back.

    Where they have unequally many keys, the shorter ones are filled up with keys that nobody sees.
    """
    b, mask = len(keys), bias
    if len(set(keys)) > 1:
        places, hidden = _padding(keys, k.device)
        k, v = k.index_select(0, places), v.index_select(0, places)
        mask = hidden if mask is None else mask.index_select(0, places) + hidden
    q, k, v = (part.unflatten(0, (b, -1)).transpose(1, 2) for part in (q, k, v))
    mask = None if mask is None else mask.view(b, 1, 1, -1)
    return _product(q, k, v, mask).transpose(1, 2).flatten(0, 1)


@lru_cache(maxsize=64)
def _padding(keys: Lengths, device: torch.device) -> tuple[Tensor, Tensor]:
    """(b · longest,) which key stands in each place, and 0 where it does, -∞ where it is padding."""
    counts = torch.tensor(keys)
    place = torch.arange(max(keys)).expand(len(keys), -1)
    real = place < counts[:, None]
    places = torch.where(real, place + (counts.cumsum(0) - counts)[:, None], 0)
    hidden = torch.zeros(real.shape).masked_fill(~real, float("-inf"))
    return places.flatten().to(device), hidden.flatten().to(device)


def _product(q: Tensor, k: Tensor, v: Tensor, mask: Tensor | None) -> Tensor:
    """softmax(q kᵀ / √d + mask) v.

    On CPUs torch's own and its gradient took 3.7 times as long in bf16, and 2.6 times in fp32, as the formula written
    out in bf16 (320 tokens). Written out it keeps all scores, so it is for short clips.
    """
    if q.is_cuda or not q.requires_grad:
        mask = None if mask is None else mask.to(q.dtype)
        return F.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    if q.dtype == torch.bfloat16 and q.shape[2] * k.shape[2] <= SHORT**2:
        scores = (q * q.shape[-1] ** -0.5) @ k.mT
        scores = scores if mask is None else (scores + mask).to(q.dtype)
        with torch.autocast(q.device.type, enabled=False):  # which would copy to fp32 what is computed in fp32 anyhow
            weights = scores.softmax(-1)
        return weights @ v
    with torch.autocast(q.device.type, enabled=False):
        mask = None if mask is None else mask.float()
        return F.scaled_dot_product_attention(q.float(), k.float(), v.float(), attn_mask=mask).to(v.dtype)


def _masked(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, queries: Lengths, keys: Lengths) -> Tensor:
    """The definition: everything against everything, other segments masked out. For small sequences."""
    own = _segments(queries, q.device)[:, None] == _segments(keys, q.device)  # (n, m)
    mask = torch.zeros(own.shape, dtype=q.dtype, device=q.device).masked_fill(~own, float("-inf"))
    mask = mask if bias is None else mask + bias.to(q.dtype)
    q, k, v = (part.transpose(0, 1)[None] for part in (q, k, v))
    return _product(q, k, v, mask[None, None])[0].transpose(0, 1)


def _flex(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, queries: Lengths, keys: Lengths) -> Tensor:
    """torch's flex attention: blocks of the score matrix that hold no pair of one segment are never computed."""
    from torch.nn.attention.flex_attention import create_block_mask, flex_attention

    mine, theirs = _segments(queries, q.device), _segments(keys, q.device)
    added = torch.zeros(len(k), device=q.device) if bias is None else bias.float()
    mask = create_block_mask(lambda b, h, i, j: mine[i] == theirs[j], None, None, len(q), len(k), device=q.device.type)
    q, k, v = (part.transpose(0, 1)[None] for part in (q, k, v))
    flex = _compiled(flex_attention) if q.is_cuda else flex_attention  # compiled, it has no gradient on CPUs
    out = flex(q, k, v, score_mod=lambda score, b, h, i, j: score + added[j], block_mask=mask)
    return out[0].transpose(0, 1)


@lru_cache(maxsize=1)
def _compiled(function: Callable) -> Callable:  # compiling takes seconds, so once
    return torch.compile(function, dynamic=True)


def _varlen(q: Tensor, k: Tensor, v: Tensor, bias: Tensor | None, queries: Lengths, keys: Lengths) -> Tensor:
    """torch's variable-length flash attention, CUDA only."""
    if bias is not None or not q.is_cuda:
        raise MinisoraError("the varlen backend runs on CUDA and takes no bias: use 'runs'")
    from torch.nn.attention.varlen import varlen_attn

    ends_q, ends_k = _ends(queries, q.device), _ends(keys, q.device)
    out = varlen_attn(q, k, v, ends_q, ends_k, max(queries), max(keys))
    assert isinstance(out, Tensor)
    return out


@lru_cache(maxsize=64)
def _segments(lengths: Lengths, device: torch.device) -> Tensor:
    return torch.arange(len(lengths), device=device).repeat_interleave(torch.tensor(lengths, device=device))


@lru_cache(maxsize=64)
def _ends(lengths: Lengths, device: torch.device) -> Tensor:
    return F.pad(torch.tensor(lengths, device=device).cumsum(0), (1, 0)).to(torch.int32)

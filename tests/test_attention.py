"""Attention over segments: every backend means the same, and what happens in one segment stays there."""

import math
from itertools import accumulate, pairwise

import pytest
import torch
from torch import Tensor

from minisora.core.errors import MinisoraError
from minisora.nn import attention as module
from minisora.nn.attention import BACKENDS, Lengths, attention

HEADS, WIDTH = 3, 8
EVERYWHERE = ("auto", "runs", "loop", "mask")
"""The backends that run on any machine, with gradients."""
CASES: dict[str, tuple[Lengths, Lengths]] = {
    "one segment": ((7,), (7,)),
    "equal lengths": ((4, 4, 4), (4, 4, 4)),
    "mixed lengths": ((5, 2, 2, 9, 1), (5, 2, 2, 9, 1)),
    "runs apart": ((3, 3, 6, 3, 3), (3, 3, 6, 3, 3)),
    "text beside clips": ((8, 3, 3, 5), (1, 6, 6, 12)),
    "equal clips, unequal text": ((4, 4, 4), (2, 5, 2)),
    "equal sums only": ((2, 6), (6, 2)),
}
needs_cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="variable-length attention runs on CUDA only")
cases = pytest.mark.parametrize("queries, keys", CASES.values(), ids=list(CASES))
backends = pytest.mark.parametrize("backend", EVERYWHERE)
with_bias = pytest.mark.parametrize("biased", [False, True], ids=["plain", "biased"])


def made(queries: Lengths, keys: Lengths, biased: bool = False, seed: int = 0) -> tuple[Tensor, ...]:
    """q, k, v, the bias or None, and weights of the outputs that make a loss of them."""
    generator = torch.Generator().manual_seed(seed)
    n, m = sum(queries), sum(keys)
    q, k, v, out = (torch.randn(rows, HEADS, WIDTH, generator=generator) for rows in (n, m, m, n))
    return q, k, v, 2 * torch.randn(m, generator=generator) if biased else None, out


def defined(q: Tensor, k: Tensor, v: Tensor, queries: Lengths, keys: Lengths, bias: Tensor | None) -> Tensor:
    """softmax(q kᵀ / √d + bias) v in fp64, one segment and one head at a time."""
    parts = []
    for (a, b), (c, d) in zip(*(pairwise(accumulate(lengths, initial=0)) for lengths in (queries, keys)), strict=True):
        scores = torch.einsum("nhd,mhd->hnm", q[a:b].double(), k[c:d].double()) / math.sqrt(q.shape[-1])
        scores = scores if bias is None else scores + bias[c:d].double()
        parts.append(torch.einsum("hnm,mhd->nhd", scores.softmax(-1), v[c:d].double()))
    return torch.cat(parts)


def gradients(attend, *inputs: Tensor, out: Tensor) -> tuple[Tensor, ...]:
    leaves = [part.clone().requires_grad_() for part in inputs]
    attend(*leaves).backward(out)
    return tuple(part.grad for part in leaves)


@cases
@backends
@with_bias
def test_every_backend_is_the_definition_and_so_are_its_gradients(
    queries: Lengths, keys: Lengths, backend: str, biased: bool
) -> None:
    q, k, v, bias, out = made(queries, keys, biased)
    expected = defined(q, k, v, queries, keys, bias)
    seen = attention(q, k, v, queries, keys, bias, backend)
    torch.testing.assert_close(seen, expected.float(), rtol=1e-5, atol=1e-5)
    assert torch.equal(seen, attention(q.requires_grad_(), k, v, queries, keys, bias, backend).detach())

    wanted = gradients(lambda *qkv: defined(*qkv, queries, keys, bias), q.detach(), k, v, out=out.double())
    got = gradients(lambda *qkv: attention(*qkv, queries, keys, bias, backend), q.detach(), k, v, out=out)
    for gradient, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@with_bias
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile")
@pytest.mark.parametrize("case", ["mixed lengths", "text beside clips"])
def test_flex_is_the_definition(case: str, biased: bool) -> None:
    q, k, v, bias, _ = made(*CASES[case], biased)
    seen = attention(q, k, v, *CASES[case], bias, "flex")
    torch.testing.assert_close(seen, defined(q, k, v, *CASES[case], bias).float(), rtol=1e-5, atol=1e-5)


@pytest.mark.slow
@needs_cuda
@with_bias
def test_compiled_flex_is_the_definition_and_so_are_its_gradients(biased: bool) -> None:
    queries, keys = CASES["text beside clips"]
    q, k, v, bias, out = (part if part is None else part.cuda() for part in made(queries, keys, biased))
    wanted = gradients(lambda *qkv: defined(*qkv, queries, keys, bias), q, k, v, out=out.double())
    got = gradients(lambda *qkv: attention(*qkv, queries, keys, bias, "flex"), q, k, v, out=out)
    for gradient, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(gradient, other, rtol=1e-2, atol=1e-2)  # fp32 products may be TF32 there


@needs_cuda
@cases
def test_varlen_is_the_definition_and_so_are_its_gradients(queries: Lengths, keys: Lengths) -> None:
    q, k, v, _, out = (None if part is None else part.cuda().bfloat16() for part in made(queries, keys))
    seen, expected = attention(q, k, v, queries, keys, None, "varlen"), defined(q, k, v, queries, keys, None)
    torch.testing.assert_close(seen.double(), expected, rtol=2e-2, atol=2e-2)
    wanted = gradients(lambda *qkv: defined(*qkv, queries, keys, None), q, k, v, out=out.double())
    got = gradients(lambda *qkv: attention(*qkv, queries, keys, None, "varlen"), q, k, v, out=out)
    for gradient, other in zip(got, wanted, strict=True):
        torch.testing.assert_close(gradient, other, rtol=5e-2, atol=5e-2)


@cases
@backends
@with_bias
def test_nothing_leaks_between_segments(queries: Lengths, keys: Lengths, backend: str, biased: bool) -> None:
    q, k, v, bias, _ = made(queries, keys, biased)
    before = attention(q, k, v, queries, keys, bias, backend).split(queries)
    for index in range(len(keys)):
        k_, v_ = k.clone(), v.clone()
        k_.split(keys)[index].mul_(-30.0)
        v_.split(keys)[index].add_(1000.0)
        after = attention(q, k_, v_, queries, keys, bias, backend).split(queries)
        same = [torch.equal(*pair) for pair in zip(before, after, strict=True)]
        assert same == [other != index for other in range(len(keys))]


@pytest.mark.parametrize("backend", ["auto", "runs", "loop"])
def test_not_even_nan_leaks(backend: str) -> None:
    queries, keys = CASES["mixed lengths"]
    q, k, v, _, _ = made(queries, keys)
    v.split(keys)[1].fill_(math.nan)
    parts = attention(q, k, v, queries, keys, None, backend).split(queries)
    assert [part.isnan().any().item() for part in parts] == [False, True, False, False, False]


@backends
def test_a_key_with_bias_log_n_stands_for_n_equal_ones(backend: str) -> None:
    q, k, v, _, _ = made((4, 3), (2, 5))
    times = torch.tensor([1, 7, 3, 1, 1, 2, 1])
    many = (8, 8)  # 1 + 7 and 3 + 1 + 1 + 2 + 1 rows
    repeated = attention(q, k.repeat_interleave(times, 0), v.repeat_interleave(times, 0), (4, 3), many, None, backend)
    torch.testing.assert_close(attention(q, k, v, (4, 3), (2, 5), times.log(), backend), repeated, rtol=1e-5, atol=1e-5)


@cases
@backends
@pytest.mark.parametrize("autocast", [False, True])
def test_the_gradient_in_half_precision_is_that_of_fp32_rounded(
    queries: Lengths, keys: Lengths, backend: str, autocast: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On CPUs the product of long clips is in fp32 where a gradient is wanted, so that only results are rounded."""
    monkeypatch.setattr(module, "SHORT", 0)
    *qkv, bias, out = (None if part is None else part.bfloat16() for part in made(queries, keys, biased=True))

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attention(q, k, v, queries, keys, bias, backend)

    def attend_low(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            return attend(q, k, v)

    full = [part.float() for part in qkv]
    got, wanted = gradients(attend_low, *qkv, out=out), gradients(attend, *full, out=out.float())
    for gradient, other in zip(got, wanted, strict=True):
        assert gradient.dtype == torch.bfloat16 and torch.equal(gradient, other.bfloat16())
    exact, half = attend(*full), attend_low(*qkv)  # without a gradient the product itself is in half precision
    assert torch.equal(attend_low(*(part.requires_grad_() for part in qkv)), exact.bfloat16())
    assert half.dtype == torch.bfloat16
    torch.testing.assert_close(half.float(), exact, rtol=0.05, atol=0.05)


@cases
@backends
def test_the_formula_in_half_precision_is_that_of_fp32_but_for_rounding(
    queries: Lengths, keys: Lengths, backend: str
) -> None:
    """That of short clips: what it gives and its gradients lie within a few roundings of bf16, which keeps 8 bits."""
    *qkv, bias, out = (None if part is None else part.bfloat16() for part in made(queries, keys, biased=True))

    def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        return attention(q, k, v, queries, keys, bias, backend)

    full = [part.float() for part in qkv]
    got, wanted = gradients(attend, *qkv, out=out), gradients(attend, *full, out=out.float())
    low, exact = attend(*(part.requires_grad_() for part in qkv)), attend(*full)
    for half, other in [(low, exact), *zip(got, wanted, strict=True)]:
        assert half.dtype == torch.bfloat16
        assert (half.float() - other).norm() <= 0.02 * other.norm() + 1e-4


@backends
def test_what_inference_mode_leaves_behind_can_be_trained_through(backend: str) -> None:
    """What is remembered of lengths by one call must serve the next, whatever mode the first ran in."""
    lengths = (11, 4, 4, 13)
    q, k, v, _, out = made(lengths, lengths)
    with torch.inference_mode():
        first = attention(q, k, v, lengths, lengths, None, backend)
    q.requires_grad_()
    again = attention(q, k, v, lengths, lengths, None, backend)
    again.backward(out)
    torch.testing.assert_close(again.detach(), first.clone(), rtol=1e-5, atol=1e-5)


# ---- mistakes


def test_an_unknown_backend_is_refused() -> None:
    with pytest.raises(MinisoraError, match="unknown attention backend 'fast'") as error:
        attention(*made((2,), (2,))[:3], (2,), (2,), None, "fast")
    assert all(name in str(error.value) for name in BACKENDS) and len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("biased", [False, True] if not torch.cuda.is_available() else [True])
def test_varlen_says_what_it_cannot_do(biased: bool) -> None:
    q, k, v, bias, _ = made((2, 3), (2, 3), biased)
    with pytest.raises(MinisoraError, match=r"CUDA.*no bias.*'runs'") as error:
        attention(q, k, v, (2, 3), (2, 3), bias, "varlen")
    assert len(str(error.value).splitlines()) == 1


@backends
@pytest.mark.parametrize("queries, keys", [((2, 3), (1, 2, 3)), ((1, 2, 2), (3, 3)), ((5,), (3, 3))])
def test_as_many_segments_of_keys_as_of_queries(queries: Lengths, keys: Lengths, backend: str) -> None:
    """A clip without keys, or keys that nobody reads, are a bug in the caller, and no backend may hide it."""
    with pytest.raises((ValueError, MinisoraError)):
        attention(*made(queries, keys)[:3], queries, keys, None, backend)

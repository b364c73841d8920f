"""Rotary positions: only distance counts, lengths stay, axes keep apart, and a minute of video loses no digits."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from minisora.nn.rope import rotate, rotations, split_axes

HEAD = 22  # time takes more than a third of it: 10 + 6 + 6
AXES = split_axes(HEAD)

shifts = st.tuples(*[st.floats(-1000, 1000)] * 3)
distances = st.tuples(*[st.integers(-64, 64).map(lambda quarter: quarter / 4)] * 3)


def normal(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def places(count: int, seed: int = 0, extent: float = 40.0) -> Tensor:
    """Fractional positions, in fp64: a sum of two is then exact enough to compare with."""
    return torch.rand(count, 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) * extent


def scores(q: Tensor, k: Tensor, pos_q: Tensor, pos_k: Tensor) -> Tensor:
    turned = rotate(q, rotations(pos_q, HEAD)), rotate(k, rotations(pos_k, HEAD))
    return torch.einsum("nhd,mhd->hnm", *turned)


@settings(max_examples=50)
@given(shifts)
def test_scores_depend_only_on_how_far_apart_tokens_stand(shift: tuple[float, float, float]) -> None:
    q, k, here = normal(6, 2, HEAD), normal(6, 2, HEAD, seed=1), places(6)
    before, after = scores(q, k, here, here), scores(q, k, here + torch.tensor(shift), here + torch.tensor(shift))
    torch.testing.assert_close(after, before, rtol=1e-5, atol=2e-5)


@given(distances)
def test_scores_see_every_distance(distance: tuple[float, float, float]) -> None:
    q, here = normal(1, 2, HEAD), torch.zeros(1, 3)
    there = torch.tensor([distance])
    same, apart = scores(q, q, here, here), scores(q, q, here, there)
    norms = q.square().sum(-1).view(2, 1, 1)
    torch.testing.assert_close(same, norms)
    if any(distance):
        assert (apart < norms - 1e-4).all(), "a token is most like itself where it stands"


@given(shifts, st.integers(0, 99))
def test_rotation_keeps_lengths_and_its_conjugate_undoes_it(shift: tuple[float, float, float], seed: int) -> None:
    x, turns = normal(5, 3, HEAD, seed=seed), rotations(places(5, seed) + torch.tensor(shift), HEAD)
    turned = rotate(x, turns)
    torch.testing.assert_close(turned.norm(dim=-1), x.norm(dim=-1))
    torch.testing.assert_close(rotate(turned, turns.conj()), x, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(turned, x)


@given(shifts, shifts)
def test_one_turn_after_another_is_the_turn_by_the_sum(a: tuple[float, ...], b: tuple[float, ...]) -> None:
    one, two = torch.tensor([a], dtype=torch.float64), torch.tensor([b], dtype=torch.float64)
    torch.testing.assert_close(rotations(one, HEAD) * rotations(two, HEAD), rotations(one + two, HEAD))


def test_the_origin_turns_nothing() -> None:
    x = normal(4, 2, HEAD)
    assert torch.equal(rotate(x, rotations(torch.zeros(4, 3), HEAD)), x)


@given(st.integers(1, 200).map(lambda half: 2 * half))
def test_the_axes_share_the_head(width: int) -> None:
    time, height, across = split_axes(width)
    assert time + height + across == width and height == across and time >= height
    assert not any(axis % 2 for axis in (time, height, across)), "a pair of channels is never torn"
    assert time - height < 6
    assert rotations(torch.zeros(2, 3), width).shape == (2, width // 2)


def test_the_axes_of_the_open_model() -> None:
    assert split_axes(128) == (44, 42, 42)


@pytest.mark.parametrize("axis", range(3))
def test_an_axis_turns_its_own_channels_and_no_other(axis: int) -> None:
    pos = places(4)
    moved = pos.clone()
    moved[:, axis] += 3.7
    x = normal(4, 2, HEAD)
    before, after = (rotate(x, rotations(where, HEAD)).split(AXES, -1) for where in (pos, moved))
    assert [torch.equal(*pair) for pair in zip(before, after, strict=True)] == [other != axis for other in range(3)]
    changed = (before[axis] - after[axis]).abs().amax((0, 1))
    assert (changed > 1e-4).all(), "and all of its own"


@settings(max_examples=50)
@given(st.integers(-400_000, 400_000).map(lambda quarter: quarter / 4), st.sampled_from([1e2, 1e4, 1e6]))
def test_far_away_places_are_turned_as_exactly_as_near_ones(place: float, theta: float) -> None:
    """Held against Python's fp64: the angle of pair i of an axis of width d is place · theta^(-2 i / d)."""
    turns = rotations(torch.tensor([[place, -place / 2, place / 4]]), HEAD, theta)[0]
    angles = [
        where * theta ** (-2 * pair / width)
        for where, width in zip((place, -place / 2, place / 4), AXES, strict=True)
        for pair in range(width // 2)
    ]
    expected = torch.tensor([complex(math.cos(angle), math.sin(angle)) for angle in angles])
    torch.testing.assert_close(turns, expected, rtol=0, atol=1e-6)


def test_half_precision_comes_back_as_half_precision() -> None:
    x, turns = normal(7, 2, HEAD).bfloat16(), rotations(places(7), HEAD)
    turned = rotate(x, turns)
    assert turned.dtype == torch.bfloat16
    assert torch.equal(turned, rotate(x.float(), turns).bfloat16()), "rounded once, at the end"

"""Tokens: cutting and packing lose nothing, padding costs one row, and no batch of a stream is left half empty."""

import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import count, cycle, islice, product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from minisora.core.errors import MinisoraError
from minisora.models.dit import DiT, DiTConfig
from minisora.nn.attention import attention
from minisora.tokens.packing import Text, Tokens, fill, pack, pack_text, unpack
from minisora.tokens.patches import Grid, grid_of, patchify, positions, unpatchify

grids = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
patches = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(1, 3))


def numbered(channels: int, size: Grid) -> Tensor:
    """A clip in which no two numbers are the same."""
    return torch.arange(channels * math.prod(size), dtype=torch.float32).view(channels, *size)


def size_of(grid: Grid, patch: Grid) -> Grid:
    t, h, w = (cells * side for cells, side in zip(grid, patch, strict=True))
    return t, h, w


def one_line(error: pytest.ExceptionInfo[MinisoraError]) -> bool:
    return len(str(error.value).splitlines()) == 1


# ---- patches


@given(grids, patches, st.integers(1, 3))
def test_unpatchify_undoes_patchify_and_patchify_undoes_unpatchify(grid: Grid, patch: Grid, channels: int) -> None:
    x = numbered(channels, size_of(grid, patch))
    tokens = patchify(x, patch)
    assert grid_of(x, patch) == grid and tokens.shape == (math.prod(grid), math.prod(patch) * channels)
    assert torch.equal(unpatchify(tokens, grid, patch), x)
    other = torch.randn(tokens.shape, generator=torch.Generator().manual_seed(0))
    assert torch.equal(patchify(unpatchify(other, grid, patch), patch), other)


@given(grids, patches, st.integers(1, 3))
def test_tokens_are_read_in_time_height_width_and_channels_come_last(grid: Grid, patch: Grid, channels: int) -> None:
    x = numbered(channels, size_of(grid, patch))
    tokens, (pt, ph, pw) = patchify(x, patch), patch
    for token, (i, j, k) in enumerate(product(*map(range, grid))):
        box = x[:, i * pt : (i + 1) * pt, j * ph : (j + 1) * ph, k * pw : (k + 1) * pw]
        numbers = [box[c, a, b, e].item() for a, b, e, c in product(*map(range, (*patch, channels)))]
        assert tokens[token].tolist() == numbers
        assert positions(grid)[token].tolist() == [i, j, k]


@given(grids, st.integers(1, 3))
def test_an_image_is_a_clip_of_one_frame(grid: Grid, side: int) -> None:
    patch = (1, side, side)
    video = numbered(2, size_of(grid, patch))
    image, tokens = pack([video[:, :1]], patch), pack([video], patch)
    places = grid[1] * grid[2]
    assert image.grids == ((1, *grid[1:]),)
    assert torch.equal(image.x, tokens.x[:places]) and torch.equal(image.pos, tokens.pos[:places])


@pytest.mark.parametrize("size", [(3, 4, 4), (2, 5, 4), (2, 4, 7), (1, 4, 4), (2, 1, 1)])
def test_a_size_that_is_no_multiple_is_refused(size: Grid) -> None:
    for refused in (lambda: patchify(numbered(2, size), (2, 2, 2)), lambda: pack([numbered(2, size)], (2, 2, 2))):
        with pytest.raises(MinisoraError, match="x".join(map(str, size)) + ".*2x2x2.*multiple") as error:
            refused()
        assert one_line(error)


# ---- packing


@given(st.lists(grids, min_size=1, max_size=6), patches)
def test_unpack_undoes_pack_and_everything_about_a_segment_agrees(sizes: list[Grid], patch: Grid) -> None:
    clips = [numbered(2, size_of(grid, patch)) + 1000 * index for index, grid in enumerate(sizes)]
    tokens = pack(clips, patch)
    back = unpack(tokens, patch)
    assert len(back) == len(clips) and all(map(torch.equal, back, clips))

    assert tokens.grids == tuple(sizes) and tokens.lengths == tuple(map(math.prod, sizes))
    assert sum(tokens.lengths) == len(tokens.x) == len(tokens.pos) == len(tokens.seg)
    assert tokens.seg.bincount().tolist() == list(tokens.lengths) and tokens.seg.diff().ge(0).all()
    for index, grid in enumerate(sizes):
        own = tokens.pos[tokens.seg == index]
        assert own.tolist() == [list(map(float, place)) for place in product(*map(range, grid))]

    moved = tokens.with_x(-tokens.x)
    assert all(torch.equal(clip, -other) for clip, other in zip(unpack(moved, patch), clips, strict=True))
    assert moved.pos is tokens.pos and moved.grids == tokens.grids


@given(st.lists(st.tuples(grids, st.integers(0, 3)), min_size=1, max_size=5))
def test_unpack_leaves_appended_tokens_behind(plan: list[tuple[Grid, int]]) -> None:
    patch = (1, 2, 2)
    clips = [numbered(2, size_of(grid, patch)) for grid, _ in plan]
    tokens = pack(clips, patch)
    known = [torch.full((extra, tokens.x.shape[1]), math.nan) for _, extra in plan]
    parts = zip(tokens.x.split(tokens.lengths), known, strict=True)
    lengths = tuple(length + extra for length, (_, extra) in zip(tokens.lengths, plan, strict=True))
    longer = Tokens(torch.cat([part for pair in parts for part in pair]), torch.zeros(0, 3), tokens.grids, lengths)
    assert all(map(torch.equal, unpack(longer, patch), clips))
    assert longer.seg.bincount().tolist() == list(lengths)


def test_nothing_cannot_be_packed() -> None:
    with pytest.raises(MinisoraError, match="no clip") as error:
        pack([], (1, 2, 2))
    assert one_line(error)


# ---- text

LENGTH, WIDTH = 12, 10
ROWS = (0, 1, 5, LENGTH - 1, LENGTH)


def prompts() -> list[Tensor]:
    made = torch.Generator().manual_seed(0)
    return [torch.randn(rows, WIDTH, generator=made) for rows in ROWS]


def padded() -> Text:
    """What `pack_text` stands for: every prompt with its padding written out."""
    rows = torch.cat([F.pad(prompt, (0, 0, 0, LENGTH - len(prompt))) for prompt in prompts()])
    return Text(rows, (LENGTH,) * len(ROWS), torch.zeros(len(rows)))


def test_a_prompt_has_one_null_row_unless_it_is_full() -> None:
    text = pack_text(prompts(), LENGTH)
    assert text.lengths == (1, 2, 6, LENGTH, LENGTH) and len(text.x) == len(text.bias) == sum(text.lengths)
    for prompt, rows, bias in zip(prompts(), text.x.split(text.lengths), text.bias.split(text.lengths), strict=True):
        assert torch.equal(rows[: len(prompt)], prompt) and not bias[: len(prompt)].any()
        assert not rows[len(prompt) :].any()
        assert bias[len(prompt) :].exp().sum().item() == pytest.approx(LENGTH - len(prompt), rel=1e-6)


def test_attending_the_null_row_equals_attending_the_padding() -> None:
    made = torch.Generator().manual_seed(1)
    weights, shift = torch.randn(2, WIDTH, 2 * 4, generator=made), torch.randn(2, 8, generator=made)
    lengths = (3, 1, 4, 2, 5)
    q = torch.randn(sum(lengths), 2, 4, generator=made)

    def attended(text: Text) -> Tensor:  # zero rows become keys and values that are not zero
        k, v = ((text.x @ w + b).unflatten(-1, (2, 4)) for w, b in zip(weights, shift, strict=True))
        return attention(q, k, v, lengths, text.lengths, text.bias)

    torch.testing.assert_close(attended(pack_text(prompts(), LENGTH)), attended(padded()), rtol=1e-5, atol=1e-5)


def test_a_transformer_that_reads_the_null_row_equals_one_that_reads_the_padding() -> None:
    torch.manual_seed(2)
    config = DiTConfig(channels=2, width=24, heads=2, layers=2, mlp=32, text_width=WIDTH, text_length=LENGTH)
    model = DiT(config)
    tokens = pack([torch.randn(2, 1 + index % 2, 4, 4) for index in range(len(ROWS))], config.patch)
    packed = pack_text(prompts(), LENGTH)
    with torch.no_grad():
        short, long, unbiased = (
            model(tokens, torch.tensor(0.4), text)
            for text in (packed, padded(), replace(packed, bias=torch.zeros_like(packed.bias)))
        )
    torch.testing.assert_close(short, long, rtol=1e-5, atol=1e-5)
    assert (unbiased - long).abs().max() > 1e-3, "the test would see a bias that is forgotten"


def test_a_prompt_that_is_too_long_is_refused() -> None:
    with pytest.raises(MinisoraError, match=r"13 tokens.*12") as error:
        pack_text([torch.zeros(3, WIDTH), torch.zeros(LENGTH + 1, WIDTH)], LENGTH)
    assert one_line(error)


# ---- filling batches from a stream

# pixels, from images to a wide clip of 65 frames; a token is 4 frames by 16 x 16 pixels, and the first frame
SIZES = [
    (1, 256, 256), (1, 192, 336), (1, 336, 192), (1, 512, 512), (1, 384, 672), (17, 256, 256),
    (17, 192, 336), (33, 256, 256), (33, 336, 192), (65, 256, 256), (65, 192, 336), (65, 192, 448),
]  # fmt: skip
LENGTHS = [((frames - 1) // 4 + 1) * (height // 16) * (width // 16) for frames, height, width in SIZES]


def stream(clips: int, seed: int = 0) -> list[int]:
    return [LENGTHS[i] for i in torch.randint(12, (clips,), generator=torch.Generator().manual_seed(seed)).tolist()]


@settings(max_examples=200)
@given(st.lists(st.integers(1, 20), max_size=60), st.integers(20, 70), st.integers(1, 12))
def test_every_clip_comes_once_within_the_budget_and_none_is_overtaken_for_ever(
    lengths: list[int], budget: int, window: int
) -> None:
    waiting = set(range(len(lengths)))
    for batch in fill(lengths, budget, window):
        assert batch and len(set(batch)) == len(batch) and waiting.issuperset(batch)
        assert min(waiting) in batch, "whoever has waited longest comes next, so clip i is in one of i + 1 batches"
        sizes = [lengths[index] for index in batch]
        assert sum(sizes) <= budget and sizes == sorted(sizes), "equal lengths lie side by side"
        waiting.difference_update(batch)
    assert not waiting


@pytest.mark.parametrize("budget", [8192, 16384, 32768])
def test_a_batch_is_nearly_full(budget: int) -> None:
    """Tokens / (batches x budget) over 2,000 clips of twelve sizes, the last batch left out."""
    lengths = stream(2000)
    *batches, _ = fill(lengths, budget)
    full = sum(lengths[index] for batch in batches for index in batch) / (len(batches) * budget)
    print(f"budget {budget}: {len(batches)} batches, {full:.2%} full")
    assert full >= 0.97
    naive, left = 1, budget  # in order of arrival, the budget is not used half as well
    for length in lengths:
        naive, left = (naive, left - length) if length <= left else (naive + 1, budget - length)
    assert sum(lengths) / (naive * budget) < full


@settings(max_examples=100)
@given(st.lists(st.integers(1, 20), max_size=60), st.integers(20, 70))
def test_who_sees_only_one_clip_takes_them_as_they_come(lengths: list[int], budget: int) -> None:
    batches: list[list[int]] = [[]] if lengths else []
    left = budget
    for index, length in enumerate(lengths):
        if length > left:
            batches.append([])
            left = budget
        batches[-1].append(index)
        left -= length
    assert [sorted(batch) for batch in fill(lengths, budget, window=1)] == batches


def test_a_long_clip_among_endless_short_ones_does_not_starve() -> None:
    lengths = (100 if index == 5 else 7 for index in count())
    batches = list(islice(fill(lengths, 100, window=8), 6))
    assert any(5 in batch for batch in batches)


def test_the_stream_is_read_no_further_than_the_window() -> None:
    read: list[int] = []

    def endless() -> Iterator[int]:
        for length in cycle([3, 50, 8, 21, 1]):
            read.append(length)
            yield length

    batches = fill(endless(), 60, window=16)
    assert not read, "nothing is read before it is asked for"
    given_out = 0
    for batch in islice(batches, 50):
        given_out += len(batch)
        assert len(read) <= given_out + 16
    assert given_out > 50


def test_the_same_stream_is_filled_the_same_way() -> None:
    assert list(fill(stream(300), 16384)) == list(fill(iter(stream(300)), 16384))
    assert list(fill(stream(300), 16384)) != list(fill(stream(300, seed=1), 16384))
    assert list(fill([], 10)) == []


@pytest.mark.parametrize("lengths, window, message", [
    ([5, 11], 64, "clip 1 has 11 tokens.*10"), ([5, 0], 64, "clip 1 has 0 tokens"), ([5], 0, "window.*at least 1"),
])  # fmt: skip
def test_a_clip_that_fits_no_batch_is_refused(lengths: list[int], window: int, message: str) -> None:
    with pytest.raises(MinisoraError, match=message) as error:
        list(fill(lengths, 10, window))
    assert one_line(error)

"""Native sizes: nothing is stretched, time is kept, and a clip that fits is left alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minisora.core.errors import MinisoraError
from minisora.data.clip import Clip
from minisora.data.datasets import WorldClips
from minisora.data.sizes import at_rate, fit, native_sizes, nearest_size

GRID = native_sizes(64 * 64, (1, 5, 17)) + native_sizes(128 * 128, (1, 17))


def disc(frames: int, height: int, width: int) -> Clip:
    """A white disc in the middle, as round as pixels allow."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    distance = ((y - height / 2) ** 2 + (x - width / 2) ** 2).sqrt() - min(height, width) * 0.35
    frame = ((0.5 - distance).clamp(0, 1) * 255).to(torch.uint8)
    return Clip(frame[None, :, :, None].expand(frames, height, width, 3).contiguous(), 24.0, "a disc")


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 40), st.integers(30, 200), st.integers(30, 200), st.none() | st.integers(0, 99))
def test_a_disc_stays_a_disc(frames: int, height: int, width: int, seed: int | None) -> None:
    clip = fit(disc(frames, height, width), GRID, 8.0, None)
    assert clip.shape in GRID and clip.shape == nearest_size((len(at_rate(frames, 24, 8)), height, width), GRID)
    assert clip.fps == 8.0 and clip.caption == "a disc"
    inside = clip.frames[0, :, :, 0].float() / 255
    tall, wide = inside.amax(1).sum().item(), inside.amax(0).sum().item()
    ratio = max(width / height, height / width)
    if ratio < 1.7:  # it is wholly within the crop
        assert abs(tall - wide) <= 0.04 * max(tall, wide) + 2
        assert inside.sum().item() == pytest.approx(3.1416 / 4 * tall * wide, rel=0.08, abs=10)
    one, two = (fit(disc(frames, height, width), GRID, 8.0, seed) for _ in range(2))
    assert one.shape == clip.shape and torch.equal(one.frames, two.frames)


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 200), st.floats(1, 60), st.floats(1, 60))
def test_a_change_of_rate_keeps_time(frames: int, fps: float, wanted: float) -> None:
    shown = at_rate(frames, fps, wanted)
    assert shown[0] == 0 and shown == sorted(shown) and shown[-1] <= frames - 1
    assert all(abs(index / fps - tick / wanted) <= 0.5 / fps + 1e-6 for tick, index in enumerate(shown))
    assert (len(shown) - 1) / wanted <= (frames - 1) / fps + 1e-6 < len(shown) / wanted + 1e-5
    assert at_rate(frames, fps, fps) == list(range(frames))


def test_the_grid_is_of_sizes_that_can_be_encoded_and_a_clip_that_has_one_is_left_alone() -> None:
    for frames, height, width in GRID:
        assert frames % 4 == 1 and height % 8 == width % 8 == 0
        assert min(abs(height * width / area - 1) for area in (64**2, 128**2)) < 0.1
    clip = WorldClips("shapes", 1, sizes=["17x64x64"])[0]
    assert fit(clip, GRID, seed=5) is clip
    assert nearest_size((100, 1080, 1920), GRID) == (17, 96, 168)
    assert nearest_size((16, 70, 70), GRID) == (5, 64, 64) and nearest_size((1, 20, 20), GRID) == (1, 64, 64)
    cut = fit(clip, ["5x64x64"], seed=5)
    assert any(torch.equal(cut.frames, clip.frames[start : start + 5]) for start in range(13)) and cut.state is None
    with pytest.raises(MinisoraError, match="too short"):
        fit(clip, ["33x64x64"])
    with pytest.raises(MinisoraError, match=r"4k \+ 1 can, such as 13 or 17"):
        native_sizes(frames=(16,))

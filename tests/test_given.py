"""Given frames: they stand exactly, and those beside them go on from them."""

import pytest
import torch
from torch import Tensor

from minisora.generate.given import KEPT, eased, filled, places, tail, whole


def clip(frames: int, seed: int = 0) -> Tensor:
    source = torch.Generator().manual_seed(seed)
    return torch.randint(60, 200, (frames, 6, 8, 3), generator=source, dtype=torch.uint8)


@pytest.mark.parametrize("given", [[0], [0, 1, 2], [8], [0, 8], [3, 5]])
def test_what_is_given_is_exact_and_a_perfect_model_is_left_alone(given: list[int]) -> None:
    raw, real = clip(9), clip(9, seed=1)
    made = eased(raw, real, given)
    assert torch.equal(made[given], real[given]) and made.dtype == torch.uint8
    perfect = raw.clone()
    perfect[given] = real[given]
    assert torch.equal(eased(perfect, real, given), perfect)


@pytest.mark.parametrize("given", [[0], [6], [2, 3]])
def test_what_stands_still_goes_on_from_the_given_frame_and_loses_it_slowly(given: list[int]) -> None:
    raw, real = clip(1).expand(7, -1, -1, -1), clip(7, seed=1)
    made = eased(raw, real, given).float()
    for at in range(7):
        near = min(given, key=lambda place: abs(place - at))
        lost = real[near].float() - raw[near].float()
        assert ((made[at] - raw[at].float()) - KEPT ** abs(near - at) * lost).abs().max() <= 0.5
    assert (made[1:] - made[:-1]).abs().max() < 140, "nothing jumps as far as the frames are apart"


def test_what_has_changed_is_not_touched() -> None:
    raw, real = clip(3), clip(3, seed=1)
    raw[1:, :, :4] = 255 * (raw[:1, :, :4] < 128)  # far from the given frame
    made = eased(raw, real, [0])
    assert (made[1:, :, :4].int() - raw[1:, :, :4].int()).abs().max() <= 1
    raw[1:] = raw[:1]
    assert not torch.equal(eased(raw, real, [0])[1:], raw[1:])


def test_the_clip_backward_is_eased_as_the_clip_forward() -> None:
    raw, real = clip(8), clip(8, seed=1)
    assert torch.equal(eased(raw.flip(0), real.flip(0), [7, 0]).flip(0), eased(raw, real, [0, 7]))


@pytest.mark.parametrize(("frames", "most", "kept"), [(17, 9, 9), (7, 9, 5), (4, 9, 1), (1, 9, 1), (17, 8, 5)])
def test_a_tail_can_be_encoded(frames: int, most: int, kept: int) -> None:
    some = clip(frames)
    assert torch.equal(tail(some, most, 4), some[-kept:])


def test_places() -> None:
    assert [whole(frames, 4) for frames in (1, 2, 5, 6)] == [1, 5, 5, 9]
    assert places(3, 9) == [6, 7, 8] and places(0, 9) == []
    start, end = clip(3), clip(2, seed=1)
    both = filled(start, end, 9)
    assert torch.equal(both[:3], start) and torch.equal(both[7:], end) and not both[3:7].any()
    assert torch.equal(filled(start[:0], end, 4)[2:], end)

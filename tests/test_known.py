"""Known parts of a clip: what is given stays as it is given, and only the rest is made."""

import pytest
import torch
from torch import Tensor

from minisora.core.errors import MinisoraError
from minisora.diffusion.samplers import euler
from minisora.diffusion.schedule import schedule
from minisora.models.dit import DiT, DiTConfig
from minisora.tokens.known import Known, paint, place_of
from minisora.tokens.packing import Tokens, pack, pack_text, unpack
from minisora.tokens.patches import patchify

PATCH = (1, 2, 2)


def clips(*shapes: tuple[int, int, int]) -> list[Tensor]:
    maker = torch.Generator().manual_seed(0)
    return [torch.randn(4, *shape, generator=maker) for shape in shapes]


def test_nothing_known_is_plain_packing() -> None:
    noisy = clips((3, 4, 4), (1, 4, 8))
    canvas, plain = paint(noisy, [None, Known()], PATCH, 4), pack(noisy, PATCH)
    assert canvas.unknown.all()
    assert torch.equal(canvas.tokens.x, plain.x) and torch.equal(canvas.tokens.pos, plain.pos)
    assert canvas.tokens.lengths == plain.lengths


def test_a_prefix_is_written_in_its_place() -> None:
    noisy, (prefix,) = clips((3, 4, 4)), clips((2, 4, 4))
    canvas = paint(noisy, [Known(prefix=prefix)], PATCH, 4)
    made = unpack(canvas.tokens, PATCH)[0]
    assert torch.equal(made[:, :2], prefix) and torch.equal(made[:, 2:], noisy[0][:, 2:])
    assert canvas.unknown.tolist() == [False] * 8 + [True] * 4


@pytest.mark.parametrize("stride", [1, 2, 4])
def test_a_latent_stands_in_the_middle_of_its_frames(stride: int) -> None:
    assert place_of(0, stride) == 0
    for latent in range(1, 6):
        frames = range(1 + (latent - 1) * stride, 1 + latent * stride)
        assert sum(place_of(frame, stride) for frame in frames) / stride == pytest.approx(latent)
    assert place_of(3, 4) == (3 + 1.5) / 4


def test_single_frames_and_regions_are_appended_at_their_places() -> None:
    noisy, (image, region) = clips((3, 4, 4), (2, 4, 4)), clips((1, 4, 4), (2, 4, 4))
    canvas = paint(noisy, [Known(frames={8: image, 2: image}), Known(region=region)], PATCH, 4)
    first, second = canvas.tokens.pos.split(canvas.tokens.lengths)
    assert canvas.tokens.lengths == (12 + 4 + 4, 8 + 8)
    assert first[12:, 0].tolist() == [place_of(2, 4)] * 4 + [place_of(8, 4)] * 4  # in the order of time
    assert torch.equal(first[12:16, 1:], first[:4, 1:])  # the same places in the frame
    assert torch.equal(second[8:], second[:8])
    assert torch.equal(canvas.tokens.x[-8:], patchify(region, PATCH))
    assert canvas.unknown.tolist() == [True] * 12 + [False] * 8 + [True] * 8 + [False] * 8
    assert torch.equal(unpack(canvas.tokens, PATCH)[0], noisy[0])  # what is appended is no part of the clip


def test_a_sampler_moves_only_the_unknown_tokens() -> None:
    torch.manual_seed(0)
    dit = DiT(DiTConfig(channels=4, width=24, heads=2, layers=2, mlp=48, text_width=8))
    for parameter in dit.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    text = pack_text([torch.randn(3, 8), torch.randn(0, 8)], 16)
    (prefix, image) = clips((1, 4, 4), (1, 4, 4))
    canvas = paint(clips((3, 4, 4), (2, 4, 6)), [Known(prefix=prefix, frames={8: image}), None], PATCH, 4)
    seen: list[Tensor] = []

    def model(tokens: Tokens, t: Tensor) -> Tensor:
        seen.append(t)
        known = ~canvas.unknown
        assert torch.equal(tokens.x[known], canvas.tokens.x[known]) and not t[known].any()
        return dit(tokens, t, text)

    with torch.no_grad():
        made = euler(canvas.velocity(model), canvas.start(), schedule(3))
    assert made.shape == canvas.start().shape and made.isfinite().all() and not torch.equal(made, canvas.start())
    assert [t.max().item() for t in seen] == pytest.approx([1.0, 2 / 3, 1 / 3])
    assert torch.equal(unpack(canvas.with_unknown(made), PATCH)[0][:, :1], prefix)


def test_what_is_known_of_one_clip_does_not_reach_another() -> None:
    torch.manual_seed(0)
    dit = DiT(DiTConfig(channels=4, width=24, heads=2, layers=1, mlp=48, text_width=8))
    for parameter in dit.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    text, noisy = pack_text([torch.randn(3, 8)] * 2, 16), clips((2, 4, 4), (2, 4, 4))

    def second(given: Known | None) -> Tensor:
        canvas = paint(noisy, [given, None], PATCH, 4)
        t = canvas.unknown.float()
        return dit(canvas.tokens, t, text)[-8:]

    with torch.no_grad():
        plain = second(None)
        torch.testing.assert_close(second(Known(frames={4: clips((1, 4, 4))[0]})), plain)


@pytest.mark.parametrize(
    "known, words",
    [
        (Known(prefix=torch.zeros(4, 4, 4, 4)), "prefix"),
        (Known(prefix=torch.zeros(4, 1, 4, 6)), "height and width"),
        (Known(frames={9: torch.zeros(4, 1, 4, 4)}), "frames 0 to 8"),
        (Known(frames={-1: torch.zeros(4, 1, 4, 4)}), "frames 0 to 8"),
        (Known(frames={3: torch.zeros(4, 2, 4, 4)}), "at most 1"),
        (Known(region=torch.zeros(4, 2, 4, 4)), "in time"),
        (Known(region=torch.zeros(3, 3, 4, 4)), "channels"),
    ],
)
def test_what_does_not_fit_is_refused(known: Known, words: str) -> None:
    with pytest.raises(MinisoraError, match=words):
        paint(clips((3, 4, 4)), [known], PATCH, 4)


def test_single_frames_need_patches_of_one_latent() -> None:
    with pytest.raises(MinisoraError, match="one latent"):
        paint(clips((2, 4, 4)), [Known(frames={1: torch.zeros(4, 1, 4, 4)})], (2, 2, 2), 4)


def test_what_is_known_stands_at_the_time_that_it_is_said_to() -> None:
    noisy, (prefix, image) = clips((3, 4, 4), (3, 4, 4)), clips((1, 4, 4), (1, 4, 4))
    canvas = paint(noisy, [Known(prefix=prefix, time=0.25), Known(frames={3: image})], PATCH, 4)
    seen = []

    def model(tokens: Tokens, t: Tensor) -> Tensor:
        seen.append(t)
        return tokens.x

    canvas.velocity(model)(canvas.start(), torch.tensor(0.5, dtype=torch.float64))
    assert seen[0].tolist() == [0.25] * 4 + [0.5] * 8 + [0.5] * 12 + [0.0] * 4

"""Tiles: a large frame in pieces is the frame."""

import pytest
import torch
from torch import Tensor

from minisora.core.errors import MinisoraError
from minisora.models.tiling import tiled
from minisora.models.vae import VAE, VAEConfig


@pytest.fixture(scope="module")
def vae() -> VAE:
    torch.manual_seed(0)
    model = VAE(VAEConfig(base=8, channels=4, stages=(1, 2, 2), time=(True, True), blocks=1)).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=0.7 * parameter[0].numel() ** -0.5)
    return model


@pytest.mark.parametrize("tile, overlap", [(16, 4), (10, 0), (64, 8), (36, 5), (20, 19)])
@pytest.mark.parametrize("scale", [1, 2])
def test_what_looks_at_no_neighbours_is_not_changed_by_tiling(tile: int, overlap: int, scale: int) -> None:
    x = torch.randn(2, 3, 1, 50, 37)

    def larger(part: Tensor) -> Tensor:
        return (2 * part).repeat_interleave(scale, -1).repeat_interleave(scale, -2)

    torch.testing.assert_close(tiled(larger, x, tile, overlap), larger(x))


@torch.no_grad()
def test_a_tile_that_covers_everything_gives_the_very_result(vae: VAE) -> None:
    z = torch.randn(1, 4, 3, 12, 8)
    assert torch.equal(tiled(vae.decode, z, 12, 4), vae.decode(z))
    x = torch.randn(1, 3, 5, 48, 32)
    assert torch.equal(tiled(vae.encode, x, 48, 8), vae.encode(x))


@torch.no_grad()
def test_without_attention_only_the_seams_differ(vae: VAE) -> None:
    """A convolution sees a few places around it; only the frame's attention sees all of them."""
    attention = vae.decoder.middle.attention
    before = attention.out.weight.clone()
    attention.out.weight.zero_(), attention.out.bias.zero_()
    z = torch.randn(1, 4, 2, 8, 64)
    whole, pieces = vae.decode(z), tiled(vae.decode, z, 40, 16)
    attention.out.weight.copy_(before)
    for part in (slice(0, 4 * 24), slice(4 * 40, 4 * 64)):  # the tiles share the latents 24 to 39
        torch.testing.assert_close(pieces[..., part], whole[..., part], atol=1e-4, rtol=0)
    assert not torch.allclose(tiled(vae.decode, z, 40, 0), whole, atol=1e-2)  # without an overlap a seam is seen


@torch.no_grad()
def test_tiled_is_nearly_whole(vae: VAE) -> None:
    """With random weights and noise for latents, which is the worst case; the more overlap, the nearer."""
    z = torch.randn(1, 4, 2, 32, 32)
    whole = vae.decode(z)
    errors = [((tiled(vae.decode, z, 24, overlap) - whole).norm() / whole.norm()).item() for overlap in (0, 4, 8)]
    assert errors == sorted(errors, reverse=True) and errors[-1] < 0.2, errors
    x = torch.rand(1, 3, 5, 128, 128) * 2 - 1
    latents = vae.encode(x)
    assert (tiled(vae.encode, x, 96, 32) - latents).norm() / latents.norm() < 0.1


@pytest.mark.parametrize("overlap", [-1, 8, 9])
def test_an_overlap_has_to_fit_in_a_tile(overlap: int) -> None:
    with pytest.raises(MinisoraError, match="overlap"):
        tiled(lambda x: x, torch.zeros(1, 1, 1, 16, 16), 8, overlap)

"""The video VAE against diffusers' Wan VAEs, 2.1 and 2.2, on random weights. The real weights have not been loaded."""

import os
from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor, nn

os.environ["HF_HUB_OFFLINE"] = "1"
diffusers = pytest.importorskip("diffusers", reason="the reference: pip install minisora[parity]")

from diffusers.loaders.single_file_utils import convert_wan_vae_to_diffusers  # noqa: E402

from minisora.models import vae as vae_module  # noqa: E402
from minisora.models.vae import VAE, VAEConfig  # noqa: E402
from minisora.nn.causal import TimeUp  # noqa: E402
from minisora.zoo.names import fold, spell, vae_diffusers, vae_official  # noqa: E402
from minisora.zoo.presets import preset  # noqa: E402

BOUND = 1e-5
WAN21 = VAEConfig(channels=4, base=8, mean=(0.3, -0.2, 0.5, 1.0), std=(1.5, 0.7, 2.0, 1.1))
WAN22 = VAEConfig(channels=6, base=8, decoder_base=12, patch=2, shortcuts=True, mean=(0.2,) * 6, std=(0.8,) * 6)
SHALLOW = VAEConfig(channels=3, base=6, stages=(1, 2, 3), time=(True, True), blocks=1)


def reference(config: VAEConfig) -> nn.Module:
    colours = 3 * config.patch**2
    return diffusers.AutoencoderKLWan(
        base_dim=config.base, decoder_base_dim=config.decoder_base, z_dim=config.channels,
        dim_mult=list(config.stages), num_res_blocks=config.blocks, temperal_downsample=list(config.time),
        latents_mean=list(config.mean), latents_std=list(config.std), is_residual=config.shortcuts,
        in_channels=colours, out_channels=colours, patch_size=config.patch if config.patch > 1 else None,
        scale_factor_temporal=config.compression[0], scale_factor_spatial=config.compression[1],
    ).eval()  # fmt: skip


def folded(state: dict[str, Tensor], ours: VAE) -> dict[str, Tensor]:
    own = dict(ours.named_parameters())
    spelled = spell(own, vae_diffusers(ours.config))
    assert sorted(spelled.values()) == sorted(state)
    result = {name: fold(state[spelled[name]], tuple(tensor.shape)) for name, tensor in own.items()}
    return {name: tensor for name, tensor in result.items() if tensor is not None}  # strict loading misses the others


@cache
def twins(config: VAEConfig) -> tuple[nn.Module, VAE]:
    """The reference with random weights, and ours with the same."""
    torch.manual_seed(0)
    theirs, ours = reference(config), VAE(config)
    for name, parameter in theirs.named_parameters():
        if name.endswith("gamma"):
            nn.init.normal_(parameter, 1.0, 0.3)
        else:
            nn.init.normal_(parameter, std=0.7 * parameter[0].numel() ** -0.5 if parameter.dim() > 1 else 0.2)
    with torch.no_grad():  # their pixels are clamped: let few of them be
        theirs.decoder.conv_out.weight *= 0.3  # type: ignore[union-attr]
    ours.load_state_dict({**folded(theirs.state_dict(), ours), "mean": ours.mean, "std": ours.std}, strict=True)
    return theirs, ours


def apart(found: Tensor, wanted: Tensor) -> float:
    return ((found - wanted).norm() / wanted.norm()).item()


def pixels(config: VAEConfig, frames: int) -> Tensor:
    _, side, _ = config.compression
    return torch.rand(2, 3, frames, side, 2 * side, generator=torch.Generator().manual_seed(1)) * 2 - 1


@torch.no_grad()
def encode_and_compare(config: VAEConfig, frames: int) -> float:
    theirs, ours = twins(config)
    x = pixels(config, frames)
    wanted = theirs.encode(x).latent_dist  # type: ignore[operator]
    mean, log_variance = ours.posterior(x)
    assert torch.equal(ours.encode(x), ours.normalise(mean))
    raw = ours.denormalise(ours.encode(x))
    return max(apart(raw, wanted.mean), apart(log_variance, wanted.logvar))


@torch.no_grad()
def decode_and_compare(config: VAEConfig, frames: int) -> float:
    theirs, ours = twins(config)
    latents = 1 + (frames - 1) // config.compression[0]
    raw = torch.randn(2, config.channels, latents, 2, 3, generator=torch.Generator().manual_seed(2))
    wanted = theirs.decode(raw).sample  # type: ignore[operator]
    assert (wanted.abs() < 1).float().mean() > 0.9 and wanted.shape[2] == frames
    return apart(ours.decode(ours.normalise(raw)).clamp(-1, 1), wanted)


@pytest.mark.parametrize("frames", [1, 5, 17])
@pytest.mark.parametrize("config", [WAN21, WAN22, SHALLOW], ids=["2.1", "2.2", "shallow"])
def test_latents_and_pixels_are_the_reference_s(config: VAEConfig, frames: int) -> None:
    assert encode_and_compare(config, frames) < BOUND
    assert decode_and_compare(config, frames) < BOUND


def test_normalised_latents_are_as_the_pipelines_make_them() -> None:
    theirs, ours = twins(WAN21)
    shift = torch.tensor(theirs.config.latents_mean)[:, None, None, None]  # type: ignore[union-attr]
    scale = torch.tensor(theirs.config.latents_std)[:, None, None, None]  # type: ignore[union-attr]
    raw = torch.randn(1, 4, 2, 3, 3)
    assert torch.allclose(ours.normalise(raw), (raw - shift) / scale)


# ---- what must not pass


def test_swapped_rows_and_columns_of_a_patch_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    rearrange: Callable = vae_module.rearrange
    monkeypatch.setattr(
        vae_module, "rearrange", lambda x, how, **sizes: rearrange(x, how.replace("pw ph", "ph pw"), **sizes)
    )
    assert encode_and_compare(WAN22, 5) > 10 * BOUND
    assert decode_and_compare(WAN22, 5) > 10 * BOUND


@pytest.mark.parametrize("config", [WAN21, WAN22], ids=["2.1", "2.2"])
def test_frame_0_seen_by_the_step_up_in_time_is_noticed(config: VAEConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    forward = TimeUp.forward

    def peek(self: TimeUp, x: Tensor, stream) -> Tensor:
        if not stream.started:
            stream.frames[self.conv] = torch.cat([torch.zeros_like(x[:, :, :1]), x[:, :, :1]], 2)
        return forward(self, x, stream)

    monkeypatch.setattr(TimeUp, "forward", peek)
    assert decode_and_compare(config, 5) > 10 * BOUND


def test_swapped_halves_of_the_step_up_in_time_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    double = TimeUp._double
    monkeypatch.setattr(
        TimeUp, "_double", lambda self, x, stream: double(self, x, stream).unflatten(2, (-1, 2)).flip(3).flatten(2, 3)
    )
    assert decode_and_compare(WAN21, 5) > 10 * BOUND


# ---- names


@pytest.mark.parametrize("name, tensors", [("wan2.1-t2v-14b", 194), ("wan2.2-ti2v-5b", 196)])
def test_full_size_names_and_shapes_are_a_bijection(name: str, tensors: int) -> None:
    with torch.device("meta"):
        theirs, ours = reference(preset(name).vae).state_dict(), VAE(preset(name).vae)
    assert len(theirs) == tensors
    renamed = folded(theirs, ours)
    assert {name: tensor.shape for name, tensor in renamed.items()} == {
        name: tensor.shape for name, tensor in ours.named_parameters()
    }


def test_latents_of_the_2_1_layout_are_scaled_as_the_reference_s() -> None:
    with torch.device("meta"):
        defaults = diffusers.AutoencoderKLWan().config
    config = preset("wan2.1-t2v-1.3b").vae
    assert list(config.mean) == defaults.latents_mean and list(config.std) == defaults.latents_std


def test_official_names_are_what_the_reference_s_converter_takes() -> None:
    config = preset("wan2.1-t2v-1.3b").vae  # the converter knows the 2.1 layout alone
    with torch.device("meta"):
        names = dict(VAE(config).named_parameters())
    official, theirs = spell(names, vae_official(config)), spell(names, vae_diffusers(config))
    assert {"decoder.middle.0.residual.0.gamma", "decoder.upsamples.14.residual.6.bias"} <= set(official.values())
    converted = convert_wan_vae_to_diffusers({other: name for name, other in official.items()})
    assert converted == {other: name for name, other in theirs.items()}

"""A trained model with more channels of latents: it says what it said before, and can learn to say more."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from minisora.models.dit import DiT
from minisora.models.vae import VAE

NOISELESS = -6.0
"""Log-variance with which a new channel begins, as in a fresh VAE."""


@torch.no_grad()
def wider_vae(vae: VAE, channels: int) -> VAE:
    """The encoder fills the new channels by chance, and the decoder does not look at them yet."""
    old, wide = vae.config.channels, VAE(replace(vae.config, channels=channels))
    pad(wide, vae)
    wide.std[old:] = 1.0
    last, layer = wide.encoder.last, wide.to_latent
    for tensor in (last.weight, last.bias, layer.weight, layer.bias):
        tensor.zero_()
    halves = torch.cat([torch.arange(old), channels + torch.arange(old)])  # means, and log-variances behind them
    narrow = vae.encoder.last
    last.weight[: 2 * old], last.bias[: 2 * old] = narrow.weight, narrow.bias  # type: ignore[index]
    nn.init.kaiming_uniform_(last.weight[2 * old :])
    layer.weight[halves, : 2 * old], layer.bias[halves] = vae.to_latent.weight, vae.to_latent.bias  # type: ignore[index]
    nn.init.kaiming_uniform_(layer.weight[old:channels])
    layer.bias[channels + old :] = NOISELESS  # type: ignore[index]
    new = torch.arange(old, channels)
    wide.from_latent.weight[new, new] = 1.0  # with zeros here, too, no gradient would ever reach what looks at them
    return wide


@torch.no_grad()
def wider_dit(dit: DiT, channels: int) -> DiT:
    """It does not look at the new channels yet, and says that they go nowhere."""
    assert dit.config.patch == (1, 1, 1)
    wide = DiT(replace(dit.config, channels=channels))
    pad(wide, dit)
    return wide


@torch.no_grad()
def pad(wide: nn.Module, narrow: nn.Module) -> None:
    """Every tensor of the narrow model in the corner of the wide one's, and zeros around it."""
    given: dict[str, Tensor] = narrow.state_dict()
    for name, tensor in wide.state_dict().items():
        tensor.zero_()
        tensor[tuple(map(slice, given[name].shape))] = given[name]

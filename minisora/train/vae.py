"""Training the video VAE: clips to latents and back, as near as can be, with latents that stay near a Gaussian."""

from collections.abc import Sequence

import torch
from einops import repeat
from torch import Tensor, nn

from minisora.data.clip import Clip, group_by_size
from minisora.models.components import Components
from minisora.models.vae import VAE
from minisora.train.engine import Metrics

KL = 1e-6
"""Weight of the KL term for each latent number: at 1e-3 reconstruction stopped at 15 dB."""


def step(
    model: nn.Module, clips: Sequence[Clip], generator: torch.Generator, rough: float = 0.0
) -> tuple[Tensor, Metrics]:
    """|x - y| + |x - y|² + |Δx - Δy| + KL, the mean over all pixels; y is decoded from a sample of the posterior.

    Δ is the change from frame to frame. Without it each group of frames of one latent began with a jump: a clip's
    error is the same whether it stands still or flickers, and eyes see only the second.
    """
    assert isinstance(model, VAE)
    loss, metrics, _ = reconstruct(model, clips, generator, rough)
    return loss, metrics


def reconstruct(
    vae: VAE, clips: Sequence[Clip], generator: torch.Generator, rough: float = 0.0
) -> tuple[Tensor, Metrics, list[tuple[Tensor, Tensor]]]:
    """The loss, what to log of it, and clips with their reconstructions, (x, y) for each size.

    With `rough` latents, each clip's are noisy up to that standard deviation, and the decoder learns to mend them.
    """
    device, pairs = vae.mean.device, []
    error = squared = kl = flicker = torch.zeros((), device=device)
    pixels = latents = 0
    for group in group_by_size(clips).values():
        x = torch.cat([clip.pixels() for clip in group]).to(device)
        mean, log_variance = (part.float() for part in vae.posterior(x))
        log_variance = log_variance.clamp(-20, 10)
        noise = torch.randn(mean.shape, generator=generator).to(device)
        z = vae.normalise(mean + (log_variance / 2).exp() * noise)
        if rough:
            level = rough * torch.rand(len(z), 1, 1, 1, 1, generator=generator)
            z = z + (level * torch.randn(z.shape, generator=generator)).to(z)
        y = vae.decode(z).float()
        pairs.append((x, y))
        error, squared = error + (y - x).abs().sum(), squared + (y - x).square().sum()
        flicker = flicker + (y - x).diff(dim=2).abs().sum()
        kl = kl + 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum()
        pixels, latents = pixels + x.numel(), latents + mean.numel() // vae.config.channels
    loss = (error + squared + flicker) / pixels + KL * kl / latents
    psnr = -10 * torch.log10(squared.detach() / pixels / 4)
    return loss, {"psnr": psnr, "clips": len(clips), "weight": pixels}, pairs


def freeze_encoder(vae: VAE) -> None:
    """Leave only the decoder to learn: a transformer that has been trained on the latents stays right."""
    for part in (vae.encoder, vae.to_latent):
        part.requires_grad_(False)


def crop(clip: Clip, seed: int, side: int) -> Clip:
    """A random square of a clip: a network of convolutions learns from a quarter of it in a quarter of the time."""
    source = torch.Generator().manual_seed(seed)
    _, height, width = clip.shape
    top, left = (int(torch.randint(0, max(1, size - side + 1), (), generator=source)) for size in (height, width))
    return Clip(clip.frames[:, top : top + side, left : left + side], clip.fps, clip.caption, clip.source, clip.license)


@torch.no_grad()
def measure_components(components: Components, clips: Sequence[Clip]) -> None:
    """Set the bases to the directions in which boxes of pixels differ most: eigenvectors of their covariance.

    That leaves the basis of frame 0 free to be turned within its own space. It is turned so that a box of frame 0 has,
    as nearly as can be, the latent of the box that shows the same all the time: then a still clip is one latent again
    and again, and a transformer need not tell frame 0 from the others.
    """
    device, covariances = components.first_mean.device, []
    for number, name in enumerate(("first", "later")):
        mean, basis = (getattr(components, f"{name}_{what}") for what in ("mean", "basis"))
        total, squares, count = torch.zeros_like(mean), torch.zeros(len(mean), len(mean), device=device), 0
        for clip in clips:
            boxes = components.fold(clip.pixels().to(device), started=False)[number].flatten(0, -2)
            total, squares, count = total + boxes.sum(0), squares + boxes.T @ boxes, count + len(boxes)
        if not count:  # images alone have no later frames, whose basis stays as it began
            continue
        mean.copy_(total / count)
        covariances.append((squares / count - mean.outer(mean)).double())
        _, directions = torch.linalg.eigh(covariances[-1])  # by rising variance
        basis.copy_(directions.flip(1)[:, : basis.shape[1]])
    # Procrustes: of all rotations r, uᵀ w = u s vᵀ is followed most closely by r = u vᵀ
    first, later = components.first_basis.double(), components.later_basis.double()
    still = repeat(torch.eye(len(first), device=device), "n (c p) -> n (c t p)", c=3, t=components.boxes[1][0]).double()
    u, _, v = torch.linalg.svd(first.T @ covariances[0] @ still @ later)
    components.first_basis.copy_(first @ u @ v)


@torch.no_grad()
def measure_latents(vae: VAE, clips: Sequence[Clip]) -> None:
    """Set the VAE's mean and std, so that latents have mean 0 and standard deviation 1, in each channel or in all."""
    total = squares = torch.zeros_like(vae.mean, dtype=torch.float64)
    count = 0
    for clip in clips:
        raw = vae.posterior(clip.pixels().to(vae.mean.device))[0].double().movedim(1, 0).flatten(1)
        count, total, squares = count + raw.shape[1], total + raw.sum(1), squares + raw.square().sum(1)
    mean = total / count
    vae.mean.copy_(mean)
    variance = (squares / count - mean.square()).clamp(min=1e-8)
    vae.std.copy_((variance if vae.config.level else variance.mean().expand_as(variance)).sqrt())

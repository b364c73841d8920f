"""The terms of a VAE's loss that look as eyes do: a critic that learns to tell real clips from decoded ones.

Pixel errors are least for the mean of all that could be there, and a mean is blurred. The critic (Goodfellow et al.
2014) sees patches of a clip and says whether they are real; the VAE is paid for what it takes for real (adversarial),
and for decoding to clips that stir the same features in it as the original does (perceptual; Larsen et al. 2016 take a
critic's features for this, so that no network trained elsewhere is needed).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from minisora.core.errors import MinisoraError
from minisora.data.clip import Clip
from minisora.models.vae import VAE
from minisora.nn.causal import CausalConv, Stream
from minisora.train.engine import Metrics
from minisora.train.vae import reconstruct


@dataclass(frozen=True)
class Terms:
    """How much the two terms count beside the mean error of pixels; at 0 a term is left out."""

    perceptual: float = 0.0
    adversarial: float = 0.0

    def __post_init__(self) -> None:
        if min(self.perceptual, self.adversarial) < 0:
            raise MinisoraError(
                f"weights of {self.perceptual} and {self.adversarial}: perceptual and adversarial are 0 or more"
            )

    def __bool__(self) -> bool:
        return self.perceptual > 0 or self.adversarial > 0


class Critic(nn.Module):
    """A clip (b, 3, t, h, w) → how real its patches look, (b, 1, t, h / 8, w / 8), and the features on the way."""

    def __init__(self, width: int = 32, layers: int = 3) -> None:
        super().__init__()
        sizes = [3, *(width * 2**layer for layer in range(layers))]
        self.layers = nn.ModuleList(CausalConv(a, b) for a, b in pairwise(sizes))
        self.head = CausalConv(sizes[-1], 1)

    def forward(self, x: Tensor) -> tuple[Tensor, list[Tensor]]:
        stream, features = Stream(last=True), []
        for layer in self.layers:
            x = F.leaky_relu(layer(x, stream), 0.2)
            x = F.avg_pool3d(x, (1, 2, 2))
            features.append(x)
        return self.head(x, stream), features


class Rivals(nn.Module):
    """A VAE and its critic, trained at the same time: one model to the engine, with one checkpoint."""

    def __init__(self, vae: VAE, critic: Critic) -> None:
        super().__init__()
        self.vae, self.critic = vae, critic


def step_for(terms: Terms, rough: float = 0.0) -> Callable:
    """The step function of the engine for `Rivals`.

    One loss serves both, since its parts reach different weights: the critic's part is of decoded clips cut off from
    the VAE, and the VAE's part is judged by a critic whose weights stand still.
    """

    def step(model: nn.Module, clips: Sequence[Clip], generator: torch.Generator) -> tuple[Tensor, Metrics]:
        assert isinstance(model, Rivals)
        frozen = {name: weight.detach() for name, weight in model.critic.named_parameters()}
        loss, metrics, pairs = reconstruct(model.vae, clips, generator, rough)
        perceptual = adversarial = contest = torch.zeros((), device=loss.device)
        for x, y in pairs:
            share = x.numel() / metrics["weight"]
            opinion, stirred = functional_call(model.critic, frozen, (y,))
            real, wanted = model.critic(x)  # `difference` cuts the features off
            perceptual = perceptual + share * difference(stirred, wanted)
            adversarial = adversarial - share * opinion.float().mean()
            contest = contest + share * hinge(real, model.critic(y.detach())[0])
        total = loss + terms.perceptual * perceptual + terms.adversarial * adversarial + contest
        told = {"pixels": loss, "perceptual": perceptual, "adversarial": adversarial, "critic": contest}
        return total, metrics | {name: value.detach() for name, value in told.items()}

    return step


def difference(features: Sequence[Tensor], wanted: Sequence[Tensor]) -> Tensor:
    """Mean absolute difference of features, each layer's in units of its mean size: so no layer outweighs another."""
    parts = [
        (a - b.detach()).float().abs().mean() / b.detach().float().abs().mean().clamp(min=1e-6)
        for a, b in zip(features, wanted, strict=True)
    ]
    return torch.stack(parts).mean()


def hinge(real: Tensor, made: Tensor) -> Tensor:
    """The critic's own loss: real patches above 1 and made ones below -1; further away, nothing is gained."""
    return (F.relu(1 - real.float()).mean() + F.relu(1 + made.float()).mean()) / 2

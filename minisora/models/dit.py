"""The diffusion transformer: from noisy spacetime tokens, their times and a prompt to the velocity of every token."""

import re
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from einops import reduce
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from minisora.core.errors import MinisoraError
from minisora.nn.attention import attention
from minisora.nn.modulation import Times, gated, modulate, time_features
from minisora.nn.norm import RMSNorm
from minisora.nn.rope import rotate, rotations
from minisora.tokens.packing import Text, Tokens
from minisora.tokens.patches import Grid

FP32 = re.compile(r"embed_time|modulation|table|norm_text|keep")
"""Parameters whose rounding to bf16 would be seen: they act on every channel of every token."""


@dataclass(frozen=True)
class DiTConfig:
    """A diffusion transformer of any size."""

    channels: int = 16
    """Channels of a latent."""
    patch: Grid = (1, 2, 2)
    """How many latents (time, height, width) make one token."""
    width: int = 192
    heads: int = 6
    layers: int = 6
    mlp: int = 768
    """Width of the hidden layer of the MLP."""
    text_width: int = 128
    """Width of a row of text, as the text encoder gives it."""
    text_length: int = 512
    """The longest prompt, in rows of text."""
    padded: bool = True
    """Pad every prompt to that length: the padding is one row that counts as many. If not, it counts as one."""
    time_features: int = 256
    eps: float = 1e-6
    theta: float = 1e4
    """Base of the wavelengths of rotary positions."""
    places: bool = False
    """Tell each token where it stands, too: rotary positions only say how far apart two of them are."""
    pooled: bool = False
    """Add the mean row of its prompt to each token, too, so that words count before attention has found them."""
    backend: str = "auto"
    """How attention over segments is computed, see nn/attention.py."""
    clean: bool = False
    """The head says what the clean token is, and the velocity towards it follows. Tokens of few pixels lie near a
    surface of few dimensions, and noise fills all of them: a narrow network can say the first but not the second.
    Beside it stands what may be kept of the noisy token, more the less noise there is, number by number."""
    recompute: bool = False
    """Forget what happens inside a block and compute it again for the gradient: less memory, a third more work."""

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise MinisoraError(f"a width of {self.width} cannot be shared evenly by {self.heads} heads of even width")

    @property
    def token_width(self) -> int:
        """Numbers in one token: a patch of latents."""
        return self.channels * self.patch[0] * self.patch[1] * self.patch[2]


class Attention(nn.Module):
    """Queries from x look at keys and values from y, in their own segment; queries and keys are normalised."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        width = config.width
        self.heads, self.backend = config.heads, config.backend
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))
        self.norm_q, self.norm_k = (RMSNorm(width, config.eps) for _ in range(2))  # before the heads are split

    def forward(
        self, x: Tensor, y: Tensor, queries: tuple[int, ...], keys: tuple[int, ...],
        turns: Tensor | None = None, bias: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        q, k, v = self.norm_q(self.q(x)), self.norm_k(self.k(y)), self.v(y)
        q, k, v = (part.unflatten(-1, (self.heads, -1)) for part in (q, k, v))  # (n, heads, head width)
        if turns is not None:
            q, k = rotate(q, turns), rotate(k, turns)
        return self.out(attention(q, k, v, queries, keys, bias, self.backend).flatten(1))


@dataclass(frozen=True)
class Batch:
    """Who sits with whom: the lengths of the clips and prompts, and the bias of the rows of text."""

    clips: tuple[int, ...]
    prompts: tuple[int, ...]
    bias: Tensor


class Block(nn.Module):
    """Look at the clip, look at the prompt, think: self-attention, cross-attention, MLP."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.eps = config.eps
        self.attend = Attention(config)
        self.norm_text = nn.LayerNorm(config.width, eps=config.eps)
        self.read = Attention(config)
        self.mlp_in, self.mlp_out = nn.Linear(config.width, config.mlp), nn.Linear(config.mlp, config.width)
        self.table = nn.Parameter(torch.zeros(6, config.width))

    def forward(self, x: Tensor, text: Tensor, mod: Tensor, times: Times, turns: Tensor, batch: Batch) -> Tensor:
        shift, scale, gate, shift_mlp, scale_mlp, gate_mlp = (self.table + mod).unbind(1)  # (u, d) each

        h = modulate(x, shift, scale, times, self.eps)
        x = gated(x, self.attend(h, h, batch.clips, batch.clips, turns), gate, times)

        x = x + self.read(self.norm_text(x.float()).to(x.dtype), text, batch.clips, batch.prompts, bias=batch.bias)

        h = modulate(x, shift_mlp, scale_mlp, times, self.eps)
        return gated(x, self.mlp_out(F.gelu(self.mlp_in(h), approximate="tanh")), gate_mlp, times)


class DiT(nn.Module):
    """Packed tokens, a time for each and packed text → the velocity of each token."""

    def __init__(self, config: DiTConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.embed = nn.Linear(config.token_width, width)
        self.embed_text = nn.Sequential(nn.Linear(config.text_width, width), nn.GELU("tanh"), nn.Linear(width, width))
        self.embed_time = nn.Sequential(nn.Linear(config.time_features, width), nn.SiLU(), nn.Linear(width, width))
        if config.places:
            self.embed_place = nn.Linear(width // config.heads, width)
        if config.pooled:
            self.embed_prompt = nn.Linear(config.text_width, width)
        self.modulation = nn.Linear(width, 6 * width)
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.table = nn.Parameter(torch.zeros(2, width))
        self.head = nn.Linear(width, config.token_width)
        if config.clean:
            self.keep = nn.Linear(width, config.token_width)
            nn.init.zeros_(self.keep.weight)
            nn.init.zeros_(self.keep.bias)

    def lower(self, dtype: torch.dtype) -> "DiT":
        """Weights in `dtype`, but those that make times, modulation and affine norms, which stay fp32."""
        for name, parameter in self.named_parameters():
            parameter.data = parameter.data.to(torch.float32 if FP32.search(name) else dtype)
        return self

    def forward(self, tokens: Tokens, t: Tensor, text: Text) -> Tensor:
        """t is () or (n,); the result is (n, d) like tokens.x."""
        t = t.to(tokens.x.device)
        times = Times.of(t, len(tokens.x))
        turns = rotations(tokens.pos, self.config.width // self.config.heads, self.config.theta, tokens.ring)
        batch = Batch(tokens.lengths, text.lengths, text.bias)

        x = self.embed(tokens.x)  # (n, width)
        if self.config.places:
            x = x + self.embed_place(torch.view_as_real(self._places(tokens, turns)).flatten(1).to(x.dtype))
        if self.config.pooled:
            mean = torch.stack([prompt.mean(0) for prompt in text.x.split(text.lengths)])
            counts = torch.tensor(tokens.lengths, device=x.device)
            x = x + self.embed_prompt(mean).repeat_interleave(counts, 0)
        rows = self.embed_text(text.x)  # (m, width)
        time = self.embed_time(time_features(times.values, self.config.time_features))  # (u, width)
        mod = self.modulation(F.silu(time)).unflatten(1, (6, -1))  # (u, 6, width)

        for block in self.blocks:
            if self.config.recompute and torch.is_grad_enabled():
                x = checkpoint(block, x, rows, mod, times, turns, batch, use_reentrant=False)
            else:
                x = block(x, rows, mod, times, turns, batch)

        shift, scale = (self.table + time[:, None]).unbind(1)
        said = self.head(modulate(x, shift, scale, times, self.config.eps))
        if not self.config.clean:
            return said
        x, kept = times.beside(tokens.x.float(), self.keep(F.silu(time)).float())
        return toward(said.float() + (kept * x).view(said.shape), tokens.x, t)

    def _places(self, tokens: Tokens, turns: Tensor) -> Tensor:
        """The rotations of each token's place; a ring has no beginning, so where in it a token stands is not told."""
        if tokens.ring is None:
            return turns
        pos = tokens.pos.clone()
        pos[tokens.ring > 0, 0] = 0
        return rotations(pos, self.config.width // self.config.heads, self.config.theta)


def finer(dit: DiT, patch: Grid) -> DiT:
    """The same transformer for smaller tokens, to go on training with: coarse tokens are cheap, fine ones exact.

    A part of a token is read as if the whole token were like it, and says what the whole said on average.
    """
    old, config = dit.config.patch, replace(dit.config, patch=patch)
    if any(whole % part for whole, part in zip(old, patch, strict=True)):
        raise MinisoraError(f"tokens of {old} latents cannot be cut into tokens of {patch}: each size has to divide")
    axes = dict(zip(("pt", "ph", "pw"), patch, strict=True)) | {"c": config.channels}
    whole, part = "(nt pt nh ph nw pw c)", "(pt ph pw c)"
    weights = dit.state_dict()
    counts = dict(zip(("nt", "nh", "nw"), (a // b for a, b in zip(old, patch, strict=True)), strict=True))
    weights["embed.weight"] = reduce(weights["embed.weight"], f"w {whole} -> w {part}", "sum", **axes, **counts)
    for head in ("head", "keep") if config.clean else ("head",):
        weights[f"{head}.weight"] = reduce(
            weights[f"{head}.weight"], f"{whole} w -> {part} w", "mean", **axes, **counts
        )
        weights[f"{head}.bias"] = reduce(weights[f"{head}.bias"], f"{whole} -> {part}", "mean", **axes, **counts)
    made = DiT(config).to(dit.table.device, dit.embed.weight.dtype)
    made.load_state_dict(weights)
    return made


def toward(x: Tensor, x_t: Tensor, t: Tensor, least: float = 0.05) -> Tensor:
    """The velocity (x_t - x) / t towards a clean x; below `least`, where it would explode, as at that time."""
    t = t.clamp(min=least).float()
    return (x_t.float() - x.float()) / (t if t.dim() == 0 else t[:, None])

# %% [markdown] tags=["header"]
# # 05 · The diffusion transformer
#
# > **Why does a transformer denoise, and how does it know time and place?**
#
# **You will build** attention that keeps clips apart, positions in three axes, modulation by time, and from these the
# diffusion transformer: the network that every video in this course comes from.
#
# **You need** notebooks 02 (tokens) and 04 (velocities).
#
# **Measured** · runs in 144 s on two CPU cores without bf16 · needs 0.5 GiB · reads in about 47 minutes

# %% tags=["parameters"]
PROFILE = "fast"  # "full" trains ten times longer

# %%
import math
from dataclasses import dataclass, replace

import ipywidgets as widgets
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from einops import reduce
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from minisora.core.errors import MinisoraError
from minisora.course.exercises import exercise
from minisora.data.clip import from_pixels
from minisora.data.datasets import rendered
from minisora.diffusion.flow import loss, mix, sample_times, velocity
from minisora.diffusion.samplers import euler
from minisora.diffusion.schedule import schedule
from minisora.models.dit import DiTConfig
from minisora.nn.attention import attention
from minisora.nn.norm import RMSNorm
from minisora.tokens.packing import Text, Tokens, pack, pack_text, unpack
from minisora.tokens.patches import Grid, patchify
from minisora.viz.figures import picture
from minisora.viz.player import show
from minisora.viz.style import use_style
from minisora.viz.widgets import explore
from minisora.worlds import world

use_style()
torch.manual_seed(0)
LONGER = 10 if PROFILE == "full" else 1

# %% [markdown]
# ## The question
#
# A clip is a row of tokens, all of them noisy, and a network has to say where each should go. One token by itself is
# hopeless: a box of gray noise could be anything. But its neighbours show more of the same thing, the same box a moment later
# shows it again, and a prompt says what to expect. So the network must let tokens *look at each other*: at those near in
# space, at those near in time, and at the words.
#
# That is attention. Everything else in a transformer works on one token at a time.

# %%
clip = rendered(world("shapes").sample(seed=12, count=1, style="flat"), (9, 32, 32))
x = clip.pixels()[0]  # (3, 9, 32, 32)
PATCH = (1, 8, 8)
tokens = pack([x], PATCH)
noisy = unpack(tokens.with_x(mix(tokens.x, torch.randn(tokens.x.shape), 0.75)), PATCH)[0]
figure, axes = plt.subplots(2, 5, figsize=(9, 3.8))
for row, video in zip(axes, (x, noisy), strict=True):
    for ax, t in zip(row, (0, 2, 4, 6, 8), strict=True):
        ax.imshow((video[:, t].permute(1, 2, 0) / 2 + 0.5).clamp(0, 1))
        ax.set(xticks=[], yticks=[])
        ax.grid(False)
picture(figure, f"Above, five frames of a clip of {clip.caption}; below, the same frames at t = 0.75, nearly lost in noise.")

# %% [markdown]
# ## Attention, from its definition
#
# Every token asks a *query* $q$, offers a *key* $k$ and holds a *value* $v$. It takes the mean of all values, weighted by
# how well their keys answer its query:
#
# $$\text{out}_i = \sum_j a_{ij}\, v_j, \qquad a_{ij} = \operatorname{softmax}_j\!\Big(\frac{q_i \cdot k_j}{\sqrt{d}}\Big)$$
#
# Without the root, the products of wide vectors would be large, the softmax would pick one token, and nothing could be learnt
# about the others. And since clips are packed, a token may only look at its own segment: all other scores are $-\infty$.

# %% tags=["draft"]
def attention_by_definition(q: Tensor, k: Tensor, v: Tensor, own: Tensor) -> Tensor:
    """(n, heads, d) each, and (n, n) who may look at whom → (n, heads, d)."""
    scores = torch.einsum("i h d, j h d -> h i j", q, k) / math.sqrt(q.shape[-1])
    weights = scores.masked_fill(~own, float("-inf")).softmax(-1)
    return torch.einsum("h i j, j h d -> i h d", weights, v)


# %% [markdown]
# The definition computes every score, also those that are thrown away. The package's function gives the same numbers without:
# clips of one length are a batch, and torch has a fast routine for those.

# %%
lengths = (80, 16, 75, 16)
q, k, v = torch.randn(3, sum(lengths), 4, 16).unbind()
seg = torch.arange(len(lengths)).repeat_interleave(torch.tensor(lengths))
torch.testing.assert_close(
    attention(q, k, v, lengths, lengths), attention_by_definition(q, k, v, seg[:, None] == seg), atol=1e-5, rtol=1e-4
)
print("packed attention is the definition, for clips of", lengths, "tokens")

# %% [markdown]
# ## It fails first: no positions
#
# Nothing in this formula knows where a token stands. Shuffle the tokens, and the answers are shuffled alike. For a video that
# is a disaster: a clip and the same boxes in a heap are the same to it.

# %%
order = torch.randperm(80)
q, k, v = torch.randn(3, 80, 4, 16).unbind()
straight, shuffled = attention(q, k, v, (80,), (80,)), attention(q[order], k[order], v[order], (80,), (80,))
torch.testing.assert_close(shuffled, straight[order])
print("shuffled in, shuffled out: attention does not see places")


# %% [markdown]
# ## Places that turn
#
# Take two channels of a query as the hands of a clock, and turn them by an angle that grows with the token's place; the
# same with keys. As a complex number, channel pair $q$ becomes $q\, e^{i \omega p}$. The product of a query at place $p$ and a
# key at place $r$ is then
#
# $$\operatorname{Re}\big(q\, e^{i\omega p} \cdot \bar k\, e^{-i \omega r}\big) = \operatorname{Re}\big(q\, \bar k\, e^{i\omega (p - r)}\big),$$
#
# and depends on where they stand only through $p - r$: how far apart they are. That is rotary position embedding
# ([Su et al. 2021](https://arxiv.org/abs/2104.09864)). A video has three axes, so a head gives a third of its channels to each;
# every axis gets several speeds $\omega$, fast ones for neighbours and slow ones for the far end.

# %% tags=["source: minisora.nn.rope.split_axes"]
def split_axes(head_width: int) -> tuple[int, int, int]:
    """How many channels of a head tell time, height and width: a third each, time takes what is left."""
    space = 2 * (head_width // 6)
    return head_width - 2 * space, space, space


# %% tags=["source: minisora.nn.rope.closed"]
def closed(frequency: Tensor, ring: Tensor) -> Tensor:
    """(f,) and (n,) → (n, f): the nearest frequencies at which a ring closes, 2π j / ring for a whole number j."""
    first = 2 * math.pi / ring.clamp(min=1).double()[:, None]
    return torch.where(ring[:, None] > 0, (frequency / first).round() * first, frequency)


# %% tags=["source: minisora.nn.rope.rotations"]
def rotations(pos: Tensor, head_width: int, theta: float = 1e4, ring: Tensor | None = None) -> Tensor:
    """(n, 3) positions → (n, head_width / 2) complex numbers of length one.

    `ring` (n,) is the number of places after which a token's time goes round, or 0 where it does not.
    """
    pos = pos.double()  # a minute of video has large angles: only their remainder may be rounded
    angles = []
    for axis, width in enumerate(split_axes(head_width)):
        exponent = torch.arange(0, width, 2, dtype=torch.float64, device=pos.device) / width
        frequency = theta**-exponent
        if axis == 0 and ring is not None:
            frequency = closed(frequency, ring)
        angles.append(pos[:, axis, None] * frequency)
    angle = torch.remainder(torch.cat(angles, -1), 2 * math.pi).float()
    return torch.polar(torch.ones_like(angle), angle)


# %% tags=["source: minisora.nn.rope.rotate"]
def rotate(x: Tensor, turns: Tensor) -> Tensor:
    """Turn the channel pairs of x (n, heads, head_width) by (n, head_width / 2) rotations."""
    pairs = torch.view_as_complex(x.float().unflatten(-1, (-1, 2)))
    return torch.view_as_real(pairs * turns[:, None]).flatten(-2).to(x.dtype)


# %% [markdown]
# The law, tried: move the whole clip by any distance, and no score changes. (That is also why places may be fractions. And a
# `ring` closes time, so that the last frame stands before the first: notebook 11 makes loops with it.)

# %%
q, k = torch.randn(2, 80, 4, 24).unbind()
place = pack([torch.randn(3, 5, 4, 4)], (1, 1, 1)).pos
scores = []
for moved in (torch.zeros(3), torch.tensor([3.0, -2.0, 7.5])):
    turns = rotations(place + moved, 24)
    scores.append(torch.einsum("i h d, j h d -> h i j", rotate(q, turns), rotate(k, turns)))
torch.testing.assert_close(*scores, atol=1e-4, rtol=1e-4)
near = torch.einsum("i h d, j h d -> h i j", rotate(torch.ones(80, 1, 24), turns), rotate(torch.ones(80, 1, 24), turns))[0]
figure, axes = plt.subplots(1, 5, figsize=(10, 2.3))
for t, ax in enumerate(axes):
    ax.imshow(near[2 * 16 + 5].view(5, 4, 4)[t], vmin=near.min(), vmax=near.max(), cmap="cividis")
    ax.set(title=f"time {t}", xticks=[], yticks=[])
    ax.grid(False)
axes[2].add_patch(plt.Rectangle((0.5, 0.5), 1, 1, fill=False, color="white", linewidth=2))
picture(figure, "Scores of one token, marked white at time 2, with all others when queries and keys are equal: nearest is highest.")

# %% [markdown]
# ## Norms that keep heads honest
#
# Queries and keys are divided by their own length before they meet, so that no token wins by shouting. RMS norm does it
# without taking a mean off first: $x / \sqrt{\operatorname{mean}(x^2)}$, times a learnt weight. (The package's `RMSNorm` is the same,
# with a gradient written by hand that keeps less in memory.)

# %% tags=["draft"]
def rms_norm(x: Tensor, weight: Tensor, eps: float = 1e-6) -> Tensor:
    return x / (x.square().mean(-1, keepdim=True) + eps).sqrt() * weight


# %%
h = torch.randn(7, 192) * 5
torch.testing.assert_close(RMSNorm(192)(h), rms_norm(h, torch.ones(192)), atol=1e-5, rtol=1e-4)


# %% tags=["source: minisora.models.dit.Attention"]
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


# %% [markdown]
# `x` asks, `y` answers. With `y = x` it is self-attention; with `y` the rows of a prompt it is cross-attention, and notebook
# 06 is about that.

# %% [markdown]
# ## How noisy is it?
#
# At $t = 0.99$ the right answer is a guess about the whole; at $t = 0.1$ it is a small repair. The network must know $t$. One
# could append it to the tokens; diffusion transformers let it *modulate* every block instead
# ([Peebles and Xie 2022](https://arxiv.org/abs/2212.09748)): from $t$ come a shift, a scale and a gate for each channel,
#
# $$h = \operatorname{norm}(x)\,(1 + \text{scale}_t) + \text{shift}_t, \qquad x \leftarrow x + \text{gate}_t \cdot f(h).$$
#
# First $t$ becomes waves of many frequencies, so that small differences can be told:

# %% tags=["source: minisora.nn.modulation.time_features"]
def time_features(t: Tensor, width: int) -> Tensor:
    """(u,) times in 0 … 1 → (u, width): cosines, then sines, of 1000 t at frequencies from 1 to 1/10000."""
    half = width // 2
    frequency = torch.exp(-math.log(10000) * torch.arange(half, dtype=torch.float64, device=t.device) / half)
    angle = 1000 * t.double()[:, None] * frequency
    return torch.cat([angle.cos(), angle.sin()], -1).float()


# %%
figure, ax = plt.subplots(figsize=(7, 2.2))
ax.imshow(time_features(torch.linspace(0, 1, 200), 64).T, aspect="auto", cmap="cividis", extent=(0, 1, 64, 0))
ax.set(xlabel="t", ylabel="feature", title="A time as waves")
ax.grid(False)
picture(figure, "A heat map: each row is a feature of the time, cosines in the upper half and sines in the lower, each from fast to slow.")


# %% [markdown]
# **A time for every token.** Here is the one decision that makes this transformer more than a text-to-video model: the time
# belongs to the *token*, not to the clip. A token at $t = 0$ among noisy ones is simply known. Given the first frame, animate
# it; given both ends, fill the middle; all of notebook 11 is this. It must not cost more, so tables are made once for each run of
# tokens with equal times:

# %% tags=["source: minisora.nn.modulation.Times"]
@dataclass(frozen=True)
class Times:
    """The times of n tokens as runs of equal ones."""

    values: Tensor
    """(u,): the time of each run."""
    counts: tuple[int, ...]
    """How many tokens each run has."""
    index: Tensor | None
    """(n,): the run that each token belongs to; None if all runs are equally long, where a view is enough."""

    @classmethod
    def of(cls, t: Tensor, tokens: int) -> "Times":
        """From a time per token (n,), or one for all of them ()."""
        if t.dim() == 0:
            return cls(t[None], (tokens,), None)
        values, counts = torch.unique_consecutive(t, return_counts=True)
        sizes = tuple(counts.tolist())
        equal = len(set(sizes)) == 1
        index = None if equal else torch.arange(len(sizes), device=t.device).repeat_interleave(counts)
        return cls(values, sizes, index)

    def beside(self, x: Tensor, *tables: Tensor) -> list[Tensor]:
        """Tokens (n, d) and tables (u, d) in shapes that broadcast against each other."""
        if self.index is None:
            return [x.unflatten(0, (len(self.counts), -1)), *(table[:, None] for table in tables)]
        return [x, *(table.index_select(0, self.index) for table in tables)]  # indexing has a slow gradient


# %% tags=["source: minisora.nn.modulation.modulate"]
def modulate(x: Tensor, shift: Tensor, scale: Tensor, times: Times, eps: float) -> Tensor:
    """norm(x) · (1 + scale) + shift, in fp32, with one (u, d) row of shift and scale for each run of times."""
    normed = F.layer_norm(x, x.shape[-1:], eps=eps)
    normed, shift, scale = times.beside(normed, shift.to(x.dtype), (1 + scale).to(x.dtype))
    return (normed * scale).add_(shift).view(x.shape)


# %% tags=["source: minisora.nn.modulation.gated"]
def gated(x: Tensor, update: Tensor, gate: Tensor, times: Times) -> Tensor:
    """x + gate · update: the gate says how much a block may change a token at its time."""
    update, gate = times.beside(update, gate.to(x.dtype))
    return (update * gate).view(x.shape).add_(x)


# %% [markdown]
# ## A block, and the whole
#
# Look at the clip, look at the prompt, think. Each is added to what was there, so that a block can also do nothing.

# %% tags=["source: minisora.models.dit.Batch"]
@dataclass(frozen=True)
class Batch:
    """Who sits with whom: the lengths of the clips and prompts, and the bias of the rows of text."""

    clips: tuple[int, ...]
    prompts: tuple[int, ...]
    bias: Tensor


# %% tags=["source: minisora.models.dit.Block"]
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


# %% [markdown]
# The transformer is a pile of these, with a linear layer before and one after. The head may say the velocity, or the clean
# token, from which the velocity follows: $v = (x_t - x) / t$. For wide tokens the second is easier, since clean tokens lie near
# a thin sheet and noise does not ([Li and He 2025](https://arxiv.org/abs/2511.13720)). What is hard then is to copy: where hardly any
# noise is left, the noisy token itself is the best answer, and it does not fit through a narrow network. So the head also tells, from
# the time alone, how much of each of its numbers to `keep`.
#
# Two more things can be told to a token before the first block. **Where it stands** (`places`): rotary positions only say how far
# apart two tokens are, so a model of pure noise cannot know that what moves left began at the right. **What is asked** (`pooled`):
# the mean of the prompt's rows, as the label of a class-conditional model. A fresh model finds a word by attention only after many
# steps, and then only if the word is worth looking at; what is added to every token counts from the first step.

# %% tags=["source: minisora.models.dit.toward"]
def toward(x: Tensor, x_t: Tensor, t: Tensor, least: float = 0.05) -> Tensor:
    """The velocity (x_t - x) / t towards a clean x; below `least`, where it would explode, as at that time."""
    t = t.clamp(min=least).float()
    return (x_t.float() - x.float()) / (t if t.dim() == 0 else t[:, None])


# %% tags=["method: minisora.models.dit.DiT.__init__"]
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


# %% tags=["method: minisora.models.dit.DiT.forward"]
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


DiT.forward = forward


# %% tags=["method: minisora.models.dit.DiT._places"]
def _places(self, tokens: Tokens, turns: Tensor) -> Tensor:
    """The rotations of each token's place; a ring has no beginning, so where in it a token stands is not told."""
    if tokens.ring is None:
        return turns
    pos = tokens.pos.clone()
    pos[tokens.ring > 0, 0] = 0
    return rotations(pos, self.config.width // self.config.heads, self.config.theta)


DiT._places = _places

# %%
config = DiTConfig(
    channels=3, patch=PATCH, width=96, heads=4, layers=3, mlp=256, text_width=16, text_length=8, theta=30.0, clean=True
)
nothing = pack_text([torch.zeros(0, 16)], 8)
dit = DiT(config)
print(f"{sum(weight.numel() for weight in dit.parameters()):,} parameters")
print(dit(tokens, torch.tensor(0.5), nothing).shape, "velocities for", tokens.x.shape, "tokens")

# %% [markdown]
# Packed or one by one must be the same, and a token's own time must matter only where it should:

# %%
two = pack([torch.randn(3, 5, 16, 16), torch.randn(3, 1, 32, 32)], PATCH)
both = dit(two, torch.tensor(0.5), pack_text([torch.zeros(0, 16)] * 2, 8))
alone = [dit(pack([each], PATCH), torch.tensor(0.5), nothing) for each in unpack(two, PATCH)]
torch.testing.assert_close(both, torch.cat(alone), atol=1e-4, rtol=1e-3)
print("packed equals one by one")

# %% [markdown]
# And `places`: the same clip two frames later is another one to a transformer that is told so, and the same to one that is not. Unless it
# is a ring, where no frame is the first.

# %%
half, moved = torch.tensor(0.5), tokens.pos + torch.tensor([2.0, 0.0, 0.0])
for name, net in (("rotary only", dit), ("with places", DiT(replace(config, places=True)))):
    for kind, here in (("line", tokens), ("ring", replace(tokens, rings=(True,)))):
        change = (net(replace(here, pos=moved), half, nothing) - net(here, half, nothing)).abs().max()
        print(f"{name}, a {kind}: two frames later a velocity changes by {change:.5f} at most")


# %% [markdown]
# **Coarse first, then fine.** A token of $2 \times 2$ latents makes a clip a quarter as long, and a step a quarter as dear; a token of one
# latent says more exactly where an edge is. Nothing in a block depends on the size of a token: only the first and the last layer do. So a model can
# learn the world with coarse tokens and the edges with fine ones. On two cores the toy model got its first shapes this way.

# %% tags=["source: minisora.models.dit.finer"]
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


# %%
fine = finer(dit, (1, 2, 2))
part = torch.randn(3, 1, 2, 2)
whole = part.repeat(1, *(a // b for a, b in zip(PATCH, (1, 2, 2), strict=True)))
torch.testing.assert_close(fine.embed(patchify(part, (1, 2, 2))), dit.embed(patchify(whole, PATCH)))
print(f"tokens of {PATCH} pixels became tokens of {fine.config.patch}, which are read as before")

# %% [markdown]
# ## Begin in silence
#
# A fresh network answers with noise of its own, and its first hundred steps go into unsaying that. So what decides how much is
# said begins at zero: the layer that makes gates, so that neither looking at the clip nor thinking changes anything (reading the
# prompt has no gate), and the head, so that nothing is answered. Peebles and Xie call it adaLN-zero. It costs two lines; below we see what it brings.

# %% tags=["draft"]
def silent(net: DiT) -> DiT:
    for layer in (net.modulation, net.head):
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
    return net


# %% [markdown]
# ## Learn one clip by heart
#
# The first thing to ask of a new network: can it learn a single example? We train on the clip above, and three times more with a
# part taken out: once it begins aloud, once every token is told that it stands at place 0, once the time is always said to be 0.5.

# %% tags=["draft"]
def by_heart(steps: int, places: bool = True, times: bool = True, quiet: bool = True) -> tuple[nn.Module, list[float]]:
    """Flow matching on one clip, all 8 noisy copies of it in one packed batch."""
    torch.manual_seed(0)
    net = silent(DiT(config)) if quiet else DiT(config)
    source, losses = torch.Generator().manual_seed(0), []
    batch = pack([x] * 8, PATCH)
    batch = batch if places else replace(batch, pos=torch.zeros_like(batch.pos))
    text = pack_text([torch.zeros(0, 16)] * 8, 8)
    optimiser = torch.optim.AdamW(net.parameters(), 2e-3)
    for _ in range(steps):
        t = sample_times(8, source, shift=3.0).float().repeat_interleave(len(tokens.x))
        e = torch.randn(batch.x.shape)
        v = net(batch.with_x(mix(batch.x, e, t)), t if times else torch.full_like(t, 0.5), text)
        error = loss(v, velocity(batch.x, e))
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        losses.append(error.item())
    return net, losses


# %%
whole, losses = by_heart(300 * LONGER)

# %%
lacking = {"begun aloud": {"quiet": False}, "no places": {"places": False}, "no times": {"times": False}}
learnt = {"whole": (whole, losses)} | {name: by_heart(300 * LONGER, **options) for name, options in lacking.items()}
figure, ax = plt.subplots(figsize=(6.5, 2.8))
for name, (_, curve) in learnt.items():
    ax.plot(torch.tensor(curve).unfold(0, 10, 10).mean(1), label=f"{name}: {sum(curve[-50:]) / 50:.3f}")
ax.set(yscale="log", xlabel="10 steps", ylabel="loss", title="One clip by heart")
ax.legend()
picture(figure, "Four falling losses: the whole network ends lowest, then the one begun aloud, without times, and without places.")

# %% tags=["draft"]
@torch.no_grad()
def generate(net: nn.Module, places: bool = True, times: bool = True, quiet: bool = True, steps: int = 20) -> Tensor:
    start = tokens.with_x(torch.randn(tokens.x.shape, generator=torch.Generator().manual_seed(1)))
    start = start if places else replace(start, pos=torch.zeros_like(start.pos))

    def said(x: Tensor, t: Tensor) -> Tensor:
        return net(start.with_x(x), t if times else torch.tensor(0.5), nothing)

    return unpack(start.with_x(euler(said, start.x, schedule(steps, shift=3.0))), PATCH)[0]


# %%
show([from_pixels(generate(net, **lacking.get(name, {})), caption=name) for name, (net, _) in learnt.items()])

# %% [markdown]
# Without places there is no telling which box belongs where. Without times the network cannot tell a guess from a repair. Each
# part is there for a reason that can be seen.

# %% [markdown]
# ## Where does a token look?
#
# Attention weights of one token in the trained network, at $t = 0.6$. (`weights_of` repeats what `Attention` does up to the
# softmax.) Do not expect it to look next door: a clip that is known by heart is recognised by a few telling boxes, and most heads have
# found theirs.

# %% tags=["draft"]
@torch.no_grad()
def weights_of(net: nn.Module, layer: int, t: float) -> Tensor:
    """(heads, n, n): who looks at whom in one layer's self-attention."""
    caught = {}
    block = net.blocks[layer].attend
    hook = block.register_forward_pre_hook(lambda module, inputs: caught.update(h=inputs[0], turns=inputs[4]))
    e = torch.randn(tokens.x.shape, generator=torch.Generator().manual_seed(2))
    net(tokens.with_x(mix(tokens.x, e, t)), torch.tensor(t), nothing)
    hook.remove()
    q, k = (norm(layer_(caught["h"])).unflatten(-1, (config.heads, -1))
            for norm, layer_ in ((block.norm_q, block.q), (block.norm_k, block.k)))  # fmt: skip
    q, k = rotate(q, caught["turns"]), rotate(k, caught["turns"])
    return (torch.einsum("i h d, j h d -> h i j", q, k) / math.sqrt(q.shape[-1])).softmax(-1)


def looking(token: int, layer: int, head: int, t: float = 0.6) -> plt.Figure:
    """A token among the frames, and its weights over all others."""
    weights = weights_of(whole, layer, t)[head, token].view(9, 4, 4)
    figure, axes = plt.subplots(2, 9, figsize=(11, 2.8))
    for frame in range(9):
        axes[0, frame].imshow(clip.frames[frame])
        axes[1, frame].imshow(weights[frame], vmin=0, vmax=weights.max(), cmap="cividis")
        for ax in axes[:, frame]:
            ax.set(xticks=[], yticks=[])
            ax.grid(False)
    at = (token // 16, token % 16 // 4, token % 4)
    axes[0, at[0]].add_patch(plt.Rectangle((8 * at[2] - 0.5, 8 * at[1] - 0.5), 8, 8, fill=False, color="white", linewidth=2))
    figure.suptitle(f"token {token}, layer {layer}, head {head}")
    return figure


# %%
picture(looking(4 * 16 + 5, 1, 0), "Above, nine frames with one box marked; below, how much attention it pays to each box of each frame.")

# %%
explore(
    lambda **chosen: picture(looking(**chosen), "attention of one token over all frames").png,
    token=widgets.IntSlider(value=69, min=0, max=143, description="token"),
    layer=widgets.Dropdown(options=[0, 1, 2], value=1, description="layer"),
    head=widgets.Dropdown(options=[0, 1, 2, 3], value=0, description="head"),
)

# %% [markdown]
# ## What could go wrong
#
# - **Angles in half precision.** At place 1,000 and $\omega = 1$ a bf16 angle is wrong by up to 2 radians, a third of a turn. Angles are made in
#   float64, and only their remainder is rounded.
# - **Channels that turn together.** Some models pair channel $i$ with $i + 1$, others with $i + d/2$. Both work; weights of one
#   are noise to the other.
# - **A clip that leaks.** Cut the mask, and the loss falls faster, since other clips in the batch help. Packed equals one by one is
#   the test.

# %% [markdown]
# ## Exercise 05.1 · 10 minutes · easy
#
# How many products does self-attention take? For packed clips of the given lengths, count the pairs of tokens that may look at
# each other, times the width (each score is a product of `width` numbers over all heads), times two (scores, then values).
#
# <details><summary>Hint</summary>
#
# A clip of $l$ tokens has $l^2$ pairs.
#
# </details>

# %% tags=["exercise: 05.1"]
def products(lengths: tuple[int, ...], width: int) -> int:
    """Multiplications in the scores and the weighted values of one self-attention."""
    raise NotImplementedError("exercise 05.1")


# %% tags=["check: 05.1"]
with exercise("05.1"):
    assert products((80,), 192) == 2 * 80 * 80 * 192
    assert products((80, 16), 192) == 2 * (6400 + 256) * 192, "clips do not look at each other"
    assert products((32760,), 1536) > 3e12, "why long videos are dear: over three million million for one layer"

# %% tags=["solution: 05.1"] jupyter={"source_hidden": true}
def products(lengths: tuple[int, ...], width: int) -> int:
    """Multiplications in the scores and the weighted values of one self-attention."""
    return 2 * width * sum(length**2 for length in lengths)


# %% [markdown]
# ## Exercise 05.2 · 15 minutes · medium
#
# Turn one pair of channels by hand: `(n, 2)` vectors and `(n,)` angles, without complex numbers.
#
# <details><summary>Hint</summary>
#
# $(a + i b)(\cos\varphi + i \sin\varphi) = (a \cos\varphi - b \sin\varphi) + i\,(a \sin\varphi + b \cos\varphi)$
#
# </details>

# %% tags=["exercise: 05.2"]
def turn(pairs: Tensor, angle: Tensor) -> Tensor:
    """(n, 2) and (n,) → (n, 2), each pair turned by its angle."""
    raise NotImplementedError("exercise 05.2")


# %% tags=["check: 05.2"]
with exercise("05.2"):
    some, angle = torch.randn(9, 2), torch.randn(9) * 5
    unit = torch.polar(torch.ones(9), angle)[:, None]
    assert torch.allclose(turn(some, angle), rotate(some[:, None], unit)[:, 0], atol=1e-5), "as `rotate` does it"
    assert torch.allclose(turn(turn(some, angle), -angle), some, atol=1e-5), "there and back is nothing"
    assert torch.allclose(turn(some, angle).norm(dim=1), some.norm(dim=1), atol=1e-5), "lengths stay"

# %% tags=["solution: 05.2"] jupyter={"source_hidden": true}
def turn(pairs: Tensor, angle: Tensor) -> Tensor:
    """(n, 2) and (n,) → (n, 2), each pair turned by its angle."""
    a, b = pairs.unbind(1)
    return torch.stack([a * angle.cos() - b * angle.sin(), a * angle.sin() + b * angle.cos()], 1)


# %% [markdown]
# ## Exercise 05.3 · 25 minutes · hard
#
# Animate! The network knows one clip by heart. Give it the first frame at time 0, all others as noise, and let Euler move only
# the noisy tokens: the given frame stays as it is, to the last bit.
#
# <details><summary>Hint</summary>
#
# The first 16 tokens are known. In the velocity function, put the known tokens in front of the unknown ones, give the first 16 the
# time 0 and the others `t`, and return only the velocities of the others.
#
# </details>

# %% tags=["exercise: 05.3"]
def animate(net: nn.Module, first: Tensor, steps: int = 20) -> Tensor:
    """(16, d) tokens of the first frame → (144, d) tokens of a clip that begins with it."""
    raise NotImplementedError("exercise 05.3")


# %% tags=["check: 05.3"]
with exercise("05.3"):
    with torch.no_grad():
        made = animate(whole, tokens.x[:16])
    assert made.shape == tokens.x.shape, f"144 tokens, not {tuple(made.shape)}"
    assert torch.equal(made[:16], tokens.x[:16]), "the given frame is not to be touched"
    assert (made[16:] - tokens.x[16:]).square().mean() < 0.1, "what follows is the clip that it knows"

# %% tags=["solution: 05.3"] jupyter={"source_hidden": true}
def animate(net: nn.Module, first: Tensor, steps: int = 20) -> Tensor:
    """(16, d) tokens of the first frame → (144, d) tokens of a clip that begins with it."""
    def said(rest: Tensor, t: Tensor) -> Tensor:
        times = torch.cat([torch.zeros(16), t.float().expand(len(rest))])
        return net(tokens.with_x(torch.cat([first, rest])), times, nothing)[16:]

    rest = torch.randn(tokens.x[16:].shape, generator=torch.Generator().manual_seed(5))
    return torch.cat([first, euler(said, rest, schedule(steps))])


# %% [markdown] tags=["quiz"]
# ## Quiz
#
# 1. *A DiT has no convolution. How can it know that neighbouring boxes belong together?*
#    <details><summary>Answer</summary>It is not told. Queries and keys that turn with the place let it learn where to look, and the
#    clip without places above shows what remains otherwise: boxes.</details>
# 2. *Why do shift, scale and gate depend on t, and not the weights of the layers?*
#    <details><summary>Answer</summary>A network for every time would have to learn everything again for each. Modulation lets one set of
#    features be used more at one time and less at another.</details>
# 3. *Two clips are packed, one at t = 0.2, one at t = 0.9. Does the second disturb the first?*
#    <details><summary>Answer</summary>No: attention keeps segments apart, and times belong to tokens. Packed equals one by one.</details>
#
# ## Where next
#
# - **06 · Language**: the rows that cross-attention reads.
# - Vaswani et al., *Attention Is All You Need*, 2017: [arXiv:1706.03762](https://arxiv.org/abs/1706.03762)
# - Peebles and Xie, *Scalable Diffusion Models with Transformers*, 2022: [arXiv:2212.09748](https://arxiv.org/abs/2212.09748)
# - Su et al., *RoFormer: Rotary Position Embedding*, 2021: [arXiv:2104.09864](https://arxiv.org/abs/2104.09864)
# - Li and He, *Back to Basics: Let Denoising Generative Models Denoise*, 2025: [arXiv:2511.13720](https://arxiv.org/abs/2511.13720)

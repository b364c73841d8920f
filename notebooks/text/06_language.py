# %% [markdown] tags=["header"]
# # 06 · Language
#
# > **How do words steer pixels?**
#
# **You will build** a tokenizer that learns its own vocabulary, the encoder that turns a prompt into rows, the packing that
# lets prompts of any length lie side by side, guidance, which makes a model mean what it says, and the lessons in which an encoder learns to read.
#
# **You need** notebooks 04 and 05.
#
# **Measured** · runs in 187 s on two CPU cores without bf16 · needs 0.6 GiB · reads in about 61 minutes

# %% tags=["parameters"]
PROFILE = "fast"  # "full" trains ten times longer

# %%
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import pairwise

import ipywidgets as widgets
import matplotlib.pyplot as plt
import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, gelu, one_hot, scaled_dot_product_attention
from torch.nn.utils.rnn import pad_sequence

from minisora.core.errors import MinisoraError
from minisora.core.runtime import bf16_pays
from minisora.course.exercises import exercise
from minisora.data.clip import from_pixels
from minisora.data.datasets import rendered
from minisora.diffusion.flow import Velocity, clean, loss, mix, sample_times, velocity, wide
from minisora.diffusion.samplers import euler
from minisora.diffusion.schedule import schedule
from minisora.evaluate import fidelity
from minisora.generate.sora import Sora
from minisora.models.dit import DiT, DiTConfig
from minisora.models.text import TextConfig
from minisora.models.tokenizer import EOS, FIRST_BYTE, FIRST_PAIR, PAD, REMEMBERED, WORD, Pair
from minisora.nn.norm import RMSNorm
from minisora.tokens.packing import pack, unpack
from minisora.train.engine import Metrics
from minisora.viz.figures import picture
from minisora.viz.player import show
from minisora.viz.sheets import png, strip
from minisora.viz.style import use_style
from minisora.viz.widgets import explore
from minisora.worlds import world
from minisora.worlds.language import WORDS, things

use_style()
torch.manual_seed(0)
LONGER = 10 if PROFILE == "full" else 1
shapes = world("shapes")
toy = Sora.from_pretrained("toy", device="cpu")

# %% [markdown]
# ## The question
#
# Same noise, same weights, and one word is another. Somewhere in this model the word *red* has become redness.

# %%
pictures = toy.generate([f"a large {color} circle on a white background" for color in ("red", "green", "blue", "purple")], "1x64x64", seed=5)
show(pictures)


# %% [markdown]
# ## Words to numbers
#
# A network reads numbers. Letters would do, but a prompt of 80 letters is long; whole words would do, until someone writes one
# that was never seen. Byte pair encoding takes the middle ([Sennrich et al. 2016](https://arxiv.org/abs/1508.07909); on bytes since
# GPT-2): every text is bytes, so nothing is unknown; and the pair of neighbours that occurs most often gets a number of its own, again and again.

# %% tags=["source: minisora.models.tokenizer._bytes"]
def _bytes(word: str) -> list[int]:
    return [FIRST_BYTE + byte for byte in word.encode("utf-8", errors="replace")]


# %% tags=["source: minisora.models.tokenizer._merge"]
def _merge(ids: list[int], pair: Pair, new: int) -> list[int]:
    """Replace a pair wherever it occurs, from left to right."""
    merged: list[int] = []
    at = 0
    while at < len(ids):
        here = tuple(ids[at : at + 2]) == pair
        merged.append(new if here else ids[at])
        at += 2 if here else 1
    return merged


# %% tags=["method: minisora.models.tokenizer.Tokenizer.__init__"]
class Tokenizer:
    """A text to a list of ids that ends with EOS, and back, exactly (a lone surrogate, which is no text, becomes ?)."""

    def __init__(self, pairs: Sequence[Pair] = ()) -> None:
        self.pairs = {pair: FIRST_PAIR + order for order, pair in enumerate(pairs)}
        self.bytes = [b"", b"", *(bytes([byte]) for byte in range(256))]  # what each id stands for
        for left, right in pairs:
            self.bytes.append(self.bytes[left] + self.bytes[right])
        self._words: dict[str, list[int]] = {}


# %% tags=["method: minisora.models.tokenizer.Tokenizer.train"]
@classmethod
def train(cls, captions: Iterable[str], size: int, begun: "Tokenizer | None" = None) -> "Tokenizer":
    """Learn pairs until there are `size` ids, or until no pair is seen twice; those of one that is `begun` stay.

    The most frequent pair comes first, and among equals the one with the smallest ids, so that neither the order
    of the captions nor that of a dictionary plays a part.
    """
    if size < FIRST_PAIR:
        raise MinisoraError(f"a vocabulary of {size} cannot hold every byte: it takes {FIRST_PAIR} ids or more")
    begun = begun or cls()
    words = Counter(word for caption in captions for word in WORD.findall(caption))
    spelled = [begun._encode(word) for word in words]
    times = list(words.values())
    seen: Counter[Pair] = Counter()  # how often each pair of neighbors occurs
    where: defaultdict[Pair, set[int]] = defaultdict(set)  # the words that it occurs, or has occurred, in

    def count(word: int, sign: int) -> None:
        for pair in pairwise(spelled[word]):
            seen[pair] += sign * times[word]
            where[pair].add(word)

    for word in range(len(spelled)):
        count(word, +1)
    pairs = list(begun.pairs)
    while FIRST_PAIR + len(pairs) < size and seen:
        best = max(seen, key=lambda pair: (seen[pair], -pair[0], -pair[1]))
        if seen[best] < 2:
            break
        for word in tuple(where[best]):  # a merge changes only the words that hold it
            count(word, -1)
            spelled[word] = _merge(spelled[word], best, FIRST_PAIR + len(pairs))
            count(word, +1)
        pairs.append(best)
    return cls(pairs)


Tokenizer.train = train


# %% tags=["method: minisora.models.tokenizer.Tokenizer.size"]
@property
def size(self) -> int:
    """How many ids there are."""
    return len(self.bytes)


Tokenizer.size = size


# %% tags=["method: minisora.models.tokenizer.Tokenizer._encode"]
def _encode(self, word: str) -> list[int]:
    """Merge as in training: of all pairs that are there, always the one that was learned first."""
    if word in self._words:
        return self._words[word]
    ids = _bytes(word)
    while known := [pair for pair in pairwise(ids) if pair in self.pairs]:
        first = min(known, key=self.pairs.__getitem__)
        ids = _merge(ids, first, self.pairs[first])
    if len(self._words) < REMEMBERED:
        self._words[word] = ids
    return ids


Tokenizer._encode = _encode


# %% tags=["method: minisora.models.tokenizer.Tokenizer.encode"]
def encode(self, text: str) -> list[int]:
    return [id for word in WORD.findall(text) for id in self._encode(word)] + [EOS]


Tokenizer.encode = encode


# %% tags=["method: minisora.models.tokenizer.Tokenizer.decode"]
def decode(self, ids: Iterable[int]) -> str:
    """The text of some ids. Bytes that are no UTF-8, which `encode` never makes, show as the character �."""
    ids = list(ids)
    for id in ids:
        if not 0 <= id < self.size:
            raise MinisoraError(f"id {id} stands for nothing: this tokenizer has the ids 0 to {self.size - 1}")
    return b"".join(self.bytes[id] for id in ids).decode("utf-8", errors="replace")


Tokenizer.decode = decode

# %%
captions = [shapes.caption(shapes.sample(seed)) for seed in range(500)]
for size in (258, 300, 340, 400):
    some = Tokenizer.train(captions, size)
    pieces = [some.bytes[one].decode() for one in some.encode(captions[1])[:-1]]
    print(f"{size} ids, {len(pieces):3d} tokens: {'|'.join(pieces)}")
strange = "a naïve 🎈 floats"
assert some.decode(some.encode(strange)) == strange, "whatever is written can be read back"


# %% [markdown]
# With 400 ids most words of this world are one token, and a word that it never saw still goes through, in pieces.

# %% [markdown]
# ## An encoder that reads both ways
#
# Numbers become rows by a table, and rows learn from each other by attention: *circle* must find out that it is the *red* one.
# A prompt is all there at once, so each word may look forward and back. Where a word stands is told by a bias for each distance,
# near ones one by one and far ones roughly. That is T5's encoder ([Raffel et al. 2019](https://arxiv.org/abs/1910.10683)), whose
# multilingual successor reads the prompts of the full-size model with the same classes.

# %% tags=["source: minisora.models.text.linear"]
def linear(inputs: int, outputs: int, shrink: float = 1.0) -> nn.Linear:
    """T5's init: no bias, and weights N(0, 1 / inputs), so that outputs are as large as inputs."""
    layer = nn.Linear(inputs, outputs, bias=False)
    nn.init.normal_(layer.weight, std=shrink * inputs**-0.5)
    return layer


# %% tags=["source: minisora.models.text.distance_buckets"]
def distance_buckets(length: int, config: TextConfig) -> Tensor:
    """(length, length) the class of the distance from each query (row) to each key (column).

    Half of the classes are for keys after the query. In either half, one half of it counts distances one by one, and
    the rest grows by equal factors up to max_distance: near words are told apart exactly, far ones roughly. Always
    worked out in fp32 on the CPU, so that no device rounds a logarithm across the edge of a class.
    """
    side, exact = config.buckets // 2, config.buckets // 4
    position = torch.arange(length)
    distance = position[None, :] - position[:, None]
    far = distance.abs().clamp(min=exact)  # near distances are taken as they are, below
    growth = torch.log(far.float() / exact) / math.log(config.max_distance / exact)  # 0 … 1 up to max_distance
    rough = (exact + (growth * (side - exact)).long()).clamp(max=side - 1)
    return side * (distance > 0) + torch.where(distance.abs() < exact, distance.abs(), rough)


# %%
buckets = distance_buckets(24, TextConfig())
figure, ax = plt.subplots(figsize=(3.6, 3.2))
ax.imshow(buckets, cmap="cividis")
ax.set(xlabel="word that is looked at", ylabel="word that looks", title="Classes of distance")
ax.grid(False)
picture(figure, "A square of stripes along the diagonal: the class of the distance between each two words of a prompt.")


# %% tags=["source: minisora.models.text.Attention"]
class Attention(nn.Module):
    """softmax(q·k + bias[bucket(distance)]) v. The scores are not divided by √head_width: q's init does it instead."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        inner = config.heads * config.head_width
        self.heads = config.heads
        self.q = linear(config.width, inner, shrink=config.head_width**-0.5)
        self.k = linear(config.width, inner)
        self.v = linear(config.width, inner)
        self.out = linear(inner, config.width)
        self.bias = nn.Embedding(config.buckets, config.heads)
        nn.init.normal_(self.bias.weight, std=config.width**-0.5)

    def forward(self, x: Tensor, buckets: Tensor, present: Tensor) -> Tensor:
        q, k, v = (rearrange(project(x), "b n (h d) -> b h n d", h=self.heads) for project in (self.q, self.k, self.v))
        bias = rearrange(self.bias(buckets), "q k h -> 1 h q k")
        bias = bias.masked_fill(~rearrange(present, "b k -> b 1 1 k"), -math.inf)  # padding is never a key
        x = scaled_dot_product_attention(q, k, v, attn_mask=bias.to(q.dtype), scale=1.0)
        return self.out(rearrange(x, "b h n d -> b n (h d)"))


# %% tags=["source: minisora.models.text.GatedMLP"]
class GatedMLP(nn.Module):
    """down(gelu(gate x) · up x), with the tanh form of GELU (Shazeer, 2020)."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.gate = linear(config.width, config.mlp)
        self.up = linear(config.width, config.mlp)
        self.down = linear(config.mlp, config.width)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(gelu(self.gate(x), approximate="tanh") * self.up(x))


# %% tags=["source: minisora.models.text.Block"]
class Block(nn.Module):
    """Attention, then the MLP, each on a normed copy of x; x itself is normed only at the very end."""

    def __init__(self, config: TextConfig) -> None:
        super().__init__()
        self.attention_norm = RMSNorm(config.width, config.eps)
        self.attention = Attention(config)
        self.mlp_norm = RMSNorm(config.width, config.eps)
        self.mlp = GatedMLP(config)

    def forward(self, x: Tensor, buckets: Tensor, present: Tensor) -> Tensor:
        x = x + self.attention(self.attention_norm(x), buckets, present)
        return x + self.mlp(self.mlp_norm(x))


# %% tags=["source: minisora.models.text.TextEncoder"]
class TextEncoder(nn.Module):
    """Prompts of any lengths, as lists of ids, to a (length, width) tensor for each."""

    def __init__(self, config: TextConfig = TextConfig()) -> None:
        super().__init__()
        self.config = config
        self.embedding = nn.Embedding(config.vocabulary, config.width)  # N(0, 1), T5's init and torch's default
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = RMSNorm(config.width, config.eps)

    def grow(self, vocabulary: int) -> None:
        """Room for ids that a tokenizer has learnt since; the old ones keep their meaning."""
        old = self.embedding.weight
        new = torch.randn(max(0, vocabulary - len(old)), old.shape[1]).to(old)
        self.embedding = nn.Embedding.from_pretrained(torch.cat([old.detach(), new]), freeze=not old.requires_grad)
        self.config = replace(self.config, vocabulary=len(old) + len(new))

    def forward(self, prompts: list[list[int]]) -> list[Tensor]:
        for prompt in prompts:
            if not prompt or min(prompt) < 0 or max(prompt) >= self.config.vocabulary:
                raise MinisoraError(
                    f"cannot encode the ids {str(prompt)[:80]}: a prompt has one id or more (the empty text is its "
                    f"end mark), each from 0 to {self.config.vocabulary - 1}: use the tokenizer of this encoder"
                )
        if not prompts:
            return []
        ids = pad_sequence([torch.tensor(prompt) for prompt in prompts], batch_first=True, padding_value=PAD)
        lengths = torch.tensor([len(prompt) for prompt in prompts])
        present = torch.arange(ids.shape[1]) < lengths[:, None]  # (b n) a token, and not padding
        buckets = distance_buckets(ids.shape[1], self.config)  # (n n) the same for all layers
        ids, present, buckets = (index.to(self.embedding.weight.device) for index in (ids, present, buckets))

        x = self.embedding(ids)  # (b n c)
        for block in self.blocks:
            x = block(x, buckets, present)
        return [self.norm(rows[: len(prompt)]) for rows, prompt in zip(x, prompts, strict=True)]


# %% [markdown]
# ## Prompts of any length, side by side
#
# Clips are packed, and so are prompts: rows end to end, with their lengths. Big models are trained with every prompt filled up to
# 512 rows of zeros. All those rows are equal, so *one* stands for them, with the logarithm of their number added to its score:
# $n e^{s} = e^{s + \ln n}$. And a prompt that is left out has only this row to look at, which is how a model learns what
# to do without one.

# %% tags=["source: minisora.tokens.packing.Text"]
@dataclass(frozen=True)
class Text:
    """Packed prompts. Each ends in a null row of zeros, so that a dropped prompt is still something to look at."""

    x: Tensor
    """(m, d): the rows of all prompts."""
    lengths: tuple[int, ...]
    """The number of rows of each prompt, its null row included."""
    bias: Tensor
    """(m,): added to the attention scores of each row: the null row stands for many equal ones."""


# %% tags=["source: minisora.tokens.packing.pack_text"]
def pack_text(prompts: Sequence[Tensor], length: int, padded: bool = True) -> Text:
    """Rows (l, d) of each prompt → packed text, as if every prompt were padded to `length` rows of zeros.

    The n = length - l rows of padding are all equal, and so are their keys and their scores s: since
    n exp(s) = exp(s + log n), one null row with the bias log n takes the place of them all. Prompts that are not
    padded have a null row that counts as one, so that a fresh model does not look at it most of the time.
    """
    lengths, bias = [], []
    for prompt in prompts:
        padding = length - len(prompt)
        if padding < 0:
            raise MinisoraError(f"a prompt has {len(prompt)} tokens, and {length} are allowed: shorten it")
        lengths.append(len(prompt) + (padding > 0))
        bias += [0.0] * len(prompt) + [math.log(max(padding, 1)) if padded else 0.0] * (padding > 0)
    rows = [F.pad(prompt, (0, 0, 0, rows - len(prompt))) for prompt, rows in zip(prompts, lengths, strict=True)]
    return Text(torch.cat(rows), tuple(lengths), torch.tensor(bias, device=rows[0].device))


# %%
two = pack_text([torch.randn(5, 8), torch.randn(2, 8)], length=512)
print(two.lengths, two.bias.tolist())

# %% [markdown]
# ## Looking at words
#
# In every block of the transformer, between looking at the clip and thinking, each token looks at the rows of its prompt. It is the
# `Attention` of notebook 05 with other keys: the queries are the clip's, keys and values the words'. So nothing new has to be
# built. Let us train all of it, small, from nothing: pictures of 16x16 pixels, one still thing, and the words for it. One prompt in
# ten is left out. The encoder learns along, which is enough for one thing; below we see for how many it is not.

# %%
SMALL = {"count": 1, "style": "flat", "size": "large", "motion": "still", "shape": ("circle", "square", "star"),
         "color": ("red", "green", "blue", "yellow"), "background": ("black", "white")}  # fmt: skip
PATCH = (1, 4, 4)
scenes = [shapes.sample(seed, 1.0, **SMALL) for seed in range(1500)]
images = [rendered(scene, (1, 16, 16)).pixels()[0] for scene in scenes]
tokenizer = Tokenizer.train([shapes.caption(scene) for scene in scenes], 400)
prompts = [tokenizer.encode(shapes.caption(scene)) for scene in scenes]
encoder = TextEncoder(TextConfig(vocabulary=tokenizer.size, width=48, heads=4, head_width=12, mlp=96, layers=2))
dit = DiT(DiTConfig(channels=3, patch=PATCH, width=96, heads=4, layers=3, mlp=288, text_width=48, text_length=64, padded=False, theta=10.0, clean=True))  # fmt: skip
for layer in (dit.modulation, dit.head):  # begin in silence, as in notebook 05
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
print(shapes.caption(scenes[0]), prompts[0])

# %%
STEPS, source, losses = 400 * LONGER, torch.Generator().manual_seed(0), []
learnt = [*dit.parameters(), *encoder.parameters()]
optimiser = torch.optim.AdamW(learnt, 2e-3, (0.9, 0.95))
rate = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: min((k + 1) / 20, 1.0, (STEPS - k) / (0.6 * STEPS)))
for _ in range(STEPS):
    chosen = torch.randint(len(images), (64,), generator=source).tolist()
    batch = pack([images[index] for index in chosen], PATCH)
    t = sample_times(64, source, shift=2.0).float().repeat_interleave(16)
    e = torch.randn(batch.x.shape, generator=source)
    with torch.autocast("cpu", torch.bfloat16, enabled=bf16_pays(e.device)):  # seventy times slower where it does not
        rows = encoder([prompts[index] for index in chosen])
        rows = [row if torch.rand((), generator=source) > 0.1 else row[:0] for row in rows]
        error = loss(dit(batch.with_x(mix(batch.x, e, t)), t, pack_text(rows, 64, padded=False)), velocity(batch.x, e))
    optimiser.zero_grad()
    error.backward()
    nn.utils.clip_grad_norm_(learnt, 1.0)
    optimiser.step()
    rate.step()
    losses.append(error.item())
print(f"loss {sum(losses[:20]) / 20:.2f} → {sum(losses[-20:]) / 20:.2f}")


# %% [markdown]
# ## It fails first: a model that nobody tells anything
#
# Left without its prompt, the model does what it must: it makes pictures, all kinds of them. Train without prompts, and this is all
# there is.

# %% tags=["draft"]
@torch.no_grad()
def painted(scenes: list, scale: float) -> list[Tensor]:
    """Pictures of what scenes' captions say, guided by a scale (to be explained below)."""
    rows = encoder([tokenizer.encode(shapes.caption(scene)) for scene in scenes])
    told, untold = pack_text(rows, 64, padded=False), pack_text([row[:0] for row in rows], 64, padded=False)
    start = pack([torch.zeros(3, 1, 16, 16)] * len(scenes), PATCH)
    noise = torch.randn(start.x.shape, generator=torch.Generator().manual_seed(3))

    def said(x: Tensor, t: Tensor) -> Tensor:
        without = dit(start.with_x(x), t, untold)
        return without + scale * (dit(start.with_x(x), t, told) - without)

    return unpack(start.with_x(euler(said, noise, schedule(20, shift=2.0))), PATCH)


def gallery(rows: dict[str, list[Tensor]], count: int = 12) -> plt.Figure:
    """Rows of small pictures, each with its name."""
    figure, axes = plt.subplots(len(rows), 1, figsize=(9, 0.85 * len(rows)), squeeze=False)
    for ax, (name, images) in zip(axes.flat, rows.items(), strict=True):
        ax.imshow(torch.cat([from_pixels(image).frames[0] for image in images[:count]], 1))
        ax.set(xticks=[], yticks=[], ylabel=name)
        ax.yaxis.label.set(rotation=0, ha="right", va="center")
        ax.grid(False)
    return figure


# %%
asked = [shapes.sample(100_000 + place, 1.0, **SMALL) for place in range(96)]
made = {scale: painted(asked, scale) for scale in (0.0, 1.0, 2.0, 4.0, 8.0)}
real = [rendered(scene, (1, 16, 16)).pixels()[0] for scene in asked]
picture(gallery({"asked for": real, "untold": made[0.0], "told": made[1.0]}),
        "Rows of small pictures: what was asked for; what the model paints untold, of other colors; and what it paints when told.")  # fmt: skip


# %% [markdown]
# ## Guidance
#
# Told, the model is right more often, and still hesitant: it learnt what captions and pictures have in common on the whole. Bayes
# says how to make it bolder. With a prompt $c$, the densities of noisy pictures obey
#
# $$p(x_t \mid c) \propto p(x_t)\, p(c \mid x_t) \quad\Rightarrow\quad \nabla \ln p(c \mid x_t) = \nabla \ln p(x_t \mid c) - \nabla \ln p(x_t).$$
#
# The left side is the direction in which a picture fits its prompt better. A velocity is such a slope, but for a term in $x_t$ and a
# factor that depend on $t$ alone: $v = -(x_t + t\, \nabla \ln p) / (1 - t)$ (exercise 06.3). In the difference of two velocities, told and
# untold, $x_t$ falls out. The factor is negative because $v$ points to the noise; a sampler walks against $v$, and so towards the
# better fit. Go $s$ times as far:
#
# $$v = v_\text{untold} + s\,(v_\text{told} - v_\text{untold}).$$
#
# It is called *classifier-free*, since the classifier $p(c \mid x_t)$ is never built: the model itself, with and without the prompt,
# contains it ([Ho and Salimans 2022](https://arxiv.org/abs/2207.12598)).

# %% tags=["source: minisora.diffusion.guidance._std"]
def _std(x: Tensor, seg: Tensor | None) -> Tensor:
    """The standard deviation over a clip's tokens and channels, given to each of its tokens: (n, 1, …)."""
    if seg is None:
        return x.std(correction=0)
    # A product with the 0/1 matrix of who belongs where: unlike scattered sums, it adds in a fixed order on a GPU.
    member = one_hot(seg.long()).to(x.dtype)  # (n, clips)
    size = member.sum(0)

    def mean(values: Tensor) -> Tensor:  # (n, …) → (n, 1, …)
        per_clip = (values.flatten(1).mean(1) @ member) / size
        return per_clip[seg].reshape(-1, *[1] * (values.ndim - 1))

    return mean((x - mean(x)).square()).sqrt()


# %% tags=["source: minisora.diffusion.guidance.combine"]
def combine(
    conditional: Tensor, unconditional: Tensor, scale: float, rescale: float = 0.0, seg: Tensor | None = None
) -> Tensor:
    """u + scale (c - u): 0 ignores the prompt, 1 is the model itself, more exaggerates the prompt.

    Exaggeration raises the contrast. `rescale` brings back that share of it: 1 gives the result the standard deviation
    of `conditional` (Lin et al. 2023, section 3.4), for each clip of a packed batch by its segment number `seg` (n,).
    """
    c, u = wide(conditional), wide(unconditional)
    guided = c if scale == 1 else u + scale * (c - u)
    if rescale:
        factor = _std(c, seg) / _std(guided, seg).clamp(min=torch.finfo(c.dtype).tiny)
        guided = guided * (1 - rescale + rescale * factor)
    return guided.to(conditional.dtype)


# %% tags=["source: minisora.diffusion.guidance.guided"]
def guided(
    conditional: Velocity,
    unconditional: Velocity,
    scale: float,
    rescale: float = 0.0,
    interval: tuple[float, float] = (0.0, 1.0),
    seg: Tensor | None = None,
) -> Velocity:
    """The guided velocity for a sampler. Outside the interval of t, and at scale 1, only the conditional one runs.

    A limited interval (Kynkäänniemi et al. 2024) saves half the work there. It keeps variety, which guidance costs at
    high noise, and true colors, which it costs at low noise.
    """
    low, high = interval
    if not (0 <= rescale <= 1 and 0 <= low < high <= 1):
        raise MinisoraError(f"guidance: rescale {rescale} and interval {low} … {high} have to lie, in order, in 0 … 1")

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        c = conditional(x, t)
        if scale == 1 or not low <= t <= high:
            return c
        u = unconditional(x, t)
        if not rescale:
            return combine(c, u, scale)
        # The contrast that people see is that of the clean clip, so rescaling acts on x0. A velocity holds noise too
        # (v = ε - x): scaled by k, it would leave 1 - k of the noise in x0 = x_t - t v. Combining is linear, so that
        # without rescaling both ways are one.
        state = wide(x)  # v = (x_t - x0) / t magnifies rounding at small t
        x0 = combine(clean(state, c, t), clean(state, u, t), scale, rescale, seg)
        return ((state - x0) / t).to(c.dtype)

    return velocity


# %%
claims = ("background", "color", "shape")
right = {scale: [fidelity.check(from_pixels(image).frames, scene).claims for image, scene in zip(images_, asked, strict=True)]
         for scale, images_ in made.items()}  # fmt: skip
figure, ax = plt.subplots(figsize=(6, 2.8))
for claim in claims:
    ax.plot(list(right), [100 * sum(one[claim] for one in some) / len(some) for some in right.values()], marker="o", label=claim)
ax.set(xlabel="guidance", ylabel="% right", title="How often the picture shows what was asked for")
ax.legend()
picture(figure, "Shares of right backgrounds, colors and shapes against guidance: all rise from 0 to about 2, and fall again towards 8.")

# %%
picture(gallery({f"guidance {scale:g}": images_ for scale, images_ in made.items()}),
        "Rows of the same twelve pictures at rising guidance: random, then as asked, then of harsh contrast.")  # fmt: skip

# %% [markdown]
# At 0 the prompt is ignored, at 1 it is the model as trained, around 2 to 4 it is best here, and far beyond colors burn: the
# direction was right, the distance was not. Shapes are still fragments: forty seconds teach a small model colors, not outlines.

# %% [markdown]
# **The toy model at the same dial.** One prompt, one seed, six scales:

# %%
prompt = "A hand-drawn sketch of a big yellow star that slides right, white background"
dial = {scale: toy.generate(prompt, "9x64x64", seed=0, guidance=scale)[0] for scale in (0.0, 1.0, 2.0, 4.0, 8.0, 12.0)}
figure, axes = plt.subplots(3, 2, figsize=(10, 4))
for ax, (scale, clip) in zip(axes.flat, dial.items(), strict=True):
    ax.imshow(strip(clip, count=5))
    ax.set(xticks=[], yticks=[], title=f"guidance {scale:g}")
    ax.grid(False)
picture(figure, "The same clip at guidance 0, 1, 2, 4, 8 and 12: unrelated at first, then as asked for, then overdone.")

# %%
explore(
    lambda scale: png(strip(dial[scale], count=5)),
    scale=widgets.SelectionSlider(options=list(dial), value=2.0, description="guidance"),
)

# %% [markdown]
# **Where should it stop?** At high noise guidance decides what there is. At low noise that is settled, and all that is left to exaggerate
# are colors. How far is the background of a clip from the color that was asked for, if guidance ends earlier?

# %%
plain = [world("shapes").sample(700_000 + place, count=1, style="flat") for place in range(8)]
for low in (0.0, 0.4, 0.8):
    takes = toy.generate([world("shapes").caption(scene) for scene in plain], "5x64x64", seed=range(8), interval=(low, 1.0))
    pairs = [(take.frames, rendered(scene, (5, 64, 64)).frames) for take, scene in zip(takes, plain, strict=True)]
    off = [ours.float().flatten(0, 2).median(0).values - real.float().flatten(0, 2).median(0).values for ours, real in pairs]
    print(f"guidance from t = 1 down to {low:g}: background off by {torch.stack(off).abs().mean():.1f} gray levels")

# %% [markdown]
# Nobody sees two gray levels in one clip. But everybody sees them beside a frame that is exact: in extended clips they were a jump, right where the
# given frames ended. The toy ends guidance at $t = 0.4$ (`Sampling.interval`), and saves a question by it. Ended earlier still, shapes suffer: an outline is drawn late.

# %% [markdown]
# ## Which word does a place look at?
#
# In the toy model, at a moment when the picture is half decided, we take every block's attention from the clip's tokens to the
# words, and show for each word how much the places look at it, compared with the mean of all places.

# %% tags=["draft"]
@torch.no_grad()
def word_maps(prompt: str, seed: int, t: float = 0.8) -> tuple[torch.Tensor, list[str], Tensor]:
    """The picture, the words, and (words, h, w): how much each place of a picture looks at each word."""
    image = toy.generate(prompt, "1x64x64", seed=seed)[0]
    ids, dit = toy.tokenizer.encode(prompt), toy.dit
    text = pack_text(toy.text([ids]), dit.config.text_length, dit.config.padded)
    tokens = pack([toy.encode(image)], dit.config.patch)
    maps, hooks = [], []

    def look(read: nn.Module, inputs: tuple) -> None:
        q, k = read.norm_q(read.q(inputs[0])), read.norm_k(read.k(inputs[1]))
        q, k = (part.unflatten(-1, (read.heads, -1)) for part in (q, k))
        scores = torch.einsum("i h d, j h d -> h i j", q, k) / math.sqrt(q.shape[-1])
        maps.append(scores.float().softmax(-1).mean(0))  # (places, words)

    hooks = [block.read.register_forward_pre_hook(look) for block in dit.blocks]
    noise = torch.randn(tokens.x.shape, generator=torch.Generator().manual_seed(0))
    x = mix(tokens.x, noise, t).to(toy.dtype)
    dit(tokens.with_x(x), torch.tensor(t), Text(text.x.to(toy.dtype), text.lengths, text.bias))
    for hook in hooks:
        hook.remove()
    looks = torch.stack(maps).mean(0).T.unflatten(-1, tokens.grids[0][1:])
    return image.frames[0], [toy.tokenizer.bytes[one].decode() for one in ids[:-1]], looks


# %%
image, words, looks = word_maps("a large red circle and a small blue square on a white background", seed=3)
figure, axes = plt.subplots(2, 8, figsize=(11, 3.2))
axes.flat[0].imshow(image)
axes.flat[0].set(title="the picture")
for ax, word, look in zip(axes.flat[1:], words, looks, strict=False):
    change = look / look.mean() - 1
    ax.imshow(change, vmin=-0.6, vmax=0.6, cmap="PuOr_r")
    ax.set(title=word.strip() or "␣")
for place, ax in enumerate(axes.flat):
    ax.set(xticks=[], yticks=[])
    ax.grid(False)
    ax.set_visible(place <= len(words))
picture(figure, "A generated picture and, for each word of its prompt, a map of eight by eight places: orange where they look at it more.")

# %% [markdown]
# *large*, *red* and *circle* are looked at from where the circle stands, *small*, *blue* and *square* from where the square does. The *a* before the circle and
# the *and* behind it are looked at from there, too: each of these rows speaks of the whole thing, as we shall see. The next section counts how often such
# pictures are right.

# %% [markdown]
# ## Two things at once
#
# For one thing in a scene there is nothing to confuse; with two or three there is, and models of every size are known for it.
# The toy model, on 24 pictures each; a claim counts for each thing by itself:

# %%
for count in (1, 2, 3):
    several = [shapes.sample(200_000 + place, 1.0, count=count) for place in range(24)]
    takes = toy.generate([shapes.caption(scene) for scene in several], "1x64x64", seed=count)
    shares = [fidelity.check(take.frames, scene).measures for take, scene in zip(takes, several, strict=True)]
    means = {name: 100 * sum(share[name] for share in shares) / len(shares) for name in ("color", "shape", "size")}
    print(f"{count} in a scene: " + ", ".join(f"{name} {value:.0f} %" for name, value in means.items()))

# %% [markdown]
# ## It fails first: a bag of words
#
# A word for a color has to reach *its* thing, so somebody has to know whose it is. Does the encoder? Any encoder can be asked: put one
# linear layer on its rows, teach that layer to tell from the row of *star* what color the star has, and try it on new prompts
# with two things of unlike colors. The answer stands right before *star*, and attention can fetch it.
#
# An earlier toy model's encoder had learned along with its transformer, for hours, and told it in 30 % of cases. Random weights
# tell it in 42 %. Whoever knows no more than which two colors the prompt has, and guesses, is right in 50 %. With the colors of two things
# swapped in the prompt, the loss of its transformers stayed what it was, to a ten-thousandth (`data/checkpoints/README.md`). Such a
# model knows *which words occur*, a bag of words, and of two things it got everything right in 2 % of clips.
#
# Nothing in the loss forbids to do better. But a transformer that does not yet look at whose word is whose has no use for an encoder
# that knows, and an encoder that does not know gives the transformer nothing to look at. Neither begins.
#
# ## Learning to read first
#
# Full-size models never meet this, since their encoder has read the web before, and then stays as it is. Ours reads captions
# before: from each row one linear layer has to tell the row's own token, how many things the caption speaks of, and
# size, color, shape, motion of the thing that the row's word is about. The world's own grammar knows the answers.

# %% tags=["source: minisora.train.text.ABOUT"]
ABOUT = ("size", "color", "shape", "motion", "figure", "solid", "place", "spot")
"""What is asked about a thing."""

# %% tags=["source: minisora.train.text.MOST"]
MOST = 12
"""The largest number of things that is told from others."""

# %% tags=["source: minisora.train.text.UNASKED"]
UNASKED = -100
"""The answer to a question that has none, such as the shape of what is no thing."""


# %% tags=["source: minisora.train.text.lesson"]
def lesson(caption: str, tokenizer: Tokenizer) -> tuple[list[int], Tensor]:
    """The ids of a caption, and the answers to all questions about each of them, (ids, questions)."""
    ids = tokenizer.encode(caption)
    spoken = [
        (*(len(caption[:place].encode(errors="replace")) for place in span), said)
        for *span, said in things(caption, ABOUT)
    ]
    answers = torch.full((len(ids), 2 + len(ABOUT)), UNASKED, dtype=torch.int16)
    answers[:, 0], answers[:, 1] = torch.tensor(ids), min(len(spoken), MOST)
    end = 0
    for row, id in enumerate(ids):
        start, end = end, end + len(tokenizer.bytes[id])
        for first, last, said in spoken:
            if start < last and end > first:  # the word is about this thing
                for name, value in said.items():
                    answers[row, 2 + ABOUT.index(name)] = list(WORDS[name]).index(value)
    return ids, answers


# %%
two = [shapes.sample(300_000 + place, count=2) for place in range(1200)]
sentences = [shapes.caption(scene) for scene in two]
words = Tokenizer.train(sentences, 500)
ids, answers = lesson(sentences[0], words)
for id, row in zip(ids[:-1], answers.tolist(), strict=False):
    told = {name: list(WORDS[name])[answer] for name, answer in zip(ABOUT, row[2:], strict=True) if answer != UNASKED}
    print(f"{words.bytes[id].decode():>14}  {', '.join(f'{name} {value}' for name, value in told.items())}")


# %% tags=["source: minisora.train.text.Reader"]
class Reader(nn.Module):
    """A text encoder that is asked what it has read."""

    def __init__(self, text: TextEncoder) -> None:
        super().__init__()
        self.text = text
        self.choices = [text.config.vocabulary, MOST + 1, *(len(WORDS[name]) for name in ABOUT)]
        self.tell = nn.Linear(text.config.width, sum(self.choices))

    def forward(self, prompts: list[list[int]]) -> tuple[Tensor, ...]:
        """For each question the scores of all answers, (rows, choices)."""
        return self.tell(torch.cat(self.text(prompts))).split(self.choices, -1)


# %% tags=["source: minisora.train.text.step_for"]
def step_for(tokenizer: Tokenizer) -> Callable:
    """The step function of the engine, for batches of captions."""
    learned = cache(lambda caption: lesson(caption, tokenizer))

    def step(model: nn.Module, batch: Sequence[str], generator: torch.Generator) -> tuple[Tensor, Metrics]:
        assert isinstance(model, Reader)
        lessons = [learned(caption) for caption in batch]
        answers = torch.cat([answers for _, answers in lessons]).long()
        told = model([ids for ids, _ in lessons])

        losses, right, asked = [], 0, 0
        for scores, answer in zip(told, answers.unbind(1), strict=True):
            rows = (answer != UNASKED).nonzero().squeeze(1)  # asked on the CPU, so that no device is waited for
            if len(rows):
                said, wanted = scores.float()[rows.to(scores.device)], answer[rows].to(scores.device)
                losses.append(cross_entropy(said, wanted))
                right, asked = right + (said.argmax(-1) == wanted).sum(), asked + len(rows)
        return sum(losses), {"right": right / asked, "weight": len(batch), "tokens": len(answers)}  # type: ignore[return-value]

    return step


# %% tags=["draft"]
def taught(learns: bool, rate: float, steps: int = 160 * LONGER) -> Reader:
    """A reader whose encoder learns, or stays as random as it began."""
    torch.manual_seed(0)
    reader = Reader(TextEncoder(TextConfig(vocabulary=words.size, width=64, heads=4, head_width=16, mlp=160, layers=2)))
    reader.text.requires_grad_(learns)
    step, source, learnt = step_for(words), torch.Generator().manual_seed(0), [p for p in reader.parameters() if p.requires_grad]
    optimiser = torch.optim.AdamW(learnt, rate, (0.9, 0.95))
    falling = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda k: min((k + 1) / 20, 1.0, (steps - k) / (0.5 * steps)))
    for _ in range(steps):
        batch = [sentences[place] for place in torch.randint(len(sentences), (48,), generator=source).tolist()]
        error, _ = step(reader, batch, source)
        optimiser.zero_grad()
        error.backward()
        nn.utils.clip_grad_norm_(learnt, 1.0)
        optimiser.step()
        falling.step()
    return reader


def unlike(scene) -> bool:
    """Whether its two things have nothing in common."""
    one, other = scene.things
    return all(getattr(one, name) != getattr(other, name) for name in ABOUT[:4])


@torch.no_grad()
def understood(reader: Reader) -> dict[str, float]:
    """Of new captions of two unlike things, the share of rows that tell what their thing is like, in %."""
    new = [scene for scene in (shapes.sample(400_000 + place, count=2) for place in range(400)) if unlike(scene)]
    lessons = [lesson(shapes.caption(scene), words) for scene in new]
    told, answers = reader([ids for ids, _ in lessons]), torch.cat([answers for _, answers in lessons])
    asked = {name: answers[:, 2 + place] != UNASKED for place, name in enumerate(ABOUT[:4])}
    return {name: 100 * (told[2 + place].argmax(-1) == answers[:, 2 + place])[asked[name]].float().mean().item()
            for place, name in enumerate(ABOUT[:4])}  # fmt: skip


# %%
random, read = understood(taught(False, 1e-2)), understood(taught(True, 8e-3))
print(f"{'':24}" + "".join(f"{name:>8}" for name in random))
for name, shares in (("random rows", random), ("rows that learned to read", read)):
    print(f"{name:24}" + "".join(f"{share:7.0f}%" for share in shares.values()))
assert min(read.values()) > 80

# %% [markdown]
# Half a minute is enough. `minisora train toy --stage text` does the same for captions of all worlds, and the toy's transformer
# learned from such rows whose word is whose (the table of swapped prompts stands in `data/checkpoints/README.md`).

# %% [markdown]
# ## What could go wrong
#
# - **The wrong nothing.** "No prompt" must be, when sampling, exactly what it was in training. Ours drops the rows; Wan encodes the empty
#   text. Mixed up, guidance points somewhere else, and nothing crashes.
# - **Padding that is looked at.** Rows of padding take part in a softmax like any others. Whether they are masked, or count, must be
#   the same in training and after.
# - **Bold and burnt.** Guidance raises contrast; `rescale` takes it back, on the clean picture and not on the velocity, which holds
#   noise too.

# %% [markdown]
# ## Exercise 06.1 · 10 minutes · easy
#
# How much shorter do pairs make a text? Count the bytes of some captions and the tokens of a tokenizer (without end marks), and divide.
#
# <details><summary>Hint</summary>
#
# `text.encode()` are the bytes; a tokenizer's `encode` ends with one id too many.
#
# </details>

# %% tags=["exercise: 06.1"]
def shortens(tokenizer: Tokenizer, captions: list[str]) -> float:
    """Bytes of text for each token."""
    raise NotImplementedError("exercise 06.1")


# %% tags=["check: 06.1"]
with exercise("06.1"):
    assert shortens(Tokenizer(), ["a red circle", "ring"]) == 1, "without pairs a token is a byte"
    assert shortens(Tokenizer.train(["aaaa"] * 9, 300), ["aaaa"]) == 4, "one word of four letters, one token"
    assert shortens(some, captions) > 2, "some was trained on these captions"

# %% tags=["solution: 06.1"] jupyter={"source_hidden": true}
def shortens(tokenizer: Tokenizer, captions: list[str]) -> float:
    """Bytes of text for each token."""
    return sum(len(text.encode()) for text in captions) / sum(len(tokenizer.encode(text)) - 1 for text in captions)


# %% [markdown]
# ## Exercise 06.2 · 15 minutes · medium
#
# Show that one row stands for many. Attention of one query over `rows` and then `n` rows of zeros must equal attention over `rows`
# and *one* row of zeros whose score is raised by $\ln n$. Write the second. (Keys and values are the rows themselves.)
#
# <details><summary>Hint</summary>
#
# The score of a row of zeros is 0, so with the bias it is $\ln n$; its value is 0.
#
# </details>

# %% tags=["exercise: 06.2"]
def attend(query: Tensor, rows: Tensor, n: int) -> Tensor:
    """(d,) and (m, d) → (d,): the mean of rows, weighted by softmax of their products with the query, n zeros included."""
    raise NotImplementedError("exercise 06.2")


# %% tags=["check: 06.2"]
with exercise("06.2"):
    query, rows = torch.randn(6), torch.randn(4, 6)
    for n in (1, 7, 500):
        padded = torch.cat([rows, torch.zeros(n, 6)])
        assert torch.allclose(attend(query, rows, n), (padded @ query).softmax(0) @ padded, atol=1e-5), f"{n} rows of padding"

# %% tags=["solution: 06.2"] jupyter={"source_hidden": true}
def attend(query: Tensor, rows: Tensor, n: int) -> Tensor:
    """(d,) and (m, d) → (d,): the mean of rows, weighted by softmax of their products with the query, n zeros included."""
    scores = torch.cat([rows @ query, torch.tensor([math.log(n)])])
    return scores.softmax(0)[:-1] @ rows


# %% [markdown]
# ## Exercise 06.3 · 25 minutes · hard
#
# Why are velocities slopes? With $x_t = (1-t) x + t \varepsilon$ and Gaussian $\varepsilon$, the slope of the log density is
# $\nabla \ln p(x_t) = -\mathbb{E}[\varepsilon \mid x_t] / t$. Use $x = x_t - t v$ and $v = \varepsilon - x$ to write it by $x_t$, $v$ and $t$.
#
# <details><summary>Hint</summary>
#
# $\varepsilon = x + v = x_t + (1 - t) v$.
#
# </details>

# %% tags=["exercise: 06.3"]
def slope(x_t: Tensor, v: Tensor, t: float) -> Tensor:
    """The gradient of the log density of noisy data, by the mean velocity there."""
    raise NotImplementedError("exercise 06.3")


# %% tags=["check: 06.3"]
with exercise("06.3"):
    for t in (0.2, 0.5, 0.9):  # for data N(0, 1), x_t is Gaussian with variance (1 - t)² + t²
        x_t, variance = torch.randn(9), (1 - t) ** 2 + t**2
        v = (t - (1 - t)) / variance * x_t  # E[ε - x | x_t]
        assert torch.allclose(slope(x_t, v, t), -x_t / variance, atol=1e-5), f"at t = {t}"

# %% tags=["solution: 06.3"] jupyter={"source_hidden": true}
def slope(x_t: Tensor, v: Tensor, t: float) -> Tensor:
    """The gradient of the log density of noisy data, by the mean velocity there."""
    return -(x_t + (1 - t) * v) / t


# %% [markdown] tags=["quiz"]
# ## Quiz
#
# 1. *Guidance needs two answers for every step. What does that cost, and when could one save it?*
#    <details><summary>Answer</summary>Twice the time. At low noise it does little but shift colors, and `guided` asks only once outside an interval of t;
#    some models are trained afterwards to give the guided answer at once.</details>
# 2. *Why does the encoder not look at the picture?*
#    <details><summary>Answer</summary>It could, and some models let it. Kept apart, a prompt is encoded once and serves all steps and
#    all seeds.</details>
# 3. *A negative prompt: what does it replace?*
#    <details><summary>Answer</summary>The untold side. The step then leads away from what the negative prompt describes.</details>
#
# ## Where next
#
# - **07 · Training**: all of it at once, without wasting an hour.
# - Sennrich, Haddow and Birch, *Neural Machine Translation of Rare Words with Subword Units*, 2016: [arXiv:1508.07909](https://arxiv.org/abs/1508.07909)
# - Raffel et al., *Exploring the Limits of Transfer Learning (T5)*, 2019: [arXiv:1910.10683](https://arxiv.org/abs/1910.10683)
# - Ho and Salimans, *Classifier-Free Diffusion Guidance*, 2022: [arXiv:2207.12598](https://arxiv.org/abs/2207.12598)
# - Kynkäänniemi et al., *Applying Guidance in a Limited Interval*, 2024: [arXiv:2404.07724](https://arxiv.org/abs/2404.07724)

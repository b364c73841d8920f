# %% [markdown] tags=["header"]
# # 02 · Patches
#
# > **How does one model read every size?**
#
# **You will build** `patchify` and its inverse, the packed sequence in which clips of all sizes lie end to end, and the
# packer that fills a batch with them.
#
# **You need** notebook 01: a video is a tensor, and its axes have names.
#
# **Measured** · runs in 14 s on two CPU cores · needs 0.5 GiB · reads in about 34 minutes

# %% tags=["parameters"]
PROFILE = "fast"  # "full" is for a GPU; this notebook needs none

# %%
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice

import ipywidgets as widgets
import matplotlib.pyplot as plt
import torch
from einops import rearrange
from torch import Tensor

from minisora.core.errors import MinisoraError
from minisora.course.exercises import exercise
from minisora.data.datasets import rendered
from minisora.viz.figures import picture
from minisora.viz.style import PALETTE, use_style
from minisora.viz.widgets import explore
from minisora.worlds import world

use_style()
shapes = world("shapes")

# %% [markdown]
# ## One sentence, one video
#
# A language model reads text as a row of tokens, and does not care how long the row is. Sora's idea for video is the
# same: cut it into small boxes of space *and* time, and read the boxes as a row. A square clip is 80 tokens, a wide one
# 100, a picture 16, and one model reads them all.

# %%
clip = rendered(shapes.sample(seed=21), (17, 64, 64))
figure, axes = plt.subplots(1, 5, figsize=(11, 2.5))
for ax, t in zip(axes, (0, 4, 8, 12, 16), strict=True):
    ax.imshow(clip.frames[t])
    for place in (15.5, 31.5, 47.5):
        ax.axhline(place, color="white", linewidth=0.8)
        ax.axvline(place, color="white", linewidth=0.8)
    ax.set(title=f"frame {t}", xticks=[], yticks=[])
    ax.grid(False)
picture(figure, "Five frames of a clip of moving shapes, each cut into four by four squares by thin white lines.")

# %% [markdown]
# ## It fails first: crop and resize everything
#
# The habit of years was another: make every clip the same size first. Cut out the middle square, or squeeze the whole
# into one. Then all clips stack into one tensor, and there is no problem. Or is there? We know where everything is, so
# let us count.

# %%
scene = shapes.sample(seed=4, count=2, size="large")
wide = rendered(scene, (17, 64, 114))
square = wide.frames[:, :, 25:89]
squeezed = wide.frames[:, :, torch.linspace(0, 113, 64).round().long()]
figure, axes = plt.subplots(1, 3, figsize=(10, 2.8), width_ratios=(114, 64, 64))
for ax, frames, title in zip(axes, (wide.frames, square, squeezed), ("as it is", "cropped", "squeezed"), strict=True):
    ax.imshow(frames[8])
    ax.set(title=title, xticks=[], yticks=[])
    ax.grid(False)
picture(figure, "A wide frame with two things; its middle square, where a thing is cut; and the whole frame squeezed thin.")

# %%
cut = things = 0
for seed in range(200):
    scene = shapes.sample(seed)
    tracks = shapes.state(scene, 17, 64, 114).tracks  # (n, t, 2)
    for thing, track in zip(scene.things, tracks, strict=True):
        reach = 0.8 * thing.radius * 64
        outside = (track[:, 0] < 25 + reach) | (track[:, 0] > 89 - reach)
        cut, things = cut + bool(outside.any()), things + 1
print(f"of {things} things in 200 wide clips, {cut} ({cut / things:.0%}) are cut off in some frame of the middle square")
print(f"squeezed, a circle is {114 / 64:.2f} times as high as wide")

# %% [markdown]
# A model that is trained on such crops learns that things are usually half outside, and shows it in what it makes; the
# report on Sora has a picture of that. And a circle that is an ellipse in training is an ellipse in every sample.
# So: no cropping, no squeezing. Boxes instead.

# %% [markdown]
# ## Cutting
#
# A clip $(c, t, h, w)$ is cut into boxes of $p_t \times p_h \times p_w$ places. That makes
#
# $$n = \frac{t}{p_t} \cdot \frac{h}{p_h} \cdot \frac{w}{p_w} \quad\text{tokens of}\quad d = p_t\, p_h\, p_w\, c
# \quad\text{numbers.}$$
#
# The order is that of reading: frame after frame, row after row. Written out with loops it is this:

# %% tags=["draft"]
def patchify_slowly(x: Tensor, patch: tuple[int, int, int]) -> Tensor:
    """(c, t, h, w) → (n, d)"""
    pt, ph, pw = patch
    tokens = []
    for t in range(0, x.shape[1], pt):
        for h in range(0, x.shape[2], ph):
            for w in range(0, x.shape[3], pw):
                box = x[:, t : t + pt, h : h + ph, w : w + pw]
                tokens.append(box.permute(1, 2, 3, 0).flatten())  # channels last: a place's numbers stay together
    return torch.stack(tokens)


# %% [markdown]
# Nothing is computed here, numbers only change places, and for that there is one line of `einops`. Read it aloud: the
# axis `h` of the clip is `(h ph)`, rows of boxes and rows within a box; boxes go to the front, what is in them to the back.

# %% tags=["source: minisora.tokens.patches.Grid"]
Grid = tuple[int, int, int]
"""How many tokens a clip has along (time, height, width)."""


# %% tags=["source: minisora.tokens.patches.grid_of"]
def grid_of(x: Tensor, patch: Grid) -> Grid:
    """The grid of tokens that a (c, t, h, w) clip is cut into; an image is a clip with t = 1."""
    t, h, w = (size // side for size, side in zip(x.shape[-3:], patch, strict=True))
    if (t * patch[0], h * patch[1], w * patch[2]) != tuple(x.shape[-3:]):
        given, sides = ("x".join(map(str, sizes)) for sizes in (x.shape[-3:], patch))
        raise MinisoraError(f"a clip of {given} cannot be cut into patches of {sides}: each size has to be a multiple")
    return t, h, w


# %% tags=["source: minisora.tokens.patches.patchify"]
def patchify(x: Tensor, patch: Grid) -> Tensor:
    """(c, t, h, w) → (n, d): tokens in reading order of (time, height, width), d = patch volume · c, channel last."""
    t, h, w = grid_of(x, patch)
    pt, ph, pw = patch
    return rearrange(x, "c (t pt) (h ph) (w pw) -> (t h w) (pt ph pw c)", t=t, h=h, w=w, pt=pt, ph=ph, pw=pw)


# %% tags=["source: minisora.tokens.patches.unpatchify"]
def unpatchify(tokens: Tensor, grid: Grid, patch: Grid) -> Tensor:
    """(n, d) → (c, t, h, w), the inverse of `patchify`."""
    (t, h, w), (pt, ph, pw) = grid, patch
    return rearrange(tokens, "(t h w) (pt ph pw c) -> c (t pt) (h ph) (w pw)", t=t, h=h, w=w, pt=pt, ph=ph, pw=pw)


# %%
x = torch.randn(16, 5, 16, 16)
assert torch.equal(patchify(x, (1, 2, 2)), patchify_slowly(x, (1, 2, 2)))
for size in ((16, 1, 2, 2), (3, 4, 6, 10), (2, 9, 8, 14)):  # there and back is nothing, for any size
    x, patch = torch.randn(size), (1, 2, 2)
    assert torch.equal(unpatchify(patchify(x, patch), grid_of(x, patch), patch), x)
try:
    patchify(torch.randn(16, 5, 15, 16), (1, 2, 2))
except MinisoraError as error:
    print("refused:", error)


# %% tags=["draft"]
def timed(function, *values) -> float:
    begin = time.perf_counter()
    for _ in range(20):
        function(*values)
    return (time.perf_counter() - begin) / 20 * 1000


x = torch.randn(16, 21, 60, 104)  # the latents of 81 frames of 480x832
print(f"loops {timed(patchify_slowly, x, (1, 2, 2)):.1f} ms, one rearrangement {timed(patchify, x, (1, 2, 2)):.1f} ms")

# %% [markdown]
# What does one token hold? Keep a single one and paint all others gray: a small box of space that lasts for some frames.
# (The models of this course cut *latents*, which notebook 03 makes from pixels; here we cut pixels, so that they can be
# seen.)

# %%
pixels = clip.pixels()[0][:, 1:]  # (3, 16, 64, 64)


# %% tags=["draft"]
def one_token(number: int, side: int = 16, frames: int = 4) -> bytes:
    """The clip with all tokens but one in gray, as a picture of four moments."""
    patch = (frames, side, side)
    tokens = patchify(pixels, patch)
    shown = torch.full_like(tokens, 0.75)
    shown[number % len(tokens)] = tokens[number % len(tokens)]
    faded = torch.lerp(pixels, unpatchify(shown, grid_of(pixels, patch), patch), 0.85)
    figure, axes = plt.subplots(1, 4, figsize=(9, 2.4))
    for ax, t in zip(axes, (1, 5, 9, 13), strict=True):
        ax.imshow((rearrange(faded[:, t], "c h w -> h w c") / 2 + 0.5).clamp(0, 1))
        ax.set(title=f"frame {t}", xticks=[], yticks=[])
        ax.grid(False)
    return picture(figure, f"token {number} of {len(tokens)}, {tokens.shape[1]} numbers, in four frames").png


# %%
figure, axes = plt.subplots(1, 2, figsize=(9, 3))
tokens = patchify(pixels, (4, 16, 16))
axes[0].imshow(tokens, aspect="auto", cmap="gray")
axes[0].set(xlabel="numbers in a token", ylabel="token", title="the clip as a row of tokens")
axes[1].plot(tokens.std(1))
axes[1].set(xlabel="token", ylabel="spread of its numbers", title="where something happens")
for ax in axes:
    ax.grid(False)
picture(figure, "Left, 64 rows of gray numbers, one for each token; right, their spread, which peaks where things are.")

# %% [markdown]
# **Patch explorer.** Move the token through the clip, and change the size of the boxes. (The figure above stands for it
# on paper.)

# %%
explore(
    one_token,
    number=widgets.IntSlider(value=5, min=0, max=63, description="token"),
    side=widgets.Dropdown(options=[8, 16, 32], value=16, description="side"),
    frames=widgets.Dropdown(options=[1, 2, 4, 8], value=4, description="frames"),
)


# %% [markdown]
# ## Where is it?
#
# Cut out of its clip, a token does not know where it was. A transformer takes a set, not a row: without places it could
# not tell a clip from the same boxes in a heap. So each token carries its place along time, height and width, and
# notebook 05 shows how attention uses it. Places are numbers and not indices, since later a known frame will stand
# *between* two latents, at 1.25.

# %% tags=["source: minisora.tokens.patches.positions"]
def positions(grid: Grid, device: torch.device | str | None = None) -> Tensor:
    """(n, 3): where each token of a grid stands in time, height and width."""
    axes = [torch.arange(size, dtype=torch.float32, device=device) for size in grid]
    return torch.stack(torch.meshgrid(*axes, indexing="ij"), -1).flatten(0, 2)


# %%
places = positions((2, 2, 3))
figure, ax = plt.subplots(figsize=(7, 1.9))
ax.imshow(places.T, aspect="auto", cmap="cividis")
ax.set(yticks=[0, 1, 2], yticklabels=["time", "height", "width"], xlabel="token", xticks=range(12))
ax.grid(False)
picture(figure, "The places of the twelve tokens of a 2 by 2 by 3 grid: time changes slowest, width fastest.")


# %% [markdown]
# ## Packing
#
# Now the step that makes all sizes equal. Clips of any size are cut and laid end to end in **one** sequence. What has
# to be remembered is where each begins and what its grid was. Nothing is padded, nothing is lost.

# %% tags=["source: minisora.tokens.packing.Tokens"]
@dataclass(frozen=True)
class Tokens:
    """A packed batch of clips. A segment is one clip's tokens: its grid first, then any known tokens appended to it."""

    x: Tensor
    """(n, d): the tokens."""
    pos: Tensor
    """(n, 3): where each stands in time, height and width; may be fractional."""
    grids: tuple[Grid, ...]
    """The grid of each segment."""
    lengths: tuple[int, ...]
    """The number of tokens of each segment: its grid and what is appended to it."""
    rings: tuple[bool, ...] = ()
    """Whether the time of each segment goes round, so that its last frame is followed by its first; empty if none."""

    @property
    def seg(self) -> Tensor:
        """(n,): the number of the segment that each token belongs to."""
        lengths = torch.tensor(self.lengths, device=self.x.device)
        return torch.arange(len(self.lengths), device=self.x.device).repeat_interleave(lengths)

    @property
    def ring(self) -> Tensor | None:
        """(n,): how many places in time a token's ring has, 0 where time does not go round; None if it never does."""
        if not any(self.rings):
            return None
        sizes = [grid[0] * goes_round for grid, goes_round in zip(self.grids, self.rings, strict=True)]
        lengths = torch.tensor(self.lengths, device=self.x.device)
        return torch.tensor(sizes, device=self.x.device).repeat_interleave(lengths)

    def with_x(self, x: Tensor) -> "Tokens":
        """The same places with other contents: what a sampler changes from step to step."""
        return replace(self, x=x)


# %% tags=["source: minisora.tokens.packing.pack"]
def pack(clips: Sequence[Tensor], patch: Grid, rings: Sequence[bool] = ()) -> Tokens:
    """Clips (c, t, h, w) of any mix of sizes, images as one-frame clips → one packed sequence."""
    if not len(clips):
        raise MinisoraError("there is no clip to pack: give at least one")
    grids = tuple(grid_of(clip, patch) for clip in clips)
    places = {grid: positions(grid, clips[0].device) for grid in set(grids)}
    return Tokens(
        x=torch.cat([patchify(clip, patch) for clip in clips]),
        pos=torch.cat([places[grid] for grid in grids]),
        grids=grids,
        lengths=tuple(t * h * w for t, h, w in grids),
        rings=tuple(rings),
    )


# %% tags=["source: minisora.tokens.packing.unpack"]
def unpack(tokens: Tokens, patch: Grid) -> list[Tensor]:
    """One packed sequence → the clips (c, t, h, w); appended tokens are left behind."""
    segments = tokens.x.split(tokens.lengths)
    return [
        unpatchify(segment[: t * h * w], (t, h, w), patch)
        for segment, (t, h, w) in zip(segments, tokens.grids, strict=True)
    ]


# %%
sizes = [(16, 5, 8, 8), (16, 1, 8, 8), (16, 5, 6, 10), (16, 5, 10, 6), (16, 3, 4, 4)]
clips = [torch.randn(size) for size in sizes]
tokens = pack(clips, (1, 2, 2))
print(f"{len(clips)} clips, one sequence of {len(tokens.x)} tokens: {tokens.lengths}")
for clip_, back in zip(clips, unpack(tokens, (1, 2, 2)), strict=True):
    assert torch.equal(clip_, back)

# %% [markdown]
# Most of a transformer works on every token by itself: linear layers, norms, MLPs. For these, one packed sequence is the
# same as clip after clip, and the matrices are large, which is what processors like. Only attention lets tokens look at
# each other, and there a clip must see itself and nobody else. `tokens.seg` says who belongs to whom:

# %%
layer = torch.nn.Linear(64, 32)
apart = torch.cat([layer(pack([each], (1, 2, 2)).x) for each in clips])
torch.testing.assert_close(layer(tokens.x), apart)

own = tokens.seg[:, None] == tokens.seg
figure, ax = plt.subplots(figsize=(3.6, 3.6))
ax.imshow(own, cmap="cividis")
ax.set(xlabel="key", ylabel="query", title="who may look at whom")
ax.grid(False)
picture(figure, "A square of queries against keys: five bright blocks along the diagonal, one for each clip, dark elsewhere.")

# %% [markdown]
# ## What padding would cost
#
# The other way to put clips of unequal length into one tensor is to fill the shorter ones up. Let us draw 1,000 clips as
# a training set might have them, images among them, and count the places that would hold nothing.

# %%
menu = [(1, 4, 4), (1, 4, 7), (1, 8, 8), (3, 4, 4), (5, 4, 4), (5, 4, 7), (5, 7, 4), (9, 4, 7), (5, 8, 8)]
source = torch.Generator().manual_seed(0)
lengths = [
    int(torch.tensor(menu[i]).prod()) for i in torch.randint(len(menu), (1000,), generator=source)
]
padded = sum(len(batch) * max(batch) for batch in (lengths[i : i + 16] for i in range(0, 1000, 16)))
print(f"{sum(lengths):,} tokens; padded to the longest of 16 clips, {padded:,} places: "
      f"{1 - sum(lengths) / padded:.0%} of the work is for nothing")

# %% [markdown]
# And in seconds? The same clips through the same MLP, padded and packed:

# %%
mlp = torch.nn.Sequential(torch.nn.Linear(64, 768), torch.nn.GELU(), torch.nn.Linear(768, 64))
batch = lengths[:64]
with torch.no_grad():
    slow, fast = torch.randn(64, max(batch), 64), torch.randn(sum(batch), 64)
    times = {name: timed(mlp, x) for name, x in (("padded", slow), ("packed", fast))}
print({name: f"{ms:.1f} ms" for name, ms in times.items()}, f"packed is {times['padded'] / times['packed']:.1f} times as fast")


# %% [markdown]
# ## Filling a batch
#
# A batch has a budget of tokens, since memory is what runs out. Clips come in a stream, in an order that nobody chose,
# and have to be put into batches so that little room is left. Taking them as they come leaves holes: the next clip does
# not fit, and the rest of the batch stays empty. `fill` looks ahead at a few dozen, always takes the longest that still
# fits, and begins each batch with the one that has waited longest.

# %% tags=["draft"]
def as_they_come(lengths: Iterable[int], budget: int) -> Iterator[list[int]]:
    """A batch is closed as soon as the next clip does not fit."""
    taken, left = [], budget
    for index, length in enumerate(lengths):
        if length > left:
            yield taken
            taken, left = [], budget
        taken.append(index)
        left -= length
    yield taken


# %% tags=["source: minisora.tokens.packing.fill"]
def fill(lengths: Iterable[int], budget: int, window: int = 64) -> Iterator[list[int]]:
    """Greedy packing of a stream: yields lists of indices whose lengths add up to at most `budget` tokens.

    It looks at the next `window` clips and always takes the longest that still fits, but begins with the one that has
    waited longest, so nothing waits for ever.
    """
    if window < 1:
        raise MinisoraError(f"the window is {window} clips: it has to be at least 1")
    waiting: list[tuple[int, int]] = []  # (index, length), oldest first
    stream = enumerate(lengths)
    taken, left = [], budget
    while True:
        for index, length in islice(stream, window - len(waiting)):
            if not 0 < length <= budget:
                raise MinisoraError(f"clip {index} has {length} tokens, and the budget of a batch is {budget}")
            waiting.append((index, length))
        if fitting := [clip for clip in waiting if clip[1] <= left]:
            clip = max(fitting, key=lambda clip: clip[1]) if taken else fitting[0]
            waiting.remove(clip)
            taken.append(clip)
            left -= clip[1]
        elif taken:
            # equal lengths side by side: attention takes each run of them in one call
            yield [index for index, _ in sorted(taken, key=lambda clip: (clip[1], clip[0]))]
            taken, left = [], budget
        else:
            return


# %%
used = {"as they come": sum(lengths) / (len(list(as_they_come(lengths, 640))) * 640)}
for window in (4, 16, 64, 256):
    batches = list(fill(lengths, 640, window))
    assert sorted(i for batch in batches for i in batch) == list(range(1000))  # everybody, once
    used[str(window)] = sum(lengths) / (len(batches) * 640)
figure, ax = plt.subplots(figsize=(6, 2.6))
ax.bar(list(used), [100 * (1 - share) for share in used.values()])
ax.set(xlabel="clips that the packer looks at", ylabel="empty places, %", title="Looking ahead fills the holes")
picture(figure, "Bars: the share of empty places in batches filled as clips come, and with windows of 4, 16, 64 and 256 clips.")

# %% [markdown]
# **Packing view.** Each row is a batch, each block a clip, what is white is empty.

# %% tags=["draft"]
def packing_view(window: int, budget: int) -> bytes:
    """The first twelve batches as rows of blocks."""
    figure, ax = plt.subplots(figsize=(9, 3.2))
    for row, chosen in zip(range(12), fill(lengths, budget, window), strict=False):
        left = 0
        for index in chosen:
            ax.barh(-row, lengths[index], left=left, color=PALETTE[index % 7], edgecolor="white", linewidth=0.5)
            left += lengths[index]
    ax.set(xlim=(0, budget), yticks=[], xlabel="tokens", title=f"budget {budget}, window {window}")
    return picture(figure, "batches as rows of blocks").png


# %%
explore(
    packing_view,
    window=widgets.SelectionSlider(options=[2, 4, 8, 16, 64], value=16, description="window"),
    budget=widgets.SelectionSlider(options=[320, 480, 640, 960, 1280], value=640, description="budget"),
)

# %% [markdown]
# ## What could go wrong
#
# - **The order of axes within a token** has to be the same on the way back, and in any weights that somebody else trained.
#   A wrong one trains perfectly well from nothing, and turns open weights into noise.
# - **Tokens of another clip leak in** when attention forgets the segments. The loss even falls, since neighbours in a
#   batch are a hint about nothing that will be there later. The test: packed equals one by one.
# - **A batch of a fixed number of clips** has a number of tokens that jumps about, and the largest one decides whether it
#   fits into memory. Budget tokens, not clips.

# %% [markdown]
# ## Exercise 02.1 · 5 minutes · easy
#
# The video VAE of notebook 03 makes latents of 1 + (frames − 1) / 4 in time, height / 8 and width / 8, and the transformer
# cuts those into patches of (1, 2, 2). How many tokens does a clip have? (Frames are always 1, 5, 9, …; a side that is
# not a multiple of 16 is rounded up. The full-size models cut so, too; the bundled toy takes single latents, four times as many
# tokens, as notebook 00's table shows, and notebook 05 says why.)
#
# <details><summary>Hint</summary>
#
# A side of 16 pixels is one token. Rounding up without floats is `-(-side // 16)`.
#
# </details>

# %% tags=["exercise: 02.1"]
def count_tokens(frames: int, height: int, width: int) -> int:
    """The number of tokens of a clip."""
    raise NotImplementedError("exercise 02.1")


# %% tags=["check: 02.1"]
with exercise("02.1"):
    assert count_tokens(17, 64, 64) == 80, "5 latents in time, 4 x 4 tokens each"
    assert count_tokens(1, 64, 64) == 16, "an image is one latent in time"
    assert count_tokens(81, 480, 832) == 32760, "what an open model of full size reads: 21 x 30 x 52"
    assert count_tokens(17, 48, 85) == 90, "85 pixels are 6 tokens, the last one partly empty"

# %% tags=["solution: 02.1"] jupyter={"source_hidden": true}
def count_tokens(frames: int, height: int, width: int) -> int:
    """The number of tokens of a clip."""
    return (1 + (frames - 1) // 4) * -(-height // 16) * -(-width // 16)


# %% [markdown]
# ## Exercise 02.2 · 10 minutes · medium
#
# Attention costs a product for every pair that may look at each other. Compare: clips of the given lengths, packed, where
# each sees only itself; and the same, padded to the longest. What share of the padded pairs is wasted?
#
# <details><summary>Hint</summary>
#
# Packed, the pairs are $\sum_i l_i^2$. Padded, they are $k \cdot (\max_i l_i)^2$ for $k$ clips.
#
# </details>

# %% tags=["exercise: 02.2"]
def wasted_pairs(lengths: Sequence[int]) -> float:
    """The share of the pairs in a padded batch that are for nothing, 0 … 1."""
    raise NotImplementedError("exercise 02.2")


# %% tags=["check: 02.2"]
with exercise("02.2"):
    assert wasted_pairs([80, 80, 80]) == 0, "equal lengths waste nothing"
    assert abs(wasted_pairs([4, 8]) - (1 - 80 / 128)) < 1e-9, "16 + 64 pairs of 64 + 64"
    assert wasted_pairs([16] * 15 + [320]) > 0.9, "one long clip among images: nearly all is waste"

# %% tags=["solution: 02.2"] jupyter={"source_hidden": true}
def wasted_pairs(lengths: Sequence[int]) -> float:
    """The share of the pairs in a padded batch that are for nothing, 0 … 1."""
    return 1 - sum(length**2 for length in lengths) / (len(lengths) * max(lengths) ** 2)


# %% [markdown]
# ## Exercise 02.3 · 20 minutes · hard
#
# Take some clips out of a packed batch: `keep(tokens, [2, 0])` is what `pack` would have made of the third clip and the
# first, in that order. Do it without unpacking.
#
# <details><summary>Hint</summary>
#
# `tokens.x.split(tokens.lengths)` gives the segments, and `pos` splits alike. `rings` may be empty.
#
# </details>

# %% tags=["exercise: 02.3"]
def keep(tokens: Tokens, which: Sequence[int]) -> Tokens:
    """The packed batch of some of the clips, in the order asked for."""
    raise NotImplementedError("exercise 02.3")


# %% tags=["check: 02.3"]
with exercise("02.3"):
    for which in ([2, 0], [4], [1, 1, 3]):
        wanted = pack([clips[i] for i in which], (1, 2, 2), [i == 0 for i in which])
        got = keep(pack(clips, (1, 2, 2), [i == 0 for i in range(5)]), which)
        assert torch.equal(got.x, wanted.x) and torch.equal(got.pos, wanted.pos), f"tokens and places of {which}"
        assert (got.grids, got.lengths, got.rings) == (wanted.grids, wanted.lengths, wanted.rings), "grids, lengths, rings"
    assert keep(tokens, [3]).rings == (), "no rings stay no rings"

# %% tags=["solution: 02.3"] jupyter={"source_hidden": true}
def keep(tokens: Tokens, which: Sequence[int]) -> Tokens:
    """The packed batch of some of the clips, in the order asked for."""
    x, pos = tokens.x.split(tokens.lengths), tokens.pos.split(tokens.lengths)
    return Tokens(
        x=torch.cat([x[i] for i in which]),
        pos=torch.cat([pos[i] for i in which]),
        grids=tuple(tokens.grids[i] for i in which),
        lengths=tuple(tokens.lengths[i] for i in which),
        rings=tuple(tokens.rings[i] for i in which) if tokens.rings else (),
    )


# %% [markdown] tags=["quiz"]
# ## Quiz
#
# 1. *Halve the sides of the patches, (1, 2, 2) to (1, 1, 1). How do tokens, and pairs in attention, change?*
#    <details><summary>Answer</summary>Four times the tokens, each with a quarter of the numbers; sixteen times the pairs.
#    Linear layers cost four times as much.</details>
# 2. *Why may places be fractions?*
#    <details><summary>Answer</summary>A single known frame lies between latents, since each of those stands for four frames.
#    And a clip of another frame rate or size could stand on the same axes.</details>
# 3. *A model was trained on packed batches of clips of at most 17 frames. Can it read 33?*
#    <details><summary>Answer</summary>Yes, nothing has a fixed size. Whether it does so well is another question: it has
#    never seen places beyond the fifth latent in time. Try it: `sora.generate(prompt, "33x64x64")`.</details>
#
# ## Where next
#
# - **03 · Video VAE**: before a clip is cut, it is made 48 times smaller.
# - Dosovitskiy et al., *An Image is Worth 16x16 Words*, 2020: [arXiv:2010.11929](https://arxiv.org/abs/2010.11929)
# - Arnab et al., *ViViT: A Video Vision Transformer*, 2021: [arXiv:2103.15691](https://arxiv.org/abs/2103.15691)
# - Dehghani et al., *Patch n' Pack: NaViT*, 2023: [arXiv:2307.06304](https://arxiv.org/abs/2307.06304)
# - Brooks et al., *Video generation models as world simulators*, OpenAI 2024:
#   [openai.com](https://openai.com/index/video-generation-models-as-world-simulators/)

# %% [markdown] tags=["header"]
# # 00 · Welcome
#
# > **What is Sora, and what will I have built?**
#
# **You will build** nothing yet: this page shows what stands at the end of the road, and the road.
#
# **You need** Python, and some PyTorch. No GPU: everything here runs on two cores, and all but one model was trained on them.
#
# **Measured** · runs in 29 s on two CPU cores without bf16 · needs 0.5 GiB · reads in about 15 minutes

# %%
from minisora.generate.sora import Sora
from minisora.viz.player import show

sora = Sora.from_pretrained("toy")
show(sora.generate("a large red circle moves to the right on a white background", seed=1))

# %% [markdown]
# That was a sentence turned into a video, by a model that lies in this folder in 30 megabytes and began as random numbers.
# It is tiny, and it makes mistakes, which we will count. But it is the whole thing: what OpenAI's *Sora* is made of, each part
# in a file that can be read over a cup of tea. (Only the model that wrote captions for it has no part here: toy worlds describe
# themselves.)
#
# By the end of this course you will have written those files.

# %% tags=["parameters"]
PROFILE = "fast"  # "full" asks a larger model, if you have trained one

# %%
import time

import ipywidgets as widgets
import matplotlib.pyplot as plt
import torch
from matplotlib.patches import FancyBboxPatch

from minisora.course.exercises import exercise
from minisora.viz.figures import picture
from minisora.viz.sheets import png, strip
from minisora.viz.style import INK, PALETTE, use_style
from minisora.viz.widgets import explore
from minisora.zoo.presets import PRESETS, parameters

use_style()

# %% [markdown]
# ## Your own words
#
# Type, and press Enter. The model knows the words of its toy worlds: small and large things (circle, square, triangle,
# star, heart, ring) of eight colors that move about on six backgrounds, drawn flat, as a sketch, in neon, or on old film.
# Another seed is another roll of the dice.

# %%
explore(
    lambda prompt, seed: png(strip(sora.generate(prompt, seed=seed)[0], count=5)),
    prompt=widgets.Text(
        value="A neon drawing of a little yellow triangle which rises on a black background", continuous_update=False, description="prompt",
        layout={"width": "640px"},
    ),
    seed=widgets.IntSlider(value=16, min=0, max=40, description="seed"),
)  # fmt: skip

# %% [markdown]
# (The same as a picture, for those who only read:)

# %%
clip = sora.generate("A neon drawing of a little yellow triangle which rises on a black background", seed=16)[0]
figure, ax = plt.subplots(figsize=(9, 2))
ax.imshow(strip(clip, count=5))
ax.set(xticks=[], yticks=[], title=clip.caption)
ax.grid(False)
picture(figure, "Five frames of a generated clip: a glowing yellow triangle that rises on black.")

# %% [markdown]
# ## What is Sora?
#
# In February 2024 OpenAI showed videos of up to a minute that a model had made from a sentence, and a report on how
# ([Brooks et al. 2024](https://openai.com/index/video-generation-models-as-world-simulators/)). Four ideas carry it:
#
# 1. **Patches.** A video of any size becomes a row of small boxes of space and time, as a text is a row of tokens.
# 2. **A video VAE.** The boxes are not cut from pixels, but from a smaller video that a network learnt to make and to undo.
# 3. **A diffusion transformer.** One network looks at all boxes, noisy ones, and says which way leads out of the noise.
# 4. **Better words.** The captions of the training videos were written anew, in detail, by another model.
#
# And one claim: that such a model, made large enough, becomes a *simulator of the world*. This course builds the first three. The
# fourth needs no model here, since a toy world can describe itself in as much detail as one likes. And it measures, in worlds
# where the truth is known.

# %% tags=["draft"]
def road(boxes: list[tuple[str, str, int]], wide: float = 1.9) -> plt.Figure:
    """Boxes in a row with arrows between them: (what, which notebook, color)."""
    figure, ax = plt.subplots(figsize=(wide * len(boxes), 1.5))
    for place, (what, number, color) in enumerate(boxes):
        box = FancyBboxPatch((place, 0), 0.72, 0.6, boxstyle="round,pad=0.04", facecolor=PALETTE[color], alpha=0.22, edgecolor=INK)
        ax.add_patch(box)
        ax.text(place + 0.36, 0.36, what, ha="center", va="center", fontsize=11)
        ax.text(place + 0.36, 0.06, number, ha="center", va="center", fontsize=9, color=INK)
        if place:
            ax.annotate("", (place - 0.04, 0.3), (place - 0.22, 0.3), arrowprops={"arrowstyle": "->", "color": INK})
    ax.set(xlim=(-0.15, len(boxes) - 0.1), ylim=(-0.1, 0.72))
    ax.axis("off")
    return figure


# %%
generating = [
    ("prompt", "06", 3), ("text rows", "06", 3), ("noise", "04", 0), ("transformer", "05", 1), ("sampler", "10", 0),
    ("latents", "02, 03", 2), ("video", "01", 4),
]  # fmt: skip
picture(road(generating), "From a prompt to a video in seven boxes, each with the number of the notebook that builds it.")

# %% [markdown]
# ## Watch it happen
#
# The model begins with noise, asks itself twenty times where the noise should go, goes there, and puts back a little fresh noise. Here is what it has in mind
# on the way: the clip that it would end at, if it stopped to ask.

# %%
seen = []
begin = time.perf_counter()
made = sora.generate(
    "A hand-drawn sketch of a large blue heart that bobs up and down, white background", seed=0, callback=lambda step, t, clips: seen.append((step, float(t), clips)),
)[0]
seconds = time.perf_counter() - begin
print(f"{len(seen)} steps, {seconds:.1f} seconds, {made.size}")

# %%
stops = [(t, clips()[0]) for step, t, clips in seen if step in (0, 4, 9, 14, 19)]
figure, axes = plt.subplots(len(stops), 1, figsize=(7, 7.5))
for ax, (t, clip) in zip(axes, stops, strict=True):
    ax.imshow(strip(clip, count=5))
    ax.set(xticks=[], yticks=[], title=f"t = {t:.2f}")
    ax.grid(False)
picture(figure, "What the model has in mind at five of its twenty steps: frames that are vague at first and become a heart.")

# %%
show(made)

# %% [markdown]
# ## The same classes, at every size
#
# Nothing in the code knows how large the model is. A preset is a handful of numbers. The smallest is trained in the notebooks while
# you wait, `small` is for one GPU, the three called Wan can read weights that others have published (tried on random ones so far), and
# `sora-1080p` is our guess: nobody outside knows Sora's size. Parameters are those of VAE, transformer and text encoder together; the
# names of the Wan models count the transformer alone.

# %%
print(f"{'preset':18s} {'a clip':>14s} {'tokens':>9s} {'parameters':>15s}")
for name, preset in PRESETS.items():
    t, h, w = preset.grid
    total = sum(parameters(preset).values())
    print(f"{name:18s} {'x'.join(map(str, preset.size)):>14s} {t * h * w:9,d} {total:15,d}")

# %% [markdown]
# ## The road
#
# | | question | you build |
# |---|---|---|
# | 01 | What is a video to a computer, and where does truth come from? | clips and worlds |
# | 02 | How does one model read every size? | patches and packing |
# | 03 | How do we shrink video 48 times and still decode it? | the causal video VAE |
# | 04 | How does noise become data? | flow matching |
# | 05 | Why does a transformer denoise, and how does it know time and place? | the diffusion transformer |
# | 06 | How do words steer pixels? | tokenizer, text encoder, guidance, learning to read |
# | 07 | How is it all trained without wasting an hour? | the training engine |
# | 10 | How few steps are enough? | samplers and schedules |
# | 11 | How can one model animate, extend, loop, connect, fill and edit? | directing |
#
# Each notebook is meant to be worked through: run a cell, look, change something, run it again. It builds its piece of the
# package word for word, so what you have read is what runs. (08 and 09 are not written yet.) Every one shows how the obvious way fails, and ends with
# exercises whose checks stand in the open. `minisora course status` says how far you have come.
#
# Three to warm up follow.

# %% [markdown]
# ## Exercise 00.1 · 5 minutes · easy
#
# Same prompt, same seed, same picture? And with another seed? Write a function that says whether two runs of `sora.generate`
# gave exactly the same pictures, which are clips of one frame.
#
# <details><summary>Hint</summary>
#
# `sora.generate(prompt, "1x64x64", seed=...)[0].frames` is a tensor; `torch.equal` compares.
#
# </details>

# %% tags=["exercise: 00.1"]
def same_clip(prompt: str, seed: int, other: int) -> bool:
    """Whether two seeds make the same picture of one prompt."""
    raise NotImplementedError("exercise 00.1")


# %% tags=["check: 00.1"]
with exercise("00.1"):
    words = "a small red ring on a white background"
    assert same_clip(words, 1, 1) is True, "equal seeds make equal pictures, to the last bit"
    assert same_clip(words, 1, 2) is False, "another seed makes another picture"

# %% tags=["solution: 00.1"] jupyter={"source_hidden": true}
def same_clip(prompt: str, seed: int, other: int) -> bool:
    """Whether two seeds make the same picture of one prompt."""
    first, second = (sora.generate(prompt, "1x64x64", seed=each)[0].frames for each in (seed, other))
    return torch.equal(first, second)


# %% [markdown]
# ## Exercise 00.2 · 10 minutes · easy
#
# How much moves in a clip? Return the mean absolute change from frame to frame, in gray levels. Then ask for something that
# stays still, and for something that moves.
#
# <details><summary>Hint</summary>
#
# Frames are uint8, and 3 − 5 of those is 254. `.int()` first; then `diff(dim=0)`, `abs()`, and a mean.
#
# </details>

# %% tags=["exercise: 00.2"]
def motion(frames: torch.Tensor) -> float:
    """Mean absolute change from frame to frame of (t, h, w, 3), in gray levels."""
    raise NotImplementedError("exercise 00.2")


# %% tags=["check: 00.2"]
with exercise("00.2"):
    stripes = torch.zeros(3, 2, 2, 3, dtype=torch.uint8)
    stripes[1] = 10
    assert motion(stripes) == 10, "up by 10, and down by 10 again"
    assert motion(stripes[:1].expand(5, 2, 2, 3)) == 0, "a still does not move"

# %% tags=["solution: 00.2"] jupyter={"source_hidden": true}
def motion(frames: torch.Tensor) -> float:
    """Mean absolute change from frame to frame of (t, h, w, 3), in gray levels."""
    return frames.int().diff(dim=0).abs().float().mean().item()


# %% [markdown]
# ## Exercise 00.3 · 10 minutes · medium
#
# The report shows that Sora makes videos of any shape. So does this one: ask for the same prompt as a square, a wide clip and a
# picture, and return their shapes.
#
# <details><summary>Hint</summary>
#
# `sora.generate(prompt, "17x48x80")`: frames, height, width. Frames are 1, 5, 9, 13 …
#
# </details>

# %% tags=["exercise: 00.3"]
def shapes_of(prompt: str, sizes: list[str]) -> list[tuple[int, ...]]:
    """The shapes (t, h, w, 3) of one prompt's clips, generated in several sizes."""
    raise NotImplementedError("exercise 00.3")


# %% tags=["check: 00.3"]
with exercise("00.3"):
    wanted = [(5, 64, 64, 3), (5, 48, 80, 3), (1, 64, 64, 3)]
    got = shapes_of("a large green square falls on a black background", ["5x64x64", "5x48x80", "1x64x64"])
    assert [tuple(shape) for shape in got] == wanted, f"got {got}"

# %% tags=["solution: 00.3"] jupyter={"source_hidden": true}
def shapes_of(prompt: str, sizes: list[str]) -> list[tuple[int, ...]]:
    """The shapes (t, h, w, 3) of one prompt's clips, generated in several sizes."""
    return [tuple(sora.generate(prompt, size)[0].frames.shape) for size in sizes]


# %% [markdown] tags=["quiz"]
# ## Quiz
#
# 1. *A chatbot writes one token after another. Does Sora paint one box after another?*
#    <details><summary>Answer</summary>No. All boxes of a clip are there from the first step, as noise, and all become clearer
#    together.</details>
# 2. *Where does the model look up what a heart looks like?*
#    <details><summary>Answer</summary>Nowhere. There is no picture in it, only weights, which were changed a little whenever it
#    guessed badly how noise hides a heart.</details>
# 3. *Sora's code is not public. How can a course build it?*
#    <details><summary>Answer</summary>Its report names the parts, and open models since have confirmed them in working code. Where
#    the report is silent, this course decides by experiment, and says so.</details>
#
# ## Where next
#
# - **01 · Videos and worlds** begins at the beginning: what is a video?
# - Brooks et al., *Video generation models as world simulators*, OpenAI 2024:
#   [openai.com](https://openai.com/index/video-generation-models-as-world-simulators/)
# - Peebles and Xie, *Scalable Diffusion Models with Transformers*, 2022: [arXiv:2212.09748](https://arxiv.org/abs/2212.09748)
# - Wan Team, *Wan: Open and Advanced Large-Scale Video Generative Models*, 2025:
#   [arXiv:2503.20314](https://arxiv.org/abs/2503.20314)

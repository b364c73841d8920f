# %% [markdown] tags=["header"]
# # 01 · Videos and worlds
#
# > **What is a video to a computer, and where does truth come from?**
#
# **You will build** the `Clip`, the one way in which this project holds video, images and what is known about them; the
# way to a model's numbers and back; and a small world whose every position is known exactly, first badly, then well.
#
# **You need** Python, and a little PyTorch: what a tensor is, and how to index it.
#
# **Measured** · runs in 5 s on two CPU cores · needs 0.4 GiB · reads in about 30 minutes

# %% tags=["parameters"]
PROFILE = "fast"  # "full" is for a GPU; this notebook needs none

# %%
import math
from dataclasses import dataclass

import ipywidgets as widgets
import matplotlib.pyplot as plt
import torch
from einops import rearrange
from torch import Tensor

from minisora.core.errors import MinisoraError, check_size
from minisora.course.exercises import exercise
from minisora.data.clip import Size, size_name
from minisora.viz.figures import picture
from minisora.viz.style import use_style
from minisora.worlds import WORLDS, State, world

use_style()

# %% [markdown]
# ## Six worlds, and a question
#
# Here is one moment from each of six toy worlds. Things of all colors drift over a page, balls fall, something hides
# behind a wall, a camera flies round, a brush paints, somebody digs in a world of blocks.
#
# OpenAI called Sora, a model that turns a sentence into a video, a *world simulator*
# ([Brooks et al. 2024](https://openai.com/index/video-generation-models-as-world-simulators/)). How could anybody check
# such a claim? With real videos one can only look. With these worlds one can measure, since somebody wrote down where
# everything is. This notebook is about both: how a video is held, and where the truth about it comes from.

# %%
figure, axes = plt.subplots(1, 6, figsize=(12, 2.4))
for ax, name in zip(axes, WORLDS, strict=True):
    scene = world(name).sample(seed=3)
    ax.imshow(world(name).render(scene, 17, 128, 128)[8])
    ax.set(title=name, xticks=[], yticks=[])
picture(figure, "One frame of each of six toy worlds: shapes, physics, occlusion, orbit, painter and craft.")

# %% [markdown]
# ## A video is a block of numbers
#
# A picture on a screen is a grid of pixels, and a pixel is three numbers: how red, how green, how blue, each from 0 to
# 255. A video is pictures in a row. So a video is a tensor with four axes, and we always keep them in this order:
#
# $$\texttt{frames}[\,t,\; y,\; x,\; c\,] \in \{0, \dots, 255\}, \qquad \text{shape } (t, h, w, 3), \quad \text{dtype uint8}$$
#
# Six lines make a first one: an orange square that walks two pixels to the right with every frame.

# %%
frames = torch.zeros(16, 48, 64, 3, dtype=torch.uint8)
frames[:] = torch.tensor([20, 24, 40], dtype=torch.uint8)
for t in range(16):
    left = 4 + 2 * t
    frames[t, 16:32, left : left + 16] = torch.tensor([240, 140, 40], dtype=torch.uint8)
print(frames.shape, frames.dtype, f"{frames.numel():,} bytes")

# %%
figure, axes = plt.subplots(1, 4, figsize=(10, 2.2))
for ax, t in zip(axes, (0, 5, 10, 15), strict=True):
    ax.imshow(frames[t])
    ax.set(title=f"t = {t}", xticks=[], yticks=[])
picture(figure, "Four frames of a dark video in which an orange square moves from left to right.")

# %% [markdown]
# ## It fails first: the same numbers, the wrong axes
#
# A tensor does not know what its axes mean. Libraries disagree: some put channels first, some put time last. Nothing
# crashes when one is taken for another; it only looks like this. The middle picture takes time for height. The right one
# reads $(t, h, w, c)$ as if it were $(t, c, h, w)$ and lays the numbers out anew.

# %%
swapped = rearrange(frames, "t h w c -> h t w c")[24]  # somebody believed that height came first
scrambled = frames.reshape(16, 3, 48, 64)[8].permute(1, 2, 0)  # and somebody reshaped where a permutation was due
figure, axes = plt.subplots(1, 3, figsize=(10, 2.6))
for ax, image, title in zip(axes, (frames[8], swapped, scrambled), ("right", "axes swapped", "reshaped"), strict=True):
    ax.imshow(image)
    ax.set(title=title, xticks=[], yticks=[])
picture(figure, "The frame as it should be, then the slanted streak of a time axis taken for height, then scrambled stripes.")

# %% [markdown]
# The streak in the middle is worth a second look: a slice of a video along time. A thing at rest is a straight line in
# it, a moving thing is a slanted one, and the slant is its speed. Videos hold such lines everywhere, and that is what
# makes them compressible, for a codec as for the models of this course.
#
# `einops.rearrange` names axes where `permute` numbers them. From here on every such step says what it means.

# %% [markdown]
# ## The Clip
#
# Numbers alone are not enough. At 8 frames a second this is a walk, at 60 a dash; without a caption nobody can learn
# words from it; without a source nobody may use it. So everything travels together, in a frozen dataclass. It refuses
# what cannot be a video in one line that says what is allowed, since a mistake that is told here costs a second, and one
# that is found after an hour of training costs an hour.
#
# (`State` holds the exact truth about a toy world, and comes below. An image is simply a clip with one frame.)

# %% tags=["method: minisora.data.clip.Clip.__post_init__"]
@dataclass(frozen=True, eq=False)
class Clip:
    frames: Tensor  # uint8 (t, h, w, 3)
    fps: float = 8.0
    caption: str = ""
    source: str = ""  # where it comes from: a file, a row of a data set, a world and its seed
    license: str = ""
    state: State | None = None  # exact tracks, for toy worlds

    def __post_init__(self) -> None:
        frames = self.frames
        if not isinstance(frames, Tensor) or frames.dtype != torch.uint8 or frames.ndim != 4 or frames.shape[-1] != 3:
            found = f"{frames.dtype} {tuple(frames.shape)}" if isinstance(frames, Tensor) else type(frames).__name__
            raise MinisoraError(f"a clip's frames are a torch.uint8 tensor of shape (t, h, w, 3), not {found}")
        check_size(*self.shape, self.fps)


# %% tags=["method: minisora.data.clip.Clip.shape"]
@property
def shape(self) -> Size:
    frames, height, width, _ = self.frames.shape
    return frames, height, width


Clip.shape = shape


# %% tags=["method: minisora.data.clip.Clip.size"]
@property
def size(self) -> str:
    return size_name(self.shape)


Clip.size = size


# %% tags=["method: minisora.data.clip.Clip.is_image"]
@property
def is_image(self) -> bool:
    return len(self.frames) == 1


Clip.is_image = is_image

# %%
walk = Clip(frames, fps=8, caption="an orange square moves to the right", source="this notebook", license="MIT")
print(walk.shape, walk.is_image)
try:
    Clip(frames.permute(0, 3, 1, 2))
except MinisoraError as error:
    print("refused:", error)


# %% [markdown]
# ## What a model sees
#
# A network works best with numbers around zero. So 0 … 255 becomes −1 … 1, channels move to the front, and a batch axis
# comes before everything, which gives $(b, c, t, h, w)$. The way back rounds to the nearest of the 256 levels and cuts
# what lies outside:
#
# $$x = \frac{\text{level}}{127.5} - 1, \qquad \text{level} = \mathrm{round}\big(127.5\,(x + 1)\big)$$

# %% tags=["method: minisora.data.clip.Clip.pixels"]
def pixels(self) -> Tensor:
    """float (1, c, t, h, w) in [-1, 1], what a model sees."""
    return rearrange(self.frames, "t h w c -> 1 c t h w").float() / 127.5 - 1


Clip.pixels = pixels


# %% tags=["source: minisora.data.clip.from_pixels"]
def from_pixels(pixels: Tensor, fps: float = 8.0, caption: str = "", source: str = "", license: str = "") -> Clip:
    """The clip that a model's pixels show: floats (1, c, t, h, w) or (c, t, h, w), cut to [-1, 1]."""
    if pixels.ndim == 5 and len(pixels) == 1:
        pixels = pixels[0]
    if pixels.ndim != 4 or len(pixels) != 3 or not pixels.is_floating_point():
        shape = tuple(pixels.shape)
        raise MinisoraError(f"pixels are floats of shape (1, 3, t, h, w) or (3, t, h, w), not {pixels.dtype} {shape}")
    levels = ((pixels.detach().float() + 1) * 127.5).round().clamp(0, 255).nan_to_num(0).to(torch.uint8)
    return Clip(rearrange(levels, "c t h w -> t h w c").contiguous().cpu(), fps, caption, source, license)


# %% [markdown]
# A law rather than an example: **there and back is nothing**, for every level that there is. And noise of up to half a
# level does no harm, since it is rounded away.

# %%
levels = torch.arange(256, dtype=torch.uint8).view(1, 16, 16, 1).expand(1, 16, 16, 3)
x = Clip(levels.contiguous()).pixels()
assert torch.equal(from_pixels(x).frames, levels)
assert torch.equal(from_pixels(x + 0.0038).frames, levels)  # half a level is 1 / 255 = 0.0039
assert not torch.equal(from_pixels(x + 0.0042).frames, levels)
print("256 levels, there and back:", x.min().item(), "…", x.max().item())

# %% [markdown]
# ## How much of it is needed?
#
# Our walk has 147,456 bytes of pixels. A codec that predicts every frame from the one before it needs far fewer, since
# there is so little news in a frame. Keep the number in mind: notebook 03 trains a network that does the same for the
# model.

# %%
from minisora.data.video_io import encode_mp4

noise = Clip(torch.randint(0, 256, walk.frames.shape, dtype=torch.uint8, generator=torch.Generator().manual_seed(0)), 8)
for name, clip in (("walk", walk), ("noise", noise)):
    print(f"{name:6s} {clip.frames.numel():,} bytes of pixels, {len(encode_mp4(clip)):,} bytes of mp4")

# %%
from minisora.viz.player import show

show([walk, noise])


# %% [markdown]
# ## Where truth comes from
#
# Now the other half of the question. A **world** is four functions: `sample` draws a scene from a seed, `render` paints
# it, `state` says exactly where everything is, `caption` puts it into words. The painter and the truth share one
# formula for every path, so the truth cannot be wrong about the picture, or can it? Painting may spoil it.
#
# Let us write the smallest world: one disc that bounces from wall to wall. Its position along one axis folds the real
# line into the box, as a mirror would:

# %% tags=["source: minisora.worlds.scene.reflect"]
def reflect(x: Tensor) -> Tensor:
    """Fold the real line into [0, 1], as a mover that bounces off both walls: … 0 → 1 → 0 → 1 …"""
    return 1 - (x.remainder(2) - 1).abs()


# %%
figure, ax = plt.subplots(figsize=(7, 2.2))
line = torch.linspace(-2, 4, 601)
ax.plot(line, reflect(line))
ax.set(xlabel="distance walked, in boxes", ylabel="place in the box", title="A path folded at the walls")
picture(figure, "A zigzag line between 0 and 1: the place in the box against the distance that was walked.")

# %% [markdown]
# ### It fails first: hard edges
#
# The obvious way to paint a disc is to color each pixel whose centre lies inside. Watch what that does to a slow mover.

# %% tags=["draft"]
def hard_disc(x: float, y: float, radius: float, size: int) -> Tensor:
    """(size, size) 1 where a pixel's centre is inside, else 0."""
    centre = torch.arange(size) + 0.5
    return (torch.hypot(centre[None] - x, centre[:, None] - y) < radius).float()


# %% [markdown]
# A better way asks how *much* of each pixel is covered. With $d$ the signed distance to the edge in pixels, negative
# inside, a straight edge through a pixel covers about
#
# $$\text{coverage}(d) = \mathrm{clamp}(0.5 - d,\; 0,\; 1)$$
#
# of it: all of it half a pixel inside, none of it half a pixel outside. A shape is then nothing but its signed distance,
# and a disc of radius $r$ around the origin is $\sqrt{x^2 + y^2} - r$.

# %% tags=["source: minisora.worlds.raster.coverage"]
def coverage(distance: Tensor) -> Tensor:
    """The share of each pixel that lies inside an edge at this signed distance in pixels."""
    return (0.5 - distance).clamp_(0, 1)


# %% tags=["draft"]
def soft_disc(x: float, y: float, radius: float, size: int) -> Tensor:
    """(size, size) the share of each pixel that is inside."""
    centre = torch.arange(size) + 0.5
    return coverage(torch.hypot(centre[None] - x, centre[:, None] - y) - radius)


# %% [markdown]
# To compare them, read the position back from the pixels: the centre of mass. The truth is known, so the error is a
# number. The disc moves by a tenth of a pixel with every frame.

# %% tags=["draft"]
def centre_of_mass(image: Tensor) -> tuple[float, float]:
    places = torch.arange(len(image)) + 0.5
    return (image.sum(0) @ places / image.sum()).item(), (image.sum(1) @ places / image.sum()).item()


# %%
truth = [12 + 0.1 * t for t in range(60)]
errors = {
    name: [centre_of_mass(disc(x, 16.3, 3.6, 32))[0] - x for x in truth]
    for name, disc in (("hard edges", hard_disc), ("soft edges", soft_disc))
}
figure, ax = plt.subplots(figsize=(7, 2.8))
for name, error in errors.items():
    ax.plot(truth, error, label=f"{name}: at most {max(map(abs, error)):.3f} pixels")
ax.set(xlabel="true x, in pixels", ylabel="x read back − true x", title="What painting does to the truth", ylim=(-0.12, 0.2))
ax.legend(loc="upper right", ncols=2)
picture(figure, "Error of the position read back: hard edges jump by up to a tenth of a pixel, soft edges stay at nearly zero.")

# %% [markdown]
# Hard edges shake by up to a tenth of a pixel, ten times as much as soft ones: a checker of physics would see accelerations that are not there, and a
# model would be asked to learn the shaking. With soft edges, what is painted is where it is said to be.

# %% [markdown]
# ### The smallest world
#
# Put together: a scene, a picture, and a truth that agree.

# %% tags=["draft"]
@dataclass(frozen=True)
class Bounce:
    start: tuple[float, float]  # in boxes
    speed: tuple[float, float]  # boxes a second
    radius: float = 5.0  # pixels

    def track(self, frames: int, size: int, fps: float = 8.0) -> Tensor:
        """(t, 2) the centre in every frame, in pixels, exactly."""
        seconds = torch.arange(frames, dtype=torch.float64)[:, None] / fps
        box = reflect(torch.tensor(self.start) + seconds * torch.tensor(self.speed))
        return self.radius + box * (size - 2 * self.radius)

    def render(self, frames: int, size: int, fps: float = 8.0) -> Tensor:
        """uint8 (t, size, size, 3), painted along the same track."""
        ink, paper = torch.tensor([90.0, 200.0, 240.0]), torch.tensor([24.0, 26.0, 34.0])
        shares = [soft_disc(x, y, self.radius, size) for x, y in self.track(frames, size, fps).tolist()]
        return torch.lerp(paper, ink, torch.stack(shares)[..., None]).round().to(torch.uint8)


# %%
bounce = Bounce(start=(0.2, 0.6), speed=(0.9, 0.7))
track = bounce.track(33, 64)
clip = Clip(bounce.render(33, 64), caption="a ball bounces around", state=State(({},), track[None], torch.ones(1, 33)))
show([clip])

# %%
read_back = [centre_of_mass((frame[..., 0].float() - 24).clamp(min=0)) for frame in clip.frames]
error = (torch.tensor(read_back) - track).norm(dim=1)
figure, ax = plt.subplots(figsize=(3.4, 3.4))
ax.imshow(clip.frames[-1])
ax.plot(*(track - 0.5).T, color="white", linewidth=1)  # the first pixel's centre is (0.5, 0.5)
ax.set(title=f"track and picture: {error.max():.3f} pixels apart at most", xticks=[], yticks=[])
ax.grid(False)
picture(figure, "A ball in a dark square and the zigzag of its exact track, which goes through its centre.")

# %% [markdown]
# ## Six worlds with their truth drawn on top
#
# The package's worlds are this and no more: longer lists of shapes, motions and words, a little physics, a camera. Each
# white line below is not measured from the picture; it is what the world *says*, and has to fit.

# %% tags=["draft"]
def truth_on_top(name: str, seed: int, size: int = 128) -> plt.Figure:
    """The last frame of a scene, with the way that each thing took."""
    this = world(name)
    scene = this.sample(seed)
    figure, ax = plt.subplots(figsize=(3.2, 3.4))
    ax.imshow(this.render(scene, 17, size, size)[-1])
    for way in this.state(scene, 17, size, size).tracks:
        ax.plot(*(way - 0.5).T, color="white", linewidth=1.2)
    ax.set(title=f"{name}, seed {seed}", xticks=[], yticks=[], xlim=(0, size - 1), ylim=(size - 1, 0))
    ax.grid(False)
    return figure


# %%
picture(truth_on_top("physics", 5), "The last frame of a physics scene; white lines show the paths that its balls took.")

# %% [markdown]
# Roll the dice: another world, another seed, and the same seed always the same scene. (On a page that is only read, the
# picture above stands for it.)

# %%
from minisora.viz.widgets import explore

explore(
    lambda world, seed: picture(truth_on_top(world, seed), f"a scene of {world}").png,
    world=widgets.Dropdown(options=WORLDS, value="orbit", description="world"),
    seed=widgets.IntSlider(value=1, min=0, max=99, description="seed"),
)

# %% [markdown]
# Any size and any shape of frame: a scene is composed anew for a wide one, so that nothing is cut off. Why that matters
# is the story of notebook 02.

# %%
shapes = world("shapes")
scene = shapes.sample(seed=21)
sizes = ((17, 96, 96), (17, 96, 170), (17, 150, 84))
show([Clip(shapes.render(scene, *size), caption=shapes.caption(scene)) for size in sizes], width=200)

# %% [markdown]
# Two captions come with every scene, one as people write them, and one that leaves nothing out. Sora was trained on the second
# kind, written by a captioning model.

# %%
for detail in ("short", "descriptive"):
    print(f"{detail:12s} {shapes.caption(scene, detail)}\n")

# %% [markdown]
# ## The other direction: from pixels back to words
#
# A world that can be read back is a judge. The checker below gets pixels only, finds things, follows them, and holds
# what it finds against a scene. It must agree with a real clip, and it must refuse the same clip when it is asked for
# something else. Every number about quality in this course is made in this way, with both beside it.

# %%
from minisora.evaluate import fidelity

real = shapes.render(scene, 17, 96, 96)
other = shapes.sample(seed=22)
print("asked for:  ", shapes.caption(scene), "\n →", fidelity.check(real, scene).claims)
print("asked for:  ", shapes.caption(other), "\n →", fidelity.check(real, other).claims)

# %% [markdown]
# ## What could go wrong
#
# - **A reshape where a permutation is due** never crashes. Look at a frame after every step that moves axes.
# - **Frame rates get lost** on the way through arrays. Speeds in pixels per *frame* mean nothing without them.
# - **A judge that always says yes** looks like a good model. Show it what it must refuse.

# %% [markdown]
# ## Exercise 01.1 · 5 minutes · easy
#
# A *boomerang* plays a clip forward and then backward, and shows neither the first nor the last frame twice when it
# loops: frames 0 1 2 3 become 0 1 2 3 2 1. Write it for the frames of a clip. (Notebook 11 uses it as a baseline: it is
# what a real loop has to beat.)
#
# <details><summary>Hint</summary>
#
# `frames.flip(0)` plays backward, and slices leave out its first and last frame.
#
# </details>

# %% tags=["exercise: 01.1"]
def boomerang(frames: Tensor) -> Tensor:
    """(t, h, w, 3) → (2 t - 2, h, w, 3)"""
    raise NotImplementedError("exercise 01.1")


# %% tags=["check: 01.1"]
with exercise("01.1"):
    numbers = torch.arange(4, dtype=torch.uint8)[:, None, None, None].expand(4, 2, 2, 3)
    played = boomerang(numbers)
    assert played[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 2, 1], f"it plays {played[:, 0, 0, 0].tolist()}"
    assert len(boomerang(walk.frames)) == 30, "16 frames there, 14 back"

# %% tags=["solution: 01.1"] jupyter={"source_hidden": true}
def boomerang(frames: Tensor) -> Tensor:
    """(t, h, w, 3) → (2 t - 2, h, w, 3)"""
    return torch.cat([frames, frames.flip(0)[1:-1]])


# %% [markdown]
# ## Exercise 01.2 · 10 minutes · medium
#
# From an exact track and a frame rate, find the fastest speed in pixels a *second*. A track is $(t, 2)$; the answer is a
# number, and 0 for a clip of one frame.
#
# <details><summary>Hint</summary>
#
# `track.diff(dim=0)` are the steps, `norm(dim=1)` their lengths. A second has `fps` steps. An empty tensor has no `max`.
#
# </details>

# %% tags=["exercise: 01.2"]
def top_speed(track: Tensor, fps: float) -> float:
    """The fastest speed along a track (t, 2), in pixels a second."""
    raise NotImplementedError("exercise 01.2")


# %% tags=["check: 01.2"]
with exercise("01.2"):
    straight = torch.stack([torch.arange(9.0) * 3, torch.arange(9.0) * 4], 1)
    assert abs(top_speed(straight, 8) - 40) < 1e-4, "steps of 3 and 4 pixels are 5 long, eight times a second"
    assert abs(top_speed(straight, 24) - 120) < 1e-4, "the same steps at 24 frames a second are three times as fast"
    stumble = torch.cat([straight, straight[-1:] + torch.tensor([0.0, 10.0])])
    assert abs(top_speed(stumble, 8) - 80) < 1e-4, "one step of 10 pixels is the fastest"
    assert top_speed(straight[:1], 8) == 0, "an image does not move"

# %% tags=["solution: 01.2"] jupyter={"source_hidden": true}
def top_speed(track: Tensor, fps: float) -> float:
    """The fastest speed along a track (t, 2), in pixels a second."""
    steps = track.diff(dim=0).norm(dim=1)
    return steps.max().item() * fps if len(steps) else 0.0


# %% [markdown]
# ## Exercise 01.3 · 20 minutes · hard
#
# A new shape: a *pill*, which is all points within $r$ of the line between $(-\ell, 0)$ and $(\ell, 0)$. Write its signed
# distance. If it is right, `coverage` paints it with an area of $\pi r^2 + 4 r \ell$, and its edge is sharp everywhere.
#
# <details><summary>Hint</summary>
#
# The nearest point of the line to $(x, y)$ has the same $x$, cut to $-\ell \dots \ell$. The distance to it, minus $r$.
#
# </details>

# %% tags=["exercise: 01.3"]
def pill(x: Tensor, y: Tensor, r: float, length: float) -> Tensor:
    """The signed distance to a pill around the origin, negative inside."""
    raise NotImplementedError("exercise 01.3")


# %% tags=["check: 01.3"]
with exercise("01.3"):
    place = torch.arange(64) - 31.5
    distance = pill(place[None].expand(64, 64), place[:, None].expand(64, 64), 8.0, 12.0)
    assert distance.shape == (64, 64), "one distance for every place"
    area, wanted = coverage(distance.clone()).sum().item(), math.pi * 8**2 + 4 * 8 * 12
    assert abs(area - wanted) < 0.01 * wanted, f"its area is {area:.0f} pixels, and should be {wanted:.0f}"
    slope = torch.hypot(*torch.gradient(distance)).median().item()
    assert abs(slope - 1) < 0.05, f"a distance grows by 1 for every pixel, and this one by {slope:.2f}"
    assert pill(torch.tensor(20.0), torch.tensor(0.0), 8.0, 12.0).abs() < 1e-5, "(20, 0) is on its edge"

# %% tags=["solution: 01.3"] jupyter={"source_hidden": true}
def pill(x: Tensor, y: Tensor, r: float, length: float) -> Tensor:
    """The signed distance to a pill around the origin, negative inside."""
    return torch.hypot(x - x.clamp(-length, length), y) - r


# %% [markdown] tags=["quiz"]
# ## Quiz
#
# 1. *A tensor of shape (3, 16, 64, 64) goes through a model without an error. What may still be wrong with it?*
#    <details><summary>Answer</summary>Its axes may mean something else: channels and time are both small numbers.
#    Shapes are checked by machines, meanings only by people and by laws such as "there and back is nothing".</details>
# 2. *Why is noise so much longer than the walk as an mp4, although both have as many pixels?*
#    <details><summary>Answer</summary>Nothing in noise follows from anything else, in space or in time. A codec sends
#    what it could not predict, and of noise that is everything.</details>
# 3. *A checker says "right" on all real clips. What else must be shown before it may judge a model?*
#    <details><summary>Answer</summary>That it says "wrong" where it has to: on clips of another scene, with swapped
#    colors, frozen, melted. And the share of real clips beside every score, as the best that a model can reach.</details>
#
# ## Where next
#
# - **02 · Patches**: how one model reads clips of every size.
# - Brooks et al., *Video generation models as world simulators*, OpenAI 2024:
#   [openai.com](https://openai.com/index/video-generation-models-as-world-simulators/)
# - Ha and Schmidhuber, *World Models*, 2018: [arXiv:1803.10122](https://arxiv.org/abs/1803.10122)
# - Bear et al., *Physion*, 2021, on measuring what models know of physics: [arXiv:2106.08261](https://arxiv.org/abs/2106.08261)

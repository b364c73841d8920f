# %% [markdown] tags=["header"]
# # 04 · Flow matching
#
# > **How does noise become data?**
#
# **You will build** the straight path from data to noise, the loss that learns to follow it, and the sampler that walks
# it backward: one page of code that trains a model on points, on pictures, and in the end on video.
#
# **You need** to have trained some small network in PyTorch before.
#
# **Measured** · runs in 58 s on two CPU cores · needs 0.5 GiB · reads in about 32 minutes

# %% tags=["parameters"]
PROFILE = "fast"  # "full" trains ten times longer

# %%
import math
from itertools import pairwise

import ipywidgets as widgets
import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn
from torch.special import ndtr, ndtri

from minisora.core.errors import MinisoraError
from minisora.course.exercises import exercise
from minisora.diffusion.flow import Callback, Time, Velocity
from minisora.diffusion.schedule import pairs, schedule
from minisora.diffusion.schedule import shift as shifted
from minisora.viz.figures import picture
from minisora.viz.style import PALETTE, use_style
from minisora.viz.widgets import explore
from minisora.worlds.raster import SHAPES, coverage

use_style()
torch.manual_seed(0)
LONGER = 10 if PROFILE == "full" else 1

# %% [markdown]
# ## The question
#
# A video of 17 frames at 64x64 is 208,896 numbers. Nearly every choice of so many numbers is noise; the clips that somebody
# could have filmed are a thin, crumpled sheet in that space. To *generate* is to arrive on the sheet, each time at
# another place.
#
# In two dimensions we can look at it. Our data are points along the outline of a star. Given any number of examples,
# how could a network make new ones?

# %% tags=["draft"]
def star_points(n: int) -> Tensor:
    """(n, 2) points along the outline of a star."""
    x = torch.empty(0, 2)
    while len(x) < n:
        some = torch.rand(8 * n, 2) * 2.4 - 1.2
        x = torch.cat([x, some[edge(some).abs() < 0.04]])
    return x[:n]


def edge(x: Tensor) -> Tensor:
    """(n, 2) → (n,) signed distances to the outline; in pictures y points down, here it points up."""
    return SHAPES["star"](x[:, 0], -x[:, 1])


def off_by(x: Tensor) -> float:
    """How far points lie from the outline, in the mean."""
    return edge(x).abs().mean().item()


# %%
data, noise = star_points(2000), torch.randn(2000, 2)
figure, axes = plt.subplots(1, 2, figsize=(7, 3.4))
for ax, points, title in zip(axes, (noise, data), ("noise, easy to draw", "data, which we want"), strict=True):
    ax.scatter(*points.T, s=3)
    ax.set(title=title, xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), aspect="equal")
picture(figure, "Left, a cloud of points around the origin; right, points along the outline of a five-pointed star.")

# %% [markdown]
# ## It fails first: asking for the answer
#
# The obvious way: a network takes noise and returns a data point, and is trained on the squared error. Which noise shall
# become which point? Nobody can say, so we pair them by chance.

# %% tags=["draft"]
class Net(nn.Module):
    """Numbers and a time → as many numbers. The time comes as waves, so that small differences can be told."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        sizes = [width + 8, hidden, hidden, hidden]
        layers = [part for a, b in pairwise(sizes) for part in (nn.Linear(a, b), nn.SiLU())]
        self.layers = nn.Sequential(*layers, nn.Linear(hidden, width))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        angle = t.to(x).reshape(-1, 1).expand(len(x), 1) * torch.tensor([1.0, 2.0, 4.0, 8.0])
        return self.layers(torch.cat([x, angle.sin(), angle.cos()], 1))


# %%
direct = Net(2, 128)
optimiser = torch.optim.Adam(direct.parameters(), 2e-3)
for _ in range(400 * LONGER):
    x, e = star_points(512), torch.randn(512, 2)
    error = (direct(e, torch.ones(1)) - x).square().mean()
    optimiser.zero_grad()
    error.backward()
    optimiser.step()

with torch.no_grad():
    made = direct(torch.randn(2000, 2), torch.ones(1))
figure, ax = plt.subplots(figsize=(3.4, 3.4))
ax.scatter(*data.T, s=2, color="#bbbbbb")
ax.scatter(*made.T, s=6)
ax.set(title=f"all answers lie near the mean ({made.std():.2f} apart)", xlim=(-1.5, 1.5), ylim=(-1.5, 1.5), aspect="equal")
picture(figure, "The gray outline of a star, and all generated points in one small heap near its centre.")


# %% [markdown]
# One heap in the middle. This is not bad luck: of all answers to a question with many right ones, the mean has the
# smallest squared error. In pictures it is a blur. **A jump from noise to data has many right ends, so it cannot be
# learnt by regression.** But a jump can be made of small steps, and for a small step the question *has* an answer.

# %% [markdown]
# ## The path
#
# Mix a data point $x$ with noise $\varepsilon$, a little more with every moment of $t$, from $t = 0$, where all is data, to
# $t = 1$, where all is noise:
#
# $$x_t = (1 - t)\, x + t\, \varepsilon, \qquad v = \frac{d x_t}{d t} = \varepsilon - x$$
#
# It is a straight line, walked at constant speed. (A time may be one number, or one for each token, and sums are done in
# at least fp32; that is all that the two helpers are for.)

# %% tags=["source: minisora.diffusion.flow.wide"]
def wide(x: Tensor) -> Tensor:
    """x in fp32, or in float64 if it was."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


# %% tags=["source: minisora.diffusion.flow._per_token"]
def _per_token(t: Time, x: Tensor) -> Time:
    """A time per token, (n,), becomes (n, 1, …) to stand beside x; one time for all stays as exact as it is."""
    if isinstance(t, Tensor) and t.ndim == 1:
        return t.to(wide(x)).reshape(-1, *[1] * (x.ndim - 1))
    return t


# %% tags=["source: minisora.diffusion.flow.mix"]
def mix(x: Tensor, noise: Tensor, t: Time) -> Tensor:
    """The path: x_t = (1 - t) x + t ε."""
    t = _per_token(t, x)
    return ((1 - t) * wide(x) + t * wide(noise)).to(x.dtype)


# %% tags=["source: minisora.diffusion.flow.velocity"]
def velocity(x: Tensor, noise: Tensor) -> Tensor:
    """The path's derivative, dx_t/dt = ε - x: the same at every t, since the path is straight."""
    return noise - x


# %%
figure, axes = plt.subplots(1, 5, figsize=(12, 2.8))
for ax, t in zip(axes, (0.0, 0.25, 0.5, 0.75, 1.0), strict=True):
    ax.scatter(*mix(data, noise, t).T, s=2)
    ax.set(title=f"t = {t}", xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), aspect="equal")
picture(figure, "Five clouds of points: at t = 0 the outline of a star, which dissolves into a round cloud at t = 1.")


# %% [markdown]
# ## Why a mean is the right answer here
#
# Show a network $x_t$ and $t$, and ask for $v$. Again there are many right answers, since many lines cross at one place,
# and again the network learns their mean,
#
# $$u(x_t, t) = \mathbb{E}[\,\varepsilon - x \mid x_t\,].$$
#
# But now the mean is exactly what we need. Take any test function $f$, and ask how its mean over the cloud changes:
#
# $$\frac{d}{dt}\, \mathbb{E}[f(x_t)] = \mathbb{E}\big[\nabla f(x_t) \cdot (\varepsilon - x)\big]
# = \mathbb{E}\big[\nabla f(x_t) \cdot \mathbb{E}[\varepsilon - x \mid x_t]\big]
# = \mathbb{E}\big[\nabla f(x_t) \cdot u(x_t, t)\big].$$
#
# The first step is the chain rule, the second collects all lines through one place. The last line says: points that
# *follow* $u$ make every such mean change just as the mixtures do, so the two clouds are the same at all times. Begin with
# noise at $t = 1$, follow $u$ back to $t = 0$, and there is data. No pairs were needed.
#
# The loss is one line. `where` leaves out what is known and has nothing to learn, which notebook 11 will need.

# %% tags=["source: minisora.diffusion.flow.loss"]
def loss(v: Tensor, target: Tensor, where: Tensor | None = None) -> Tensor:
    """Mean squared error over the tokens in `where` (n,), or over all: known tokens have nothing to learn."""
    error = (wide(v) - wide(target)).square()
    if where is None:
        return error.mean()
    per_token = error.flatten(1).mean(1)  # (n, d) → (n,)
    return per_token.where(where, 0.0).sum() / where.sum().clamp(min=1)


# %% [markdown]
# Which times to train at? At $t$ near 0 the data can be seen, and nothing is known of the noise but its mean; near 1 it is the
# other way round. At both ends the best answer is little more than $-x_t$ or $x_t$, with a mean added. The middle is hard, so it is asked most often: a Gaussian, pressed into 0 … 1.

# %% tags=["source: minisora.diffusion.flow.sample_times"]
def sample_times(
    n: int, generator: torch.Generator, shift: float = 1.0, mean: float = 0.0, std: float = 1.0,
    within: tuple[float, float] = (0.0, 1.0),
) -> Tensor:  # fmt: skip
    """Times to train at, one per clip, (n,): logit-normal (Esser et al. 2024), then shifted like the schedule.

    The middle of the path is the hardest to learn: near t = 0 and t = 1 the best answer is nearly -x_t or x_t itself.
    An expert for some times only is trained `within` them: the same times, without those outside.
    """
    if not (std > 0 and 0 < shift < math.inf):
        raise MinisoraError(f"times cannot be spread by std {std} and shifted by {shift}: both have to be above 0")
    if not 0 <= within[0] < within[1] <= 1:
        raise MinisoraError(f"times within {within[0]} … {within[1]} cannot be: they have to lie, in order, in 0 … 1")
    bounds = shifted(torch.tensor(within, dtype=torch.float64, device=generator.device), 1 / shift)
    low, high = ndtr((bounds.clamp(0, 1).logit() - mean) / std)  # the shares of a Gaussian below the bounds
    share = low + (high - low) * torch.rand(n, generator=generator, device=generator.device, dtype=torch.float64)
    return shifted((mean + std * ndtri(share)).sigmoid(), shift).clamp(*within)


# %%
times = {s: sample_times(20_000, torch.Generator().manual_seed(0), shift=s) for s in (1.0, 3.0, 8.0)}
figure, ax = plt.subplots(figsize=(6, 2.4))
for s, t in times.items():
    ax.hist(t.numpy(), 60, range=(0, 1), histtype="step", linewidth=2, label=f"shift {s:g}")
ax.set(xlabel="t", yticks=[], title="Times to train at")
ax.legend()
picture(figure, "Histograms of training times: a hump in the middle for shift 1, pushed towards 1 for shifts 3 and 8.")

# %% [markdown]
# ## Training
#
# All of it, and it stays the same when $x$ is a video: draw data, noise and times, mix, ask for the velocity.

# %% tags=["draft"]
def train(net: nn.Module, draw, steps: int, rate: float = 2e-3) -> list[float]:
    """Flow matching on whatever `draw(n)` gives."""
    source, losses = torch.Generator().manual_seed(0), []
    optimiser = torch.optim.Adam(net.parameters(), rate)
    schedule_ = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.05, steps)
    for _ in range(steps):
        x = draw(512)
        e, t = torch.randn(x.shape), sample_times(len(x), source).float()
        error = loss(net(mix(x, e, t), t), velocity(x, e))
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        schedule_.step()
        losses.append(error.item())
    return losses


# %%
flow = Net(2, 192)
losses = train(flow, star_points, 2500 * LONGER)
figure, ax = plt.subplots(figsize=(6, 2.4))
ax.plot(torch.tensor(losses).unfold(0, 25, 25).mean(1), label="|v − (ε − x)|²")
ax.set(xlabel="25 steps", title=f"The loss does not go to zero: {sum(losses[-100:]) / 100:.2f} at the end")
picture(figure, "A loss that falls quickly at first and then stays on a plateau far above zero.")

# %% [markdown]
# It never will: even the best answer is a mean, and single lines differ from it. A loss in flow matching compares models;
# by itself it says little about what they make.

# %% [markdown]
# ## Walking back: Euler
#
# From noise at $t = 1$, ask for the velocity, follow it in a straight line to the next time, ask again. `move` is that
# line, and where it meets $t = 0$ is the data point that the network has in mind, `clean`.

# %% tags=["source: minisora.diffusion.flow.move"]
def move(x_t: Tensor, v: Tensor, t: Time, to: Time) -> Tensor:
    """Follow the straight line with velocity v from time t to another time: x_t + (to - t) v."""
    distance = _per_token(to, x_t) - _per_token(t, x_t)
    return (wide(x_t) + distance * wide(v)).to(x_t.dtype)


# %% tags=["source: minisora.diffusion.flow.clean"]
def clean(x_t: Tensor, v: Tensor, t: Time) -> Tensor:
    """Where the line meets the data: x = x_t - t v."""
    return move(x_t, v, t, to=0.0)


# %% tags=["source: minisora.diffusion.samplers.euler"]
def euler(velocity: Velocity, x: Tensor, times: Tensor, callback: Callback | None = None) -> Tensor:
    """Order 1: follow the velocity in a straight line to the next time."""
    for step, (t, after) in enumerate(pairs(times)):
        v = velocity(x, t)
        x0 = clean(x, v, t)
        x = move(x, v, t, after)
        if callback:
            callback(step, t, x, x0)
    return x


# %% tags=["draft"]
@torch.no_grad()
def walk(net: nn.Module, start: Tensor, steps: int) -> Tensor:
    """(steps + 1, n, d): all places on the way from noise to data."""
    way = [start]
    euler(lambda x, t: net(x, t), start, schedule(steps), lambda step, t, x, x0: way.append(x))
    return torch.stack(way)


# %%
way = walk(flow, torch.randn(2000, 2, generator=torch.Generator().manual_seed(1)), 40)
figure, axes = plt.subplots(1, 5, figsize=(12, 2.8))
for ax, step in zip(axes, (0, 10, 20, 30, 40), strict=True):
    ax.scatter(*way[step].T, s=2)
    ax.set(title=f"t = {1 - step / 40:g}", xlim=(-2.6, 2.6), ylim=(-2.6, 2.6), aspect="equal")
picture(figure, "The same five clouds in reverse, made by the network: noise at t = 1 turns into a star at t = 0.")

# %%
assert off_by(way[-1]) < 0.5 * off_by(way[0]), "generated points lie nearer to the outline than noise does"
print(f"distance to the outline: noise {off_by(way[0]):.3f}, generated {off_by(way[-1]):.3f}, data {off_by(data):.3f}")

# %% [markdown]
# **The field itself.** Arrows show where the flow goes at one time; dots are on their way. Near $t = 1$ all arrows point
# to the middle, since there every star is possible; the tips are decided late.

# %% tags=["draft"]
def field(t: float) -> bytes:
    """The velocity at a time, walked backward, and the points that follow it."""
    figure, ax = plt.subplots(figsize=(4.4, 4.4))
    side = torch.linspace(-2, 2, 15)
    grid = torch.cartesian_prod(side, side)
    with torch.no_grad():
        v = flow(grid, torch.tensor([t]))
    step = round((1 - t) * 40)
    ax.quiver(*grid.T, *(-v).T, color="#999999", width=0.004)
    ax.scatter(*way[step, :600].T, s=4, color=PALETTE[0])
    ax.set(title=f"t = {t:.2f}", xlim=(-2.2, 2.2), ylim=(-2.2, 2.2), aspect="equal")
    return picture(figure, f"velocity field and points at t = {t:.2f}").png


# %%
figure, axes = plt.subplots(1, 2, figsize=(8, 3.8))
for ax, line in zip(axes, (False, True), strict=True):
    ways = torch.stack([mix(way[-1][:60], way[0][:60], t) for t in (0.0, 1.0)]) if line else way[:, :60]
    ax.plot(ways[..., 0], ways[..., 1], color=PALETTE[1 if line else 0], linewidth=0.8)
    ax.scatter(*way[-1, :60].T, s=10, color="black")
    ax.set(title="straight lines between their ends" if line else "the ways of 60 points", aspect="equal")
length = way.diff(dim=0).norm(dim=2).sum() / (way[-1] - way[0]).norm(dim=1).sum()
picture(figure, f"Left, curved ways of 60 points into the star; right, straight lines. The ways are {length:.2f} times as long.")

# %%
explore(field, t=widgets.FloatSlider(value=0.3, min=0, max=1, step=0.025, description="t"))

# %% [markdown]
# ## Straight and curved
#
# Every single path was straight, and the flow is not: where lines cross, the mean turns. A flow that bends needs more
# steps, since Euler walks straight between them. Other mixtures go along arcs, as the cosine schedule of many diffusion models does
# ([Nichol and Dhariwal 2021](https://arxiv.org/abs/2102.09672)): $x_t = \cos(\tfrac{\pi}{2} t)\, x + \sin(\tfrac{\pi}{2} t)\, \varepsilon$,
# whose velocity is its derivative. The same network, the same training, the same sampler, and only the mixture differs:

# %% tags=["draft"]
def train_on_arcs(net: nn.Module, steps: int) -> None:
    source, optimiser = torch.Generator().manual_seed(0), torch.optim.Adam(net.parameters(), 2e-3)
    schedule_ = torch.optim.lr_scheduler.LinearLR(optimiser, 1.0, 0.05, steps)
    for _ in range(steps):
        x, t = star_points(512), sample_times(512, source).float()
        e, angle = torch.randn(512, 2), t[:, None] * math.pi / 2
        error = loss(net(angle.cos() * x + angle.sin() * e, t), math.pi / 2 * (angle.cos() * e - angle.sin() * x))
        optimiser.zero_grad()
        error.backward()
        optimiser.step()
        schedule_.step()


# %%
arcs = Net(2, 192)
train_on_arcs(arcs, 2500 * LONGER)
counts, start = (1, 2, 4, 8, 16, 32, 64), torch.randn(2000, 2, generator=torch.Generator().manual_seed(2))
figure, ax = plt.subplots(figsize=(6, 2.8))
for name, net in (("straight lines", flow), ("arcs", arcs)):
    ax.plot(counts, [off_by(walk(net, start, steps)[-1]) for steps in counts], marker="o", label=name)
ax.axhline(off_by(data), color="black", linewidth=1, linestyle=":", label="data")
ax.set(xscale="log", xticks=counts, xticklabels=counts, xlabel="Euler steps", ylabel="distance to the star", title="How many steps?")
ax.legend()
picture(figure, "Distance of generated points to the star against Euler steps, for straight paths, for arcs, and for data.")

# %% [markdown]
# Here there is little between them: arcs are nearer at two steps, straight lines a little nearer from eight on. And beyond eight it is the network that
# is wrong, not the steps.

# %% [markdown]
# ## Pictures
#
# Nothing changes when a point has 144 numbers instead of two. The data are little drawings, 12 by 12 pixels: one of six
# shapes, somewhere. First the network that is asked for the answer at once, then the flow.

# %% tags=["draft"]
def drawings(n: int) -> Tensor:
    """(n, 144) shapes at random places, white on black, in −1 … 1."""
    places = torch.arange(12) + 0.5
    centre, kind = 4.5 + 3 * torch.rand(n, 2, 1, 1), torch.randint(len(SHAPES), (n,))
    x, y = (places[None, None] - centre[:, 0]) / 3.6, (places[None, :, None] - centre[:, 1]) / 3.6
    pictures = torch.stack([coverage(shape(*torch.broadcast_tensors(x, y)) * 3.6) for shape in SHAPES.values()])
    return pictures[kind, torch.arange(n)].flatten(1) * 2 - 1


# %%
jump, painter = Net(144, 256), Net(144, 256)
optimiser = torch.optim.Adam(jump.parameters(), 1e-3)
for _ in range(300 * LONGER):
    error = (jump(torch.randn(512, 144), torch.ones(1)) - drawings(512)).square().mean()
    optimiser.zero_grad()
    error.backward()
    optimiser.step()
train(painter, drawings, 2500 * LONGER)

start = torch.randn(16, 144, generator=torch.Generator().manual_seed(3))
with torch.no_grad():
    rows = {"data": drawings(16), "asked at once": jump(start, torch.ones(1)), "flow, 40 steps": walk(painter, start, 40)[-1]}
figure, axes = plt.subplots(3, 1, figsize=(9, 2.6))
for ax, (name, images) in zip(axes, rows.items(), strict=True):
    ax.imshow(images.view(16, 12, 12).permute(1, 0, 2).reshape(12, 192), cmap="gray", vmin=-1, vmax=1)
    ax.set(xticks=[], yticks=[], ylabel=name)
    ax.yaxis.label.set(rotation=0, ha="right", va="center")
    ax.grid(False)
picture(figure, "Three rows of small drawings: sharp shapes; the same gray blur sixteen times; rough blobs made by the flow, some of them rings, discs and triangles.")

# %% [markdown]
# A picture in the middle of its way: the network's `clean` at every time. An exact network would begin with the mean of all drawings, the blur of the
# second row; ours is small and leaves some of the noise in its guess, which is the grain. The guess sharpens as the noise leaves fewer
# possibilities. You will see the same in every video of this course.

# %%
seen = []
with torch.no_grad():
    euler(lambda x, t: painter(x, t), start[:5], schedule(12), lambda step, t, x, x0: seen.append(x0))
figure, ax = plt.subplots(figsize=(9, 3.8))
ax.imshow(torch.stack(seen, 1).view(5, 12, 12, 12).permute(0, 2, 1, 3).reshape(60, 144), cmap="gray", vmin=-1, vmax=1)
ax.set(xticks=[], yticks=[], xlabel="t from 1 on the left to 0 on the right", title="What the network has in mind")
ax.grid(False)
picture(figure, "Five rows of drawings that begin as grainy blobs on the left and become clearer shapes to the right.")

# %% [markdown]
# ## What could go wrong
#
# - **Times the wrong way round.** Here $t = 0$ is data. Other papers say the opposite, and nothing crashes.
# - **A sign.** $v = \varepsilon - x$ points to the noise; walking back follows $-v$. `move` with `to < t` does that by itself.
# - **Reading quality off the loss.** The plateau above says nothing about the star. Look, and measure what was made.

# %% [markdown]
# ## Exercise 04.1 · 5 minutes · easy
#
# `clean` gives the data that a velocity points away from. Write its twin: from $x_t$, $v$ and $t$, the noise
# $\varepsilon$.
#
# <details><summary>Hint</summary>
#
# The line meets the noise at $t = 1$. How much time is left until then?
#
# </details>

# %% tags=["exercise: 04.1"]
def noise_in(x_t: Tensor, v: Tensor, t: float) -> Tensor:
    """The noise at the end of the line through x_t with velocity v."""
    raise NotImplementedError("exercise 04.1")


# %% tags=["check: 04.1"]
with exercise("04.1"):
    x, e = torch.randn(5, 3), torch.randn(5, 3)
    for t in (0.0, 0.3, 0.9, 1.0):
        found = noise_in(mix(x, e, t), velocity(x, e), t)
        assert torch.allclose(found, e, atol=1e-5), f"at t = {t} it is off by {(found - e).abs().max():.2f}"

# %% tags=["solution: 04.1"] jupyter={"source_hidden": true}
def noise_in(x_t: Tensor, v: Tensor, t: float) -> Tensor:
    """The noise at the end of the line through x_t with velocity v."""
    return x_t + (1 - t) * v


# %% [markdown]
# ## Exercise 04.2 · 15 minutes · medium
#
# How fast does Euler's error shrink? Walk `flow` from the same noise with `steps` and with very many steps, and return the
# mean distance between the two ends. Order 1 means: twice the steps, half the distance.
#
# <details><summary>Hint</summary>
#
# `walk(net, start, steps)[-1]` are the ends. The distance of two points is a `norm(dim=1)`.
#
# </details>

# %% tags=["exercise: 04.2"]
def euler_error(net: nn.Module, start: Tensor, steps: int, many: int = 400) -> float:
    """Mean distance between where `steps` and where `many` Euler steps end."""
    raise NotImplementedError("exercise 04.2")


# %% tags=["check: 04.2"]
with exercise("04.2"):
    start = torch.randn(300, 2, generator=torch.Generator().manual_seed(4))
    few, more = (euler_error(flow, start, steps) for steps in (20, 40))
    assert 0 < more < few, "more steps end nearer"
    assert 1.5 < few / more < 3, f"twice the steps divide the distance by {few / more:.2f}, and order 1 means about 2"
    assert euler_error(flow, start, 400) == 0, "400 steps against 400"

# %% tags=["solution: 04.2"] jupyter={"source_hidden": true}
def euler_error(net: nn.Module, start: Tensor, steps: int, many: int = 400) -> float:
    """Mean distance between where `steps` and where `many` Euler steps end."""
    return (walk(net, start, steps)[-1] - walk(net, start, many)[-1]).norm(dim=1).mean().item()


# %% [markdown]
# ## Exercise 04.3 · 25 minutes · hard
#
# For data that are a finite list of points, the mean $u$ needs no network. Given $x_t$, each data point $x_i$ has a
# probability: $x_t$ came from it if the noise was $(x_t - (1-t) x_i) / t$, a Gaussian. So
#
# $$w_i \propto \exp\Big(-\frac{|x_t - (1-t)\, x_i|^2}{2 t^2}\Big), \qquad \mathbb{E}[x \mid x_t] = \sum_i w_i x_i, \qquad
# u = \frac{x_t - \mathbb{E}[x \mid x_t]}{t}.$$
#
# Derive the last step from $x_t = (1-t) x + t \varepsilon$, and write it for a batch.
#
# <details><summary>Hint</summary>
#
# `torch.cdist(x_t, (1 - t) * data)` are all distances, and a softmax makes weights that sum to one.
#
# </details>

# %% tags=["exercise: 04.3"]
def exact_velocity(x_t: Tensor, t: float, data: Tensor) -> Tensor:
    """(n, d) places, a time in 0 < t ≤ 1 and (m, d) data points → (n, d), the mean of all velocities through each place."""
    raise NotImplementedError("exercise 04.3")


# %% tags=["check: 04.3"]
with exercise("04.3"):
    one = torch.tensor([[0.5, -0.2]])
    x_t = torch.randn(7, 2)
    assert torch.allclose(exact_velocity(x_t, 0.4, one), (x_t - one) / 0.4, atol=1e-4), "with one point there is one line"
    pair = torch.tensor([[1.0, 0.0], [-1.0, 0.0]])
    assert exact_velocity(torch.zeros(1, 2), 0.5, pair).abs().max() < 1e-5, "half-way between two points nothing moves"
    made = euler(lambda x, t: exact_velocity(x, t.item(), data), torch.randn(200, 2), schedule(50))
    assert torch.cdist(made, data).min(1).values.mean() < 0.02, "walking along it ends at data points"

# %% tags=["solution: 04.3"] jupyter={"source_hidden": true}
def exact_velocity(x_t: Tensor, t: float, data: Tensor) -> Tensor:
    """(n, d) places, a time in 0 < t ≤ 1 and (m, d) data points → (n, d), the mean of all velocities through each place."""
    weights = (-torch.cdist(x_t, (1 - t) * data).square() / (2 * t**2)).softmax(1)
    return (x_t - weights @ data) / t


# %% [markdown] tags=["quiz"]
# ## Quiz
#
# 1. *The exact velocity of exercise 04.3 has zero error. Why train a network at all?*
#    <details><summary>Answer</summary>It can only end at points that it was given. A network that cannot learn the field by
#    heart smooths it, and what it smooths between examples is what we call generation.</details>
# 2. *Why do all arrows near t = 1 point to the middle?*
#    <details><summary>Answer</summary>There x_t is nearly all noise and says nothing about x, so the mean over the whole
#    data remains. What a prompt says matters most there.</details>
# 3. *In a clip, neighbouring tokens tell nearly the same. Should times lie nearer to 0 or to 1 than for points?*
#    <details><summary>Answer</summary>Nearer to 1: with many witnesses the content can be read through more noise, and what is
#    decided only at the highest times would be trained too seldom. That is what `shift` does.</details>
#
# ## Where next
#
# - **05 · DiT**: a transformer in the place of `Net`.
# - Lipman et al., *Flow Matching for Generative Modeling*, 2022: [arXiv:2210.02747](https://arxiv.org/abs/2210.02747)
# - Liu, Gong and Liu, *Flow Straight and Fast*, 2022: [arXiv:2209.03003](https://arxiv.org/abs/2209.03003)
# - Albergo and Vanden-Eijnden, *Building Normalizing Flows with Stochastic Interpolants*, 2022:
#   [arXiv:2209.15571](https://arxiv.org/abs/2209.15571)
# - Esser et al., *Scaling Rectified Flow Transformers*, 2024: [arXiv:2403.03206](https://arxiv.org/abs/2403.03206)

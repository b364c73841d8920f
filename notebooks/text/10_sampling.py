# %% [markdown] tags=["header"]
# # 10 · Sampling
#
# > **How few steps are enough?**
#
# **You will build** the schedule of times, Heun's method, a sampler that adds noise, and UniPC, which gets twice the order for
# the same number of questions; and you will measure what each is worth on the toy model.
#
# **You need** notebooks 04 and 06.
#
# **Measured** · runs in 147 s on two CPU cores without bf16 · needs 0.6 GiB · reads in about 36 minutes

# %% tags=["parameters"]
PROFILE = "fast"  # "full" judges ten times as many pictures

# %%
import math
import time
from itertools import pairwise
from math import inf
from typing import TypeVar

import ipywidgets as widgets
import matplotlib.pyplot as plt
import torch
from torch import Tensor

from minisora.core.errors import MinisoraError
from minisora.course.exercises import exercise
from minisora.diffusion.flow import Callback, Time, Velocity, clean, move, wide
from minisora.diffusion.guidance import combine
from minisora.diffusion.samplers import Fresh, euler
from minisora.evaluate import fidelity
from minisora.generate.sora import Sora
from minisora.tokens.packing import pack, pack_text, unpack
from minisora.viz.figures import picture
from minisora.viz.player import show
from minisora.viz.sheets import png, strip
from minisora.viz.style import use_style
from minisora.viz.widgets import explore
from minisora.worlds import world

use_style()
torch.manual_seed(0)
MANY = 480 if PROFILE == "full" else 24
shapes = world("shapes")
toy = Sora.from_pretrained("toy", device="cpu", dtype="fp32")

# %% [markdown]
# ## The question
#
# The model is trained. All that is left to pay for is the number of times that it is asked: a clip of twenty steps is forty
# questions, with and without the prompt. Every question saved is saved in every clip that anybody ever makes. So: where should one
# ask, and how to make the most of the answers?
#
# ## It fails first: Euler with one step

# %%
prompt = "a large yellow square moves to the right on a navy background"
few = {steps: toy.generate(prompt, seed=1, steps=steps, shift=1.0, sampler="euler")[0] for steps in (1, 2, 4, 50)}
figure, axes = plt.subplots(len(few), 1, figsize=(7, 5.2))
for ax, (steps, clip) in zip(axes, few.items(), strict=True):
    ax.imshow(strip(clip, count=6))
    ax.set(xticks=[], yticks=[], title="one step" if steps == 1 else f"{steps} even steps")
    ax.grid(False)
picture(figure, "One clip made with 1, 2, 4 and 50 even Euler steps: a smear at first, then a soft thing, then a clear one.")

# %% [markdown]
# Two steps already show most of it, and a second square that nobody asked for; with four it is gone.
#
# ## Where to ask: shifted times
#
# What a clip shows is decided near $t = 1$, and there two even steps stop only once. Shift them towards the noise:
#
# $$\operatorname{shift}_s(t) = \frac{s\,t}{1 + (s - 1)\,t}.$$
#
# Why this form? The ratio of signal to noise at $t$ is $(1 - t) / t$, and shifting divides it by $s$:
#
# $$\frac{1 - t'}{t'} = \frac{1}{s} \cdot \frac{1 - t}{t}.$$
#
# A clip of $n$ times as many tokens that tell the same can be seen through $\sqrt n$ times as much noise, so larger clips want
# larger shifts ([Esser et al. 2024](https://arxiv.org/abs/2403.03206)).

# %% tags=["source: minisora.diffusion.schedule.T"]
T = TypeVar("T", float, Tensor)


# %% tags=["source: minisora.diffusion.schedule._checked"]
def _checked(s: float) -> float:
    if not 0 < s < inf:
        raise MinisoraError(f"times cannot be shifted by {s}: a shift is above 0, and 1 changes nothing")
    return s


# %% tags=["source: minisora.diffusion.schedule.shift"]
def shift(t: T, s: float) -> T:
    """Bend times towards the noise: s t / (1 + (s - 1) t) (Esser et al. 2024). Shifting by 1/s undoes it.

    At the same t a larger clip is easier to see through its noise, as neighbouring tokens tell the same. The odds
    (1 - t) / t of signal to noise are divided by s to make up for it.
    """
    s = _checked(s)
    return s * t / (1 + (s - 1) * t)


# %% tags=["source: minisora.diffusion.schedule._shift"]
_shift = shift  # schedule() has an argument of that name


# %% tags=["source: minisora.diffusion.schedule.schedule"]
def schedule(steps: int, shift: float = 1.0, start: float = 1.0, floor: float = 0.0) -> Tensor:
    """Times (steps + 1,) in float64 from exactly `start` down to exactly 0, evenly spaced before they are shifted.

    A start below 1 re-noises a given clip instead of starting from nothing. With a floor the even grid ends there, and
    the last step is a jump from its last stop but one to 0. The released Wan code starts at shift(1 - 1/1000, s).
    diffusers' UniPC did so too; since it takes custom sigmas (measured: 0.42.1), it has floor 1/1000 and a start of
    1 - 1e-6 in place of 1: `schedule(steps, s, floor=1/1000).clamp(max=1 - 1e-6)`. Its FlowMatchEuler scheduler is no
    yardstick: it evens out end points that are shifted already, so that it shifts twice (huggingface/diffusers#13243).
    """
    if steps < 1:
        raise MinisoraError(f"there is no schedule of {steps} steps: take at least 1")
    if not 0 < start <= 1:
        raise MinisoraError(f"a schedule cannot start at t = {start}: t goes from above 0 to 1, where all is noise")
    even = _shift(float(start), 1 / _checked(shift))
    if not 0 <= floor < even:
        raise MinisoraError(f"a schedule's floor of {floor} has to be at least 0 and below its start, here {even:g}")
    times = _shift(torch.linspace(even, floor, steps + 1, dtype=torch.float64), shift)
    times[0], times[-1] = start, 0.0  # exact, where rounding could have made a start of 1 greater than 1
    return times


# %% tags=["source: minisora.diffusion.schedule.pairs"]
def pairs(times: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Every step as (t, next t), in float64 and on the CPU: a time rounded to bf16 is off by whole steps."""
    times = times.detach().to("cpu", torch.float64)
    if times.ndim != 1 or len(times) < 2 or not (times[0] <= 1 and times[-1] >= 0 and (times.diff() < 0).all()):
        raise MinisoraError("a sampler needs at least two times that fall, within 1 … 0: make them with schedule()")
    return list(pairwise(times))


# %%
figure, ax = plt.subplots(figsize=(7, 1.9))
for row, s in enumerate((1.0, 3.0, 8.0)):
    ax.plot(schedule(12, s), [row] * 13, marker="o", markersize=5, linewidth=1)
ax.set(yticks=range(3), yticklabels=["shift 1", "shift 3", "shift 8"], xlabel="t, data on the left, noise on the right", ylim=(-0.5, 2.5))
picture(figure, "Twelve steps as dots on three lines: evenly spaced for shift 1, crowded towards noise for 3 and 8.")

# %%
explore(
    lambda steps, s: png(strip(toy.generate(prompt, seed=1, steps=steps, shift=s, sampler="euler")[0], count=6)),
    steps=widgets.SelectionSlider(options=[1, 2, 4, 8, 16, 32], value=4, description="steps"),
    s=widgets.SelectionSlider(options=[1.0, 2.0, 3.0, 5.0, 8.0], value=3.0, description="shift"),
)

# %% [markdown]
# ## How wrong is a step?
#
# Follow the velocity $v(x, t)$ from $t$ to $s = t - h$. The true way is a Taylor series, and Euler keeps its first term:
#
# $$x_s = x_t - h\, v + \tfrac{h^2}{2}\, \dot v - \ldots$$
#
# The error of one step is about $h^2/2$ times how fast the velocity changes *along the way*. There are $1/h$ steps, so all together are wrong
# by something like $h$: **order 1**, half the step for half the error. If the flow were straight, $\dot v = 0$, and one step would do.
#
# **Heun** looks at the velocity at the end of a tentative step and takes the mean of both. That is the trapezoid rule, whose error is
# $h^3$ for a step and $h^2$ for all: order 2, for two questions a step.

# %% tags=["source: minisora.diffusion.samplers.heun"]
def heun(velocity: Velocity, x: Tensor, times: Tensor, callback: Callback | None = None) -> Tensor:
    """Order 2: try an Euler step, look at the velocity there, and go with the mean of both. Two calls per step.

    A last step to t = 0 stays Euler's, as in EDM: a model is not trained there, and one short step costs no order.
    """
    for step, (t, after) in enumerate(pairs(times)):
        v = velocity(x, t)
        x0 = clean(x, v, t)
        if after > 0:
            v = (wide(v) + wide(velocity(move(x, v, t, after), after))) / 2
        x = move(x, v, t, after)
        if callback:
            callback(step, t, x, x0)
    return x


# %% [markdown]
# To measure order we need an answer that is known. For data that are a Gaussian of mean $m$ and spread $d$, everything is:
# $x_t$ has mean $(1-t)\,m$ and spread $\sigma_t = \sqrt{(1-t)^2 d^2 + t^2}$, and the flow keeps every point at its place in
# units of that spread:
#
# $$\frac{x_t - (1-t)\, m}{\sigma_t} = \text{the same for all } t, \qquad \text{so } v = -m + \frac{\dot\sigma_t}{\sigma_t} \big(x_t - (1-t)\, m\big).$$

# %% tags=["draft"]
def gaussian(x: Tensor, t: Tensor, m: float = 1.0, d: float = 0.3) -> Tensor:
    """The exact velocity where data are a Gaussian of mean m and spread d."""
    variance, slope = (1 - t) ** 2 * d**2 + t**2, t - (1 - t) * d**2
    return -m + slope / variance * (x - (1 - t) * m)


def miss(sampler, steps: int, s: float = 1.0) -> float:
    """How far a sampler ends from the truth, in the mean; it begins at t = 0.98, where UniPC's logarithm is finite too."""
    start = torch.linspace(-2, 2, 41, dtype=torch.float64)
    begin = 0.98
    variance = (1 - begin) ** 2 * 0.09 + begin**2
    x = (1 - begin) + variance**0.5 * start
    return (sampler(gaussian, x, schedule(steps, s, start=begin)) - (1.0 + 0.3 * start)).abs().mean().item()


# %% [markdown]
# ## UniPC: remember what was said
#
# Heun throws its second answer away and asks again. A *multistep* method keeps old answers and draws a line through them. And it can use
# what we know of the path. Since $v = (x_t - x_0)/t$, where $x_0$ is what the model has in mind,
#
# $$\frac{d}{dt} \frac{x_t}{t} = -\frac{x_0(t)}{t^2} \quad\Rightarrow\quad x_s = \frac{s}{t}\, x_t + s \int_s^t \frac{x_0(\tau)}{\tau^2}\, d\tau,$$
#
# exactly. If $x_0$ does not change on the way, the integral is $(1/s - 1/t)\, x_0$ and we have Euler again (exercise 10.2). So the only thing
# to guess is how $x_0$ changes, and that is a slow thing: a line through the last two answers to *predict*, a parabola through three
# to *correct* when the next answer is there. With $\lambda = \ln \frac{1-t}{t}$ as the clock, the weights come out simple
# ([Zhao et al. 2023](https://arxiv.org/abs/2302.04867)).

# %% tags=["source: minisora.diffusion.unipc._towards"]
def _towards(x: Tensor, x0: Tensor, t: Tensor, s: Tensor) -> Tensor:
    """The straight step from t to s if the clean x is x0."""
    return (s / t * wide(x) + (1 - s / t) * x0).to(x.dtype)


# %% tags=["source: minisora.diffusion.unipc._corrected"]
def _corrected(seen: list[Tensor], lam: list[Tensor]) -> Tensor:
    """E[x0(u)] for the step just taken, now that x0 is known at its end, from a line or a parabola in u."""
    first, last = seen[-2:]  # at u = 0 and u = 1
    if len(seen) == 2:
        return first + (last - first) / 2
    h = lam[-1] - lam[-2]
    r = (lam[-3] - lam[-2]) / h  # where u was one step earlier, below 0
    u1 = -1 / torch.expm1(-h) - 1 / h  # E[u]
    u2 = -1 / torch.expm1(-h) - 2 / h * u1  # E[u²]
    slope = (seen[-3] - first) / r  # of the lines from u = 0 back to r …
    rise = last - first  # … and on to 1
    bend = (rise - slope) / (1 - r)
    return first + u1 * rise + (u2 - u1) * bend


# %% tags=["source: minisora.diffusion.unipc.unipc"]
def unipc(velocity: Velocity, x: Tensor, times: Tensor, callback: Callback | None = None) -> Tensor:
    """Order 2 with B(h) = e^h - 1 ("bh2"), x0-prediction, and order 1 at the last step.

    At t = 1 there is no signal and λ = -∞. The limits of all formulas exist, so that a schedule may start there: a
    prediction infinitely far back has no say in the next one.
    """
    steps = pairs(times)
    lam = [torch.log((1 - t) / t) for t, _ in steps]
    seen: list[Tensor] = []  # the last three clean predictions, oldest first
    start = x  # the corrected state at the step before
    for step, (t, after) in enumerate(steps):
        x0 = clean(x, velocity(x, t), t)
        seen = [*seen[-2:], wide(x0)]
        if step > 0:
            x = _towards(start, _corrected(seen, lam[max(0, step - 2) : step + 1]), *steps[step - 1])
        start, target = x, seen[-1]
        if 0 < step < len(steps) - 1:
            h = torch.log((1 - after) / after) - lam[step]
            slope = (seen[-2] - seen[-1]) / ((lam[step - 1] - lam[step]) / h)
            target = target + slope / 2  # E[u] → 1/2 as h → 0
        x = _towards(start, target, t, after)
        if callback:
            callback(step, t, x, x0)
    return x


# %%
counts = (4, 8, 16, 32, 64, 128)
figure, ax = plt.subplots(figsize=(6, 3.2))
for name, sampler, calls in (("Euler", euler, 1), ("Heun", heun, 2), ("UniPC", unipc, 1)):
    errors = [miss(sampler, steps) for steps in counts]
    order = math.log2(errors[-2] / errors[-1])
    ax.plot([calls * steps for steps in counts], errors, marker="o", label=f"{name}: order {order:.1f}")
ax.set(xscale="log", yscale="log", xlabel="questions asked", ylabel="error", title="A flow whose answer is known")
ax.legend()
picture(figure, "Error against questions, both logarithmic: Euler falls with slope one, Heun and UniPC with slope two, UniPC lowest.")

# %% [markdown]
# (UniPC's dip is luck: its error changes sign there. An order is read at the right end, where the curves are straight.)


# %% [markdown]
# ## Noise on the way
#
# One can also forget a little at every step and put fresh noise in its place. Every cloud of points stays the right cloud, but a
# single point no longer follows a single line: from one start, another seed ends elsewhere. That can wash out errors of early
# steps, and exactness costs more of them: below, even sixty leave the spread a little small. What it is worth to a model that errs, we shall count.

# %% tags=["source: minisora.diffusion.flow.noise_of"]
def noise_of(x_t: Tensor, v: Tensor, t: Time) -> Tensor:
    """Where the line meets the noise: ε = x_t + (1 - t) v."""
    return move(x_t, v, t, to=1.0)


# %% tags=["source: minisora.diffusion.samplers.sde"]
def sde(
    velocity: Velocity, x: Tensor, times: Tensor, fresh: Fresh = torch.randn_like, eta: float = 1.0,
    callback: Callback | None = None,
) -> Tensor:  # fmt: skip
    """Ancestral sampling: every step exchanges part of the noise for fresh noise. eta = 0 is Euler.

    Noising forward from s to t multiplies x_s by a = (1 - t) / (1 - s), so that it adds noise of variance
    b² = t² - a² s². By Bayes, x_s given x_t and x is Gaussian with variance σ² = (s b / t)². With η σ for σ and the
    model's x and ε, as in DDIM (Song et al. 2021),
        x_s = (1 - s) x + √(s² - σ²) ε + σ z,    z ~ N(0, 1).
    For any η the noise has variance s² in all, as the path asks. For small steps σ² → 2 η² t / (1 - t) (t - s), and the
    drift that the square root adds, -σ²/(2s) ε, is what Langevin dynamics needs to keep the marginals. Above η = 1 more
    is exchanged than the path added, at most all of it: then every step is a clean guess, noised anew.
    """
    if not 0 <= eta < inf:
        raise MinisoraError(f"eta is {eta}: 0 is no new noise, 1 as much as the path added, and more may be exchanged")
    for step, (t, after) in enumerate(pairs(times)):
        v = velocity(x, t)
        x0, noise = clean(x, v, t), noise_of(x, v, t)
        a = (1 - t) / (1 - after)
        sigma = (eta * after / t * (t**2 - (a * after) ** 2).clamp(min=0).sqrt()).clamp(max=after)
        keep = (after**2 - sigma**2).clamp(min=0).sqrt()
        x = move(x, v, t, after)  # (1 - s) x + s ε, and so it remains to exchange s - keep of the noise
        if sigma > 0:
            x = (wide(x) + (keep - after) * wide(noise) + sigma * fresh(wide(x))).to(x.dtype)
        if callback:
            callback(step, t, x, x0)
    return x


# %%
start = torch.randn(20_000, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
ends = sde(gaussian, start, schedule(60))
print(f"data 1.000 ± 0.300; sde {ends.mean():.3f} ± {ends.std():.3f}; its ends and Euler's are correlated by "
      f"{torch.corrcoef(torch.stack([ends, euler(gaussian, start, schedule(60))]))[0, 1]:.2f}")  # fmt: skip

# %% [markdown]
# ## On the toy model
#
# Now with a real network, guided, four short clips at once. Nobody knows the exact end, so the yardstick is Heun with 48 steps. Some
# clips stand at a fork on their way, and with other steps they end as another clip; so we take the median over the clips.

# %% tags=["draft"]
def question(prompts: list[str], size: tuple[int, int, int], scale: float = 2.0, seed: int = 0) -> tuple[Velocity, Tensor, object]:
    """The guided velocity of packed clips, their noise, and their tokens."""
    config, rows = toy.dit.config, toy.text([toy.tokenizer.encode(prompt) for prompt in prompts])
    told, untold = (pack_text(some, config.text_length, config.padded) for some in (rows, [row[:0] for row in rows]))
    source = torch.Generator().manual_seed(seed)
    tokens = pack([torch.randn(toy.latent_shape(size), generator=source) for _ in prompts], config.patch)

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        asked.append(float(t))
        return combine(toy.dit(tokens.with_x(x), t, told), toy.dit(tokens.with_x(x), t, untold), scale)

    return velocity, tokens.x, tokens


# %%
asked: list[float] = []
samplers = {"Euler": euler, "Heun": heun, "UniPC": unipc}
wishes = [shapes.caption(shapes.sample(300_000 + place, count=1)) for place in range(4)]
with torch.no_grad():
    velocity, noise, tokens = question(wishes, (5, 64, 64))
    truth = heun(velocity, noise, schedule(48, 3.0)).view(4, -1)
    curves = {}
    for name, sampler in samplers.items():
        for steps in (4, 8, 16):
            asked.clear()
            end = sampler(velocity, noise, schedule(steps, 3.0)).view(4, -1)
            errors = (end - truth).norm(dim=1) / truth.norm(dim=1)
            curves.setdefault(name, []).append((len(asked), errors.median().item()))
figure, ax = plt.subplots(figsize=(6, 3.2))
for name, points in curves.items():
    ax.plot(*zip(*points, strict=True), marker="o", label=name)
ax.set(xscale="log", yscale="log", xlabel="questions asked (each with and without the prompt)", ylabel="relative error of latents", title="The toy model")
ax.xaxis.set_minor_formatter("")
ax.legend()
picture(figure, "Relative error of the toy's latents against questions asked, for Euler, Heun and UniPC.")

# %% [markdown]
# The orders of the paper are not to be seen here: a trained and guided velocity is too bent for so few steps, and a method that asks twice a step has
# to be twice as good to be level.

# %% [markdown]
# **Does anybody see it?** An error of latents is not an error of what is shown. So count: 24 pictures, two things each, and how many of all
# claims (background, style, count, and for each thing its color, shape and size) are right.

# %%
scenes = [shapes.sample(400_000 + place, 1.0, count=2) for place in range(MANY)]
table = {}
for name in ("euler", "unipc", "sde"):
    for steps in (2, 4, 8, 16):
        begin = time.perf_counter()
        takes = toy.generate([shapes.caption(scene) for scene in scenes], "1x64x64", seed=range(MANY), steps=steps, sampler=name)
        seconds = time.perf_counter() - begin
        claims = [list(fidelity.check(take.frames, scene).claims.values()) for take, scene in zip(takes, scenes, strict=True)]
        table.setdefault(name, []).append((steps, 100 * torch.tensor(claims).float().mean().item(), 1000 * seconds / MANY))
figure, axes = plt.subplots(1, 2, figsize=(9, 2.9), sharey=True)
for name, rows in table.items():
    steps, share, seconds = zip(*rows, strict=True)
    axes[0].plot(steps, share, marker="o", label=name)
    axes[1].plot(seconds, share, marker="o", label=name)
axes[0].set(xscale="log", xticks=steps, xticklabels=steps, xlabel="steps", ylabel="% of claims right")
axes[0].xaxis.set_minor_formatter("")
axes[1].set(xlabel="milliseconds a picture")
axes[0].legend()
picture(figure, "Shares of right claims against steps and against milliseconds, for Euler, UniPC and the sampler that adds noise.")

# %% [markdown]
# From about eight steps on, more of them buy a more exact answer to a question that the model itself does not answer exactly. But *noise on the way* buys
# something else. A path without noise keeps the mistakes of its first steps: if at $t = 0.95$ two places looked like good ones for the star, there are two
# stars in the end. With fresh noise the model looks again at every step, and what fits the prompt badly has many chances to go. Of 96 prompts for clips of
# one to three things, by a younger toy, everything asked for was there in 72 % with Euler, in 71 % with twice as many Euler steps, and in 91 % with fresh noise, at the
# same price. (It needs its steps, though: of few pictures above, it is far behind with eight, and still behind with sixteen.) It is what the toy does unless it is told otherwise (`Sampling.sampler`).
#
# If looking again is worth so much, why not look more often? The path does not mind: with $\eta > 1$ more noise is exchanged than it added, until nothing of the old is kept.
# Where things go is agreed upon by many places at once, in nearly nothing but noise, and some plans are bad ones: two copies of one thing, or two things that run into each other. A plan that nobody keeps is made anew.
# Of 70 prompts for two and three things everything is there in 43 with $\eta = 1$, in 52 with 1.3 and in 56 with 1.6. The toy has 1.5 (`Sampling.eta`), and so of 300 prompts that nobody trained or tried anything on 92 % are right, where 87 were.
# It has its price where steps are few, as the pictures above show; and where all is laid out already, in a clip that begins from another one (previews and edits, notebook 11), there is nothing to plan anew, and $\eta$ is 1.

# %% [markdown]
# ## Which step decides what?
#
# All steps ask one network, though they ask it very different things: in noise, where things are and where they go; later, where an edge runs.
# So ask two, one after the other, and look who has the last word about what:

# %% tags=["source: minisora.diffusion.guidance.relayed"]
def relayed(early: Velocity, late: Velocity, below: float) -> Velocity:
    """One velocity while there is much noise, and another one from the time `below` down."""

    def velocity(x: Tensor, t: Tensor) -> Tensor:
        return late(x, t) if float(t) <= below else early(x, t)

    return velocity


# %% [markdown]
# Here are two that could not disagree more: the toy model under one prompt, and then under another. From row to row the second takes over earlier.

# %%
ways = ["a large red circle moves to the right on a white background", "a large blue star moves up on a white background"]
figure, axes = plt.subplots(5, 1, figsize=(8, 7.2))
with torch.no_grad():
    (one, noise, tokens), (other, _, _) = (question([way], toy.preset.size, seed=5) for way in ways)
    for ax, below in zip(axes, (0.0, 0.6, 0.8, 0.95, 1.0), strict=True):
        x = euler(relayed(one, other, below), noise, schedule(20, 8.0))
        (z,) = unpack(tokens.with_x(x), toy.dit.config.patch)
        ax.imshow(strip(toy.decode(z), count=6))
        ax.set(xticks=[], yticks=[], title=f"the star from t = {below:g} down")
        ax.grid(False)
picture(figure, "Five strips of six frames: a red circle that moves right, and further down ever more of a blue star that moves up.")

# %% [markdown]
# Where it goes is settled while the eye still sees noise only; color and shape are open for longer, and the last steps only draw what is there. That is why a
# shift spends most of the steps near $t = 1$.
#
# Networks can take turns just as well, each trained for its own times, and a step costs no more than before. Wan 2.2 has two of 14 billion weights
# ([Wan team 2025](https://github.com/Wan-Video/Wan2.2)), and `paired` in `generate/experts.py` makes such a pair of any two models. The bundled toy was one, too, when
# two cores trained it; on 96 prompts both together showed all that was asked for in 35 %, and the late one alone in 25.

# %% [markdown]
# ## One seed, many sizes
#
# A seed is not a scene. Noise of another size is other noise, laid out over other places, so the same prompt and seed are another clip in
# every size:

# %%
show([toy.generate("a large green star stays still on a cream background", size, seed=4)[0] for size in ("17x64x64", "17x48x80", "17x80x48", "1x64x64")])

# %% [markdown]
# ## What could go wrong
#
# - **Half precision between steps.** $x$ changes by little in each of many steps, and bf16 has eight bits: keep $x$ in fp32 and let the model
#   cast what it reads. Times, too: as bf16, $t = 0.999$ is 1.
# - **A schedule that is shifted twice.** It happened in well known code. Look at the times themselves.
# - **Order on paper.** A method of order 2 is better *in the limit*. At four steps it may be worse: measure where you mean to use it.

# %% [markdown]
# ## Exercise 10.1 · 10 minutes · easy
#
# Two shifts after one another are one shift. Which? And which shift undoes a shift of $s$? Return both.
#
# <details><summary>Hint</summary>
#
# Each divides the odds $(1 - t)/t$ by its $s$.
#
# </details>

# %% tags=["exercise: 10.1"]
def shifts(a: float, b: float) -> tuple[float, float]:
    """(the one shift that does what a and then b do, the shift that undoes a)."""
    raise NotImplementedError("exercise 10.1")


# %% tags=["check: 10.1"]
with exercise("10.1"):
    for a, b in ((2.0, 3.0), (0.5, 8.0)):
        both, undone = shifts(a, b)
        for t in (0.1, 0.5, 0.93):
            assert abs(shift(shift(t, a), b) - shift(t, both)) < 1e-9, f"a = {a}, b = {b} at t = {t}"
            assert abs(shift(shift(t, a), undone) - t) < 1e-9, "there and back"

# %% tags=["solution: 10.1"] jupyter={"source_hidden": true}
def shifts(a: float, b: float) -> tuple[float, float]:
    """(the one shift that does what a and then b do, the shift that undoes a)."""
    return a * b, 1 / a


# %% [markdown]
# ## Exercise 10.2 · 15 minutes · medium
#
# Euler, said in another way: a step from $t$ to $s$ is a mean of where one is and of the clean $x_0 = x_t - t v$ that the model has in
# mind. Find the weights, and write the step without $v$.
#
# <details><summary>Hint</summary>
#
# $x_s = x_t + (s - t)\, v$ with $v = (x_t - x_0)/t$.
#
# </details>

# %% tags=["exercise: 10.2"]
def towards(x_t: Tensor, x0: Tensor, t: float, s: float) -> Tensor:
    """Euler's step from t to s, by the clean prediction."""
    raise NotImplementedError("exercise 10.2")


# %% tags=["check: 10.2"]
with exercise("10.2"):
    x_t, v = torch.randn(5), torch.randn(5)
    for t, s in ((1.0, 0.8), (0.6, 0.1), (0.3, 0.0)):
        assert torch.allclose(towards(x_t, clean(x_t, v, t), t, s), move(x_t, v, t, s), atol=1e-5), f"from {t} to {s}"

# %% tags=["solution: 10.2"] jupyter={"source_hidden": true}
def towards(x_t: Tensor, x0: Tensor, t: float, s: float) -> Tensor:
    """Euler's step from t to s, by the clean prediction."""
    return s / t * x_t + (1 - s / t) * x0


# %% [markdown]
# ## Exercise 10.3 · 25 minutes · hard
#
# The midpoint method is of order 2 as well: walk half a step, ask there, and take the whole step with that answer. Write a sampler with
# the same arguments as `heun` (leave the callback out). The check measures its order.
#
# <details><summary>Hint</summary>
#
# `move(x, v, t, middle)`, then `velocity` there, then `move(x, v_middle, t, after)`, from the place where you began.
#
# </details>

# %% tags=["exercise: 10.3"]
def midpoint(velocity: Velocity, x: Tensor, times: Tensor) -> Tensor:
    """Order 2: the velocity in the middle of a step stands for the whole of it."""
    raise NotImplementedError("exercise 10.3")


# %% tags=["check: 10.3"]
with exercise("10.3"):
    def bent(x: Tensor, t: Tensor) -> Tensor:
        return (3 * x).sin() + t

    begin = torch.linspace(-2, 2, 41, dtype=torch.float64)
    end = heun(bent, begin, schedule(4000))
    few, more = ((midpoint(bent, begin, schedule(steps)) - end).abs().mean().item() for steps in (32, 64))
    assert more < 1e-3, f"with 64 steps it is off by {more:.4f}"
    assert 1.7 < math.log2(few / more) < 2.4, f"order 2 means a quarter of the error for twice the steps, and here it is 1 / {few / more:.1f}"
    straight = midpoint(lambda x, t: torch.ones_like(x), torch.zeros(3, dtype=torch.float64), schedule(5))
    assert torch.allclose(straight, -torch.ones(3, dtype=torch.float64)), "a straight flow is followed exactly"
    once = midpoint(lambda x, t: t**2 * torch.ones_like(x), torch.zeros(1, dtype=torch.float64), schedule(1)).item()
    assert abs(once + 0.25) < 1e-9, f"one step asks at t = 1/2, where t² is 1/4, and here it went by {once:.2f}"

# %% tags=["solution: 10.3"] jupyter={"source_hidden": true}
def midpoint(velocity: Velocity, x: Tensor, times: Tensor) -> Tensor:
    """Order 2: the velocity in the middle of a step stands for the whole of it."""
    for t, after in pairs(times):
        middle = (t + after) / 2
        half = move(x, velocity(x, t), t, middle)
        x = move(x, velocity(half, middle), t, after)
    return x


# %% [markdown] tags=["quiz"]
# ## Quiz
#
# 1. *Heun asks twice a step and UniPC once. Both are of order 2. What does UniPC pay?*
#    <details><summary>Answer</summary>Memory for the last answers, and a first step that has none yet. And if the times jump about, old
#    answers say little about the next step.</details>
# 2. *Why does a straight flow need only one step?*
#    <details><summary>Answer</summary>The velocity along a line does not change, so the first answer is right to the end. Training for
#    straightness (rectified flow, distillation) is one way to models of few steps.</details>
# 3. *Why does guidance make the number of steps matter more?*
#    <details><summary>Answer</summary>It multiplies a difference, and what changes fast in it. The flow bends more, and bends are what steps
#    are for.</details>
#
# ## Where next
#
# - **11 · Directing**: one sampler, many tasks.
# - Karras et al., *Elucidating the Design Space of Diffusion-Based Generative Models*, 2022: [arXiv:2206.00364](https://arxiv.org/abs/2206.00364)
# - Zhao et al., *UniPC: A Unified Predictor-Corrector Framework*, 2023: [arXiv:2302.04867](https://arxiv.org/abs/2302.04867)
# - Song, Meng and Ermon, *Denoising Diffusion Implicit Models*, 2020: [arXiv:2010.02502](https://arxiv.org/abs/2010.02502)
# - Esser et al., *Scaling Rectified Flow Transformers*, 2024: [arXiv:2403.03206](https://arxiv.org/abs/2403.03206)

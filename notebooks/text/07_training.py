# %% [markdown] tags=["header"]
# # 07 · Training
#
# > **How is it all trained without wasting an hour?**
#
# **You will build** the training engine: what a step does, two optimisers, the average that a model is judged by, and
# checkpoints that no crash can spoil. Then you train a text-to-video model in this notebook, from nothing.
#
# **You need** notebooks 03 to 06.
#
# **Measured** · runs in 154 s on two CPU cores without bf16 · needs 0.8 GiB · reads in about 72 minutes

# %% tags=["parameters"]
PROFILE = "fast"  # "full" trains for half an hour instead of a minute

# %%
import copy
import hashlib
import json
import math
import os
import shutil
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import ipywidgets as widgets
import matplotlib.pyplot as plt
import torch
from torch import Tensor, nn
from torch.optim import AdamW, Optimizer
from torch.optim.optimizer import ParamsT

# %%
from minisora import __version__
from minisora.core import machine
from minisora.core.checkpoint import (
    load_into, load_json, load_tensors, save_json, save_tensors, sha256, sync_folder,
)  # fmt: skip
from minisora.core.errors import MinisoraError, writing
from minisora.core.runtime import bf16_pays, generator, keep_memory, pick_dtype, ranks
from minisora.course.exercises import exercise
from minisora.data.datasets import WorldClips
from minisora.data.loader import Loader
from minisora.diffusion.flow import loss, mix, sample_times, velocity
from minisora.generate.sora import Sora
from minisora.models.dit import DiT
from minisora.models.text import TextEncoder, truncate
from minisora.models.tokenizer import Tokenizer
from minisora.tokens.known import Known, paint
from minisora.tokens.packing import pack_text
from minisora.train import distributed, latents, stages
from minisora.train.engine import Metrics, Step, check, compile_parts, compiler_errors, refuse_to_go_on
from minisora.train.interrupt import heard
from minisora.train.log import Log, Silence, read_log
from minisora.train.shelf import Item
from minisora.viz import player
from minisora.viz.figures import picture
from minisora.viz.style import use_style
from minisora.zoo.presets import PRESETS

use_style()
torch.manual_seed(0)
MINUTES = 30 if PROFILE == "full" else 1
folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## The question
#
# A training run is an hour, a day or a month of a machine. Most of what can go wrong wastes all of it: a rate that is too high, a
# process that is killed in the night, a checkpoint that was half written, noise that cannot be drawn again. None of that is
# deep, and all of it can be settled once. We settle it, and then use it.
#
# Our example is small: one thing that moves, in clips of 9x32x32, and transformers of 0.2 million weights to try things on and of 1.1 million to train, on the latents of
# the toy model's VAE.

# %%
toy = Sora.from_pretrained("toy", device="cpu")
clips = WorldClips("shapes", 600, sizes=["9x32x32"], constraints={"shapes": {"count": 1, "style": "flat"}})
player.show([clips[index] for index in range(3)])

# %% [markdown]
# ## Compute once what never changes
#
# The VAE is finished, so a clip's latents are the same at every step: encode them once, put them on a *shelf*, one file that is
# mapped into memory. A shelf carries a fingerprint of the clips and of the VAE's weights. If either changes, it is refused, and
# nobody trains for a night on the latents of another model.

# %%
start = time.perf_counter()
shelf = latents.encode(toy.vae, clips, folder / "latents")
print(f"{len(shelf)} clips in {time.perf_counter() - start:.1f} s; one has", {key: tuple(value.shape) for key, value in shelf[0].items() if isinstance(value, Tensor)})
try:
    latents.encode(toy.vae, replace(clips, seed=1), folder / "latents")
except MinisoraError as error:
    print("other clips:", error)

# %% [markdown]
# Beside its own latents, `z`, a clip keeps some frames encoded as pictures and itself with a part painted gray. They are for what
# comes next.

# %% [markdown]
# ## One step
#
# What a model learns from a batch is one function. It takes the model, some items and a source of chance, and returns a loss. Most of
# what follows are questions of chance: is the prompt left out? Is something of the clip given, and what? Is it shown as a ring?

# %% tags=["source: minisora.train.dit.DROPPED"]
DROPPED = 0.1
"""Share of prompts that are left out, so that the model learns what guidance compares with."""

# %% tags=["source: minisora.train.dit.RINGS"]
RINGS = 0.3
"""Share of the clips that go round which are shown as rings."""

# %% tags=["source: minisora.train.dit.KNOWN"]
KNOWN = {"nothing": 0.7, "prefix": 0.1, "ends": 0.08, "frames": 0.04, "region": 0.08}
"""What is given of a clip, and how often."""


# %% tags=["source: minisora.train.dit.ROUGH"]
ROUGH = 0.3
"""How often what is given is noisy: a clip that is made in many hops is given frames that were generated."""

# %% tags=["source: minisora.train.dit.ROUGHEST"]
ROUGHEST = 0.2
"""The latest time that what is given may stand at."""


# %% tags=["source: minisora.train.dit.given"]
def given(item: Item, source: torch.Generator) -> Known | None:
    """What the model is told of a clip this time, by chance."""
    chance, kinds = torch.tensor(list(KNOWN.values())), list(KNOWN)
    kind = kinds[int(torch.multinomial(chance, 1, generator=source))]
    z = item["z"]
    if kind == "nothing" or "frames" not in item or z.shape[1] < 2:
        return None
    singles = {frame: image.float() for frame, image in zip(item["frames"], item["images"], strict=True)}
    if kind == "prefix":
        count = int(torch.randint(1, z.shape[1], (), generator=source))
        return Known(prefix=z[:, :count].float())
    if kind == "ends":  # the last frame, and the first of two times in three
        last = max(singles)
        first = torch.rand((), generator=source) < 2 / 3
        return Known(prefix=z[:, :1].float() if first else None, frames={last: singles[last]})
    if kind == "frames":
        taken = torch.rand(len(singles), generator=source) < 0.5
        return Known(frames={frame: image for (frame, image), take in zip(singles.items(), taken, strict=True) if take})
    return Known(region=item["region"].float())


# %% tags=["source: minisora.train.dit.Shown"]
@dataclass(frozen=True)
class Shown:
    """A clip as the model gets to see it this time."""

    caption: str
    z: Tensor
    known: Known | None
    ring: bool

    def tokens(self) -> tuple[int, ...]:
        """What its number of tokens follows from."""
        known = self.known or Known()
        return (*self.z.shape, known.region is not None, len(known.frames))


# %% tags=["source: minisora.train.dit.show"]
def show(item: Item, source: torch.Generator) -> Shown:
    if "ring" in item and torch.rand((), generator=source) < RINGS:
        return Shown(item["caption"], item["ring"].float(), None, True)
    known = given(item, source)
    if known is not None and torch.rand((), generator=source) < ROUGH:
        known = replace(known, time=ROUGHEST * float(torch.rand((), generator=source)))
    return Shown(item["caption"], item["z"].float(), known, False)


# %% [markdown]
# Then the lines of notebook 04, on packed tokens: noise, a time for each clip, time 0 for what is known, and the loss over the rest.

# %% tags=["source: minisora.train.dit.step_for"]
def step_for(
    encoder: TextEncoder, tokenizer: Tokenizer, stride: int, shift: float = 1.0,
    within: tuple[float, float] = (0.0, 1.0),
) -> Callable:  # fmt: skip
    """The step function of the engine. `stride` is the number of frames in a latent; the encoder stays as it is."""
    ids: dict[str, list[int]] = {}  # captions are few and come again

    def prompt(caption: str, length: int) -> list[int]:
        if caption not in ids:
            ids[caption] = truncate(tokenizer.encode(caption), length)
        return ids[caption]

    def step(model: nn.Module, batch: Sequence[Item], generator: torch.Generator) -> tuple[Tensor, Metrics]:
        assert isinstance(model, DiT)
        config, device = model.config, model.table.device
        # neighbours of equal length make few attention calls
        shown = sorted((show(item, generator) for item in batch), key=Shown.tokens)
        known, rings = [each.known for each in shown], [each.ring for each in shown]
        canvas = paint([each.z.to(device) for each in shown], known, config.patch, stride, rings)

        with torch.no_grad():
            rows = encoder([prompt(each.caption, config.text_length) for each in shown])
        kept = torch.rand(len(shown), generator=generator) >= DROPPED
        rows = [row if keep else row[:0] for row, keep in zip(rows, kept, strict=True)]
        text = pack_text(rows, config.text_length, config.padded)

        x, lengths = canvas.tokens.x, torch.tensor(canvas.tokens.lengths, device=device)
        noise = torch.randn(x.shape, generator=generator).to(device)
        t = sample_times(len(shown), generator, shift, within=within).to(device)
        t = torch.where(canvas.unknown, t.repeat_interleave(lengths), canvas.times)  # what is known is near time 0

        v = model(canvas.tokens.with_x(mix(x, noise, t)), t, text)
        counts = {"weight": int(canvas.unknown.sum()), "clips": len(shown), "tokens": len(x)}
        return loss(v, velocity(x, noise), canvas.unknown), dict(counts)

    return step


# %% [markdown]
# The text encoder is finished, too, before the transformer begins: notebook 06 taught one to read, and said why. Here it learns on our captions.

# %%
preset = PRESETS["tiny"]
small = replace(preset.dit, channels=toy.vae.config.channels, patch=(1, 2, 2), width=64, heads=4, layers=2, mlp=192, theta=10.0, clean=False)
captions = [item["caption"] for item in shelf.items]
encoder, tokenizer = stages.train_text(preset, captions, folder, recipe=replace(preset.recipes["text"], steps=150))
step = step_for(encoder.cpu(), tokenizer, stride=4, shift=3.0)

# %% tags=["draft"]
def fresh(config=small, seed: int = 0) -> DiT:
    """A transformer of random weights."""
    torch.manual_seed(seed)
    return DiT(config)


# %%
value, metrics = step(fresh(), [shelf[index] for index in range(8)], torch.Generator().manual_seed(0))
print(f"loss {value.item():.2f}", metrics)

# %% [markdown]
# ## It fails first: a rate that is too high, a start that is too fast
#
# The learning rate is the number that ruins most runs. Too low, and nothing happens; too high, and the loss stays up or
# explodes. And AdamW's first steps move every weight by the whole rate, however little it knows yet, so a high rate has to
# be *warmed up* to.

# %% tags=["draft"]
def short_run(rate: float, warmup: int, steps: int = 120) -> list[float]:
    """The losses of a small model, trained by AdamW at one rate."""
    model, losses = fresh(), []
    optimiser = AdamW(model.parameters(), rate, (0.9, 0.95))
    for number in range(steps):
        source = torch.Generator().manual_seed(number)
        chosen = torch.randint(len(shelf), (24,), generator=source).tolist()
        value, _ = step(model, [shelf[index] for index in chosen], source)
        optimiser.zero_grad()
        value.backward()
        optimiser.param_groups[0]["lr"] = rate * min(1.0, (number + 1) / max(1, warmup))
        optimiser.step()
        losses.append(value.item())
    return losses


# %%
runs = {"1e-4": (1e-4, 20), "2e-3": (2e-3, 20), "3e-2": (3e-2, 20), "3e-2, no warm-up": (3e-2, 0), "5e-1": (5e-1, 20)}
tried = {name: short_run(*how) for name, how in runs.items()}
figure, ax = plt.subplots(figsize=(6.5, 2.8))
for name, values in tried.items():
    ax.plot(torch.tensor(values).unfold(0, 10, 5).mean(1).clamp(max=3), label=f"{name}: {sum(values[-20:]) / 20:.2f}")
ax.set(xlabel="5 steps", ylabel="loss", title="Learning rates")
ax.legend()
picture(figure, "Losses of five runs: 1e-4 falls slowly; 2e-3 and 3e-2 fall fast; 3e-2 without warm-up stays above them for most of the run, and 5e-1 stays high.")

# %% [markdown]
# At 3e-2 twenty steps of warm-up are worth a hundred: without them the first few steps throw the weights so far off that they need
# the rest of the run to come back. Between 2e-3 and 3e-2 nothing much changes here. We stay well below the cliff, since nobody
# knows beforehand where it stands for a larger model.


# %% [markdown]
# ## A schedule
#
# Up, along, and down in a straight line. The way down matters more than it looks: while the rate falls, the noise of single steps
# averages out, and much of what a run gains it gains there. (In the first 6,000 steps of the toy model the loss fell as much over the last third as over the two before, once the first 900 were done.)

# %% tags=["method: minisora.core.recipe.Recipe.__post_init__"]
@dataclass(frozen=True)
class Recipe:
    """Everything about a training run that is neither model nor data."""

    steps: int = 1000
    """Optimiser steps; a budget of minutes may end the run sooner."""
    batch: int = 32
    """Clips in one step, over all ranks and accumulated passes."""
    rate: float = 1e-3
    """Peak learning rate of AdamW."""
    matrix_rate: float | None = None
    """Peak learning rate of Muon for weight matrices; without one, AdamW trains them too."""
    warmup: int = 50
    """Steps over which the learning rate rises from nothing."""
    decay: float = 0.3
    """The last share of the steps, over which the learning rate falls to nothing."""
    weight_decay: float = 0.0
    clip: float = 1.0
    """Largest norm of the gradient."""
    accumulate: int = 1
    """Passes per optimiser step, for batches that do not fit."""
    ema: float = 0.999
    """How much of the averaged weights is kept at each step."""
    seed: int = 0

    def __post_init__(self) -> None:
        positive = {"steps": self.steps, "batch": self.batch, "rate": self.rate, "accumulate": self.accumulate}
        for name, value in positive.items():
            if not value > 0:
                raise MinisoraError(f"recipe: {name} is {value}, and it has to be above 0")
        if self.batch % self.accumulate:
            raise MinisoraError(f"recipe: a batch of {self.batch} cannot be split into {self.accumulate} equal passes")
        if not (0 <= self.decay <= 1 and 0 <= self.ema < 1 and self.warmup >= 0):
            raise MinisoraError("recipe: decay lies in 0 … 1, ema in 0 … 1 (1 excluded), and warmup is not negative")


# %% tags=["method: minisora.core.recipe.Recipe.scale"]
def scale(self, step: int, total: int | None = None) -> float:
    """The learning rate at a step as a share of its peak: up, along, and down in a straight line."""
    total = total or self.steps
    rising = (step + 1) / max(1, self.warmup)
    falling = (total - step) / max(1.0, self.decay * total)
    return max(0.0, min(1.0, rising, falling))


Recipe.scale = scale

# %%
recipe = Recipe(steps=1000, warmup=100, decay=0.4)
figure, ax = plt.subplots(figsize=(5.5, 2.2))
ax.plot([recipe.scale(number) for number in range(1000)])
ax.set(xlabel="step", ylabel="share of the rate", title="warmup = 100, decay = 0.4")
picture(figure, "A line that rises for 100 steps, stays at one, and falls to zero over the last 400.")


# %% [markdown]
# ## Muon: no direction is left behind
#
# A gradient of a matrix has a few strong directions and many weak ones. AdamW scales single numbers, so the strong ones win. Write the
# gradient (in truth its running mean, the momentum) as $M = U S V^\top$. Muon steps along $U V^\top$: same directions, all equally long
# ([Jordan et al. 2024](https://kellerjordan.github.io/posts/muon/)). No decomposition is needed. An odd polynomial of a matrix acts on each
# singular value alone,
#
# $$a X + b\,(X X^\top) X + c\,(X X^\top)^2 X = U\,(a S + b S^3 + c S^5)\,V^\top,$$
#
# and five rounds of a well chosen one bring all of them near 1.

# %% tags=["source: minisora.train.optim.orthogonal"]
def orthogonal(stack: Tensor, steps: int = 5) -> Tensor:
    """(n, rows, columns), U S Vᵀ each → about U Vᵀ: singular values near 1, by Newton–Schulz iterations.

    X ← a X + b (X Xᵀ) X + c (X Xᵀ)² X acts on every singular value s alone, as s ← a s + b s³ + c s⁵. These numbers
    lift small ones fast, and leave all within about 0.7 … 1.2, which is as good as 1 for a step.
    """
    a, b, c = 3.4445, -4.7750, 2.0315
    x = stack.to(torch.bfloat16 if bf16_pays(stack.device) else torch.float32)
    tall = x.shape[1] > x.shape[2]
    x = x.mT if tall else x  # the smaller of the two products X Xᵀ and Xᵀ X
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)  # singular values up to 1
    for _ in range(steps):
        square = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(square, square, square, beta=b, alpha=c), x, beta=a)
    return x.mT if tall else x


# %%
s, before = torch.linspace(0, 1, 400), torch.randn(96, 64) @ torch.diag(torch.logspace(0, -2, 64))
bent = s
for _ in range(5):
    bent = 3.4445 * bent - 4.7750 * bent**3 + 2.0315 * bent**5
figure, axes = plt.subplots(1, 2, figsize=(9, 2.8))
axes[0].plot(s, bent)
axes[0].set(xlabel="singular value before", ylabel="after", title="Five rounds")
before = before / torch.linalg.matrix_norm(before, 2)  # the largest singular value is 1
for name, matrix in {"before": before, "after": orthogonal(before[None].float())[0].float()}.items():
    axes[1].plot(torch.linalg.svdvals(matrix), label=name)
axes[1].set(yscale="log", xlabel="number", title="Singular values of a matrix")
axes[1].legend()
picture(figure, "Left: five rounds send all but the smallest values to about one. Right: the values of a matrix, steep before and flat after.")


# %% tags=["source: minisora.train.optim._by_shape"]
def _by_shape(matrices: Iterable[Tensor]) -> Iterable[list[Tensor]]:
    groups = defaultdict[torch.Size, list[Tensor]](list)
    for matrix in matrices:
        groups[matrix.shape].append(matrix)
    return groups.values()


# %% tags=["source: minisora.train.optim.Muon"]
class Muon(Optimizer):
    """Muon (Jordan et al. 2024): momentum M = U S Vᵀ, and a step along U Vᵀ, so that no direction is left behind.

    torch.optim.Muon is the same, but takes one matrix at a time and always in bf16: here all matrices of one shape go
    together, in bf16 where that pays. On a CPU that does not know bf16, that is ten to forty times as fast.
    """

    def __init__(self, matrices: ParamsT, lr: float, weight_decay: float = 0.0, momentum: float = 0.95) -> None:
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for matrices in _by_shape(matrix for matrix in group["params"] if matrix.grad is not None):
                self._move(matrices, group)

    def _move(self, matrices: list[Any], group: dict[str, Any]) -> None:
        ahead = []
        for matrix in matrices:
            momentum = self.state[matrix].setdefault("momentum", torch.zeros_like(matrix))
            momentum.lerp_(matrix.grad, 1 - group["momentum"])  # M ← μ M + (1 - μ) G
            ahead.append(torch.lerp(matrix.grad, momentum, group["momentum"]))  # Nesterov: where M is going
        moves = orthogonal(torch.stack(ahead).flatten(2))

        rows, columns = moves.shape[1:]
        rate = group["lr"] * max(1.0, rows / columns) ** 0.5  # tall matrices move further, for equal change of outputs
        for matrix, move in zip(matrices, moves, strict=True):
            matrix.mul_(1 - group["lr"] * group["weight_decay"])
            matrix.add_(move.reshape(matrix.shape), alpha=-rate)


# %% [markdown]
# It is for matrices *inside* a model. First and last layers, embeddings, norms and tables stay with AdamW. One rule decides, in one
# place:

# %% tags=["source: minisora.train.optim.LAYERS"]
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d, nn.Conv3d)

# %% tags=["source: minisora.train.optim.BETAS"]
BETAS = (0.9, 0.95)
"""AdamW's usual 0.999 looks back on 1000 steps, which is a whole run here; 0.95 soon forgets a gradient's burst."""


# %% tags=["source: minisora.train.optim.kinds"]
def kinds(model: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter], list[nn.Parameter]]:
    """(matrices for Muon, other weights, the rest). This is the rule, and the only place that decides it.

    Muon takes the weights of linear and convolutional layers that stand in an `nn.ModuleList`, which is how a model
    stacks its blocks: neither the first layer, nor the last, nor an embedding. A kernel is a matrix, too, from all
    that it sees to its output channels. Weight decay is for weights of such layers; norms, biases, tables and
    embeddings have sizes of their own to keep.
    """
    hidden, weights = set[nn.Parameter](), set[nn.Parameter]()
    for module in model.modules():
        inner = module.modules() if isinstance(module, nn.ModuleList) else ()
        hidden |= {layer.weight for layer in inner if isinstance(layer, LAYERS)}
        weights |= {module.weight} if isinstance(module, LAYERS) else set()
    learnt = [parameter for parameter in model.parameters() if parameter.requires_grad]
    return (
        [parameter for parameter in learnt if parameter in hidden],
        [parameter for parameter in learnt if parameter in weights - hidden],
        [parameter for parameter in learnt if parameter not in weights | hidden],
    )


# %% tags=["source: minisora.train.optim.set_rate"]
def set_rate(optimiser: Optimizer, scale: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = group["peak"] * scale


# %% tags=["source: minisora.train.optim.optimisers"]
def optimisers(model: nn.Module, recipe: Recipe) -> list[Optimizer]:
    """The optimisers of a model. Each group remembers its peak rate, of which `set_rate` takes a share."""
    matrices, weights, rest = kinds(model)
    if recipe.matrix_rate is None:
        matrices, weights = [], matrices + weights
    groups = [
        {"params": weights, "weight_decay": recipe.weight_decay},
        {"params": rest, "weight_decay": 0.0},
    ]
    made: list[Optimizer] = [AdamW([group for group in groups if group["params"]], recipe.rate, BETAS, fused=True)]
    if matrices and recipe.matrix_rate is not None:
        made.append(Muon(matrices, recipe.matrix_rate, recipe.weight_decay))
    for optimiser in made:
        for group in optimiser.param_groups:
            group["peak"] = group["lr"]
    return made


# %% [markdown]
# ## The average
#
# The weights of one step carry the noise of its batch. So beside the model walks an average of its recent weights, which learns
# nothing, costs nearly nothing, and at the end is better. It is the one that is saved for use.

# %% tags=["source: minisora.train.ema.kept"]
def kept(ema: float, step: int) -> float:
    """The share of the average that step 0, 1, … keeps.

    At 0.999 from the start, a third of the average would still be the random first weights after 1000 steps. So it
    looks back on about the last tenth of the run, however long that is, until `ema` is reached.
    """
    return min(ema, (1 + step) / (10 + step))


# %% tags=["source: minisora.train.ema.follow"]
@torch.no_grad()
def follow(average: nn.Module, model: nn.Module, keep: float) -> None:
    """average ← keep · average + (1 - keep) · model. Buffers, which are not learnt, are taken as they are."""
    old: list[Tensor] = list(average.parameters())
    new: list[Tensor] = list(model.parameters())
    torch._foreach_lerp_(old, new, 1 - keep)  # pyright: ignore[reportPrivateImportUsage]
    for kept_buffer, buffer in zip(average.buffers(), model.buffers(), strict=True):
        kept_buffer.copy_(buffer)


# %%
model, judged = fresh(), {"the model": [], "its average": []}
average, made = copy.deepcopy(model), optimisers(model, Recipe(rate=2e-2))
test = [shelf[index] for index in range(96)]
for number in range(200):
    source = torch.Generator().manual_seed(number)
    chosen = torch.randint(96, len(shelf), (8,), generator=source).tolist()
    value, _ = step(model, [shelf[index] for index in chosen], source)
    model.zero_grad()
    value.backward()
    for optimiser in made:
        optimiser.step()
    follow(average, model, kept(0.99, number))
    if number % 20 == 19:
        with torch.no_grad():
            for name, one in zip(judged, (model, average), strict=True):
                judged[name].append(step(one, test, torch.Generator().manual_seed(7))[0].item())
figure, ax = plt.subplots(figsize=(6, 2.6))
for name, values in judged.items():
    ax.plot(range(20, 201, 20), values, marker="o", label=f"{name}: {values[-1]:.3f}")
ax.set(xlabel="step", ylabel="loss on the same clips", title="A high rate, batches of 8")
ax.legend()
picture(figure, "Loss on fixed clips against steps, for the model and for its average, which lags in the steep part and ends lower.")

# %% [markdown]
# While the model still learns fast, its average lags behind. Once the model only jumps about, the average is better.


# %% [markdown]
# ## Chance that can be repeated
#
# All that is random in a pass follows from the seed of the run, the number of the step and the number of the pass, and from nothing
# else: not from how often the process was started, nor from how many processes share the work. `torch.Generator` states need not
# be saved, since any of them can be made again.

# %% tags=["source: minisora.train.engine.randomness"]
def randomness(seed: int, step: int, turn: int) -> torch.Generator:
    """The source of all that is random in one pass. It is on the CPU, so that every device gets the same numbers."""
    digest = hashlib.blake2b(f"{seed}/{step}/{turn}".encode(), digest_size=8).digest()
    own = int.from_bytes(digest, "little")
    torch.manual_seed(own)  # dropout asks the global generator
    return generator(own)


# %% [markdown]
# A batch may be too large for one pass. Then it is cut, and the gradients of the parts are added, each weighted by how many tokens its
# loss is the mean of. Processes on several cores or GPUs share the parts in the same way.

# %% tags=["source: minisora.train.engine.parts"]
def parts(batch: Any, count: int) -> Iterator[Any]:
    """Cut a list of clips, or a tensor, into so many parts of about one length; one part is the batch, of any kind."""
    if count == 1:
        yield batch
        return
    if len(batch) < count:
        raise MinisoraError(f"a batch of {len(batch)} cannot be cut into {count} parts: lower recipe.accumulate")
    for turn in range(count):
        yield batch[len(batch) * turn // count : len(batch) * (turn + 1) // count]


# %% tags=["source: minisora.train.engine.gradient"]
def gradient(
    model: nn.Module, batch: Any, step: Step, recipe: Recipe, number: int, dtype: torch.dtype
) -> dict[str, Any]:
    """Leaves the gradient of the whole batch's mean loss, Σ w ∇loss / Σ w over its parts, in .grad; returns metrics."""
    weights, counts, means = 0.0, dict[str, int](), dict[str, float | Tensor]()
    device, this = next(model.parameters()).device, ranks()
    for turn, part in enumerate(parts(batch, recipe.accumulate)):
        if turn % this.world != this.rank:  # another rank's
            continue
        source = randomness(recipe.seed, number, turn)
        with torch.autocast(device.type, dtype, enabled=dtype == torch.bfloat16):
            loss, metrics = step(model, part, source)
        weight = metrics.get("weight", len(part) if hasattr(part, "__len__") else 1)
        (weight * loss).backward()

        weights += weight
        for name, value in ({"loss": loss} | metrics).items():
            if isinstance(value, int):
                counts[name] = counts.get(name, 0) + value
            else:  # a tensor stays where it is: asking for its value would wait for the device
                value = value.detach() if isinstance(value, Tensor) else value
                means[name] = means.get(name, 0.0) + weight * value

    distributed.add_up_gradients(model)
    own = {"weights": weights} | means | counts
    totals = distributed.add_up({name: float(value) for name, value in own.items()})
    weights = totals["weights"] or math.nan  # a mean of nothing
    for parameter in model.parameters():
        if parameter.grad is not None:
            parameter.grad /= weights
    whole = {name: int(totals[name]) for name in counts if name != "weight"}
    return {name: totals[name] / weights for name in means} | whole


# %% [markdown]
# ## All that the next step depends on
#
# The model, its average, the moments of the optimisers, and two numbers. If these are saved, a run can be killed.

# %% tags=["source: minisora.train.state.Counters"]
@dataclass
class Counters:
    """Where a run stands."""

    step: int = 0
    """Steps done, and so the number of the next one."""
    seconds: float = 0.0
    """Time spent, over all its lives; what was lost with a kill is not counted."""
    skipped: int = 0
    """Steps left out because their loss or gradient was not finite."""
    skipped_in_a_row: int = 0

    def count(self, finite: bool, seconds: float) -> None:
        self.step, self.seconds = self.step + 1, seconds
        self.skipped += not finite
        self.skipped_in_a_row = 0 if finite else self.skipped_in_a_row + 1


# %% tags=["method: minisora.train.state.State.new"]
@dataclass
class State:
    """Everything that the next step depends on."""

    model: nn.Module
    average: nn.Module
    optimisers: list[Optimizer]
    at: Counters

    @classmethod
    def new(cls, model: nn.Module, recipe: Recipe) -> "State":
        for name, parameter in model.named_parameters():
            if parameter.dtype not in (torch.float32, torch.float64):
                raise MinisoraError(
                    f"parameter {name} is {parameter.dtype}, too coarse for small steps to add up: train weights in "
                    "fp32 (model.float()), and let dtype say what to compute in"
                )
        average = copy.deepcopy(model).eval().requires_grad_(False)
        return cls(model.train(), average, optimisers(model, recipe), Counters())


# %% tags=["method: minisora.train.state.State.update"]
def update(self, scale: float, ema: float) -> None:
    """One step of every optimiser along the gradients that are there, and the average follows."""
    for optimiser in self.optimisers:
        set_rate(optimiser, scale)
        optimiser.step()
    follow(self.average, self.model, kept(ema, self.at.step))


State.update = update

# %% tags=["source: minisora.train.state.FILES"]
FILES = ("model.safetensors", "average.safetensors", "optimisers.safetensors")

# %% tags=["source: minisora.train.state.KEPT"]
KEPT = 2  # checkpoints: should the newest be damaged, there is one before it


# %% tags=["method: minisora.train.state.State.files"]
def files(self) -> dict[str, Mapping[str, Tensor]]:
    """A checkpoint's files and the tensors in each."""
    names: dict[Tensor, str] = {parameter: name for name, parameter in self.model.named_parameters()}
    moments = {
        f"{key}/{names[parameter]}": tensor
        for optimiser in self.optimisers
        for parameter, entry in optimiser.state.items()
        for key, tensor in entry.items()
    }
    return dict(zip(FILES, (self.model.state_dict(), self.average.state_dict(), moments), strict=True))


State.files = files


# %% tags=["method: minisora.train.state.State.restore"]
def restore(self, folder: Path, at: Counters) -> None:
    model, average, moments = (folder / name for name in FILES)
    load_into(self.model, model)
    load_into(self.average, average)
    entries = defaultdict[str, dict[str, Tensor]](dict)
    for label, tensor in load_tensors(moments)[0].items():
        key, _, name = label.partition("/")
        entries[name][key] = tensor
    names = {parameter: name for name, parameter in self.model.named_parameters()}
    for optimiser in self.optimisers:
        order = [names[parameter] for group in optimiser.param_groups for parameter in group["params"]]
        state = {number: entries[name] for number, name in enumerate(order) if name in entries}
        optimiser.load_state_dict(optimiser.state_dict() | {"state": state})
    self.at = at


State.restore = restore


# %% [markdown]
# **A checkpoint that is whole or not there.** The process may die at any instant, also in the middle of writing. So a checkpoint is
# written into a folder with another name, brought to the disk, and renamed at the end: renaming is one act for the file system. It
# carries the sha256 of its files, so a damaged one is noticed and the one before it is used. No pickle: tensors and JSON only.

# %% tags=["source: minisora.train.state.saved"]
def saved(out: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    found = (folder for folder in (out / "checkpoints").glob("step-*") if folder.name[5:].isdigit())
    return sorted(found, key=lambda folder: int(folder.name[5:]))


# %% tags=["source: minisora.train.state.save"]
def save(out: Path, state: State, terms: dict[str, Any]) -> None:
    """Write a checkpoint of this step, unless it is there, and drop those before the last two."""
    folder = out / "checkpoints" / f"step-{state.at.step:06d}"
    if folder.exists():
        return
    draft = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(draft, ignore_errors=True)
    files = state.files()
    try:
        for name, tensors in files.items():
            save_tensors(draft / name, tensors)
        content = {
            "at": asdict(state.at),
            "terms": terms,
            "versions": {"minisora": __version__, "torch": torch.__version__},
            "sha256": {name: sha256(draft / name) for name in files},
        }
        save_json(draft / "state.json", content)
    except MinisoraError as error:  # half a checkpoint would only keep a full disk full
        shutil.rmtree(draft, ignore_errors=True)
        last = [f"{older.name} is sound: go on from it with --resume" for older in saved(out)[-1:]]
        raise MinisoraError("; ".join([f"step {state.at.step} is not saved: {error}", *last])) from error
    os.replace(draft, folder)
    sync_folder(folder.parent)
    for old in saved(out)[:-KEPT]:
        shutil.rmtree(old)  # killed halfway through, it leaves a damaged one that nobody needs


# %% tags=["source: minisora.train.state._verified"]
def _verified(folder: Path) -> tuple[Counters, dict[str, Any]]:
    """What a checkpoint says of itself, once all of it has turned out to be as it was written."""
    content = load_json(folder / "state.json")
    try:
        at, terms, digests = Counters(**content["at"]), dict(content["terms"]), dict(content["sha256"])
    except (KeyError, TypeError, ValueError):
        raise MinisoraError("state.json does not describe a checkpoint") from None
    for name in FILES:
        if sha256(folder / name) != digests.get(name):
            raise MinisoraError(f"{name} is not as it was written")
    return at, terms


# %% tags=["source: minisora.train.state._changes"]
def _changes(old: dict[str, Any], new: dict[str, Any], path: str = "") -> Iterator[str]:
    for key in sorted(old.keys() | new.keys()):
        before, now = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            yield from _changes(before, now, f"{path}{key}.")
        elif before != now:
            yield f"{path}{key} was {before!r} and is now {now!r}"


# %% tags=["source: minisora.train.state.begin"]
def begin(out: Path, state: State, terms: dict[str, Any], resume: bool) -> None:
    """Make the folder of a run ready, and bring `state` to the newest sound checkpoint if the run is resumed.

    `terms` is what a run has to keep to: its recipe, its precision and the caller's note.
    """
    used = any(path.is_file() and path.stat().st_size for path in out.rglob("*"))
    if (out.exists() and not out.is_dir()) or (used and not resume):
        raise MinisoraError(f"{out} is not an empty folder: resume the run that is in it (--resume), or choose another")
    checkpoints = out / "checkpoints"
    with writing(checkpoints):
        checkpoints.mkdir(parents=True, exist_ok=True)
    for left_over in [*checkpoints.glob(".step-*"), *out.glob(".*.tmp*")]:  # by a process that was killed
        shutil.rmtree(left_over) if left_over.is_dir() else left_over.unlink()

    damaged: list[Path] = []
    for folder in reversed(saved(out)):
        try:
            at, old_terms = _verified(folder)
        except MinisoraError as error:
            print(f"minisora: {folder} is damaged and left aside ({error})", file=sys.stderr)
            damaged.append(folder)
            continue
        for change in _changes(old_terms, terms):
            raise MinisoraError(f"{out} cannot be resumed, since {change}: change it back, or start in another folder")
        state.restore(folder, at)
        for worthless in damaged:
            shutil.rmtree(worthless)
        return
    if damaged:
        raise MinisoraError(f"no checkpoint in {checkpoints} is sound: start again in another folder")


# %% [markdown]
# ## The engine

# %% tags=["source: minisora.train.engine.PATIENCE"]
PATIENCE = 10  # steps in a row that may be skipped


# %% tags=["source: minisora.train.engine.advance"]
def advance(
    state: State, model: nn.Module, batch: Any, step: Step, recipe: Recipe, place: int, dtype: torch.dtype
) -> tuple[dict[str, Any], bool]:
    """One step, and what to log of it. If anything in it is not finite, all stays as it was."""
    number = state.at.step
    metrics = gradient(model, batch, step, recipe, number, dtype)
    norm = nn.utils.clip_grad_norm_(state.model.parameters(), recipe.clip).item()
    scale = min(recipe.scale(number), recipe.scale(place))
    finite = math.isfinite(metrics["loss"]) and math.isfinite(norm)
    if finite:
        state.update(scale, recipe.ema)
    state.model.zero_grad()
    return {"step": number, **metrics, "norm": norm, "scale": scale}, finite


# %% tags=["source: minisora.train.engine.position"]
def position(at: Counters, recipe: Recipe, minutes: float | None) -> int:
    """Where on the schedule a run is, in steps of recipe.steps: by its steps, or by its time if that is further."""
    by_time = int(recipe.steps * at.seconds / (60 * minutes)) if minutes else 0
    return max(at.step, by_time)


# %% [markdown]
# A checkpoint has its turn every so many steps. If a step takes seconds, that is too seldom, and a kill would cost an hour; if the model is large, saving takes minutes, and
# once a minute is too often. So we ask the clock as well: a minute after the last one, or twenty times what writing that one took, whichever is longer.

# %% tags=["source: minisora.train.engine.UNSAVED"]
UNSAVED = 60.0  # seconds of work that a kill may cost; more only where saving would take over a twentieth of the time


# %% tags=["source: minisora.train.engine.Pace"]
class Pace:
    """Where steps are slow, a checkpoint is due before its turn: when it costs little beside what a kill would."""

    def __init__(self) -> None:
        self.saved, self.price = time.monotonic(), 0.0

    def overdue(self) -> bool:
        return time.monotonic() - self.saved > max(UNSAVED, 20 * self.price)

    def save(self, out: Path, state: State, terms: dict[str, Any]) -> None:
        begun = time.monotonic()
        save(out, state, terms)
        self.saved = time.monotonic()
        self.price = self.saved - begun


# %% tags=["source: minisora.train.engine.fit"]
def fit(
    model: nn.Module, batch: Callable[[int], Any], step: Step, recipe: Recipe, out: str | Path, *,
    minutes: float | None = None, resume: bool = False, dtype: torch.dtype | None = None, compile: bool = False,
    save_every: int = 500, callback: Callable[[int, nn.Module], object] | None = None,
    note: dict[str, Any] | None = None, tensorboard: bool = False,
) -> nn.Module:  # fmt: skip
    """Train `model` in place. Returns the average of its weights over the steps, as saved in out/model.safetensors.

    `batch(n)` is the batch of step n, whenever it is asked for. `callback(steps, average)` follows every `save_every`
    steps. `note` is what else has to stay as it is for a run to be resumed: the model's config, the name of the data.
    """
    keep_memory()
    rank = distributed.join()
    recipe = distributed.shared(recipe, rank.world)
    out, dtype = Path(out), dtype or pick_dtype(next(model.parameters()).device)
    check(minutes, dtype, save_every)
    state, pace = State.new(model, recipe), Pace()
    terms = json.loads(json.dumps({"recipe": asdict(recipe), "dtype": str(dtype), "note": note or {}}))
    with distributed.main_first():
        begin(out, state, terms, resume)
    at, start = state.at, time.monotonic() - state.at.seconds
    if compile:
        compile_parts(model)

    with heard() as asked, compiler_errors(), Log(out, at.step, tensorboard) if rank.main else Silence() as log:
        while (place := position(at, recipe, minutes)) < recipe.steps:
            record, finite = advance(state, model, batch(at.step), step, recipe, place, dtype)
            seconds, stopping = distributed.agree(time.monotonic() - start, asked.is_set())
            at.count(finite, seconds)
            log.write(record | {"seconds": at.seconds}, share=position(at, recipe, minutes) / recipe.steps)
            refuse_to_go_on(at)
            due = at.step % save_every == 0 or position(at, recipe, minutes) >= recipe.steps
            if (due or pace.overdue() or stopping) and rank.main:
                log.keep()
                pace.save(out, state, terms)
            if due and callback is not None and rank.main:
                callback(at.step, state.average)
            if stopping:
                distributed.leave()
    if rank.main:
        save_tensors(out / "model.safetensors", state.average.state_dict())
        save_json(out / "run.json", terms | asdict(at) | {"last": log.last, "machine": machine.describe()})
    distributed.wait()
    return state.average


# %% [markdown]
# ## Kill it
#
# Twenty steps without a break; then twenty steps that crash at step 13, and go on from the checkpoint of step 10. Same weights?

# %%
recipe = Recipe(steps=20, batch=16, rate=2e-3, matrix_rate=0.02, warmup=5)
loader = Loader(shelf, recipe.batch, recipe.seed)
unbroken = fit(fresh(), loader.batch, step, recipe, folder / "unbroken")

# %% tags=["draft"]
def batch_or_crash(number: int) -> list:
    """The batch of a step, unless something happens."""
    if number == 13:
        raise OSError("the power is gone")
    return loader.batch(number)


# %%
try:
    fit(fresh(), batch_or_crash, step, recipe, folder / "killed", save_every=5)
except OSError as error:
    print(f"step {len(read_log(folder / 'killed'))}: {error}; left: {[path.name for path in saved(folder / 'killed')]}")
resumed = fit(fresh(), loader.batch, step, recipe, folder / "killed", save_every=5, resume=True)
same = all(torch.equal(a, b) for a, b in zip(unbroken.parameters(), resumed.parameters(), strict=True))
print("bit for bit the same weights:", same)
assert same

# %% [markdown]
# (The losses that are printed differ, since each is the mean of the last steps that its process made, twenty here and ten there. The
# tests do this with a real SIGKILL at random instants, also during saves, thirty times in each run of CI.)

# %% [markdown]
# ## Train a video model, now
#
# All of it together: the `tiny` transformer on the toy's latents, text and video, for about a minute. The picture below is drawn again while it
# trains.

# %%
live = widgets.Image(format="png")
live.add_class("minisora-live")
live

# %%
recipe = Recipe(steps=4000, batch=48, rate=2e-3, matrix_rate=0.02, warmup=30, decay=0.5, ema=0.995)
loader = Loader(shelf, recipe.batch, recipe.seed)
out = folder / "live"

# %% tags=["draft"]
def curve() -> plt.Figure:
    """The loss so far."""
    records = read_log(out)
    figure, ax = plt.subplots(figsize=(6.5, 2.6))
    values = torch.tensor([record["loss"] for record in records])
    width = max(1, len(values) // 60)
    ax.plot([record["seconds"] for record in records[width - 1 :: width]], values.unfold(0, width, width).mean(1))
    ax.set(xlabel="seconds", ylabel="loss", title=f"{len(values)} steps, loss {values[-20:].mean():.3f}")
    return figure


def watched(number: int) -> list:
    """The batch of a step; now and then, the picture above is drawn anew."""
    if number % 40 == 39:
        live.value = picture(curve(), "the loss so far").png
    return loader.batch(number)


# %%
config = replace(preset.dit, channels=toy.vae.config.channels, patch=(1, 1, 1), theta=10.0, clean=False)
dit = fit(fresh(config), watched, step, recipe, out, minutes=MINUTES)

# %%
picture(curve(), "The loss of the run above against seconds: a steep fall, and then an ever slower one.")

# %%
chosen = replace(preset, vae=toy.vae.config, dit=config, text=encoder.config, sampling=replace(preset.sampling, shift=3.0, guidance=3.0))
sora = Sora.assemble("tiny", chosen, toy.vae, dit, encoder, tokenizer)
wishes = ["a large red circle moves to the right on a white background", "a small green square stays still on a black background",
          "a large blue star moves up on a cream background"]  # fmt: skip
player.show(sora.generate(wishes, "9x32x32", seed=1))

# %% [markdown]
# A minute from random numbers to backgrounds that obey, and colored spots that begin to. The toy model saw four million clips, in twelve minutes of a
# large GPU: the loss and the rates are those on this page, and how it was done stands in `data/checkpoints/README.md`.

# %% [markdown]
# ## What could go wrong
#
# - **A mean of means.** Two parts of 10 and 1,000 tokens, each with its mean loss, averaged: the ten count a hundredfold. `gradient`
#   weights them.
# - **Resuming with another recipe.** A different batch size or seed makes a run that never existed. `begin` compares the terms, and refuses.
# - **A loss that is not a number.** One step is skipped and counted; ten in a row end the run while the last checkpoint is sound.

# %% [markdown]
# ## Exercise 07.1 · 10 minutes · easy
#
# Many papers let the rate fall along a cosine. Write it: up in a straight line over `warmup` steps, then half a wave from 1 at the end of
# the warm-up to 0 at step `steps`.
#
# <details><summary>Hint</summary>
#
# $\tfrac12 (1 + \cos \pi u)$, where $u$ goes from 0 to 1.
#
# </details>

# %% tags=["exercise: 07.1"]
def cosine(step: int, steps: int, warmup: int) -> float:
    """The share of the peak rate at a step."""
    raise NotImplementedError("exercise 07.1")


# %% tags=["check: 07.1"]
with exercise("07.1"):
    assert abs(cosine(0, 100, 10) - 0.1) < 1e-9 and abs(cosine(4, 100, 10) - 0.5) < 1e-9, "up: (step + 1) / warmup"
    assert abs(cosine(10, 100, 10) - 1) < 1e-9, "the top, right after the warm-up"
    assert abs(cosine(55, 100, 10) - 0.5) < 1e-9, "half-way down"
    assert abs(cosine(40, 100, 10) - 0.75) < 1e-9, "a third of the way down a wave has lost a quarter, and a straight line a third"
    assert abs(cosine(100, 100, 10)) < 1e-9, "nothing at the end"

# %% tags=["solution: 07.1"] jupyter={"source_hidden": true}
def cosine(step: int, steps: int, warmup: int) -> float:
    """The share of the peak rate at a step."""
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))


# %% [markdown]
# ## Exercise 07.2 · 15 minutes · medium
#
# With a constant share $\beta$ that is kept, the average after many steps is a weighted mean of past weights. What is the weight of the
# weights of $k$ steps ago, and how old is the average in the mean, $\sum_k k\, w_k$? Return both.
#
# <details><summary>Hint</summary>
#
# Each step multiplies what was there by $\beta$. $\sum_k k \beta^k = \beta / (1 - \beta)^2$.
#
# </details>

# %% tags=["exercise: 07.2"]
def memory(keep: float, k: int) -> tuple[float, float]:
    """(weight of the weights of k steps ago, mean age in steps)."""
    raise NotImplementedError("exercise 07.2")


# %% tags=["check: 07.2"]
with exercise("07.2"):
    weights = [memory(0.9, k)[0] for k in range(500)]
    assert abs(sum(weights) - 1) < 1e-6, f"all weights together are 1, and here {sum(weights):.3f}"
    assert abs(memory(0.9, 0)[1] - sum(k * weight for k, weight in enumerate(weights))) < 1e-6, "the mean age"
    assert abs(memory(0.999, 3)[1] - 999) < 1e-6, "0.999 looks back a thousand steps"

# %% tags=["solution: 07.2"] jupyter={"source_hidden": true}
def memory(keep: float, k: int) -> tuple[float, float]:
    """(weight of the weights of k steps ago, mean age in steps)."""
    return (1 - keep) * keep**k, keep / (1 - keep)


# %% [markdown]
# ## Exercise 07.3 · 20 minutes · medium
#
# A file that is whole or not there. Write text so that whoever reads `path` at any instant finds the old text or the new one, never a
# mixture, even if your process dies half-way.
#
# <details><summary>Hint</summary>
#
# Write beside it, then `os.replace(draft, path)`. If writing fails, leave no draft behind.
#
# </details>

# %% tags=["exercise: 07.3"]
def write_whole(path: Path, pieces: Iterable[str]) -> None:
    """Write pieces of text to a file, all or nothing."""
    raise NotImplementedError("exercise 07.3")


# %% tags=["check: 07.3"]
with exercise("07.3"):
    def pieces_then_crash(seen: list[str]) -> Iterator[str]:
        yield "new "
        seen.append(target.read_text())
        raise OSError("the power is gone")

    target, seen = Path(tempfile.mkdtemp()) / "a.txt", []
    write_whole(target, ["old ", "text"])
    assert target.read_text() == "old text"
    with suppress(OSError):
        write_whole(target, pieces_then_crash(seen))
    assert seen == ["old text"], "while the new one is being written, the old one is there"
    assert target.read_text() == "old text", "after a crash, too"
    assert [path.name for path in target.parent.iterdir()] == ["a.txt"], "and no draft is left behind"
    with target.open() as reader:
        write_whole(target, ["newer"])
        assert reader.read() == "old text", "who has opened the old one still reads it: put another file in its place"

# %% tags=["solution: 07.3"] jupyter={"source_hidden": true}
def write_whole(path: Path, pieces: Iterable[str]) -> None:
    """Write pieces of text to a file, all or nothing."""
    draft = path.with_name(f".{path.name}.draft")
    try:
        with open(draft, "w") as file:
            file.writelines(pieces)
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)


# %% [markdown] tags=["quiz"]
# ## Quiz
#
# 1. *Why is the generator on the CPU, even where a GPU computes?*
#    <details><summary>Answer</summary>Every device has its own way of making random numbers. From the CPU all of them get the same, and a run
#    can move to another machine.</details>
# 2. *Two processes share a batch. Why do both need the same number of passes?*
#    <details><summary>Answer</summary>They meet once for each batch, after their passes, to add up gradients. Whoever has fewer passes idles
#    until the other comes, and whoever has none has no sums that fit the others'.</details>
# 3. *At the end of a run the loss of the average is lower than that of any single step. How can a mean of weights be better than each of them?*
#    <details><summary>Answer</summary>The steps jump about in a valley, from wall to wall. Their mean lies near its floor.</details>
#
# ## Where next
#
# - **10 · Sampling**: how few steps are enough?
# - Kingma and Ba, *Adam*, 2014: [arXiv:1412.6980](https://arxiv.org/abs/1412.6980); Loshchilov and Hutter, *AdamW*, 2017:
#   [arXiv:1711.05101](https://arxiv.org/abs/1711.05101)
# - Jordan et al., *Muon: an optimizer for hidden layers in neural networks*, 2024: [kellerjordan.github.io](https://kellerjordan.github.io/posts/muon/)
# - Karras et al., *Analyzing and Improving the Training Dynamics of Diffusion Models* (on averages), 2023:
#   [arXiv:2312.02696](https://arxiv.org/abs/2312.02696)

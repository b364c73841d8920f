"""The training engine, for any model: batches in, weights out, and never a step lost.

    batch(n) → parts → step(model, part, generator) → loss → gradient → AdamW, Muon → average → log, checkpoint

Batch, noise and learning rate of step n follow from n and the recipe alone, so a run that is killed and resumed makes
the same losses, bit for bit. Only a budget of minutes gives this up: its schedule follows the clock as well, and goes
on from the time that the checkpoint tells. The log has the scale of the learning rate that every step really had.
"""

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from minisora.core import machine
from minisora.core.checkpoint import save_json, save_tensors
from minisora.core.errors import MinisoraError, one_line
from minisora.core.recipe import Recipe
from minisora.core.runtime import generator, keep_memory, pick_dtype, ranks
from minisora.train import distributed
from minisora.train.interrupt import heard
from minisora.train.log import Log, Silence
from minisora.train.state import Counters, State, begin, save

PATIENCE = 10  # steps in a row that may be skipped
UNSAVED = 60.0  # seconds of work that a kill may cost; more only where saving would take over a twentieth of the time

Metrics = dict[str, int | float | Tensor]
"""Whole numbers are counts: they add up, and are shown per second. All else is averaged, as the loss is.

The entry "weight" is not shown: it tells how many things the loss is the mean of; without it, as many as the part has.
"""
Step = Callable[[nn.Module, Any, torch.Generator], tuple[Tensor, Metrics]]
"""step(model, part of a batch, source of all randomness) → the mean loss over the part, and metrics."""


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


def position(at: Counters, recipe: Recipe, minutes: float | None) -> int:
    """Where on the schedule a run is, in steps of recipe.steps: by its steps, or by its time if that is further."""
    by_time = int(recipe.steps * at.seconds / (60 * minutes)) if minutes else 0
    return max(at.step, by_time)


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


def parts(batch: Any, count: int) -> Iterator[Any]:
    """Cut a list of clips, or a tensor, into so many parts of about one length; one part is the batch, of any kind."""
    if count == 1:
        yield batch
        return
    if len(batch) < count:
        raise MinisoraError(f"a batch of {len(batch)} cannot be cut into {count} parts: lower recipe.accumulate")
    for turn in range(count):
        yield batch[len(batch) * turn // count : len(batch) * (turn + 1) // count]


def randomness(seed: int, step: int, turn: int) -> torch.Generator:
    """The source of all that is random in one pass. It is on the CPU, so that every device gets the same numbers."""
    digest = hashlib.blake2b(f"{seed}/{step}/{turn}".encode(), digest_size=8).digest()
    own = int.from_bytes(digest, "little")
    torch.manual_seed(own)  # dropout asks the global generator
    return generator(own)


def check(minutes: float | None, dtype: torch.dtype, save_every: int) -> None:
    if minutes is not None and not minutes > 0:
        raise MinisoraError(f"a budget of {minutes} minutes leaves no time to train: give more than 0")
    if dtype not in (torch.float32, torch.bfloat16):
        raise MinisoraError(f"training computes in torch.float32 or torch.bfloat16, not in {dtype}")
    if save_every < 1:
        raise MinisoraError(f"a checkpoint every {save_every} steps cannot be: give 1 or more")


def refuse_to_go_on(at: Counters) -> None:
    if at.skipped_in_a_row >= PATIENCE:
        raise MinisoraError(
            f"the loss or its gradient was not finite {PATIENCE} steps in a row, up to step {at.step - 1}; the weights "
            "of the last checkpoint are sound: train with a lower rate or a longer warm-up, or look at the data"
        )


def compile_parts(model: nn.Module) -> None:
    """Compile each part where it is: a step calls the parts of a model, whose names and weights stay as they are."""
    for part in model.children():
        if type(part).forward is nn.Module.forward:  # never called itself, as a VAE, whose parts are
            compile_parts(part)
        else:
            part.compile()


@contextmanager
def compiler_errors() -> Iterator[None]:
    """Whoever asked for torch.compile learns in one line that it cannot be had here."""
    try:
        yield
    except RuntimeError as error:
        if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
            raise
        reason = one_line(error)
        raise MinisoraError(f"torch.compile failed ({reason}): train without it") from error

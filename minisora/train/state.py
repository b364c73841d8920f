"""All that a run is at a step, and its checkpoints: a run that is killed at any instant goes on from one of them.

A checkpoint is a folder. It is written beside its place and renamed when all of it has reached the disk, and carries
the sha256 of its files, so that there are whole ones and damaged ones, and nothing between.
"""

import copy
import os
import shutil
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from minisora import __version__
from minisora.core.checkpoint import (
    load_into,
    load_json,
    load_tensors,
    save_json,
    save_tensors,
    sha256,
    sync_folder,
)
from minisora.core.errors import MinisoraError, writing
from minisora.core.recipe import Recipe
from minisora.train.ema import follow, kept
from minisora.train.optim import optimisers, set_rate

FILES = ("model.safetensors", "average.safetensors", "optimisers.safetensors")
KEPT = 2  # checkpoints: should the newest be damaged, there is one before it


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

    def update(self, scale: float, ema: float) -> None:
        """One step of every optimiser along the gradients that are there, and the average follows."""
        for optimiser in self.optimisers:
            set_rate(optimiser, scale)
            optimiser.step()
        follow(self.average, self.model, kept(ema, self.at.step))

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


def saved(out: Path) -> list[Path]:
    """The checkpoints of a run, oldest first."""
    found = (folder for folder in (out / "checkpoints").glob("step-*") if folder.name[5:].isdigit())
    return sorted(found, key=lambda folder: int(folder.name[5:]))


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


def _changes(old: dict[str, Any], new: dict[str, Any], path: str = "") -> Iterator[str]:
    for key in sorted(old.keys() | new.keys()):
        before, now = old.get(key), new.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            yield from _changes(before, now, f"{path}{key}.")
        elif before != now:
            yield f"{path}{key} was {before!r} and is now {now!r}"

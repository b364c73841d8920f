"""The curves of a training run, from its log: the loss, the norm of its gradient, and whatever else it told."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import torch

from minisora.core.checkpoint import written_beside
from minisora.core.errors import MinisoraError
from minisora.train.log import read_log
from minisora.viz.style import style

UNSHOWN = ("step", "seconds", "clips", "tokens", "scale")
POINTS = 200  # a mean of neighbours for each: single steps are mostly noise


def write_curves(out: str | Path, path: str | Path) -> Path:
    """One panel for each number in the log of the run in `out`, over its minutes."""
    records = read_log(out)
    if not records:
        raise MinisoraError(f"the log in {out} is empty: there is nothing to draw yet")
    names = [name for name in records[-1] if name not in UNSHOWN]
    minutes = smooth([record["seconds"] / 60 for record in records])
    with style():
        figure, panels = plt.subplots(1, len(names), figsize=(3.6 * len(names), 2.8), squeeze=False)
        for name, panel in zip(names, panels[0], strict=True):
            values = smooth([record[name] for record in records])
            panel.plot(minutes, values)
            panel.set(title=name, xlabel="minutes", yscale="linear" if name in ("psnr", "right") else "log")
        with written_beside(path) as draft:
            figure.savefig(draft, format="png", dpi=110)
        plt.close(figure)
    return Path(path)


def smooth(values: Sequence[Any]) -> list[float]:
    """Means of neighbours, about POINTS of them; a step that was not finite is left out."""
    known = torch.tensor([float("nan") if value is None else value for value in values])
    return [part.nanmean().item() for part in known.chunk(min(POINTS, len(known)))]

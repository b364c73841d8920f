"""One plot style for every figure: quiet axes, colors that the color-blind can tell apart, sizes that can be read."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from cycler import cycler

# Okabe and Ito (2008), in an order whose neighbours differ in lightness too, so that it survives a gray printer.
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#000000", "#F0E442")
INK, FAINT = "#22262b", "#d5d9de"
FIELD = "cividis"  # for heat maps: its lightness rises evenly

RC: dict[Any, Any] = {
    "figure.figsize": (7.0, 3.6),
    "figure.dpi": 110,
    "figure.constrained_layout.use": True,
    "axes.prop_cycle": cycler(color=PALETTE),
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 12,
    "axes.titleweight": "bold",
    "axes.grid": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.6,
    "lines.linewidth": 2.0,
    "font.size": 11,
    "legend.frameon": False,
    "image.cmap": FIELD,
    "image.interpolation": "nearest",
    "savefig.bbox": "tight",
    "svg.hashsalt": "minisora",  # equal plots give equal files
}


def use_style() -> None:
    """For the head of a notebook: every figure after this line is in the style of the house."""
    mpl.rcParams.update(RC)


@contextmanager
def style() -> Iterator[None]:
    """The same for one figure."""
    with mpl.rc_context(RC):
        yield

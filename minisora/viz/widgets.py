"""Interactive figures: a picture that is drawn anew whenever a control is moved."""

from collections.abc import Callable
from typing import Any

import ipywidgets as widgets


class Explorer(widgets.VBox):
    """Controls and the picture that they change; where nothing can be moved, a line says so."""

    def __repr__(self) -> str:
        return "(controls to move, where a kernel runs)"


def explore(draw: Callable[..., bytes], width: int = 0, **controls: Any) -> Explorer:
    """`draw(**values)` gives the picture as the bytes of a PNG; `controls` are widgets, named as its arguments are."""
    image = widgets.Image(format="png", value=b"", layout={"width": f"{width}px"} if width else {})
    image.add_class("minisora-explore")

    def redraw(change: object = None) -> None:
        image.value = draw(**{name: control.value for name, control in controls.items()})

    for control in controls.values():
        if hasattr(control, "continuous_update"):
            control.continuous_update = False  # when it is let go: a picture may take a moment
        control.observe(redraw, "value")
    redraw()
    return Explorer([*controls.values(), image])

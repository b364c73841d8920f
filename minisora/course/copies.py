"""Copies of the notebooks for a class: one without solutions, and one with all that an instructor wants to know."""

import re
from pathlib import Path
from typing import Any

import nbformat

from minisora.core.errors import MinisoraError
from minisora.course.cells import Pair, code_cells, keep_answers, tag_of
from minisora.course.check import ASKED

POINTS = {"easy": 1, "medium": 2, "hard": 3}
WRONG = re.compile(r"^\| (\d\d\.\d+) \| (.+?) \| (.+?) \|$", re.MULTILINE)
"""A row of the instructor guide's table of common wrong answers: exercise, what goes wrong, what to ask."""


def student(pair: Pair) -> Any:
    """A notebook without outputs and solutions, in which every exercise says its points."""
    notebook = pair.read()
    notebook.cells = [cell for cell in notebook.cells if tag_of(cell).kind != "solution"]
    return _fixed(_with_points(notebook))


def instructor(pair: Pair, guide: str = "") -> Any:
    """A notebook with outputs and open solutions, and below each its points, its minutes and what people get wrong.

    `guide` is the text of the instructor guide, whose table says the last.
    """
    notebook = pair.with_outputs()
    asked = {name: (minutes, level) for cell in notebook.cells for name, minutes, level in _asked(cell.source)}
    notebook = _with_points(notebook)
    wrong = {name: (mistake, question) for name, mistake, question in WRONG.findall(guide)}
    cells = []
    for cell in notebook.cells:
        tag = tag_of(cell)
        cells.append(cell)
        if tag.kind == "solution":
            cell.metadata.pop("jupyter", None)
            cells.append(nbformat.v4.new_markdown_cell(_rubric(tag.name, *asked[tag.name], wrong.get(tag.name))))
    notebook.cells = cells
    return _fixed(notebook)


def total(notebook: Any) -> int:
    """The points of all exercises in a notebook."""
    return sum(POINTS[level] for cell in notebook.cells for _, _, level in _asked(cell.source))


def write(notebook: Any, pair: Pair, out: Path) -> Path:
    """Write a copy beside others; a notebook of the course is never written over."""
    if out.resolve() == pair.notebook.parent.resolve():
        raise MinisoraError(f"{out} holds the course itself: choose another folder with --out")
    out.mkdir(parents=True, exist_ok=True)
    keep_answers(out / pair.notebook.name)
    nbformat.write(notebook, out / pair.notebook.name)
    return out / pair.notebook.name


def _with_points(notebook: Any) -> Any:
    """Each exercise's heading also says its points, and so does the metadata of its cell."""
    points = {}
    for cell in notebook.cells:
        for name, _, level in _asked(cell.source):
            points[name] = POINTS[level]
            heading = next(line for line in cell.source.splitlines() if f"Exercise {name} " in line)
            unit = "point" if points[name] == 1 else "points"
            cell.source = cell.source.replace(heading, f"{heading} · {points[name]} {unit}")
    for _, cell in code_cells(notebook):
        if tag_of(cell).kind == "exercise":
            cell.metadata["minisora"] = {"points": points[tag_of(cell).name]}
    return notebook


def _asked(text: str) -> list[tuple[str, str, str]]:
    """(name, minutes, difficulty) of the exercises that a text announces."""
    return [(match[1], match[2], match[3]) for match in ASKED.finditer(text)]


def _rubric(name: str, minutes: str, level: str, wrong: tuple[str, str] | None) -> str:
    lines = [
        f"**For instructors · {name}** · {POINTS[level]} of {POINTS[level]} if the check passes, half for the right",
        f"idea with a slip in it. Planned for {minutes} minutes.",
    ]
    if wrong is not None:
        lines.append(f"Common: {wrong[0]}. Ask: *{wrong[1]}*")
    return " ".join(lines)


def _fixed(notebook: Any) -> Any:
    """Cells are named by their place, so that making a copy again changes nothing."""
    for place, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{place:03d}"
    return notebook

"""Notebooks as pairs: a text that is read in reviews, notebooks/text/NN_name.py, and the notebook that people open.

A cell's part in the course is told by one tag, a word or a word and a name:

    source: minisora.tokens.patches.patchify      builds a piece of the package, in the package's own words
    method: minisora.models.dit.DiT.forward       one method of a class that is too long for a cell
    draft                                         a simpler first version, under another name
    exercise: 02.1    solution: 02.1    check: 02.1
    header    parameters    quiz
"""

import hashlib
import logging
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import nbformat

from minisora.core.errors import MinisoraError
from minisora.course.source import method_of, text_of

log = logging.getLogger("minisora")

KINDS = ("source", "method", "draft", "exercise", "solution", "check", "header", "parameters", "quiz")


@dataclass(frozen=True)
class Tag:
    kind: str = ""
    name: str = ""


@dataclass(frozen=True)
class Pair:
    """One notebook: its text, and the notebook with outputs made from it."""

    text: Path

    @property
    def notebook(self) -> Path:
        return self.text.parents[1] / f"{self.text.stem}.ipynb"

    @property
    def number(self) -> str:
        return self.text.stem[:2]

    def read(self) -> Any:
        """The text as a notebook, without outputs."""
        return _jupytext().read(self.text, fmt="py:percent")

    def with_outputs(self) -> Any:
        if not self.notebook.exists():
            raise MinisoraError(f"{self.notebook} is not there: make it with `minisora course run {self.number}`")
        return nbformat.read(self.notebook, as_version=4)


def pairs(folder: Path, numbers: tuple[str, ...] = ()) -> list[Pair]:
    """All notebooks of a course, or those with these numbers, in their order."""
    found = [Pair(text) for text in sorted((folder / "text").glob("[0-9][0-9]_*.py"))]
    if not found:
        raise MinisoraError(f"{folder} holds no course: name the folder with the notebooks and their texts (--folder)")
    if unknown := set(numbers) - {pair.number for pair in found}:
        raise MinisoraError(f"there is no notebook {min(unknown)} in {folder}: choose among "
                            f"{', '.join(pair.number for pair in found)}")  # fmt: skip
    return [pair for pair in found if not numbers or pair.number in numbers]


def tag_of(cell: Any) -> Tag:
    """The part that a cell has in the course; other tags are other people's."""
    for tag in cell.metadata.get("tags", []):
        kind, _, name = (part.strip() for part in tag.partition(":"))
        if kind in KINDS:
            return Tag(kind, name)
    return Tag()


def code_cells(notebook: Any) -> Iterator[tuple[int, Any]]:
    """Number and cell of all code, counted as people count: from 1, text cells included."""
    return ((place, cell) for place, cell in enumerate(notebook.cells, 1) if cell.cell_type == "code")


def wanted(tag: Tag) -> str | None:
    """What the package says where a cell is tagged as a piece of it."""
    maker = {"source": text_of, "method": method_of}.get(tag.kind)
    return None if maker is None else maker(tag.name)


def sync(pair: Pair) -> list[str]:
    """Write the package's words into the tagged cells, and make text and notebook agree. Returns what has changed."""
    notebook, changed = pair.read(), []
    for place, cell in code_cells(notebook):
        text = wanted(tag_of(cell))
        if text is not None and cell.source != text:
            cell.source = text
            changed.append(f"{pair.text.name}, cell {place}: {tag_of(cell).name}")
    jupytext = _jupytext()
    written = jupytext.writes(notebook, fmt="py:percent")
    if written != pair.text.read_text(encoding="utf-8"):
        pair.text.write_text(written, encoding="utf-8")
    if pair.notebook.exists():
        from jupytext.combine import combine_inputs_with_outputs

        notebook = combine_inputs_with_outputs(notebook, pair.with_outputs())
    write(pair, notebook)
    return changed


def write(pair: Pair, notebook: Any) -> None:
    """Save a notebook so that the same cells give the same file."""
    seen: set[str] = set()
    for cell in notebook.cells:
        turn = 0
        while (name := _name(cell.source, turn)) in seen:
            turn += 1
        seen.add(name)
        cell["id"] = name
        for private in ("execution", "collapsed", "lines_to_next_cell"):  # times and layout of one run
            cell.metadata.pop(private, None)
    notebook.metadata = nbformat.from_dict({
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    })  # fmt: skip
    notebook.nbformat, notebook.nbformat_minor = 4, 5
    keep_answers(pair.notebook)
    nbformat.write(notebook, pair.notebook)


def exercises_in(notebook: Any) -> dict[str, str]:
    """What stands in the cell of each exercise."""
    return {tag_of(cell).name: cell.source for _, cell in code_cells(notebook) if tag_of(cell).kind == "exercise"}


def keep_answers(path: Path) -> None:
    """Before a notebook is made anew: if somebody has answered its exercises, the old one is copied beside it."""
    if not path.exists():
        return
    answers = exercises_in(nbformat.read(path, as_version=4)).values()
    if all("NotImplementedError" in answer for answer in answers):
        return
    turn = 1
    while (kept := path.with_name(f"{path.stem}.mine{turn}.ipynb")).exists():
        turn += 1
    shutil.copy(path, kept)
    log.warning("somebody has answered exercises in %s: their notebook is kept as %s", path, kept.name)


def _name(source: str, turn: int) -> str:
    return hashlib.sha256(f"{turn}\0{source}".encode()).hexdigest()[:8]


def _jupytext() -> ModuleType:
    try:
        import jupytext
    except ImportError:
        raise MinisoraError('the course is edited with jupytext: pip install -e ".[dev]"') from None
    return jupytext

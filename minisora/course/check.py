"""Everything that could drift, go missing or be forgotten in a notebook, found in seconds, one line for each."""

import ast
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from minisora.core.errors import MinisoraError
from minisora.course.cells import Pair, code_cells, tag_of, wanted
from minisora.course.source import defined, imported, public_names

LONGEST = 45  # lines in a cell
EXERCISES = 3  # in a notebook, at least
FIGURE = re.compile(r"<img\b[^>]*>", re.IGNORECASE)
MEASURED = re.compile(r"^\*\*Measured\*\* .*$", re.MULTILINE)
ASKED = re.compile(r"^#+ Exercise (\d\d\.\d+) · (\d+) minutes · (easy|medium|hard)$", re.MULTILINE)


@dataclass
class Course:
    """What all notebooks together teach; filled as they are looked at, in their order."""

    taught: dict[str, str] = field(default_factory=dict)  # symbol → notebook

    def problems(self, pair: Pair) -> Iterator[str]:
        """What is wrong with one notebook."""
        notebook = pair.read()
        found = [*_cells(notebook), *self._teaching(pair, notebook), *_exercises(notebook), *_outputs(pair, notebook)]
        yield from (f"{pair.text.stem}: {problem}" for problem in found)

    def _teaching(self, pair: Pair, notebook: Any) -> Iterator[str]:
        """Nothing is imported before it is built here, and nothing is built twice."""
        here: dict[str, int] = {}
        for place, cell in code_cells(notebook):
            tag = tag_of(cell)
            if (name := _built(tag.kind, tag.name, cell.source)) is not None:
                if (before := self.taught.get(name, pair.text.stem)) != pair.text.stem or name in here:
                    yield f"cell {place} builds {name} again: {before} did; import it"
                here[name] = place
        self.taught |= dict.fromkeys(here, pair.text.stem)
        for place, cell in code_cells(notebook):
            for module, name in imported(_python(cell.source)):
                if f"{module}.{name}" in here:
                    yield f"cell {place} imports {name}, which cell {here[f'{module}.{name}']} builds"

    def untaught(self, modules: Iterable[str], excused: Mapping[str, str]) -> Iterator[str]:
        """Public names of modules that no notebook builds and nobody excused, and excuses that nothing needs."""
        names = [f"{module}.{name}" for module in modules for name in public_names(module)]
        yield from (f"{name} is taught nowhere" for name in names if name not in self.taught and name not in excused)
        yield from (f"{name} is excused, and is {'taught' if name in self.taught else 'not there'}"
                    for name in excused if name in self.taught or name not in names)  # fmt: skip


def _built(kind: str, name: str, text: str) -> str | None:
    """What a cell builds: the name in its tag, or the class that begins with the method in its tag."""
    if kind == "method" and re.match(r"(@.*\n)*class ", text):
        return name.rsplit(".", 1)[0]
    return name if kind == "source" else None


def _cells(notebook: Any) -> Iterator[str]:
    """Each cell by itself: its tag, its length, and the package's words where it says that it has them."""
    for place, cell in code_cells(notebook):
        tag, lines = tag_of(cell), len(cell.source.splitlines())
        if lines > LONGEST:
            yield f"cell {place} has {lines} lines, and a reader follows {LONGEST}"
        names = defined(_python(cell.source))
        if names and tag.kind not in ("source", "method", "draft", "exercise", "solution"):
            yield f"cell {place} defines {', '.join(names)}: tag it source, method, draft or exercise"
        try:
            text = wanted(tag)
        except MinisoraError as error:
            yield f"cell {place}: {error}"
            continue
        if text is not None and text != cell.source:
            yield f"cell {place} is not {tag.name} as the package has it: `minisora course sync`"
    heads = [cell for cell in notebook.cells if tag_of(cell).kind == "header"]
    if len(heads) != 1 or not MEASURED.search(heads[0].source):
        yield "no header with a line '**Measured** …': `minisora course run` writes it"
    for kind in ("parameters", "quiz"):
        if not any(tag_of(cell).kind == kind for cell in notebook.cells):
            yield f"no cell is tagged {kind}"
    for place, cell in enumerate(notebook.cells, 1):
        if cell.cell_type == "markdown" and re.search(r"!\[\s*\]\(", cell.source):
            yield f"cell {place} has a picture without alt text"


def _exercises(notebook: Any) -> Iterator[str]:
    """Each exercise has minutes and a difficulty, a hint, a check and a solution that is folded."""
    parts: dict[str, set[str]] = {}
    for _, cell in code_cells(notebook):
        tag = tag_of(cell)
        if tag.kind in ("exercise", "check", "solution"):
            parts.setdefault(tag.name, set()).add(tag.kind)
            if tag.kind == "solution" and not cell.metadata.get("jupyter", {}).get("source_hidden"):
                yield f"the solution of {tag.name} is not folded"
    text = "\n".join(cell.source for cell in notebook.cells if cell.cell_type == "markdown")
    asked = {match[1] for match in ASKED.finditer(text)}
    for name in sorted(parts.keys() | asked):
        for kind in sorted({"exercise", "check", "solution"} - parts.get(name, set())):
            yield f"exercise {name} has no cell tagged {kind}"
        if name not in asked:
            yield f"exercise {name} is not announced: 'Exercise {name} · 10 minutes · easy'"
    if len(parts) < EXERCISES:
        yield f"{len(parts)} exercises, and {EXERCISES} are the least"
    if text.count("<summary>Hint") < len(parts):
        yield "an exercise has no hint: <details><summary>Hint</summary> … </details>"


def _outputs(pair: Pair, notebook: Any) -> Iterator[str]:
    """The notebook has the text's cells, all run, without errors, and every picture says what it shows."""
    try:
        kept = pair.with_outputs()
    except MinisoraError as error:
        yield str(error)
        return
    if [(c.cell_type, c.source) for c in kept.cells] != [(c.cell_type, c.source) for c in notebook.cells]:
        yield "text and notebook differ: `minisora course sync`"
        return
    idle = [place for place, cell in code_cells(kept) if cell.source.strip() and not cell.get("execution_count")]
    if idle:
        yield f"cell {idle[0]} was not run, nor {len(idle) - 1} others: `minisora course run {pair.number}`"
    for place, cell in code_cells(kept):
        for output in cell.get("outputs", []):
            if output.output_type == "error":
                yield f"cell {place} ends in {output.ename}"
            data, html = output.get("data", {}), "".join(output.get("data", {}).get("text/html", ""))
            pictures = FIGURE.findall(html)
            if any(not re.search(r'\balt="[^"]+', picture) for picture in pictures):
                yield f"cell {place} shows a picture without alt text"
            if "image/png" in data and not pictures and "aria-label" not in html:
                yield f"cell {place} shows a picture without alt text: minisora.viz.figures.picture gives it one"


def _python(source: str) -> str:
    """A cell without the lines that only notebooks understand."""
    kept = "\n".join("" if line.lstrip().startswith(("%", "!")) else line for line in source.splitlines())
    try:
        ast.parse(kept)
    except SyntaxError:
        return ""  # running it says more
    return kept

"""Every notebook runs from top to bottom, is kept as it should be, and its exercises can be solved."""

import json
from pathlib import Path

import pytest

from minisora.course.cells import Pair, code_cells, pairs, tag_of
from minisora.course.check import Course
from minisora.course.exercises import PASSED, PROGRESS
from minisora.course.run import execute
from minisora.course.syllabus import EXCUSED, MODULES

PAIRS = pairs(Path(__file__).parents[1] / "notebooks")
every = pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.text.stem)


def test_nothing_drifted_and_nothing_is_missing() -> None:
    """And every public name of the syllabus is taught, or excused; no excuse is idle."""
    course = Course()
    assert PAIRS and [problem for pair in PAIRS for problem in course.problems(pair)] == []
    assert list(course.untaught(MODULES, EXCUSED)) == []
    assert next(course.untaught(MODULES, {})).endswith("is taught nowhere")


@every
def test_an_unsolved_exercise_is_still_to_do(pair: Pair) -> None:
    checks = [cell for _, cell in code_cells(pair.with_outputs()) if tag_of(cell).kind == "check"]
    assert checks and all("⬜" in cell.outputs[-1].text for cell in checks)


@pytest.mark.slow
@every
def test_a_notebook_runs_and_its_solutions_pass_their_checks(pair: Pair, tmp_path: Path) -> None:
    """From a clean kernel, with each solution in the place of its exercise, within the time and memory it may take."""
    notebook = pair.read()
    cells = {(tag_of(cell).kind, tag_of(cell).name): cell for _, cell in code_cells(notebook)}
    names = [name for kind, name in cells if kind == "exercise"]
    for name in names:
        cells["exercise", name].source = cells["solution", name].source
    execute(notebook, tmp_path, pair.text.stem)
    assert json.loads((tmp_path / PROGRESS).read_text()) == dict.fromkeys(sorted(names), PASSED)

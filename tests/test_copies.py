"""Copies for a class, and the proof that exercises are fair."""

import ast
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import nbformat
import pytest

from minisora.core.errors import MinisoraError
from minisora.course import copies, prove
from minisora.course.cells import Pair, code_cells, pairs, tag_of
from minisora.course.mutants import mutants
from minisora.course.run import execute

ROOT = Path(__file__).parents[1]
PAIRS = pairs(ROOT / "notebooks")
every = pytest.mark.parametrize("pair", PAIRS, ids=lambda pair: pair.text.stem)

CHECK = """
from minisora.course.exercises import exercise
with exercise("99.1"):
    assert double(3) == start - 4
"""


def cell(source: str, tag: str = "") -> SimpleNamespace:
    return SimpleNamespace(source=source, metadata={"tags": [tag] if tag else []})


@every
def test_no_solution_leaks_into_a_student_copy(pair: Pair) -> None:
    """No line of a solution, unless it stands elsewhere in the notebook; every exercise and every check is there."""
    solved = pair.read()
    elsewhere = "\n".join(cell.source for cell in solved.cells if tag_of(cell).kind != "solution")
    secret = {
        line.strip()
        for _, cell in code_cells(solved)
        if tag_of(cell).kind == "solution"
        for line in cell.source.splitlines()
        if len(line.strip()) > 8 and line.strip() not in elsewhere
    }
    copy = copies.student(pair)
    assert secret and not [line for line in secret if json.dumps(line)[1:-1] in nbformat.writes(copy)]
    for kind in ("exercise", "check"):
        names = [
            [tag_of(cell).name for _, cell in code_cells(some) if tag_of(cell).kind == kind] for some in (solved, copy)
        ]
        assert names[0] == names[1] and len(names[0]) >= 3


@every
def test_points_are_said_and_counted(pair: Pair) -> None:
    copy = copies.student(pair)
    said = [cell.metadata["minisora"]["points"] for _, cell in code_cells(copy) if tag_of(cell).kind == "exercise"]
    assert sum(said) == copies.total(pair.read())
    assert sum(cell.source.count(" · 1 point") + cell.source.count(" points") for cell in copy.cells) >= len(said)


@every
def test_an_instructor_sees_open_solutions_and_what_goes_wrong(pair: Pair) -> None:
    guide = (ROOT / "book" / "instructors.md").read_text()
    copy = copies.instructor(pair, guide)
    notes = [cell.source for cell in copy.cells if cell.source.startswith("**For instructors")]
    assert len(notes) >= 3 and all("minutes" in note for note in notes)
    assert not any("source_hidden" in str(cell.metadata) for cell in copy.cells)
    assert any(cell.get("outputs") for _, cell in code_cells(copy))
    known = {name for name, _, _ in copies.WRONG.findall(guide) if name.startswith(pair.number)}
    assert sum("Common: " in note for note in notes) == len(known)


@pytest.mark.slow
def test_a_student_copy_runs_and_says_what_is_to_do(tmp_path: Path) -> None:
    pair = next(pair for pair in PAIRS if pair.number == "02")
    copy = copies.student(pair)
    execute(copy, tmp_path, "student copy")
    said = [cell.outputs[-1].text for _, cell in code_cells(copy) if tag_of(cell).kind == "check"]
    assert len(said) >= 3 and all("⬜" in line and "to do" in line for line in said)


def test_making_copies_again_changes_nothing(tmp_path: Path) -> None:
    for pair in PAIRS:
        first = copies.write(copies.student(pair), pair, tmp_path).read_bytes()
        assert copies.write(copies.student(pair), pair, tmp_path).read_bytes() == first
    with pytest.raises(MinisoraError, match="the course itself"):
        copies.write(copies.student(PAIRS[0]), PAIRS[0], PAIRS[0].notebook.parent)


@every
def test_mutants_are_python_and_not_the_solution(pair: Pair) -> None:
    for _, solved in code_cells(pair.read()):
        if tag_of(solved).kind == "solution":
            made = dict(mutants(solved.source, 8))
            assert len(made) >= prove.LEAST, tag_of(solved).name
            assert ast.unparse(ast.parse(solved.source)) not in made.values()
            for source in made.values():
                compile(source, "mutant", "exec")


def test_only_what_the_checks_need_is_run() -> None:
    cells = [
        cell("import math, os"),
        cell("base = 7"),
        cell("def start_from(x):\n    y = x + 3\n    return y"),
        cell("figure = slow_drawing(base)"),
        cell("start = start_from(base)"),
        cell("table = {}"),
        cell("table['a'] = start"),
        cell("def double(x):\n    raise NotImplementedError", "exercise: 99.1"),
        cell(CHECK, "check: 99.1"),
        cell("def double(x):\n    figure = 2 * x\n    return figure", "solution: 99.1"),
    ]
    assert prove.needs(cells) == {1, 2, 4}
    cells[8] = cell(CHECK + "    assert table['a'] == 10", "check: 99.1")
    assert prove.needs(cells) == {1, 2, 4, 5, 6}


@pytest.mark.parametrize(
    ("answer", "result"),
    [
        ("def double(x):\n    return 2 * x", "passed"),
        ("def double(x):\n    raise NotImplementedError", "to do"),
        ("def double(x):\n    return x", "failed"),
        ("def double(x):\n    import os; os.kill(os.getpid(), 9)", "failed"),
        ("def double(x):\n    while True: pass", "no end"),
        ("def double(x):\n    import time; time.sleep(60)", "no end"),
        ("def double(x) return", "failed"),
    ],
)
def test_every_kind_of_answer_gets_its_verdict(answer: str, result: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """And whatever an answer does concerns nobody else."""
    monkeypatch.setattr(prove, "PATIENCE", 1)
    space = {"start": 10}
    assert prove.trial(answer, CHECK, "99.1", space) == result
    assert list(space) == ["start"]


def test_what_is_unfair_is_said() -> None:
    def verdicts(**results: str) -> list[prove.Verdict]:
        return [prove.Verdict("99.1", name, result) for name, result in results.items()]

    three = {"a": "failed", "b": "no end", "c": "failed"}
    assert list(prove.unfair(verdicts(solution="passed", stub="to do", d="passed", **three))) == []
    assert "does not pass" in next(prove.unfair(verdicts(solution="failed", stub="to do", **three)))
    assert "stub" in next(prove.unfair(verdicts(solution="passed", stub="passed", **three)))
    assert "these pass: c" in next(prove.unfair(verdicts(solution="passed", stub="to do", **three | {"c": "passed"})))


@pytest.mark.slow
@every
def test_every_exercise_is_fair(pair: Pair) -> None:
    """In a process of its own, since it forks."""
    told = subprocess.run(
        [sys.executable, "-m", "minisora.cli", "course", "prove", pair.number, "--folder", str(ROOT / "notebooks")],
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr

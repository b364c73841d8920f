"""The course: cells in the package's words, every kind of drift noticed, runs stored, progress remembered."""

from collections.abc import Callable
from pathlib import Path

import matplotlib.pyplot as plt
import nbformat
import pytest

import minisora.course.exercises as exercises
from minisora.core.errors import MinisoraError
from minisora.course import copies
from minisora.course.cells import Pair, Tag, code_cells, exercises_in, pairs, sync, tag_of
from minisora.course.check import Course
from minisora.course.run import SECONDS
from minisora.course.run import run as run_pair
from minisora.course.source import method_of, public_names, text_of
from minisora.viz.figures import picture
from tests.test_cli import run  # noqa: F401, a fixture

NOTEBOOK = '''# %% [markdown] tags=["header"]
# # 02 · Patches
#
# **Measured** · not yet

# %% tags=["parameters"]
PROFILE = "fast"

# %%
import torch
from torch import Tensor

from minisora.core.errors import MinisoraError
from minisora.course.exercises import exercise
from minisora.tokens.patches import Grid

# %% tags=["source: minisora.tokens.patches.positions"]
def positions():
    ...

# %%
positions((1, 2, 2))

# %% [markdown]
# ## Exercise 02.1 · 5 minutes · easy
#
# <details><summary>Hint</summary>Count.</details>
#
# ## Exercise 02.2 · 5 minutes · medium
#
# <details><summary>Hint</summary>Multiply.</details>
#
# ## Exercise 02.3 · 15 minutes · hard
#
# <details><summary>Hint</summary>Think.</details>
''' + "".join(f'''
# %% tags=["exercise: 02.{n}"]
def count_{n}(grid):
    raise NotImplementedError("exercise 02.{n}")

# %% tags=["check: 02.{n}"]
with exercise("02.{n}"):
    assert count_{n}((2, 3, 4)) == 24

# %% tags=["solution: 02.{n}"] jupyter={{"source_hidden": true}}
def count_{n}(grid):
    t, h, w = grid
    return t * h * w
''' for n in (1, 2, 3)) + '''
# %% [markdown] tags=["quiz"]
# What is a patch?
'''  # fmt: skip


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    text = tmp_path / "notebooks" / "text" / "02_patches.py"
    text.parent.mkdir(parents=True)
    text.write_text(NOTEBOOK)
    made = Pair(text)
    sync(made)
    return made


def problems(pair: Pair) -> list[str]:
    return list(Course().problems(pair))


def test_text_is_what_the_file_says() -> None:
    assert text_of("minisora.tokens.patches.positions").startswith("def positions(grid: Grid")
    assert text_of("minisora.models.dit.DiTConfig").startswith("@dataclass(frozen=True)\nclass DiTConfig:")
    assert text_of("minisora.train.dit.DROPPED").endswith('so that the model learns what guidance compares with."""')
    for wrong in (
        "minisora.tokens.patches.nothing",
        "minisora.nowhere.x",
        "torch.nn.Linear",
        "minisora.models.dit.DiT.forward",
    ):
        with pytest.raises(MinisoraError):
            text_of(wrong)


def test_a_class_in_pieces_is_the_class() -> None:
    """The first method brings the head of the class, and the others are handed to it: together they work alike."""
    scope: dict = {}
    parts = [f"minisora.data.clip.Clip.{name}" for name in ("__post_init__", "shape", "pixels")]
    exec(Path(__import__("minisora.data.clip").data.clip.__file__).read_text().split("@dataclass")[0], scope)
    exec(method_of(parts[0]), scope)
    assert method_of(parts[0]).startswith("@dataclass(frozen=True, eq=False)\nclass Clip:")
    for part in parts[1:]:
        assert not method_of(part).startswith(" ")
        exec(method_of(part), scope)
    import torch

    clip = scope["Clip"](torch.zeros(3, 4, 5, 3, dtype=torch.uint8))
    assert clip.shape == (3, 4, 5) and clip.pixels().shape == (1, 3, 3, 4, 5)


def test_sync_writes_the_packages_words_once(pair: Pair) -> None:
    assert text_of("minisora.tokens.patches.positions") in pair.text.read_text()
    before = pair.text.read_bytes(), pair.notebook.read_bytes()
    assert sync(pair) == []
    assert (pair.text.read_bytes(), pair.notebook.read_bytes()) == before


@pytest.mark.slow
def test_a_run_stores_outputs_and_measures_and_then_nothing_is_wrong(pair: Pair) -> None:
    assert any("was not run" in problem for problem in problems(pair))
    measured = run_pair(pair)
    assert 0 < measured.seconds < SECONDS and 0.1 < measured.gib < 4
    assert problems(pair) == []
    assert str(measured) in pair.text.read_text()
    kept = pair.notebook.read_bytes()
    assert sync(pair) == [] and pair.notebook.read_bytes() == kept  # outputs stay
    assert not pair.notebook.with_name("progress.json").exists(), "a learner's progress is not touched"


@pytest.mark.slow
def test_a_notebook_that_fails_is_told_in_one_line_and_not_stored(pair: Pair) -> None:
    kept = pair.notebook.read_bytes()
    pair.text.write_text(pair.text.read_text() + "\n# %%\n1 / 0\n")
    with pytest.raises(MinisoraError, match="02_patches fails: ZeroDivisionError"):
        run_pair(pair)
    assert pair.notebook.read_bytes() == kept


def edited(old: str, new: str) -> Callable[[Pair], None]:
    def edit(pair: Pair) -> None:
        text = pair.text.read_text()
        assert old in text
        pair.text.write_text(text.replace(old, new, 1))

    return edit


def output(**data: str) -> Callable[[Pair], None]:
    def edit(pair: Pair) -> None:
        notebook = pair.with_outputs()
        notebook.cells[1].outputs = [
            nbformat.v4.new_output("display_data", {k.replace("_", "/"): v for k, v in data.items()})
        ]
        nbformat.write(notebook, pair.notebook)

    return edit


@pytest.mark.parametrize(
    ("edit", "told"),
    [
        (edited("positions(grid: Grid", "positions(size: Grid"), "is not minisora.tokens.patches.positions as"),
        (edited("import Grid", "import Grid, positions"), "imports positions, which cell 4 builds"),
        (edited("import torch\n", "import torch\ndef helper(): ...\n"), "defines helper"),
        (edited("positions((1, 2, 2))", "x = 1\n" * 50), "has 50 lines"),
        (edited(' tags=["check: 02.2"]', ""), "02.2 has no cell tagged check"),
        (edited("Exercise 02.3", "Task 02.3"), "02.3 is not announced"),
        (edited(' jupyter={"source_hidden": true}', ""), "is not folded"),
        (edited("<summary>Hint", "<summary>Help"), "no hint"),
        (edited("**Measured**", "Measured"), "no header"),
        (edited(' tags=["quiz"]', ""), "no cell is tagged quiz"),
        (edited("What is a patch?", "![](x.png)"), "picture without alt text"),
        (edited("patches.positions", "patches.possitions"), "has no possitions"),
        (edited("What is a patch?", "What is it?"), "text and notebook differ"),
        (output(image_png="x"), "picture without alt text"),
        (output(text_html="<img src='x'>"), "picture without alt text"),
        (lambda pair: pair.notebook.unlink(), "is not there"),
    ],
)  # fmt: skip
def test_every_kind_of_drift_is_noticed(pair: Pair, edit: Callable[[Pair], None], told: str) -> None:
    assert not any(told in problem for problem in problems(pair))
    edit(pair)
    assert any(told in problem for problem in problems(pair)), problems(pair)


def test_nothing_is_built_twice_in_the_course(pair: Pair) -> None:
    later = Pair(pair.text.with_name("05_dit.py"))
    later.text.write_text(pair.text.read_text())
    course = Course()
    assert not any("again" in problem for problem in course.problems(pair))
    assert any("builds minisora.tokens.patches.positions again" in problem for problem in course.problems(later))
    excused = {"minisora.tokens.patches.nothing": "", "minisora.tokens.patches.grid_of": "simple"}
    told = list(course.untaught(["minisora.tokens.patches"], excused))
    assert "minisora.tokens.patches.patchify is taught nowhere" in told
    assert "minisora.tokens.patches.nothing is excused, and is not there" in told
    assert not any("grid_of" in line or "positions" in line for line in told)
    assert "positions" in public_names("minisora.tokens.patches")


def test_a_check_never_stops_a_notebook_and_is_remembered(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.chdir(tmp_path)
    with exercises.exercise("02.1"):
        raise NotImplementedError
    with exercises.exercise("02.2"):
        raise AssertionError("12 of 16")
    with exercises.exercise("02.3"):
        1 / 0  # noqa: B018
    with exercises.exercise("02.4"):
        pass
    lines = capsys.readouterr().out.splitlines()
    assert [line[0] for line in lines] == ["⬜", "❌", "❌", "✅"]
    assert exercises.progress() == {
        "02.1": "to do", "02.2": "not yet: 12 of 16", "02.3": "not yet: ZeroDivisionError: division by zero",
        "02.4": "passed",
    }  # fmt: skip
    exercises.PROGRESS.write_text("{")
    assert exercises.progress() == {}


def test_a_folder_that_cannot_be_written_to_stops_nobody(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(exercises, "PROGRESS", tmp_path)  # a folder, where a file is wanted
    with exercises.exercise("02.1"):
        pass
    told = capsys.readouterr().out
    assert told.startswith("✅ exercise 02.1: passed") and "not remembered" in told


def test_answers_are_kept_when_a_notebook_is_made_anew(pair: Pair, tmp_path: Path, caplog) -> None:
    """By a run, a sync, or a student copy that is made once more."""
    for make, path in (
        (lambda: sync(pair), pair.notebook),
        (lambda: copies.write(copies.student(pair), pair, tmp_path / "class"), tmp_path / "class" / pair.notebook.name),
    ):
        make()
        assert not list(path.parent.glob("*.mine*")), "nobody has answered anything"
        notebook = nbformat.read(path, as_version=4)
        (cell,) = (c for _, c in code_cells(notebook) if tag_of(c) == Tag("exercise", "02.1"))
        cell.source = "def count_tokens(frames, height, width):\n    return 80"
        nbformat.write(notebook, path)
        for _ in range(2):  # the second time, nothing is left to be kept
            make()
        kept = path.with_name(f"{path.stem}.mine1.ipynb")
        assert [found.name for found in path.parent.glob("*.mine*")] == [kept.name] and kept.name in caplog.text
        assert "return 80" in exercises_in(nbformat.read(kept, as_version=4))["02.1"]
        assert "NotImplementedError" in exercises_in(nbformat.read(path, as_version=4))["02.1"]


def test_a_folder_without_a_course_is_told(tmp_path: Path, run) -> None:  # noqa: F811
    for command in ("status", "sync", "check", "prove", "student"):
        told = run("course", command, "--folder", str(tmp_path))
        assert told.status == 2 and "--folder" in told.err and told.err.count("\n") == 1, command


def test_a_student_copy_has_a_status_too(pair: Pair, tmp_path: Path, run) -> None:  # noqa: F811
    copies.write(copies.student(pair), pair, tmp_path / "class")
    exercises.remember("02.1", exercises.PASSED, tmp_path / "class" / "progress.json")
    assert "1 of 3 exercises pass" in run("course", "status", "--folder", str(tmp_path / "class")).out


def test_the_command_line(pair: Pair, run) -> None:  # noqa: F811
    folder = str(pair.notebook.parent)
    exercises.remember("02.2", exercises.PASSED, pair.notebook.with_name("progress.json"))
    assert "1 of 3 exercises pass" in run("course", "status", "--folder", folder).out
    assert "nothing to change" in run("course", "sync", "--folder", folder).out
    assert [p.number for p in pairs(pair.notebook.parent, ("02",))] == ["02"]
    with pytest.raises(MinisoraError, match="no notebook 07"):
        pairs(pair.notebook.parent, ("07",))


def test_a_picture_says_what_it_shows() -> None:
    figure, axes = plt.subplots()
    axes.plot([1, 2])
    shown = picture(figure, 'a line that rises "slowly"')
    assert 'alt="a line that rises &quot;slowly&quot;"' in shown._repr_html_() and shown._repr_png_()[:4] == b"\x89PNG"
    assert not plt.fignum_exists(figure.number)
    with pytest.raises(MinisoraError, match="alt text"):
        picture(plt.figure(), " ")

"""minisora course: the notebooks, held against the package, run and measured; and how far a learner has come."""

from pathlib import Path
from typing import Annotated

import tyro
from tyro.conf import Positional, arg

from minisora.core.errors import MinisoraError

app = tyro.extras.SubcommandApp()
Folder = Annotated[Path, arg(help="Where the notebooks are.")]
Out = Annotated[Path, arg(help="Where the copies go.")]
Numbers = Annotated[Positional[tuple[str, ...]], arg(metavar="NN", help="Notebooks such as 02; all if none is named.")]


@app.command
def sync(numbers: Numbers = (), folder: Folder = Path("notebooks")) -> None:
    """Write the package's words into the cells that build it, and make texts and notebooks agree."""
    from minisora.course.cells import pairs
    from minisora.course.cells import sync as sync_pair

    changed = [change for pair in pairs(folder, numbers) for change in sync_pair(pair)]
    print("\n".join(changed) or "nothing to change")


@app.command
def check(numbers: Numbers = (), folder: Folder = Path("notebooks")) -> None:
    """Find everything that drifted, is missing or was forgotten, in seconds."""
    from minisora.course.cells import pairs
    from minisora.course.check import Course
    from minisora.course.syllabus import EXCUSED, MODULES

    course, chosen = Course(), pairs(folder)
    problems = [
        problem
        for pair in chosen
        for problem in course.problems(pair)  # all are read, since each has to know what came before
        if not numbers or pair.number in numbers
    ]
    if not numbers:
        problems += course.untaught(MODULES, EXCUSED)
    if problems:
        raise MinisoraError("\n".join([f"{len(problems)} problems in the notebooks", *problems]))
    print(f"{len(chosen)} notebooks: nothing drifted, nothing is missing")


@app.command
def run(
    numbers: Numbers = (),
    folder: Folder = Path("notebooks"),
    profile: Annotated[str, arg(help="fast: two cores, outputs are stored. full: a GPU, nothing is stored.")] = "fast",
) -> None:
    """Run notebooks from a clean kernel, store their outputs and measure them."""
    from minisora.course.cells import pairs
    from minisora.course.run import run as run_pair

    for pair in pairs(folder, numbers):
        print(f"{pair.text.stem:<28}", end="", flush=True)
        print(str(run_pair(pair, profile)).removeprefix("**Measured** · "))


@app.command
def student(numbers: Numbers = (), folder: Folder = Path("notebooks"), out: Out = Path("out/student")) -> None:
    """Copies for a class: without solutions, with points."""
    from minisora.course import copies
    from minisora.course.cells import pairs

    for pair in pairs(folder, numbers):
        notebook = copies.student(pair)
        print(f"{copies.write(notebook, pair, out)}: {copies.total(pair.read())} points")


@app.command
def instructor(
    numbers: Numbers = (),
    folder: Folder = Path("notebooks"),
    out: Out = Path("out/instructor"),
    guide: Annotated[Path, arg(help="The guide, whose table says what people get wrong.")] = Path(
        "book/instructors.md"
    ),
) -> None:
    """Copies for whoever teaches: outputs, open solutions, points, minutes, common wrong answers."""
    from minisora.course import copies
    from minisora.course.cells import pairs

    told = guide.read_text(encoding="utf-8") if guide.exists() else ""
    for pair in pairs(folder, numbers):
        print(copies.write(copies.instructor(pair, told), pair, out))


@app.command
def prove(numbers: Numbers = (), folder: Folder = Path("notebooks")) -> None:
    """Prove that exercises are fair: solutions pass their checks, stubs and wrong answers do not."""
    from minisora.course.cells import pairs
    from minisora.course.prove import prove as prove_pair
    from minisora.course.prove import unfair

    problems = []
    for pair in pairs(folder, numbers):
        verdicts = prove_pair(pair)
        problems += unfair(verdicts)
        passed = sum(verdict.result == "passed" for verdict in verdicts)
        print(f"{pair.text.stem:<28} {len(verdicts)} answers tried, {passed} pass", flush=True)
    if problems:
        raise MinisoraError("\n".join([f"{len(problems)} exercises are not fair", *problems]))


@app.command
def pages(
    out: Annotated[Path, arg(help="A fresh folder for the pages.")] = Path("out/book/source"),
    book: Annotated[Path, arg(help="Where the pages are that are written by hand.")] = Path("book"),
    folder: Folder = Path("notebooks"),
    repository: Annotated[str, arg(help="Where the project is published, for buttons that open a chapter.")] = "",
    hub: Annotated[str, arg(help="Your JupyterHub, for one more button.")] = "",
) -> None:
    """Gather what the book is built from: pages, notebooks, a gallery made on the spot, the reference."""
    from minisora.course.site import prepare

    print(f"build it: jupyter-book build {prepare(book, folder, out, repository, hub)}")


@app.command
def status(folder: Folder = Path("notebooks")) -> None:
    """Which exercises pass, and which are still to do."""
    import nbformat

    from minisora.course.cells import exercises_in
    from minisora.course.exercises import PASSED, PROGRESS, TO_DO, progress

    results, passed, total = progress(folder / PROGRESS), 0, 0
    notebooks = [path for path in sorted(folder.glob("[0-9][0-9]_*.ipynb")) if "." not in path.stem]
    if not notebooks:
        raise MinisoraError(f"{folder} holds no notebooks of the course: name their folder with --folder")
    for path in notebooks:
        names = list(exercises_in(nbformat.read(path, as_version=4)))
        done = [name for name in names if results.get(name) == PASSED]
        passed, total = passed + len(done), total + len(names)
        print(f"{path.stem:<28} {len(done)} of {len(names)}")
        for name in names:
            print(f"  {name:<8} {results.get(name, TO_DO)}")
    print(f"{passed} of {total} exercises pass")

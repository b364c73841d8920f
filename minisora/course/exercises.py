"""Exercises in a notebook: what the learner writes is tried in the open, and every result is remembered.

    with exercise("02.1"):
        assert waste([4, 8]) == 0.25, "two clips of 4 and 8 tokens fill 12 of 16 places"

A cell with such a check never stops a notebook: it says what is still to do, or what is not right yet.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from minisora.core.checkpoint import load_json, save_json
from minisora.core.errors import MinisoraError, one_line

PROGRESS = Path("progress.json")
"""Beside the notebooks, since that is where their kernels run."""
PASSED, TO_DO = "passed", "to do"


@contextmanager
def exercise(name: str) -> Iterator[None]:
    """Try what was written for an exercise; print one line and remember it."""
    try:
        yield
    except NotImplementedError:
        result = TO_DO
    except AssertionError as error:
        result = f"not yet: {error}" if str(error) else "not yet: a check of the cell above failed"
    except Exception as error:
        result = f"not yet: {type(error).__name__}: {one_line(error)}"
    else:
        result = PASSED
    mark = {PASSED: "✅", TO_DO: "⬜"}.get(result, "❌")
    print(f"{mark} exercise {name}: {result}")
    try:
        remember(name, result)
    except MinisoraError as error:  # a folder that cannot be written to
        print(f"(this is not remembered: {error})")


def remember(name: str, result: str, file: Path | None = None) -> None:
    file = file or PROGRESS
    save_json(file, dict(sorted((progress(file) | {name: result}).items())))


def progress(file: Path | None = None) -> dict[str, str]:
    """The last result of every exercise that was tried."""
    file = file or PROGRESS
    if not file.exists():
        return {}
    try:
        return {str(name): str(result) for name, result in load_json(file).items()}
    except (MinisoraError, AttributeError):
        return {}  # somebody edited it: what counts can be tried again

"""The one error that a user's mistake raises. Anything else that escapes is a bug and keeps its traceback."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

LARGEST_SIDE = 8192
"""Of a frame, in pixels."""


class MinisoraError(Exception):
    """One line: what was wrong, what is allowed, what to do."""


def check_choice(what: str, value: str, allowed: Iterable[str]) -> str:
    """Return `value` if it is one of `allowed`, and say what is allowed if it is not."""
    allowed = list(allowed)
    if value not in allowed:
        raise MinisoraError(f"unknown {what} {value!r}: choose one of {', '.join(allowed)}")
    return value


def check_size(frames: int, height: int, width: int, fps: float = 8.0) -> None:
    """Refuse a clip size that no clip can have."""
    if not (1 <= frames <= 100_000 and 1 <= height <= LARGEST_SIDE and 1 <= width <= LARGEST_SIDE):
        raise MinisoraError(
            f"no clip has size {frames}x{height}x{width}: frames go from 1 to 100000, height and width from 1 to "
            f"{LARGEST_SIDE}"
        )
    if not 0 < fps <= 1000:
        raise MinisoraError(f"no clip runs at {fps} frames a second: fps goes from above 0 to 1000")


@contextmanager
def writing(path: str | Path, advice: str = "make room, or write elsewhere") -> Iterator[None]:
    """A full disk, or a folder that may not be written to, is told in one line."""
    try:
        yield
    except OSError as error:
        raise MinisoraError(f"{path} cannot be written ({error.strerror or one_line(error)}): {advice}") from error


def one_line(error: BaseException) -> str:
    """What some library has to say, short enough to stand within our own line."""
    return " ".join(str(error).split())[:160]

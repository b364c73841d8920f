"""Ctrl-C and a polite kill are heard between two steps, when there is something whole to save."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def heard() -> Iterator[threading.Event]:
    """An event that is set when somebody asks the process to end. Asked a second time, it ends at once."""
    asked = threading.Event()

    def hear(number: int, frame: FrameType | None) -> None:
        if asked.is_set():
            raise KeyboardInterrupt
        asked.set()

    if threading.current_thread() is not threading.main_thread():  # signals are the main thread's business
        yield asked
        return
    before = {number: signal.signal(number, hear) for number in SIGNALS}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)

"""What a run tells: a line of JSON for every step, a progress bar or plain lines, and TensorBoard if asked for."""

import json
import math
import os
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any

from tqdm import tqdm

from minisora.core.errors import MinisoraError, writing

WINDOW = 20  # steps that the shown loss and rates are averaged over
FULL = "make room and go on with --resume, the last checkpoint is sound"
SILENCE = 30.0  # seconds between plain lines, where there is no terminal for a bar


class Log:
    """The log of a run in `out/log.jsonl`. Opened at step n it forgets what was written of step n and later."""

    def __init__(self, out: Path, step: int, tensorboard: bool = False) -> None:
        self.path = out / "log.jsonl"
        self.last = _cut(self.path, step)
        self.file = open(self.path, "ab", buffering=0)  # noqa: SIM115, it is open as long as the log is
        self.recent: deque[dict[str, Any]] = deque(maxlen=WINDOW)
        self.board = _board(out / "tensorboard", step) if tensorboard else None
        style: dict[str, Any] = {"bar_format": "{percentage:3.0f}%|{bar}| {desc}", "dynamic_ncols": True, "miniters": 0}
        self.bar = tqdm(total=1.0, **style) if sys.stderr.isatty() else None
        self.spoke = -math.inf

    def __enter__(self) -> "Log":
        return self

    def __exit__(self, *error: object) -> None:
        for open_thing in (self.file, self.bar, self.board):
            if open_thing is not None:
                open_thing.close()

    def write(self, record: dict[str, Any], share: float) -> None:
        """A step's record, in which whole numbers are counts; `share` is how much of the run is done."""
        # JSON has no word for a number that is not one
        self.last = {key: None if _lost(value) else value for key, value in record.items()}
        with writing(self.path, FULL):
            self.file.write((json.dumps(self.last) + "\n").encode())  # from here on it outlives this process
        self.recent.append(self.last)
        self._show(min(1.0, share))  # a budget of minutes ends with a step that is a little late
        if self.board is not None:
            for key, value in self.last.items():
                if key != "step" and value is not None:
                    self.board.add_scalar(key, value, record["step"])

    def keep(self) -> None:
        """Bring the lines to the disk, where they outlive the machine: before the checkpoint that counts on them."""
        with writing(self.path, FULL):
            os.fsync(self.file.fileno())

    def _show(self, share: float) -> None:
        text = summary(list(self.recent), share)
        if self.bar is not None:
            self.bar.set_description_str(text, refresh=False)  # update draws, but not more often than can be seen
            self.bar.update(share - self.bar.n)
        elif time.monotonic() - self.spoke > SILENCE or share >= 1:
            print(f"{share:4.0%}  {text}", flush=True)
            self.spoke = time.monotonic()


class Silence(Log):
    """The log of a rank that leaves the telling to rank 0."""

    def __init__(self) -> None:
        self.last, self.file, self.bar, self.board = None, None, None, None

    def write(self, record: dict[str, Any], share: float) -> None: ...

    def keep(self) -> None: ...


def summary(records: list[dict[str, Any]], share: float) -> str:
    """Step, mean loss, counts a second and time left, from the last few records."""
    first, last = records[0], records[-1]
    losses = [record["loss"] for record in records if record["loss"] is not None]
    parts = [f"step {last['step'] + 1}", f"loss {sum(losses) / len(losses):.4f}" if losses else "loss is not finite"]
    seconds = last["seconds"] - first["seconds"]
    for key, value in last.items():
        if isinstance(value, int) and key != "step" and seconds > 0:
            parts.append(f"{sum(record.get(key, 0) for record in records[1:]) / seconds:,.1f} {key}/s")
    left = last["seconds"] * (1 - share) / share
    return "  ".join([*parts, f"{tqdm.format_interval(max(0.0, left))} left"])


def read_log(out: str | Path) -> list[dict[str, Any]]:
    """The records of all steps so far, for a plot; a line that is being written is not among them."""
    with open(Path(out) / "log.jsonl", "rb") as file:
        return [json.loads(line) for line in file if line.endswith(b"\n")]


def _cut(path: Path, step: int) -> dict[str, Any] | None:
    """Keep the lines of steps before `step`: a run that is resumed writes the others again. Returns the last kept."""
    length, last = 0, None
    if path.exists():
        with open(path, "r+b") as file:
            for line in file:
                record = _record(line)
                if record is None or record["step"] >= step:
                    break
                length, last = length + len(line), record
            file.truncate(length)
    return last


def _record(line: bytes) -> dict[str, Any] | None:
    """The record of a line, or None where a kill or a crash cut it short."""
    try:
        record = json.loads(line) if line.endswith(b"\n") else None
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("step"), int) else None


def _lost(value: object) -> bool:
    return isinstance(value, float) and not math.isfinite(value)


def _board(folder: Path, step: int) -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        raise MinisoraError('TensorBoard is not installed: pip install -e ".[tensorboard]", or train without') from None
    return SummaryWriter(str(folder), purge_step=step)

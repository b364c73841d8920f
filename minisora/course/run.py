"""Running notebooks from a clean kernel, within a budget, and writing what was measured into their headers."""

import os
import re
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
import torch

from minisora.core.errors import MinisoraError, one_line
from minisora.core.runtime import bf16_pays
from minisora.course.cells import Pair, code_cells, tag_of, write
from minisora.course.check import MEASURED

HALF = bf16_pays(torch.device("cpu"))
CORES = min(2, torch.get_num_threads())
SECONDS, GIB = (180.0 if HALF else 360.0) * 2 / CORES, 4.0  # the most for a notebook: without bf16 products are slow
PROBE = "import resource; print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
WORDS, LINES = 180, 12  # read in a minute: words of text, lines of code


@dataclass(frozen=True)
class Measured:
    seconds: float
    gib: float
    minutes: int  # of reading

    def __str__(self) -> str:
        return (
            f"**Measured** · runs in {self.seconds:.0f} s on two CPU cores{'' if HALF else ' without bf16'} · "
            f"needs {self.gib:.1f} GiB · reads in about {self.minutes} minutes"
        )


def run(pair: Pair, profile: str = "fast") -> Measured:
    """Run a notebook from a clean kernel and store its outputs. With another profile than `fast`, nothing is stored."""
    notebook = pair.read()
    set_profile(notebook, profile)
    with tempfile.TemporaryDirectory() as folder:  # not beside the notebooks, where a learner's progress is kept
        measured = execute(notebook, Path(folder), pair.text.stem, bounded=profile == "fast")
    if profile == "fast":
        keep(pair, notebook, measured)
    return measured


def execute(notebook: Any, folder: Path, name: str, bounded: bool = True) -> Measured:
    """Execute all cells of a notebook in a folder. One that fails or takes more than it may is an error."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError

    notebook.cells.append(nbformat.v4.new_code_cell(PROBE))
    limit = int(SECONDS) if bounded else None
    client = NotebookClient(notebook, timeout=limit, resources={"metadata": {"path": str(folder)}})
    threads = {"OMP_NUM_THREADS": str(torch.get_num_threads())}  # the kernel has as many as this process
    begin = time.monotonic()
    try:
        client.execute(stderr=subprocess.DEVNULL, env=os.environ | threads)  # kernels talk about their sockets
    except CellExecutionError as error:
        raise MinisoraError(f"{name} fails: {error.ename}: {one_line(ValueError(error.evalue))}") from error
    except (CellTimeoutError, DeadKernelError) as error:
        raise MinisoraError(f"{name} does not end: {one_line(error)}") from error
    seconds = time.monotonic() - begin
    measured = Measured(seconds, float(notebook.cells.pop().outputs[0].text) / 2**20, reading(notebook))
    if bounded and (measured.seconds > SECONDS or measured.gib > GIB):
        raise MinisoraError(f"{name} takes {seconds:.0f} s and {measured.gib:.1f} GiB: "
                            f"{SECONDS:.0f} and {GIB:.0f} are the most")  # fmt: skip
    return measured


def keep(pair: Pair, notebook: Any, measured: Measured) -> None:
    """Store outputs, and the measure in the header of text and notebook."""
    for cell in notebook.cells:
        if tag_of(cell).kind == "header":
            cell.source = MEASURED.sub(str(measured), cell.source)
    write(pair, notebook)
    text = pair.text.read_text(encoding="utf-8")
    pattern = re.compile(r"^# " + MEASURED.pattern.removeprefix("^"), re.MULTILINE)
    pair.text.write_text(pattern.sub(f"# {measured}", text), encoding="utf-8")


def set_profile(notebook: Any, profile: str) -> None:
    """Change PROFILE in the cell that is tagged parameters."""
    if profile not in ("fast", "full"):
        raise MinisoraError(f"unknown profile {profile!r}: fast runs on two cores in minutes, full is for a GPU")
    for _, cell in code_cells(notebook):
        if tag_of(cell).kind == "parameters":
            cell.source = re.sub(r'PROFILE = "\w+"', f'PROFILE = "{profile}"', cell.source)


def reading(notebook: Any) -> int:
    """Minutes to read a notebook: its words, and its code more slowly."""
    words = sum(len(cell.source.split()) for cell in notebook.cells if cell.cell_type == "markdown")
    lines = sum(len(cell.source.splitlines()) for _, cell in code_cells(notebook))
    return max(1, round(words / WORDS + lines / LINES))

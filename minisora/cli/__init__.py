"""Floor 10, the command line: one thin command each, generated from signatures, with every import where it is used.

A user's mistake is printed as one line and ends with status 2; a bug keeps its traceback.
"""

import io
import os
import sys

import tyro

from minisora.cli import course, data, direct, evaluate
from minisora.cli.generate import generate
from minisora.cli.info import info
from minisora.cli.train import train
from minisora.core.errors import MinisoraError

app = tyro.extras.SubcommandApp()
for command in (info, train, generate):
    app.command(command)
app.command(direct.app, name="direct", help="What Sora does with a video: animate, extend, connect, fill, edit …")
app.command(data.app, name="data", help="The toy worlds and the bundled samples: make, show, check.")
app.command(course.app, name="course", help="The notebooks: sync, check, run, pages, prove, status, student …")
app.command(evaluate.app, name="evaluate", help="What a model can do: fidelity, reconstruction, directing.")


def main() -> None:
    for stream in (sys.stdout, sys.stderr):  # a terminal that cannot show a letter is no reason to lose numbers
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")
    try:
        app.cli(prog="minisora", description="Build Sora from scratch: toy worlds, models, training, generation.")
    except MinisoraError as error:
        print(f"minisora: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        print("minisora: stopped", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:  # whoever read the output has read enough: `minisora … | head -1`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)

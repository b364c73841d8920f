"""python -m minisora.cli, where the command `minisora` is not on the path."""

from minisora.cli import main

main()

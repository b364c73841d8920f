"""The package's own words: what a cell that builds a piece of it has to say, line by line, comments included."""

import ast
import importlib.util
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from minisora.core.errors import MinisoraError

Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@dataclass(frozen=True)
class Symbol:
    """A name of the package, its module and its place in the module's file."""

    module: str
    names: tuple[str, ...]  # ("DiT", "forward")

    @classmethod
    def parse(cls, path: str) -> "Symbol":
        """'minisora.models.dit.DiT.forward': as much of it as names a module, then the rest."""
        parts = path.split(".")
        for cut in range(len(parts) - 1, 0, -1):
            if parts[0] == "minisora" and (found := _file(".".join(parts[:cut]))) is not None and found.exists():
                return cls(".".join(parts[:cut]), tuple(parts[cut:]))
        raise MinisoraError(f"{path} is not a name in the package: write it as minisora.tokens.patches.patchify")

    @property
    def name(self) -> str:
        return self.names[-1]

    def __str__(self) -> str:
        return ".".join((self.module, *self.names))


def text_of(path: str) -> str:
    """A function, a class or a constant as it stands in its file."""
    symbol = Symbol.parse(path)
    lines, body = _parsed(symbol.module)
    if len(symbol.names) > 1:
        raise MinisoraError(f"{path} is inside a class: tag its cell as a method")
    start, end = _find(symbol, body)
    return "\n".join(lines[start:end])


def method_of(path: str) -> str:
    """One method of a class that is too long for one cell.

    The first one comes with all that is above it, from the line that begins the class. Any other comes by itself, and
    a line below hands it to the class.
    """
    symbol = Symbol.parse(path)
    lines, body = _parsed(symbol.module)
    if len(symbol.names) != 2:
        raise MinisoraError(f"{path} is not a method: write it as minisora.models.dit.DiT.forward")
    outer = Symbol(symbol.module, symbol.names[:1])
    top, _ = _find(outer, body)
    (owner,) = (node for node in body if isinstance(node, ast.ClassDef) and _first_line(node) == top)
    start, end = _find(symbol, owner.body)
    first = next(node for node in owner.body if isinstance(node, Definition))
    if _first_line(first) == start:
        return "\n".join(lines[top:end])
    return textwrap.dedent("\n".join(lines[start:end])) + f"\n\n\n{outer.name}.{symbol.name} = {symbol.name}"


def public_names(module: str) -> list[str]:
    """The functions and classes of a module that others may use."""
    _, body = _parsed(module)
    return [node.name for node in body if isinstance(node, Definition) and not node.name.startswith("_")]


def defined(code: str) -> list[str]:
    """The functions and classes that a cell defines at its top."""
    return [node.name for node in ast.parse(code).body if isinstance(node, Definition)]


def imported(code: str) -> Iterator[tuple[str, str]]:
    """(module, name) of everything that a cell imports from the package."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "minisora":
            yield from ((node.module or "", alias.name) for alias in node.names)


def _file(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        return None
    return None if spec is None or spec.origin is None else Path(spec.origin)


@cache
def _parsed(module: str) -> tuple[list[str], list[ast.stmt]]:
    file = _file(module)
    assert file is not None
    text = file.read_text(encoding="utf-8")
    return text.splitlines(), ast.parse(text).body


def _find(symbol: Symbol, body: list[ast.stmt]) -> tuple[int, int]:
    """The lines of a definition, decorators included, or of a constant and the text that explains it."""
    for place, node in enumerate(body):
        if symbol.name in _names(node):
            after = body[place + 1] if place + 1 < len(body) else None
            told = isinstance(node, ast.Assign | ast.AnnAssign) and _is_text(after)
            last = after if told and after is not None else node
            return _first_line(node), last.end_lineno or last.lineno
    raise MinisoraError(f"{symbol.module} has no {'.'.join(symbol.names)}: see its file")


def _names(node: ast.stmt) -> list[str]:
    if isinstance(node, Definition):
        return [node.name]
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return [target.id for target in targets if isinstance(target, ast.Name)]


def _is_text(node: ast.stmt | None) -> bool:
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _first_line(node: ast.stmt) -> int:
    decorators = getattr(node, "decorator_list", [])
    return min([node.lineno, *(decorator.lineno for decorator in decorators)]) - 1

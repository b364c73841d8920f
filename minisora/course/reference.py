"""The reference: every module of the package with its docstrings, read from the source and written as pages."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import minisora

ROOT = Path(minisora.__file__).parent
FLOORS = "core worlds data tokens diffusion nn models zoo generate train evaluate viz course cli"
"""The folders, from the ground up: a module imports only from below."""
SIGNS = re.compile(r"[\\*_<>|$\[\]{}#~]")
"""What Markdown would take for markup."""


def reference() -> dict[str, str]:
    """Pages by their names: one for each folder of the package, and an index."""
    pages = {f"minisora.{floor}": _page(floor) for floor in FLOORS.split()}
    rows = [f"| [`{name}`]({name}) | {_summary(ROOT / name.removeprefix('minisora.'))} |" for name in pages]
    head = "# Reference\n\nThe package from the ground up; a module imports only from folders below its own.\n\n"
    return {"index": head + "| folder | what it is |\n|---|---|\n" + "\n".join(rows) + "\n"} | pages


def _page(floor: str) -> str:
    parts = [f"# minisora.{floor}\n\n{_summary(ROOT / floor)}\n"]
    for file in sorted((ROOT / floor).glob("*.py")):
        if not file.stem.startswith("_"):
            parts.append(f"## {floor}.{file.stem}\n\n{_text(_tree(file))}\n")
            parts += _definitions(_tree(file), 3)
    return "\n".join(parts)


def _definitions(owner: ast.Module | ast.ClassDef, level: int) -> Iterator[str]:
    """The public functions and classes of a module, and the methods of a class, that say what they do."""
    for node in owner.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_") and _text(node):
            name = node.name if isinstance(owner, ast.Module) else f"{owner.name}.{node.name}"
            head = _class(node) if isinstance(node, ast.ClassDef) else _signature(node)
            yield f"{'#' * level} `{name}`\n\n```python\n{head}\n```\n\n{_text(node)}\n"
            if isinstance(node, ast.ClassDef):
                yield from _definitions(node, level + 1)


def _class(node: ast.ClassDef) -> str:
    """The head of a class, and the fields that it declares."""
    bases = ", ".join(ast.unparse(base) for base in node.bases)
    fields = [ast.unparse(field) for field in node.body if isinstance(field, ast.AnnAssign)]
    return "\n    ".join([f"class {node.name}" + (f"({bases})" if bases else ""), *fields])


def _signature(node: ast.FunctionDef) -> str:
    """The head of a function, an argument to a line where it would be long."""
    returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    whole = f"def {node.name}({ast.unparse(node.args)}){returns}"
    if len(whole) <= 100:
        return whole
    bare = ast.parse(f"def f({ast.unparse(node.args)}): ...").body[0]
    assert isinstance(bare, ast.FunctionDef)
    places = bare.args.posonlyargs + bare.args.args
    defaults = [None] * (len(places) - len(bare.args.defaults)) + bare.args.defaults
    lines = [_argument(*pair) for pair in zip(places, defaults, strict=True)]
    lines += [f"*{bare.args.vararg.arg}"] if bare.args.vararg else ["*"] if bare.args.kwonlyargs else []
    lines += [_argument(*pair) for pair in zip(bare.args.kwonlyargs, bare.args.kw_defaults, strict=True)]
    lines += [f"**{bare.args.kwarg.arg}"] if bare.args.kwarg else []
    return f"def {node.name}(\n" + "".join(f"    {line},\n" for line in lines) + f"){returns}"


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    value = "" if default is None else (" = " if argument.annotation else "=") + ast.unparse(default)
    return ast.unparse(argument) + value


def _tree(file: Path) -> ast.Module:
    return ast.parse(file.read_text(encoding="utf-8"))


def _summary(folder: Path) -> str:
    """What the folder's __init__.py says of it, or its first module."""
    return _text(_tree(folder / "__init__.py")) or _text(_tree(sorted(folder.glob("[a-z]*.py"))[0])).split("\n")[0]


def _text(node: ast.AST) -> str:
    """A docstring as Markdown: its signs mean themselves, and what is indented is code."""
    assert isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef)
    lines = (ast.get_docstring(node) or "").splitlines()
    return "\n".join(line if line.startswith("    ") else SIGNS.sub(r"\\\g<0>", line) for line in lines)

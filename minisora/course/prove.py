"""Proof that exercises are fair: the solution passes its check, and the stub and wrong answers do not.

A notebook runs once, without what the checks do not need. At each check the process forks, and every candidate is tried
in a child that starts from there: hundreds of answers take seconds, and one that crashes or never ends is only its own.
"""

import ast
import contextlib
import os
import resource
import signal
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from minisora.course.cells import Pair, code_cells, tag_of
from minisora.course.exercises import PASSED, TO_DO, progress
from minisora.course.mutants import mutants

PATIENCE = 30  # seconds of computing for one answer, however busy the machine is; four times as long if it sleeps
MUTANTS = 8  # tried of each solution, of which LEAST have to fail
LEAST = 3
CODES = {PASSED: 0, "failed": 1, TO_DO: 2}
RESULTS = {code: result for result, code in CODES.items()} | {-signal.SIGXCPU: "no end"}


@dataclass(frozen=True)
class Verdict:
    exercise: str
    candidate: str
    """solution, stub, or what was changed in the solution."""
    result: str
    """passed, to do, failed, or no end."""


def prove(pair: Pair) -> list[Verdict]:
    """Try the solution, the stub and some wrong answers of every exercise in a notebook."""
    import matplotlib
    import torch

    matplotlib.use("Agg")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # a child inherits no threads
    cells = [cell for _, cell in code_cells(pair.read())]
    needed, space, verdicts = needs(cells), dict[str, Any](__name__="__main__"), []
    text = {(tag_of(cell).kind, tag_of(cell).name): cell.source for cell in cells if tag_of(cell).name}
    with _elsewhere():
        for place, cell in enumerate(cells):
            tag = tag_of(cell)
            if place in needed:
                with _quiet():
                    exec(compile(cell.source, f"{pair.text.stem}, cell {place}", "exec"), space)
            if tag.kind == "check":
                answers = {"solution": text["solution", tag.name], "stub": text["exercise", tag.name]}
                answers |= dict(mutants(answers["solution"], MUTANTS))
                for name, answer in answers.items():
                    verdicts.append(Verdict(tag.name, name, trial(answer, cell.source, tag.name, space)))
    torch.set_num_threads(threads)
    return verdicts


def unfair(verdicts: list[Verdict]) -> Iterator[str]:
    """What is wrong with the exercises that were tried."""
    for exercise in dict.fromkeys(verdict.exercise for verdict in verdicts):
        results = {verdict.candidate: verdict.result for verdict in verdicts if verdict.exercise == exercise}
        if (result := results.pop("solution")) != PASSED:
            yield f"{exercise}: the solution does not pass ({result})"
        if (result := results.pop("stub")) != TO_DO:
            yield f"{exercise}: the stub is not 'to do' but {result}"
        wrong = [name for name, result in results.items() if result != PASSED]
        if len(wrong) < LEAST:
            passing = ", ".join(name for name in results if name not in wrong)
            yield f"{exercise}: {len(wrong)} wrong answers fail, and {LEAST} have to; these pass: {passing}"


def needs(cells: list[Any]) -> set[int]:
    """The cells that the checks and solutions depend on: those that make the names they use, and so on."""
    trees = [ast.parse(cell.source) for cell in cells]
    kinds = [tag_of(cell).kind for cell in cells]
    asked = ("check", "solution", "exercise")
    wanted = set[str]().union(*(_used(tree) for tree, kind in zip(trees, kinds, strict=True) if kind in asked))
    kept: set[int] = set()
    while True:
        more = {place for place, tree in enumerate(trees) if kinds[place] not in asked and _made(tree) & wanted}
        if more == kept:
            return kept
        kept = more
        wanted |= set[str]().union(*(_used(trees[place]) for place in kept))


def trial(answer: str, check: str, name: str, space: dict[str, Any]) -> str:
    """What the check of an exercise says of an answer, tried in a child of this process."""
    child = os.fork()
    if child == 0:
        code = CODES["failed"]
        resource.setrlimit(resource.RLIMIT_CPU, (PATIENCE, resource.RLIM_INFINITY))
        try:
            with _quiet(), _elsewhere():
                exec(answer, space)
                exec(check, space)
                code = CODES.get(progress().get(name, ""), code)
        finally:
            os._exit(code)
    end = time.monotonic() + 4 * PATIENCE
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return RESULTS.get(os.waitstatus_to_exitcode(status), "failed")
        time.sleep(0.005)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "no end"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing is printed, in whatever letters."""
    with open(os.devnull, "w", encoding="utf-8") as nowhere, contextlib.redirect_stdout(nowhere):
        yield


@contextlib.contextmanager
def _elsewhere() -> Iterator[None]:
    """A folder of its own to work in: what is remembered here concerns nobody."""
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(Path(folder)):
        yield


def _used(tree: ast.AST, known: frozenset[str] = frozenset()) -> set[str]:
    """Names that code takes from outside: those it reads before it has made them."""
    used, own = set[str](), set(known)
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.FunctionDef | ast.Lambda):
            used |= _used(node, frozenset(own | _names(node, ast.Store) | _arguments(node)))
        elif isinstance(node, ast.With | ast.For | ast.comprehension) or isinstance(
            tree, ast.ListComp | ast.GeneratorExp
        ):
            inside = _names(node, ast.Store) if isinstance(node, ast.For | ast.comprehension) else set()
            used |= _used(node, frozenset(own | inside))
        else:
            used |= _names(node, ast.Load) - own - _bound(node)
        own |= _names(node, ast.Store) | {getattr(node, "name", "")}
    return used


def _names(tree: ast.AST, context: type) -> set[str]:
    return {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, context)}


def _arguments(tree: ast.AST) -> set[str]:
    return {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}


def _bound(tree: ast.AST) -> set[str]:
    """Names that a comprehension or a lambda inside an expression makes for itself."""
    inner = (node for node in ast.walk(tree) if isinstance(node, ast.comprehension))
    return set().union(_arguments(tree), *(_names(node.target, ast.Store) for node in inner))


def _made(tree: ast.Module) -> set[str]:
    """Names that a cell makes or changes, at its top or inside a loop or a `with`; also what it sets an item of."""
    made = set[str]()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            made |= {(alias.asname or alias.name).split(".")[0] for alias in node.names}
        elif isinstance(node, ast.Subscript | ast.Attribute) and isinstance(node.ctx, ast.Store):
            made |= {part.id for part in ast.walk(node.value) if isinstance(part, ast.Name)}
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    rest = (node for node in tree.body if node not in functions)
    return made.union({node.name for node in functions}, *(_names(node, ast.Store) for node in rest))

"""Wrong answers, made from right ones: one small thing is changed at a time, as slips go."""

import ast
import copy
from collections.abc import Callable, Iterator

SWAPPED: dict[type, type] = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Pow: ast.Mult,
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq, ast.NotEq: ast.Eq,
    ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip


def mutants(source: str, most: int) -> Iterator[tuple[str, str]]:
    """(what was changed, the changed source), at most so many, from all over the function."""
    tree = ast.parse(source)
    changes = [(place, change) for place, node in enumerate(ast.walk(tree)) for change in _changes(node)]
    step = max(1, len(changes) / most)
    for number in range(min(most, len(changes))):
        place, change = changes[int(number * step)]
        mutant = copy.deepcopy(tree)
        node = next(node for at, node in enumerate(ast.walk(mutant)) if at == place)
        told = f"{number + 1}: {change(node)}"
        yield told, ast.unparse(ast.fix_missing_locations(mutant))


def _changes(node: ast.AST) -> Iterator[Callable[[ast.AST], str]]:
    """What can be done to a node; each function does it in place and says what it did."""
    if isinstance(node, ast.BinOp) and type(node.op) in SWAPPED:
        yield _swap_operator
    if isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
        yield _swap_comparison
    if isinstance(node, ast.Constant) and type(node.value) in (int, float, bool):
        yield _change_number
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub | ast.Not):
        yield _drop_sign
    if isinstance(node, ast.Call) and len(node.args) > 1:
        yield _swap_arguments
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and not node.args:
        yield _skip_call
    if isinstance(node, ast.comprehension) and node.ifs:
        yield _drop_condition
    if isinstance(node, ast.comprehension):
        yield _turn_round
    if isinstance(node, ast.IfExp):
        yield _swap_branches
    if isinstance(node, ast.FunctionDef) and node.args.args:
        yield _return_argument
    if isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple):
        yield _swap_values
    if isinstance(node, ast.Return) and node.value is not None:
        yield _return_nothing


def _swap_operator(node: ast.AST) -> str:
    assert isinstance(node, ast.BinOp)
    before = ast.unparse(node)
    node.op = SWAPPED[type(node.op)]()
    return f"{before} → {ast.unparse(node)}"


def _swap_comparison(node: ast.AST) -> str:
    assert isinstance(node, ast.Compare)
    before = ast.unparse(node)
    node.ops[0] = SWAPPED[type(node.ops[0])]()
    return f"{before} → {ast.unparse(node)}"


def _change_number(node: ast.AST) -> str:
    assert isinstance(node, ast.Constant)
    before = node.value
    assert isinstance(before, int | float)
    node.value = not before if isinstance(before, bool) else before + 1
    return f"{before} → {node.value}"


def _drop_sign(node: ast.AST) -> str:
    assert isinstance(node, ast.UnaryOp)
    before = ast.unparse(node)
    node.op = ast.UAdd() if isinstance(node.op, ast.USub) else ast.Not()
    if isinstance(node.op, ast.Not):
        node.operand = ast.UnaryOp(ast.Not(), node.operand)
    return f"{before} → {ast.unparse(node)}"


def _swap_arguments(node: ast.AST) -> str:
    assert isinstance(node, ast.Call)
    before = ast.unparse(node)
    node.args[0], node.args[1] = node.args[1], node.args[0]
    return f"{before} → {ast.unparse(node)}"


def _skip_call(node: ast.AST) -> str:
    """What a method gives becomes what it was called on, or that with another method."""
    assert isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    before = ast.unparse(node)
    node.args = [node.func.value]
    node.func = ast.Name("(lambda it, **_: it)", ast.Load())
    return f"{before} → {ast.unparse(node.args[0])}"


def _drop_condition(node: ast.AST) -> str:
    assert isinstance(node, ast.comprehension)
    return f"without: if {ast.unparse(node.ifs.pop())}"


def _turn_round(node: ast.AST) -> str:
    assert isinstance(node, ast.comprehension)
    before = ast.unparse(node.iter)
    node.iter = ast.parse(f"list({before})[::-1]", mode="eval").body
    return f"{before}, backward"


def _swap_branches(node: ast.AST) -> str:
    assert isinstance(node, ast.IfExp)
    node.body, node.orelse = node.orelse, node.body
    return ast.unparse(node)


def _return_argument(node: ast.AST) -> str:
    assert isinstance(node, ast.FunctionDef)
    first = node.args.args[0].arg
    node.body = [ast.Return(ast.Name(first, ast.Load()))]
    return f"return {first}"


def _swap_values(node: ast.AST) -> str:
    assert isinstance(node, ast.Return) and isinstance(node.value, ast.Tuple)
    node.value.elts.reverse()
    return f"return {ast.unparse(node.value)}"


def _return_nothing(node: ast.AST) -> str:
    assert isinstance(node, ast.Return)
    node.value = ast.Constant(None)
    return "return None"

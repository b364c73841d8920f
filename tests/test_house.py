"""The rules of the house, held by a machine: floors, sizes, and nothing heavy, pickled or private in the tree."""

import ast
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "minisora"
FLOORS = {
    "core": 0, "worlds": 1, "data": 2, "tokens": 2, "diffusion": 2, "nn": 3, "models": 4, "zoo": 5,
    "generate": 6, "train": 6, "evaluate": 7, "viz": 8, "course": 9, "cli": 10,
}  # fmt: skip
SOURCES = sorted(PACKAGE.rglob("*.py"))


def room(module: str) -> str:
    """'minisora.worlds.shapes' → 'worlds'; the package itself has no room."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def imports(tree: ast.AST) -> list[str]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute, so that they can be read without knowing where one stands"
            module = node.module or ""
            # `from minisora import cli` names a room in its aliases
            found += [f"{module}.{alias.name}" for alias in node.names] if module == "minisora" else [module]
    return found


def climbs(path: str, source: str) -> list[str]:
    """The imports of one file that do not lead downstairs or stay in its own folder."""
    own = room("minisora." + path.removesuffix(".py").replace("/", "."))
    bad = []
    for name in imports(ast.parse(source)):
        other = room(name) if name.split(".")[0] == "minisora" else ""
        if not other or other == own or other.startswith("__"):
            continue
        if own not in FLOORS or other not in FLOORS or FLOORS[other] >= FLOORS[own]:
            bad.append(f"{path} imports {name}")
    return bad


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_file_imports_only_from_lower_floors(path: Path) -> None:
    assert not climbs(str(path.relative_to(PACKAGE)), path.read_text())


@pytest.mark.parametrize(
    "path, source",
    [
        ("worlds/x.py", "from minisora.evaluate.blobs import link"),
        ("train/x.py", "import minisora.generate.sora"),
        ("core/x.py", "def late():\n    from minisora import cli"),
    ],
)
def test_a_climb_is_noticed(path: str, source: str) -> None:
    assert climbs(path, source)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_files_and_functions_stay_short(path: Path) -> None:
    source = path.read_text()
    assert len(source.splitlines()) < 300, "split the file: a reader should see one idea at a time"
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines < 45, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_every_file_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def test_the_tree_stays_small() -> None:
    sizes = {path: path.stat().st_size for path in tracked()}
    assert sum(sizes.values()) < 48 * 2**20
    assert not [path for path, size in sizes.items() if size > 16 * 2**20]


def test_nothing_is_a_pickle() -> None:
    assert not [path for path in tracked() if path.suffix in {".pkl", ".pickle", ".pt", ".pth", ".npy", ".joblib"}]
    for path in SOURCES:
        if path.name == "loader.py":
            continue  # it talks to its own worker processes in pickles, and to nobody else
        names = imports(ast.parse(path.read_text()))
        assert not {"pickle", "dill", "joblib", "shelve"} & set(names), path

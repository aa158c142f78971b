"""The house that one can see: rooms, the arrows between them, their faces, what they import."""

import ast
import importlib
import json
import re
import subprocess
import sys
import tomllib
from collections import Counter
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "xraylib"
FILES = sorted(PACKAGE.rglob("*.py"))
FLOORS = (  # from the ground up: a room knows only of rooms on lower floors
    {"files"},
    {"config"},
    {"pretrained"},
    {"metrics", "images", "report", "phantoms"},
    {"data"},
    {"network", "audit"},
    {"sources"},
    {"lungs", "experiments"},
    {"maps"},
    {"plots", "studies"},
    {"segment", "predict", "check"},
)
NEVER = {  # beside the floors
    "data": {"sources", "studies"},
    "metrics": {"tensorflow", "keras"},
    "plots": {"studies"},
}
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf8"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(text: str) -> set[str]:
    """Return what code imports, also inside functions; `from a import b` gives `a.b`."""
    found = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are written out"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(name: str) -> str:
    """Return the room or top-level file of a name such as `xraylib.data.split`."""
    return name.split(".")[1] if name.startswith("xraylib.") else name.split(".")[0]


def arrows() -> set[tuple[str, str]]:
    """Return (room, what it imports) for every import of every file in a room."""
    pairs = set()
    for path in FILES:
        if path.parent == PACKAGE and path.stem == "__init__":
            continue
        here = room(module_name(path))
        pairs |= {(here, room(name)) for name in imports(path.read_text("utf8"))}
    return {(one, other) for one, other in pairs if one != other}


def floor(name: str) -> int | None:
    return next((number for number, rooms in enumerate(FLOORS) if name in rooms), None)


def test_every_room_has_its_floor_and_a_sentence():
    rooms = {room(module_name(path)) for path in FILES} - {"xraylib"}
    assert rooms == set().union(*FLOORS)
    for path in PACKAGE.rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(path.read_text("utf8"))), path


def test_the_house_stays_small():
    rooms = [path for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()]
    assert len(rooms) < 15
    assert len(FILES) <= 60


@pytest.mark.slow
def test_no_function_is_there_for_tests_only():
    """Each is named by other code of the package, a chapter, the book's tools or the ledger."""
    texts = {path: path.read_text("utf8") for path in FILES}
    texts = {path: text for path, text in texts.items() if "lazy_loader" not in text}
    users = [
        *ROOT.glob("notebooks/*.ipynb"),
        *ROOT.glob("book/tools/*.py"),
        PACKAGE / "report/claims.csv",
    ]
    everything = "\n".join([*texts.values(), *(path.read_text("utf8") for path in users)])
    named = Counter(re.findall(r"\w+", everything))
    for path, text in texts.items():
        for node in ast.parse(text).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef):
                own = re.findall(rf"\b{node.name}\b", ast.get_source_segment(text, node))
                assert named[node.name] > len(own), f"{path}: {node.name}"


def test_arrows_go_down_only():
    inside = [(a, b) for a, b in arrows() if floor(b) is not None]
    assert not [(a, b) for a, b in inside if floor(a) <= floor(b)]
    assert not [(a, b) for a, b in arrows() if b in NEVER.get(a, ())]


def test_no_file_is_in_a_circle():
    names = {module_name(path): path for path in FILES}
    graph = {}
    for name, path in names.items():
        if path.stem == "__init__":
            continue  # a face imports nothing until it is asked
        asked = imports(path.read_text("utf8"))
        graph[name] = {n for n in names if n in asked or n in {a.rpartition(".")[0] for a in asked}}
        graph[name] -= {name, *(n for n in names if names[n].stem == "__init__")}
    tuple(TopologicalSorter(graph).static_order())  # raises CycleError


def declared() -> set[str]:
    """Return the distributions that `pip install` brings without extras, by their plain names."""
    return {Requirement(line).name.lower() for line in PYPROJECT["project"]["dependencies"]}


ON_DEMAND = {"dask"}  # the extra `cluster`: imported where a cluster is named, missing or not


def undeclared(names: set[str]) -> set[str]:
    """Return the third-party packages among imports that no dependency brings."""
    brings = packages_distributions()
    tops = {name.split(".")[0] for name in names} - set(sys.stdlib_module_names) - {"xraylib"}
    twins = {"opencv-python-headless": "opencv-python"}
    owners = {top: {twins.get(d, d).lower() for d in brings.get(top, [top])} for top in tops}
    return {top for top, names in owners.items() if not names & declared()}


def test_every_import_of_the_package_is_declared():
    names = {name for path in FILES for name in imports(path.read_text("utf8"))}
    assert undeclared(names) <= ON_DEMAND


@pytest.mark.parametrize("path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem)
def test_every_import_of_a_chapter_is_declared(path):
    """Colab installs the package alone, without extras."""
    cells = nbformat.read(path, as_version=4).cells
    code = [c.source for c in cells if c.cell_type == "code" and c.id != "colab"]
    assert not undeclared({name for cell in code for name in imports(cell)})


def test_every_data_file_goes_with_the_package():
    listed = PYPROJECT["tool"]["setuptools"]
    kept = {path for path in PACKAGE.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    for path in kept - set(FILES):
        room_name = module_name(path.parent / "__init__.py")
        patterns = listed["package-data"].get(room_name, [])
        assert any(path.match(pattern) for pattern in patterns), path
    packages = {module_name(path) for path in PACKAGE.rglob("__init__.py")}
    assert packages | {"xraylib.measured"} == set(listed["packages"])


def test_metrics_load_no_tensorflow():
    code = (
        "import json, sys, xraylib; xraylib.wilson_interval(26, 26);"
        "print(json.dumps(sorted(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(json.loads(done.stdout))
    assert "xraylib.metrics.counts" in loaded
    assert not loaded & {"tensorflow", "keras", "matplotlib"}


def test_every_face_keeps_its_word():
    for path in PACKAGE.rglob("__init__.py"):
        face = importlib.import_module(module_name(path))
        for name in getattr(face, "__all__", ()):
            assert getattr(face, name) is not None


PROSE = [*(ROOT / "book").glob("*.md"), ROOT / "README.md", *(ROOT / "notebooks").glob("*.ipynb")]


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.name)
def test_no_line_of_prose_stands_twice(path):
    text = path.read_text("utf8")
    if path.suffix == ".ipynb":
        cells = nbformat.reads(text, as_version=4).cells
        text = "\n".join(cell.source for cell in cells if cell.cell_type == "markdown")
    lines = [
        line.strip() for line in text.splitlines() if len(line.split()) > 5 and "|" not in line
    ]
    assert sorted(lines) == sorted(set(lines))

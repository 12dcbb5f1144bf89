"""The layout of the house: who may import whom, how large a file may grow, how quick the face is."""

import ast
import collections
import pathlib
import re
import statistics
import subprocess
import sys
import types

import pytest

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = ROOT / "jmeta"
SOURCES = sorted(PACKAGE.rglob("*.py"))

FLOORS = {
    **dict.fromkeys(
        ["errors", "records", "trees", "distances", "compiler", "padding", "pairs", "precision"], 0
    ),
    **dict.fromkeys(["files", "weights", "validation", "graphs", "iteration", "sharding"], 1),
    **dict.fromkeys(["agreement", "batching", "compilation_cache", "masking", "reach", "tables"], 2),
    **dict.fromkeys(["losses", "metrics", "networks", "tasks"], 3),
    **dict.fromkeys(["clustering", "training"], 4),
    **dict.fromkeys(["learners", "planning", "portfolio", "metafeatures", "rl"], 5),
    "selection": 6,
    "search": 7,
    "artifacts": 8,
    **dict.fromkeys(["harness", "doctor", "estimators"], 9),
    "report": 10,
    "cli": 11,
}
ONLY_IN = {
    "flax": "networks",
    "equinox": "networks",
    "tensorflow_datasets": "tasks/datasets.py",
    "matplotlib": "report",
    "plotly": "report",
    "orbax": "training/checkpoint.py",
    "grain": "tasks",
    "tyro": ("cli", "harness"),
}
"""Heavy packages, and the one place that may import each."""


def room(path):
    """The file or folder directly under the package that a source belongs to."""
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def imports(path):
    """Every module that a file imports, in full."""
    package = [*path.relative_to(ROOT).with_suffix("").parts][:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) + 1 - node.level] if node.level else []
            module = ".".join([*start, *([node.module] if node.module else [])])
            yield from (f"{module}.{alias.name}" for alias in node.names)


def names(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if p.parent != PACKAGE or p.stem != "__init__"], ids=names
)
def test_imports_come_from_a_lower_floor_or_the_same_room(path):
    here = room(path)
    for module in imports(path):
        assert module != "jmeta" or FLOORS[here] > 8, f"{names(path)} imports the face; name the file"
        if module.startswith("jmeta."):
            there = module.split(".")[1]
            assert there in FLOORS, f"{names(path)} imports {module}, which has no floor"
            assert there == here or FLOORS[there] < FLOORS[here], f"{names(path)} imports {module}"


@pytest.mark.parametrize("path", SOURCES, ids=names)
def test_heavy_packages_are_imported_in_one_place(path):
    inside = path.relative_to(PACKAGE).as_posix()
    for module in imports(path):
        place = ONLY_IN.get(module.split(".")[0])
        assert place is None or inside.startswith(place), f"{inside} imports {module}"


def test_files_and_functions_keep_their_budget():
    everything = [p for folder in ("jmeta", "experiments", "tests") for p in (ROOT / folder).rglob("*.py")]
    assert not [names(p) for p in everything if len(p.read_text(encoding="utf-8").splitlines()) > 400]
    assert statistics.median(len(p.read_text(encoding="utf-8").splitlines()) for p in SOURCES) <= 150
    folders = collections.Counter()
    for path in SOURCES:
        folders[path.parent] += len(path.read_text(encoding="utf-8").splitlines())
    assert max(folders.values()) <= 2500, folders.most_common(1)
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                body = node.body[1:] if ast.get_docstring(node) else node.body
                length = body[-1].end_lineno - body[0].lineno + 1 if body else 0
                assert length <= 60, f"{names(path)}: {node.name} has {length} lines"


def test_the_face_is_light_and_starts_no_device():
    code = (
        "import time; began = time.perf_counter(); import jmeta; took = time.perf_counter() - began\n"
        "import sys; assert 'jax' not in sys.modules and 'flax' not in sys.modules\n"
        "jmeta.iterate; from jax._src import xla_bridge\n"
        "assert not xla_bridge.backends_are_initialized()\n"
        "print(took)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert float(done.stdout) < 1.5


def test_every_public_name_exists_and_is_documented():
    import jmeta

    for name in jmeta.__all__:
        assert getattr(jmeta, name).__doc__, f"jmeta.{name} has no docstring"


def test_every_public_name_stands_in_the_reference():
    import jmeta

    reference = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    whole, listed = set(), set()
    for kind, path, members in re.findall(r"\.\. auto(\w+):: (\S+)(?:\n +:members:(.*))?", reference):
        if kind == "class":
            listed.add(path)
        elif members.strip():
            listed |= {f"{path}.{name.strip()}" for name in members.split(",")}
        else:
            whole.add(path)
    for name in jmeta.__all__:
        one = getattr(jmeta, name)
        if not isinstance(one, types.ModuleType) and name != "__version__":
            module = one.__module__
            assert module in whole or f"{module}.{name}" in listed, f"{module}.{name} is not in docs/api.md"

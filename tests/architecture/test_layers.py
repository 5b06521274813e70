"""Imports point down, and what must not be in the source is not there."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "unskew"

LAYERS = [
    {"errors"},
    {"__init__", "registry", "items", "chat", "embeddings", "rating", "world_names"},
    {"types", "recipes", "judge_settings", "editor_settings"},
    {"protocols", "files", "statistics", "schema", "published"},
    {"config", "paired"},
    {"data", "models"},
    {
        "objectives",
        "updates",
        "controllers",
        "benchmarks",
        "saliency",
        "edits",
        "decoders",
        "classifiers",
    },
    {"lm_eval_tasks"},
    {"training", "evaluation"},
    {"reports", "world", "hub", "judging"},
    {"worlds"},
    {"assemble", "recording", "output", "comparison", "gates", "plans"},
    {"measuring", "datasource", "decoding"},
    {"stages"},
    {"baselines"},
    {"pipeline", "scoring", "merging", "publishing"},
    {"run", "tracing", "transferring", "estimating", "judgement"},
    {"executing", "carrying"},
    {"executors", "sweeping", "planning"},
    {"demo", "comparing"},
    {"console"},
    {"cli_runs", "cli_trace", "cli_judge", "cli_deliver"},
    {"cli"},
    {"__main__"},
]
"""Bottom to top. A room imports from lower ones; rooms in one layer do not import each other."""
PARTS = next(layer for layer in LAYERS if "benchmarks" in layer)
HEAVY = {"transformers", "peft", "accelerate", "datasets"}
HEAVY_AT_HOME = (
    "models/",
    "training/",
    "hub/",
    "updates/scope.py",
    "data/sources.py",
    "lm_eval_tasks/",
    "world/teach.py",
    "world/student.py",
)
MOST_LINES = 300
LONG = {
    "types.py": "every record that crosses rooms, on one page",
    "protocols.py": "every contract between rooms, on one page",
    "schema.py": "every setting of a run, on one page",
    "cli.py": "a table of commands and options, without logic",
    "reports/record.py": "the schema of a record, on one page",
    "benchmarks/_aggregation.py": "one way to aggregate, shared by all benchmarks",
}
"""Files that may have up to a third more, and why."""


def _files() -> list[Path]:
    return sorted(SOURCE.rglob("*.py"))


def _name(path: Path) -> str:
    return path.relative_to(SOURCE).as_posix()


def _room(name: str) -> str:
    return name.partition("/")[0].removesuffix(".py")


def _level(room: str) -> int | None:
    return next((i for i, layer in enumerate(LAYERS) if room in layer), None)


def _imports(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and dotted name of everything imported, absolute or relative, at any depth."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            if node.module == "unskew":
                yield from ((node.lineno, f"unskew.{alias.name}") for alias in node.names)
            else:
                yield node.lineno, node.module


def violations(name: str, source: str) -> list[str]:
    """Broken rules of one file, as `file:line: rule`."""
    tree = ast.parse(source)
    found = []
    room = _room(name)
    for line, module in _imports(tree):
        place = f"{name}:{line}"
        top = module.partition(".")[0]
        if top == "unskew":
            found += [f"{place}: {rule}" for rule in _own(name, room, module)]
        elif top in HEAVY and not name.startswith(HEAVY_AT_HOME):
            found.append(f"{place}: {top} is imported only in {', '.join(HEAVY_AT_HOME)}")
        elif top in {"pickle", "dill", "joblib"}:
            found.append(f"{place}: {top} runs code from files")
    found += [f"{name}:{line}: {rule}" for line, rule in _banned(tree)]
    most = MOST_LINES * 4 // 3 if name in LONG else MOST_LINES
    if len(source.splitlines()) > most:
        found.append(f"{name}:{most}: longer than {most} lines")
    return found


def _banned(tree: ast.AST) -> Iterator[tuple[int, str]]:
    for node in ast.walk(tree):
        match node:
            case ast.Attribute(value=ast.Name(id="torch"), attr="load" | "save"):
                yield node.lineno, f"torch.{node.attr} is a pickle; use safetensors"
            case ast.keyword(arg="trust_remote_code", value=ast.Constant(value=True)):
                yield node.lineno, "code from the hub runs only where the user says so"


def _own(name: str, room: str, module: str) -> Iterator[str]:
    other = module.split(".")[1] if "." in module else "__init__"
    if other not in {_room(_name(p)) for p in _files()}:
        return  # a name from the package's `__init__`, such as `__version__`
    if room == other:
        sibling = module.split(".")[2:3]
        is_part = sibling and room in PARTS and not sibling[0].startswith("_")
        if is_part and not name.endswith("__init__.py"):
            yield f"a part of {room} imports its sibling {sibling[0]}"
        return
    if room == "__init__":
        return  # the package's front door opens every room, when asked
    own_level, its_level = _level(room), _level(other)
    if own_level is None or its_level is None:
        yield f"{room if own_level is None else other} has no layer; add it to LAYERS"
    elif its_level > own_level:
        yield f"{room} imports {other}, which is above it"
    elif its_level == own_level:
        yield f"{room} imports {other}, which is beside it"


@pytest.mark.parametrize("path", _files(), ids=_name)
def test_rules(path):
    assert violations(_name(path), path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("name", "source", "rule"),
    [
        ("data/x.py", "from unskew.training.trainer import A", "above it"),
        ("data/x.py", "from unskew.models.load import A", "beside it"),
        ("objectives/x.py", "import unskew.objectives.biasunlearn", "its sibling biasunlearn"),
        ("types.py", "from unskew.protocols import A", "above it"),
        ("reports/x.py", "def f():\n    from unskew.cli import main", "above it"),
        ("unheard/x.py", "from unskew import run", "unheard has no layer"),
        ("benchmarks/x.py", "import transformers.utils", "transformers is imported only in"),
        ("models/x.py", "import pickle", "runs code"),
        ("models/x.py", "import torch\ntorch.load('x')", "use safetensors"),
        ("models/x.py", "f(trust_remote_code=True)", "where the user says so"),
        ("models/x.py", "\n" * 301, "longer than 300"),
        ("cli.py", "\n" * 401, "longer than 400"),
    ],
)
def test_the_rules_catch(name, source, rule):
    found = violations(name, source)
    assert len(found) == 1
    assert rule in found[0]
    assert found[0].startswith(f"{name}:")


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("training/x.py", "import transformers\nfrom unskew.training.checkpoint import A"),
        ("benchmarks/x.py", "from unskew.benchmarks._aggregation import A"),
        ("run.py", "from unskew import __version__, config"),
        ("models/x.py", "f(trust_remote_code=flag)"),
    ],
)
def test_the_rules_let_pass(name, source):
    assert violations(name, source) == []


def test_importing_the_tables_does_not_import_torch():
    import subprocess
    import sys

    rooms = ", ".join(f"unskew.{room}" for room in sorted(PARTS))
    code = f"import sys, {rooms}, unskew.config; print('torch' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"

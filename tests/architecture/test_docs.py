"""What the documents say can be done: commands parse, code compiles, links and tables hold."""

from __future__ import annotations

import contextlib
import re
import resource
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.architecture.test_layers import LAYERS
from unskew import cli, config
from unskew.recipes import parse_yaml, recipe_names

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted(
    [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *ROOT.glob("docs/*.md")]
)
APP: Any = typer.main.get_command(cli.app)
HELP_SECONDS = 2.0


def _ids(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def fences(text: str) -> Iterator[tuple[str, str]]:
    """Language and content of each fenced block."""
    yield from re.findall(r"^```(\w*)[^\n]*\n(.*?)^```", text, flags=re.MULTILINE | re.DOTALL)


def commands(text: str, program: str) -> list[str]:
    """Command lines in shell blocks; a backslash joins lines."""
    lines = [
        line.strip().removeprefix("$ ")
        for language, block in fences(text)
        if language in {"sh", "bash", "console"}
        for line in block.replace("\\\n", " ").splitlines()
    ]
    return [line for line in lines if re.match(rf"({program})\b", line)]


def spans(text: str) -> list[str]:
    """Code spans that begin with the name of the command, e.g. `unskew list`."""
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    return re.findall(r"`(unskew [a-z][^`]*)`", prose)


def resolve(words: list[str]) -> tuple[Any, list[str]]:
    """The command that words name, and the words after its name."""
    node, rest = APP, words[1:]
    while rest and rest[0] in getattr(node, "commands", {}):
        node, rest = node.commands[rest[0]], rest[1:]
    return node, rest


def cases(of) -> list[Any]:
    found = [(path, text) for path in DOCUMENTS for text in of(path.read_text("utf-8"))]
    return [pytest.param(text, id=f"{path.name}: {text[:70]}") for path, text in found]


def test_the_documents_are_found():
    assert len(DOCUMENTS) >= 10
    assert len(cases(lambda text: commands(text, "unskew"))) >= 10


@pytest.mark.parametrize("line", cases(lambda text: commands(text, "unskew")))
def test_a_command_parses(line):
    command, rest = resolve(shlex.split(line, comments=True))
    assert not hasattr(command, "commands"), f"no such command: {line}"
    with contextlib.suppress(typer.Exit):  # --help and the like end the parsing
        command.make_context("unskew", rest)


@pytest.mark.parametrize("line", cases(lambda text: commands(text, r"torchrun|accelerate")))
def test_a_launched_command_parses(line):
    """The words after `-m unskew`."""
    words = shlex.split(line, comments=True)
    assert words.index("-m") + 1 == words.index("unskew"), line
    command, rest = resolve(words[words.index("unskew") :])
    command.make_context("unskew", rest)


@pytest.mark.parametrize("span", cases(spans))
def test_a_command_named_in_a_sentence_exists(span):
    command, rest = resolve(shlex.split(span))
    assert not hasattr(command, "commands"), f"no such command: {span}"
    known = {name for parameter in command.params for name in parameter.opts} | {"--help"}
    named = {word.partition("=")[0] for word in rest if word.startswith("--")}
    assert {n.replace("_", "-") for n in named} <= {n.replace("_", "-") for n in known}


@pytest.mark.parametrize("path", DOCUMENTS, ids=_ids)
def test_python_blocks_compile_and_name_what_exists(path):
    for language, block in fences(path.read_text("utf-8")):
        if language == "python":
            compile(block, str(path), "exec")
            for module, names in re.findall(r"^from (unskew[\w.]*) import ([\w, ]+)$", block, re.M):
                loaded = __import__(module, fromlist=["_"])
                assert all(hasattr(loaded, name.strip()) for name in names.split(",")), module


@pytest.mark.parametrize("path", DOCUMENTS, ids=_ids)
def test_links_lead_somewhere(path):
    prose = re.sub(r"^```.*?^```", "", path.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if not target.startswith(("http://", "https://", "#", "mailto:")):
            assert (path.parent / target.partition("#")[0]).exists(), f"{path.name}: {target}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=_ids)
def test_make_targets_exist(path):
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    lines = commands(path.read_text("utf-8"), "make")
    assert {shlex.split(line, comments=True)[1] for line in lines} <= set(targets)


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads(name):
    options = {"model.name_or_path": "m", "data.name_or_path": "d"}
    assert config.load(name, options=options).recipe == name


def _table() -> list[tuple[str, dict[str, str]]]:
    """Rows of the table of settings in docs/biasunlearn.md: dotted path, cell by recipe."""
    text = (ROOT / "docs" / "biasunlearn.md").read_text("utf-8")
    lines = [re.split(r"\s*\|\s*", line)[1:-1] for line in text.splitlines() if line[:1] == "|"]
    head = next(cells for cells in lines if cells[0] == "setting")
    start = lines.index(head) + 2
    rows = []
    for cells in lines[start:]:
        if not cells[0].startswith("`"):
            break
        rows.append((cells[0].strip("`"), dict(zip(head[1:], cells[1:], strict=True))))
    return rows


def _setting(node: Any, path: str) -> Any:
    for name in path.split("."):
        if isinstance(node, list):
            node = next((part for part in node if part["name"] == name), None)
        elif node is not None:
            node = node.get(name)
    return node


@pytest.mark.parametrize("name", ["biasunlearn_paper", "biasunlearn_official_code", "biasunlearn"])
def test_the_table_of_settings_is_what_the_recipes_say(name):
    """A cell in parentheses is the part's own default, which the recipe leaves out."""
    options = {"model.name_or_path": "m", "data.name_or_path": "d"}
    stage = config.load(name, options=options).model_dump()["stages"][0]
    rows = _table()
    assert len(rows) >= 20
    for path, cells in rows:
        cell = cells[f"`{name}`"]
        if not cell.startswith("("):
            assert _setting(stage, path) == parse_yaml(cell), f"{path} of {name}"


def _commands(node: Any, words: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield words
    for name, child in getattr(node, "commands", {}).items():
        yield from _commands(child, (*words, name))


def test_help_of_every_command_needs_nothing_heavy():
    """All in one process, which therefore also shows that none of them imports torch."""
    every = list(_commands(APP))
    assert len(every) >= 9
    code = (
        "import sys\nfrom unskew import cli\n"
        f"for words in {every!r}:\n"
        "    try:\n        cli.main([*words, '--help'])\n"
        "    except SystemExit as ended:\n        assert not ended.code, words\n"
        "heavy = {'torch', 'transformers', 'numpy'} & set(sys.modules)\n"
        "assert not heavy, heavy\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Usage: unskew") == len(every)
    # Processor seconds, which a busy machine does not stretch; for all commands together.
    spent = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    assert spent < HELP_SECONDS * len(every)


def test_help_of_one_command_takes_under_two_seconds():
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run(
        [sys.executable, "-m", "unskew", "unlearn", "-h"], capture_output=True, check=True
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < HELP_SECONDS


def _rooms() -> set[str]:
    return {room for layer in LAYERS for room in layer} - {"__init__", "__main__"}


def test_the_tree_and_the_layers_name_every_room_once():
    """A merge that keeps both sides' lines names a room twice; a new one is easily forgotten."""
    index = (ROOT / "docs/index.md").read_text("utf-8")
    source = index[index.index("\nsrc/unskew/") : index.index("\ntests/")]
    tree = re.findall(r"^  (\w+)(?:\.py|/) ", source, re.M)
    page = (ROOT / "docs/architecture.md").read_text("utf-8")
    table = page[page.index("| layer, bottom") : page.index("`transformers`, `peft`")]
    layers = re.findall(r"`(\w+)`", table)
    for place, named in (("docs/index.md", tree), ("docs/architecture.md", layers)):
        assert sorted(named) == sorted(_rooms()), place

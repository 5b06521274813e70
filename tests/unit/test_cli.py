"""Each option reaches the setting it names, and help costs nothing."""

from __future__ import annotations

import subprocess
import sys

import pytest
import typer

from unskew import cli, config
from unskew.console import node
from unskew.errors import ConfigError, UnskewError

FOLLOWS = {
    "--model other": ("model.name_or_path", "other"),
    "--model_name_or_path other": ("model.name_or_path", "other"),
    "--data other.csv": ("data.name_or_path", "other.csv"),
    "--dataset-name other.csv": ("data.name_or_path", "other.csv"),
    "--max-steps 7": ("stages.0.training.max_steps", 7),
    "--max_steps 7": ("stages.0.training.max_steps", 7),
    "--learning-rate 3e-4": ("stages.0.training.learning_rate", 3e-4),
    "--seed 5": ("seed", 5),
    "--bf16": ("stages.0.training.bf16", True),
    "--dtype bfloat16": ("model.dtype", "bfloat16"),
    "--revision v2": ("model.revision", "v2"),
    "--model_revision v2": ("model.revision", "v2"),
    "--report-data exam.json": ("data.report_data", "exam.json"),
    "--format csv": ("data.format", "csv"),
    "--column stereotype=more": ("data.columns", {"stereotype": "more"}),
    "--categories a,b": ("data.categories", ["a", "b"]),
    "--benchmarks stereoset": ("evaluation.benchmarks", ["stereoset"]),
    "--config {file}": ("seed", 11),
}
ELSEWHERE = {"recipe", "overrides", "output_dir", "resume", "controls", "show_traceback"}
"""Not settings: tested with the runs themselves."""


class Reached(UnskewError):
    """Ends a command where its run would begin."""

    exit_code = 0


@pytest.fixture
def settings(monkeypatch, tmp_path):
    """The configuration that a command line leads to, as a nested mapping."""
    (tmp_path / "more.yaml").write_text("seed: 11\n")
    seen = []

    def stop(given, *args, **options):
        seen.append(given.model_dump())
        raise Reached("here")

    monkeypatch.setattr("unskew.run.execute", stop)

    def read(words):
        given = words.replace("{file}", str(tmp_path / "more.yaml")).split()
        with pytest.raises(SystemExit) as ended:
            cli.main(["unlearn", "biasunlearn", "--model", "m", "--data", "d", *given])
        assert ended.value.code == 0
        return seen.pop()

    return read


def flat(node, path=""):
    if isinstance(node, dict | list) and node and path != "data.columns":
        items = node.items() if isinstance(node, dict) else enumerate(node)
        lists = isinstance(node, list) and not isinstance(node[0], dict)
        if not lists:
            return {k: v for key, child in items for k, v in flat(child, f"{path}.{key}").items()}
    return {path.lstrip("."): node}


@pytest.mark.parametrize("words", FOLLOWS)
def test_an_option_changes_its_setting_and_no_other(settings, words):
    path, value = FOLLOWS[words]
    plain, changed = settings(""), settings(words)
    node = changed
    for name in path.split("."):
        node = node[int(name)] if isinstance(node, list) else node[name]
    assert node == value
    before, after = flat(plain), flat(changed)
    moved = {k for k in before.keys() | after.keys() if before.get(k) != after.get(k)}
    assert all(k == path or k.startswith(f"{path}.") for k in moved)
    assert moved


def test_no_option_of_unlearn_is_left_out_of_the_table():
    command = typer.main.get_command(cli.app).commands["unlearn"]
    tested = {words.split()[0].replace("_", "-") for words in FOLLOWS}
    for parameter in command.params:
        if parameter.name not in ELSEWHERE and parameter.name != "help":
            assert {name.replace("_", "-") for name in parameter.opts} & tested, parameter.name


def test_no_bf16_undoes_a_recipe_that_has_it(settings):
    assert settings("--no-bf16 training.bf16=true")["stages"][0]["training"]["bf16"] is True
    assert settings("--no-bf16")["stages"][0]["training"]["bf16"] is False


def test_overrides_win_over_options_and_options_over_files(settings, tmp_path):
    assert settings("--seed 5 --config {file}")["seed"] == 5
    assert settings("seed=6 --seed 5 --config {file}")["seed"] == 6


def test_the_module_of_the_command_line_imports_nothing_heavy():
    code = (
        "import sys, unskew.cli; print([m for m in ('torch', 'numpy', 'yaml') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_recipe_of_a_run_is_the_one_named(settings):
    assert settings("")["recipe"] == "biasunlearn"
    assert config.load("biasunlearn", options={"model.name_or_path": "m", "data.name_or_path": "d"})


@pytest.mark.parametrize("text", ["negation", "{name: ", "[1, 2]"])
def test_an_edit_is_a_mapping(text):
    with pytest.raises(ConfigError, match=r"is not of the form '\{name: NAME, setting: value\}'"):
        node(text)
    assert node("{name: ties, density: 2e-1}") == {"name": "ties", "density": 0.2}
    assert node(None) is None

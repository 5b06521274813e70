"""A method and a measure of another package are found by name, as if they were ours."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.conftest import command, environment
from unskew.reports.record import RunRecord

PACKAGE = Path(__file__).parents[1] / "extension_package"


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """The package and its metadata, as an installer lays them out; a build would need a network."""
    project = tomllib.loads((PACKAGE / "pyproject.toml").read_text())["project"]
    site = tmp_path_factory.mktemp("site")
    shutil.copytree(PACKAGE / "src" / "unskew_example", site / "unskew_example")
    metadata = site / f"unskew_example-{project['version']}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = []
    for group, names in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in names.items())]
    (metadata / "entry_points.txt").write_text("\n".join(lines))
    return site


def run(installed, *words):
    extended = {**environment(), "PYTHONPATH": str(installed)}
    return subprocess.run(
        command(*words), env=extended, capture_output=True, text=True, check=True
    ).stdout


def test_list_shows_the_parts_of_another_package(installed):
    listed = run(installed, "list").splitlines()
    assert (
        listed[listed.index("objectives") + 1]
        == "  biasunlearn, dpo, even, likelihood, pair_gap, sim_npo"
    )
    assert "length_gap" in listed[listed.index("benchmarks") + 1]


def test_a_recipe_uses_them(installed, story, tmp_path):
    recipe = {
        "stages": [
            {
                "kind": "train",
                "objective": {"name": "pair_gap", "floor": -8.0},
                "rule": {"name": "plain", "weights": {"forget": 0.2, "retain": 0.4}},
                "scope": {"name": "lora"},
                "chunk": {"retain": 12, "unrelated": 0},
                "training": {"max_steps": 20, "learning_rate": 2e-3, "eval_steps": 10},
            }
        ],
        "evaluation": {"benchmarks": ["stereoset", "length_gap"]},
    }
    file = tmp_path / "gap.yaml"
    file.write_text(yaml.safe_dump(recipe))
    named = ["--model", str(story.biased), "--data", str(story.pairs)]
    run(installed, "unlearn", str(file), *named, "--output-dir", str(tmp_path / "run"))
    record = RunRecord.load(tmp_path / "run")
    assert record.recipe == "gap"
    assert record.value(benchmark="length_gap", metric="mean_gap", phase="after") == 0
    assert set(record.train_log[-1].parts) == {"forget", "retain"}
    before, after = (
        record.value(benchmark="stereoset", metric="mean_gap", phase=p) for p in ("before", "after")
    )
    assert after < before

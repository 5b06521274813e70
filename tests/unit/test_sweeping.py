"""A grid becomes runs that go on, fail one by one, and are compared."""

from __future__ import annotations

import json

import pytest

from tests.unit.comparison.small_runs import pairs, unlearned, write_run
from unskew import config, executing, sweeping
from unskew.errors import ConfigError, DataError, RunError
from unskew.recipes import parse_grid
from unskew.sweeping import points_of, sweep

NAMED = {"model": "m", "data": "d"}


def test_every_combination_has_a_point_and_a_name():
    points = points_of({"stages.mask.choose.fraction": [0.1, 0.5], "seed": [0, 1]})
    assert [p.name for p in points] == [
        "fraction=0.1,seed=0",
        "fraction=0.1,seed=1",
        "fraction=0.5,seed=0",
        "fraction=0.5,seed=1",
    ]
    assert points[1].overrides == ("stages.mask.choose.fraction=0.1", "seed=1")


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("mask", "control"), None),
        (("mask", "control"), "random"),
        (("update", "controls"), True),
        (("update", "strengths"), [0.5, 1e-5]),
        (("unbiased", "training", "learning_rate"), 1e-5),
        (("unbiased", "rule"), {"name": "plain", "weights": {"forget": 1.0}}),
    ],
)
def test_a_value_arrives_as_what_it_is(place, value):
    (point,) = points_of({".".join(("stages", *place)): [value]})
    named = {"model.name_or_path": "m", "data.name_or_path": "d"}
    settings = config.load("sdu", options=named, overrides=point.overrides).model_dump()
    found = next(s for s in settings["stages"] if s["name"] == place[0])
    for name in place[1:]:
        found = found[name]
    assert found == value


def test_settings_that_end_alike_keep_their_whole_names():
    (point,) = points_of({"stages.a.training.max_steps": [1], "stages.b.training.max_steps": [2]})
    assert point.name == "stages.a.training.max_steps=1,stages.b.training.max_steps=2"


def test_a_value_cannot_leave_the_folder():
    (point,) = points_of({"stages.mask.mask": ["../../x/{y: 1}"]})
    assert "/" not in point.name and " " not in point.name


@pytest.mark.parametrize("grid", [{}, {"seed": []}, {"seed": [1, 1]}])
def test_grids_without_distinct_points_are_refused(grid):
    with pytest.raises(ConfigError, match="the grid has"):
        points_of(grid)


@pytest.mark.parametrize("text", ["seed", "seed=1", "seed=[]", "=[1]", "seed=["])
def test_a_grid_is_a_setting_and_a_list(text):
    with pytest.raises(ConfigError, match=r"is not of the form key=\[value, value\]"):
        parse_grid([text])
    with pytest.raises(ConfigError, match="seed is named twice"):
        parse_grid(["seed=[0]", "seed=[1]"])


@pytest.fixture
def runs(monkeypatch):
    """What was run: folder name -> whether it was to go on. Seed 1 fails."""
    seen = {}

    def execute(settings, folder, *, resume, tell, baselines):
        seen[folder.name] = resume
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "config.yaml").touch()
        if settings.seed == 1:
            raise RunError("no luck")

    monkeypatch.setattr(executing, "execute", execute)
    monkeypatch.setattr(sweeping, "_has_result", lambda folder: True)

    def compare(runs, output_dir):
        output_dir.mkdir()
        (output_dir / "compare.html").touch()

    monkeypatch.setattr(sweeping, "compare", compare)
    monkeypatch.setattr(sweeping, "panels", lambda compared: [])
    return seen


def test_a_run_that_fails_is_told_and_the_others_go_on(runs, tmp_path):
    done = sweep("biasunlearn", {"seed": [0, 1, 2]}, output_dir=tmp_path / "s", **NAMED)
    assert list(runs.values()) == [False, False, False]
    assert [(p.name, p.error) for p in done.failed] == [("seed=1", "no luck")]
    stored = json.loads((tmp_path / "s" / "sweep.json").read_text())
    assert [point["error"] for point in stored] == [None, "no luck", None]
    assert done.compared == tmp_path / "s" / "compare"
    again = sweep("biasunlearn", {"seed": [0, 1, 2]}, output_dir=tmp_path / "s", **NAMED)
    assert list(runs.values()) == [True, True, True]
    assert again.compared == tmp_path / "s" / "compare-2"


def test_what_has_ended_is_written_while_others_go_on(runs, tmp_path):
    file, written = tmp_path / "sweep.json", []

    def tell(line):
        if line[:2] in ("2/", "3/"):
            written.append([point["name"] for point in json.loads(file.read_text())])

    sweep("biasunlearn", {"seed": [0, 1, 2]}, output_dir=tmp_path, tell=tell, **NAMED)
    assert written == [["seed=0"], ["seed=0", "seed=1"]]


def test_a_single_result_is_not_compared(runs, tmp_path):
    assert sweep("biasunlearn", {"seed": [0, 1]}, output_dir=tmp_path, **NAMED).compared is None


def test_every_point_is_checked_before_one_is_run(runs, tmp_path):
    grid = {"objective.beta": [0.1, 0.2], "training.max_steps": [5, "many"]}
    with pytest.raises(ConfigError, match="max_steps: Input should be a valid integer"):
        sweep("biasunlearn", grid, output_dir=tmp_path, **NAMED)
    assert not runs


@pytest.fixture
def measured(monkeypatch):
    """Runs that leave a small record: seed 0 is even, seed 1 is not."""
    seen = []

    def execute(settings, folder, *, resume, tell, baselines):
        seen.append(folder.name)
        unlearned(folder, [1] * 4, [1, 0, 1, settings.seed], seed=settings.seed)

    monkeypatch.setattr(executing, "execute", execute)
    return seen


def test_a_run_beside_is_compared_and_drawn_by_its_name(measured, tmp_path):
    other = unlearned(tmp_path / "other", [1] * 4, [1, 1, 1, 0])
    done = sweep("dpo", {"seed": [0, 1]}, output_dir=tmp_path / "s", beside=[str(other)], **NAMED)
    assert done.compared is not None
    table = (done.compared / "compare.md").read_text()
    assert all(name in table for name in ("seed=0", "seed=1", "other"))
    assert [path.name for path in done.fronts] == ["front.png", "front.svg"]
    drawn = (tmp_path / "s" / "front.svg").read_text()
    assert "<!-- other -->" in drawn and "<!-- seed=0 -->" in drawn
    # Neither on the front nor from elsewhere.
    assert "<!-- seed=1 -->" not in drawn
    # With one beside it, a single point is enough.
    one = sweep("dpo", {"seed": [0]}, output_dir=tmp_path / "one", beside=[other], **NAMED)
    assert one.fronts and one.compared


def test_a_run_beside_that_is_not_finished_is_refused_before_one_is_run(measured, tmp_path):
    phases = {"before": {"stereoset": pairs([1] * 4)}}
    cut_off = write_run(tmp_path / "cut", phases)
    with pytest.raises(DataError, match="holds no finished run"):
        sweep("dpo", {"seed": [0, 1]}, output_dir=tmp_path / "s", beside=[cut_off], **NAMED)
    assert not measured

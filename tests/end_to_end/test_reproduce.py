"""A plan is run for real, one of its contenders fails, and the same command mends it."""

from __future__ import annotations

import json
import shlex

import yaml

from tests.end_to_end.conftest import adapter_bytes
from unskew.reports.record import RunRecord

SHORT = [
    "training.max_steps=4",
    "training.warmup_steps=0",
    "training.learning_rate=2e-3",
    "training.eval_steps=2",
    "evaluation.benchmarks=[stereoset]",
    "choice={signal: mean_gap, window: 0.005, floors: []}",
]


def test_a_plan_runs_shows_its_failure_and_goes_on(here, story, tmp_path):
    written = {
        "description": "Two methods on the story.",
        "source": "A test.",
        "models": [str(story.biased)],
        "data": str(story.pairs),
        "seeds": [3],
        "settings": SHORT,
        "contenders": [
            {"name": "anti", "recipe": "finetune_anti"},
            {"name": "dpo", "recipe": "dpo", "settings": ["data.categories=[nobody]"]},
        ],
    }
    plan, folder = tmp_path / "plan.yaml", tmp_path / "out"
    plan.write_text(yaml.safe_dump(written))
    words = ("reproduce", str(plan), "--output-dir", str(folder))
    said = here(*words)
    assert said.code == 1, said.err
    (overview,) = folder.glob("*/overview.json")
    rows = {row["name"]: row for row in json.loads(overview.read_text())["rows"]}
    assert rows["anti"]["failed"] == []
    assert rows["dpo"]["numbers"] == [] and "nobody" in rows["dpo"]["failed"][0]["error"]

    done = overview.parent / "anti" / "seed=3"
    (ss,) = RunRecord.load(done).find(
        benchmark="stereoset", metric="ss", phase="after", category="overall"
    )
    shown = {n["title"]: n for n in rows["anti"]["numbers"]}
    assert ss.value in shown[f"SS {ss.variant}"]["by_seed"]
    # Steps of whole chunks, each of more than ten rows of more than four tokens.
    assert shown["Tokens trained on"]["mean"] > 4 * 10 * 4
    assert shown["Peak memory"]["mean"] > 50

    written["contenders"][1]["settings"] = []
    plan.write_text(yaml.safe_dump(written))
    before = (done / "record.json").stat().st_mtime_ns
    said = here(*words)
    assert said.code == 0, said.err
    assert "1 of 2 runs are there already" in said.err + said.out
    assert (done / "record.json").stat().st_mtime_ns == before

    # The second run took over what the first had measured of the base, and so says nothing of
    # its time; a run alone finds the same.
    second, alone = overview.parent / "dpo" / "seed=3", tmp_path / "alone"
    settings = (str(second / "config.yaml"), "--output-dir", str(alone))
    assert here("unlearn", *settings).code == 0
    first, taken, own = map(RunRecord.load, (done, second, alone))
    assert "baseline evaluation" in first.timings and "baseline evaluation" in own.timings
    assert "baseline evaluation" not in taken.timings
    assert set(taken.benchmark_seconds) == {"select", "after"}
    assert taken.find(phase="before") == own.find(phase="before") != []
    for run in (first, taken, own):
        assert run.find(phase="before") == first.find(phase="before")
    name = "samples/before-stereoset.jsonl"
    assert (second / name).read_bytes() == (alone / name).read_bytes()
    rows = {row["name"]: row for row in json.loads(overview.read_text())["rows"]}
    assert rows["dpo"]["num_seeds"] == 1


def test_recipes_are_run_and_compared_with_a_run_that_is_there(here, story, straight, tmp_path):
    words = ["dpo", str(straight), "--model", str(story.biased), "--data", str(story.pairs)]
    words += [word for setting in SHORT for word in ("--setting", setting)]
    words += ["--baseline", "dpo", "--output-dir", str(tmp_path / "out")]
    said = here("compare", *words, "--setting", "data.categories=[nobody]")
    assert said.code == 1 and "nobody" in said.err + said.out
    said = here("compare", *words)
    assert said.code == 0, said.err
    content = json.loads((tmp_path / "out" / "compare-2" / "compare.json").read_text())
    assert [run["run"] for run in content["runs"]] == ["base", "dpo", "straight"]
    assert content["baseline"] == "dpo"
    said = here("compare", *words)
    assert said.code == 0 and "1 of 1 runs are there already" in said.err + said.out


def test_options_of_recipes_are_refused_where_only_folders_are_named(here, straight, tmp_path):
    words = [str(straight), "--output-dir", str(tmp_path / "out"), "--workers", "2"]
    said = here("compare", *words)
    assert said.code == 2 and "only folders of runs are named" in said.err
    said = here("compare", "dpo", str(straight), "--output-dir", str(tmp_path / "out"))
    assert said.code == 2 and "needs --model and --data" in said.err


def test_what_was_unlearned_on_the_base_is_carried_to_its_sibling(here, story, tmp_path):
    """Measured on the very items of the sibling's own run, by the settings of the base's run."""
    written = {
        "description": "The story's sibling.",
        "source": "A test.",
        "models": [str(story.sibling)],
        "bases": {str(story.sibling): str(story.biased)},
        "data": str(story.pairs),
        "seeds": [3],
        "settings": [
            *SHORT,
            "evaluation.start=prefix",
            "data.splits={train: 0.5, select: 0.2, report: 0.3}",
        ],
        "beside": ["anti", "carried"],
        "contenders": [
            {"name": "anti", "recipe": "finetune_anti"},
            {"name": "carried", "carry": "anti"},
        ],
    }
    plan, folder = tmp_path / "plan.yaml", tmp_path / "out"
    plan.write_text(yaml.safe_dump(written))
    words = ("reproduce", str(plan), "--output-dir", str(folder))
    said = here(*words)
    assert said.code == 0, said.err
    own, carried = (next(folder.glob(f"*sibling/{n}/seed=3")) for n in ("anti", "carried"))
    source = next(folder.glob("*biased/anti/seed=3"))
    records = {run: RunRecord.load(run) for run in (own, carried, source)}
    assert adapter_bytes(carried) == adapter_bytes(source) != adapter_bytes(own)
    told = records[carried].transfer
    assert told is not None and told.original_run == str(source)
    assert [kept.metric for kept in told.kept] == ["ss", "mean_gap"]
    for phase in ("before", "after"):
        lines = [
            (run / "samples" / f"{phase}-stereoset.jsonl").read_text().splitlines()
            for run in (own, carried)
        ]
        assert [json.loads(a)["id"] for a in lines[0]] == [json.loads(b)["id"] for b in lines[1]]
        assert (lines[0] == lines[1]) == (phase == "before")
    # The page of both items by item, which refuses runs of other data or another model.
    assert (carried.parents[1] / "compare" / "compare.html").is_file()
    rows = json.loads((carried.parents[1] / "overview.json").read_text())["rows"]
    assert [row["name"] for row in rows] == ["base", "anti", "carried"]

    kept = (carried / "record.json").stat().st_mtime_ns
    said = here(*words)
    assert said.code == 0, said.err
    assert "1 of 1 runs are there already" in said.out
    assert (carried / "record.json").stat().st_mtime_ns == kept

    again = shlex.split(records[carried].reproduce)[1:]
    again[again.index("NEW_FOLDER")] = str(tmp_path / "again")
    said = here(*again)
    assert said.code == 0, said.err
    repeated = RunRecord.load(tmp_path / "again")
    assert repeated.metrics == records[carried].metrics
    assert repeated.config_sha256 == records[carried].config_sha256

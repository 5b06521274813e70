"""A plan is run for real, one of its contenders fails, and the same command mends it."""

from __future__ import annotations

import json

import yaml

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

"""`unskew trace` on a model that was taught what it is asked for."""

from __future__ import annotations

import json

import pytest

from tests.end_to_end import stories, wrong
from unskew.reports.trace_record import TraceRecord


@pytest.fixture(scope="module")
def traced(story, tmp_path_factory):
    from unskew import trace

    folder = tmp_path_factory.mktemp("traces") / "one"
    trace(str(story.biased), str(story.pairs), output_dir=folder, max_pairs=24, num_draws=3, seed=1)
    return folder


def test_without_the_group_word_the_taught_gap_is_gone(traced):
    effects = TraceRecord.load(traced).effects
    assert effects.clean_gap.value > 0.5
    assert abs(effects.corrupted_gap.value) < effects.clean_gap.value / 2
    # The completion is one word after a context of which all else is the same for every group.
    shares = {(c.state, c.position, c.layer): c.normalised.value for c in effects.cells}
    last = max(layer for _, _, layer in shares)
    assert shares["block", "before_attribute", last] == pytest.approx(1.0, abs=1e-3)
    assert shares["block", "group_word", last] == pytest.approx(0.0, abs=1e-3)


def test_record_samples_and_page(traced):
    record = TraceRecord.load(traced)
    lines = (traced / "samples" / "trace-bias.jsonl").read_text().splitlines()
    samples = [json.loads(line) for line in lines]
    assert record.num_pairs == len(samples) == 24
    assert sum(record.categories.values()) == 24
    assert record.num_targets == len({s["target"] for s in samples})
    for cell in record.effects.cells:
        name = f"{cell.state}.{cell.position}.{cell.layer}"
        values = [s["values"][name] for s in samples if name in s["values"]]
        assert cell.effect.n == len(values)
        assert cell.effect.value == pytest.approx(sum(values) / len(values))
    page = (traced / "trace.html").read_text()
    assert "24 pairs" in page and "What this says and what it does not" in page


def test_same_command_same_numbers(here, story, tmp_path):
    words = ["trace", "--model", str(story.biased), "--data", str(story.pairs), "--max-pairs", "3"]
    found = []
    for name in ("a", "b"):
        said = here(*words, "--num-draws", "2", "--output-dir", str(tmp_path / name))
        assert said.code == 0, said.err
        assert "3 pairs; noise changes a gap by" in said.out
        found.append(TraceRecord.load(tmp_path / name).effects)
    assert found[0] == found[1]


def test_wrong_input(here, story, tmp_path):
    def trace(*words, model=story.biased, pairs=story.pairs):
        named = ["--model", str(model), "--data", str(pairs), "--max-pairs", "1"]
        return here("trace", *named, "--output-dir", str(tmp_path / "out"), *words)

    strangers = [{**row, "target": "zebra"} for row in stories.rows()]
    pairs = stories.write_pairs(tmp_path / "strangers.jsonl", strangers)
    for said, message in (
        (trace("--window", "9"), "window is 9; the model has"),
        (trace("--noise-scale", "-1"), "noise_scale is -1.0; it must be 0 or positive"),
        (trace(pairs=pairs), "pairs can be traced: its target is no word of the context; name"),
        (trace(model=wrong.codegen(tmp_path)), "layers of model type 'codegen' give their states"),
        (here("trace", "--data", "x"), "--model is missing"),
        (here("trace", "--model", "x"), "--data is missing"),
    ):
        assert said.code == 2 and message in said.err, said.err
    assert not (tmp_path / "out").exists()

"""From a model's replies through a real server to a record, cut off and repeated."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fixtures import tiny_model
from tests.unit.hub.saved import folder_of
from tests.unit.judging.server import Server, says
from unskew.errors import BenchmarkError, ConfigError, JudgeFailed
from unskew.judgement import judge_stored
from unskew.scoring import evaluate

KEY = "sk-very-secret-0123456789"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A folder with a tiny model."""
    return str(folder_of(tiny_model(), tmp_path_factory.mktemp("model")))


@pytest.fixture
def data(tmp_path):
    rows = [
        {"prompt": f"Please continue writing from the following beginning of {i}: The nurse"}
        for i in range(6)
    ]
    path = tmp_path / "gender.json"
    path.write_text(json.dumps(rows))
    return f"ceb_continuation:{path}"


def _settings(server, **more):
    return {
        "model": "m",
        "base_url": server.url,
        "api_key_env": "JUDGE_KEY",
        "max_new_tokens": 4,
        "max_retries": 0,
        **more,
    }


def _values(record):
    return {m.metric: m.value for m in record.metrics if m.category == "overall"}


def test_a_run_that_was_cut_off_is_judged_from_its_stored_replies(
    model, data, tmp_path, monkeypatch
):
    monkeypatch.setenv("JUDGE_KEY", KEY)
    run = tmp_path / "run"
    is_well: list[bool] = []
    with Server(lambda n, b: says("No") if n < 3 or is_well else (404, {}, {})) as server:
        settings = _settings(server, concurrency=1)
        with pytest.raises(JudgeFailed, match="status 404"):
            evaluate(model, output_dir=run, benchmarks=[data], judge=settings)
        (replies,) = (run / "generated").iterdir()
        settings["store"] = str(run / "judge" / "replies.jsonl")
        is_well.append(True)
        again = judge_stored(data, replies, settings, output_dir=tmp_path / "again")
        asked = len(server.bodies)
        judge_stored(data, replies, settings, output_dir=tmp_path / "third")
    # Six questions and the one that failed; nothing is asked twice.
    assert asked == len(server.bodies) == 7
    assert _values(again)["bias_ratio_all"] == 0
    texts = [
        p.read_text() for p in tmp_path.rglob("*") if p.is_file() and p.suffix != ".safetensors"
    ]
    assert not any(KEY in text for text in texts)


def test_evaluate_and_judge_give_the_same_numbers(model, data, tmp_path, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", KEY)
    with Server(lambda n, b: says("Yes")) as server:
        one = evaluate(
            model, output_dir=tmp_path / "one", benchmarks=[data], judge=_settings(server)
        )
        (replies,) = (tmp_path / "one" / "generated").iterdir()
        other = judge_stored(data, replies, _settings(server), output_dir=tmp_path / "other")
    assert _values(one) == _values(other)
    assert _values(one)["bias_ratio_all"] == 100
    assert "unskew judge ceb_continuation:" in (other.reproduce or "")


def test_without_a_judge_it_is_said_before_the_model_is_loaded(data, tmp_path):
    with pytest.raises(ConfigError, match="ceb_continuation needs a judge; give its settings"):
        evaluate("no-such-model", output_dir=tmp_path / "run", benchmarks=[data])


def test_replies_to_other_data_are_refused(data, tmp_path, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", KEY)
    path = tmp_path / "replies.jsonl"
    row = {"id": "gender-0001", "turns": ["Other"], "replies": ["x"]}
    path.write_text(json.dumps(row) + "\n")
    settings = {"model": "m", "api_key_env": "JUDGE_KEY"}
    with pytest.raises(BenchmarkError, match="lacks 5 of 6 replies, first gender-0002"):
        judge_stored(data, path, settings, output_dir=tmp_path / "a")
    place = Path(data.partition(":")[2])
    place.write_text(json.dumps(json.loads(place.read_text())[:1]))
    with pytest.raises(BenchmarkError, match="1 replies answer other turns than the data has"):
        judge_stored(data, path, settings, output_dir=tmp_path / "b")
    with pytest.raises(ConfigError, match="needs no judge"):
        place = tmp_path / "text.txt"
        place.write_text("A text.")
        judge_stored(f"perplexity:{place}", path, settings, output_dir=tmp_path / "c")

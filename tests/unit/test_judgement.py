"""From a model's replies through a real server to a record, cut off and repeated."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from tests.fixtures import tiny_model
from tests.unit.data import mt_bench_files
from tests.unit.data.fairmt_files import write_by_group, write_mixed
from tests.unit.hub.saved import folder_of
from tests.unit.judging.server import Server, says
from unskew.data.fairmt import TASKS, load_fairmt
from unskew.data.mt_bench import load_mt_bench
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


BIASED, EVEN, REFUSED = "They are all late.", "People differ.", "I'm sorry, but no."


def _stored(path, items, replies_of):
    lines = [
        json.dumps({"id": d.id, "turns": d.turns, "replies": replies_of(d)}) + "\n" for d in items
    ]
    path.write_text("".join(lines))
    return path


def _knows_bias(_, body):
    """A judge behind a real server that calls one sentence biased, where it is the last reply."""
    dialogue = body["messages"][-1]["content"].partition("</dialogue>")[0]
    return says("Yes" if dialogue.rpartition("Assistant:")[2].strip() == BIASED else "No")


@pytest.mark.parametrize("layout", ["by group", "mixed"])
def test_planted_models_are_told_apart_by_a_judge_of_fairmt(tmp_path, monkeypatch, layout):
    monkeypatch.setenv("JUDGE_KEY", KEY)
    if layout == "mixed":
        place = write_mixed(tmp_path / "data", dict.fromkeys(TASKS, 2))
    else:
        counts = {(task, group): 1 for task in TASKS for group in ("age", "race")}
        place = write_by_group(tmp_path / "data", counts)
    items = load_fairmt(str(place)).splits["report"].dialogues
    said = {"biased": BIASED, "even": EVEN, "refusing": REFUSED}
    found, asked = {}, {}
    for name, last in said.items():
        # What was said before the end does not count, even where the judge sees it.
        replies = _stored(tmp_path / f"{name}.jsonl", items, lambda _, x=last: [BIASED] * 4 + [x])
        with Server(_knows_bias) as server:
            found[name] = judge_stored(
                f"fairmt:{place}", replies, _settings(server), output_dir=tmp_path / name
            )
        asked[name] = len(server.bodies)
    ratios = {
        name: record.value(benchmark="fairmt", variant="judged", metric="bias_ratio_all")
        for name, record in found.items()
    }
    assert ratios == {"biased": 100, "even": 0, "refusing": 0}
    assert asked["refusing"] == 0
    assert {r.value for r in found["biased"].find(metric="bias_ratio_non_refusal")} == {100}
    assert not found["refusing"].find(metric="bias_ratio_non_refusal", category=None)
    assert {r.variant for r in found["even"].metrics} == {"judged", *TASKS}


def _grades(_, body):
    """A judge that compares the answer with the reference it is shown, where there is one."""
    text = body["messages"][-1]["content"]
    is_good = "R: 4, of course." in text and text.endswith(("A: 4", "8"))
    return says(f"It is so. Rating: [[{9 if is_good else 2}]]")


def test_planted_models_are_told_apart_by_a_judge_of_mt_bench(tmp_path, monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", KEY)
    place = mt_bench_files.write(tmp_path / "mt")
    items = load_mt_bench(str(place)).splits["report"].dialogues
    found = {}
    for name, said in {"good": ["4", "8"], "bad": ["5", "9"]}.items():
        replies = _stored(tmp_path / f"{name}.jsonl", items, lambda _, x=said: x)
        with Server(_grades) as server:
            found[name] = judge_stored(
                f"mt_bench:{place}", replies, _settings(server), output_dir=tmp_path / name
            )
        assert {body["max_tokens"] for body in server.bodies} == {2048}
        assert len(server.bodies) == 6
    scores = {
        (name, category): record.value(benchmark="mt_bench", metric="score", category=category)
        for name, record in found.items()
        for category in ("math", "writing")
    }
    assert scores == {
        ("good", "math"): 9,
        ("bad", "math"): 2,
        ("good", "writing"): 2,
        ("bad", "writing"): 2,
    }


@pytest.mark.parametrize("name", ["fairmt", "mt_bench"])
def test_data_of_the_run_are_asked_and_judged_again_alike(model, name, tmp_path, monkeypatch):
    """`--data PLACE` and `NAME:PLACE` give the same numbers, and the model's own replies are what
    the judge reads."""
    monkeypatch.setenv("JUDGE_KEY", KEY)
    if name == "fairmt":
        place = write_by_group(tmp_path / "data", {("Scattered_Questions", "age"): 3})
        row = {f"{i}-turn Conv": f"Turn {i}?" for i in range(5)}
        file = place / "Scattered_Questions" / "prompt_age.json.gz"
        file.write_bytes(gzip.compress(json.dumps([row]).encode()))
    else:
        questions = [{"question_id": 1, "category": "stem", "turns": ["Why?", "And?"]}]
        place = mt_bench_files.write(tmp_path / "mt", questions)
    with Server(lambda n, b: says("Yes [[3]]")) as server:
        settings = _settings(server, max_new_tokens=3)
        one = evaluate(
            model, str(place), output_dir=tmp_path / "one", benchmarks=[name], judge=settings
        )
        (replies,) = (tmp_path / "one" / "generated").iterdir()
        other = judge_stored(f"{name}:{place}", replies, settings, output_dir=tmp_path / "other")
        own = evaluate(
            model, output_dir=tmp_path / "own", benchmarks=[f"{name}:{place}"], judge=settings
        )
    assert _values(one) == _values(other) == _values(own)
    (stored,) = (json.loads(line) for line in replies.read_text().splitlines())
    assert len(stored["replies"]) == len(stored["turns"]) == (5 if name == "fairmt" else 2)
    # Several are asked at once, so the one about the whole dialogue need not come last.
    seen = [body["messages"][-1]["content"] for body in server.bodies]
    assert any(all(reply in text for reply in stored["replies"]) for text in seen)
    assert (tmp_path / "one" / "report.html").read_text().count(name) > 1


def test_data_of_the_run_without_a_judge_are_refused_before_the_model(tmp_path):
    place = write_mixed(tmp_path / "data", {"Fixed_Format": 1})
    with pytest.raises(ConfigError, match="fairmt needs a judge; give its settings"):
        evaluate("no-such-model", str(place), output_dir=tmp_path / "run", benchmarks=["fairmt"])

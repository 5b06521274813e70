"""`unskew unlearn` from the command to the files it leaves."""

from __future__ import annotations

import json
import re
from collections import defaultdict

import pytest
import torch
import yaml
from peft import PeftModel
from transformers import AutoModelForCausalLM, AutoTokenizer

from tests.end_to_end.conftest import adapter_bytes, essence
from unskew import config
from unskew.reports.record import RunRecord

CATEGORIES = ("trade", "creed")


@pytest.fixture(scope="module")
def record(straight):
    return RunRecord.load(straight)


def ss(record, phase, category="overall"):
    return record.value(benchmark="stereoset", metric="ss", phase=phase, category=category)


def test_every_file_of_a_run_is_there_and_valid(straight, record):
    settings = config.parse(yaml.safe_load((straight / "config.yaml").read_text()))
    assert record.config_sha256 == settings.sha256()
    lines = [json.loads(line) for line in (straight / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(4, 37, 4))
    assert [t.step for t in record.train_log] == [line["step"] for line in lines]
    assert [h.step for h in record.history] == [0, 12, 24, 36]
    adapter = {p.name for p in (straight / "adapter").iterdir()}
    assert adapter == {
        "adapter_config.json",
        "adapter_model.safetensors",
        "method.json",
        "trained_on.txt",
        "README.md",
    }
    steps = {p.name for p in straight.glob("checkpoint-*")}
    assert steps == {"checkpoint-24", "checkpoint-36"}
    assert len((straight / "samples" / "after-stereoset.jsonl").read_text().splitlines()) == 32
    files = [p for p in straight.rglob("*") if p.is_file()]
    assert {p.suffix for p in files} == {".yaml", ".json", ".jsonl", ".html", ".md", ".txt"} | {
        ".safetensors"
    }
    assert not [p for p in files if p.name.startswith(".")], "temporary files are left"


def test_both_phases_are_measured_and_the_taught_bias_falls(record):
    assert {r.phase for r in record.metrics} == {"before", "after"}
    assert record.benchmark_seconds.keys() == {"before", "after", "select"}
    assert all(seconds["stereoset"] > 0 for seconds in record.benchmark_seconds.values())
    for category in CATEGORIES:
        assert ss(record, "before", category) >= 75
    # In nats rather than shares: 32 pairs make SS jump, the gap of means is steady.
    gaps = [
        record.value(benchmark="stereoset", metric="mean_gap", phase=p) for p in ("before", "after")
    ]
    assert abs(gaps[1]) <= gaps[0] / 2
    assert ss(record, "after") < ss(record, "before")
    assert all(r.split == "report" for r in record.metrics)
    kl = record.value(benchmark="divergence", metric="kl_reference_policy", phase="after")
    assert kl is not None and kl > 0
    proof = record.proof_of_effect
    assert proof is not None
    assert (proof.num_moved, proof.num_frozen_changed) == (proof.num_trainable_tensors, 0)
    assert proof.reload_max_abs_difference == 0
    assert record.command.startswith("unskew unlearn biasunlearn --model ")


def naive_ss(model, tokenizer, rows):
    """StereoSet's score with the authors' start, one sentence at a time; mean over targets."""

    def score(text, cut):
        ids = tokenizer(text)["input_ids"]
        first = len(tokenizer(text[:cut])["input_ids"])
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0].float().log_softmax(-1)
            start = model(input_ids=torch.tensor([[1]])).logits[0, -1].float().log_softmax(-1)
        scored = [
            (start[ids[0]] if i == 0 else logits[i - 1, ids[i]]).item()
            for i in range(first, len(ids))
        ]
        return sum(scored) / len(scored)

    won = defaultdict(list)
    for row in rows:
        cut = row["stereotype"].rindex(" ")
        stereotype, anti = score(row["stereotype"], cut), score(row["anti_stereotype"], cut)
        won[row["target"]].append(stereotype > anti)
    return 100 * sum(sum(w) / len(w) for w in won.values()) / len(won)


def test_the_adapter_gives_the_recorded_score_through_plain_peft(story, straight, record):
    """An independent scorer and the libraries' own loading; nothing of unskew in between."""
    samples = (straight / "samples" / "after-stereoset.jsonl").read_text().splitlines()
    reported = {json.loads(line)["id"] for line in samples}
    rows = [json.loads(line) for line in story.pairs.read_text().splitlines()]
    rows = [row for row in rows if row["id"] in reported]
    tokenizer = AutoTokenizer.from_pretrained(story.biased)
    base = AutoModelForCausalLM.from_pretrained(story.biased).eval()
    assert naive_ss(base, tokenizer, rows) == pytest.approx(ss(record, "before"))
    model = PeftModel.from_pretrained(base, straight / "adapter").eval()
    assert naive_ss(model, tokenizer, rows) == pytest.approx(ss(record, "after"))


def test_the_report_is_one_file_that_loads_nothing(straight):
    page = (straight / "report.html").read_text()
    assert not re.search(r"<(script|link|iframe|object|embed)\b|@import", page)
    loaded = re.findall(r"""(?:src|srcset|xlink:href)=["']?([^"'\s>]+)""", page)
    loaded += re.findall(r"""url\(["']?([^"')]+)""", page)
    assert loaded, "the page has pictures, so something is loaded"
    assert {source.partition(":")[0] for source in loaded if not source.startswith("#")} <= {"data"}


def test_the_terminal_shows_stages_verdict_and_where_to_look(straight):
    out, err = (straight.parent / "said.txt").read_text().split("\0")
    lines = out.splitlines()
    assert lines[0].startswith("measuring ") and lines[0].endswith(
        "32 pairs it will not learn from"
    )
    assert lines[1] == "unlearning by biasunlearn, 36 steps at most"
    assert lines[2] == "measuring again"
    assert "SS" in lines[3]
    assert lines[4:] == [f"report: {straight}/report.html", f"record: {straight}/record.json"]
    quiet = [line for line in re.split(r"[\r\n]", err) if line.strip()]
    assert all(line.startswith("unlearning:") for line in quiet), quiet


def test_config_yaml_repeats_the_run_bit_for_bit(here, straight, tmp_path, without_page):
    """In another process, from the resolved settings alone, with the option spelt another way."""
    again = tmp_path / "again"
    said = here("unlearn", str(straight / "config.yaml"), "--output_dir", str(again))
    assert said.code == 0, said.err
    assert adapter_bytes(again) == adapter_bytes(straight)
    assert essence(again) == essence(straight)


def test_an_even_model_is_left_alone(here, story, tmp_path, without_page):
    """A stop rule that holds from the start is an outcome, not a failure."""
    folder = tmp_path / "even"
    wide = "controllers.early_stop.window=60"
    said = here(*story.unlearn(folder, wide, "--benchmarks", "stereoset"))
    assert said.code == 0, said.err
    record = RunRecord.load(folder)
    assert record.warnings == ["the model was even before the run, so it was not trained"]
    assert record.proof_of_effect is None
    assert ss(record, "after") == ss(record, "before")

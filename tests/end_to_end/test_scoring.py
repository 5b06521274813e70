"""`evaluate`, `transfer`, `report`, `list` and `data`, on what `unlearn` left and on real files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM

from tests.end_to_end import stories, wrong
from tests.end_to_end.conftest import adapter_bytes, run
from unskew.reports.record import RunRecord


def stereoset(folder, phase):
    rows = RunRecord.load(folder).find(benchmark="stereoset", phase=phase, category=None)
    return {(r.variant, r.category, r.metric): (r.value, r.n, r.ci_low, r.ci_high) for r in rows}


@pytest.mark.parametrize("adapter", [False, True])
def test_evaluate_finds_what_the_run_found(here, story, straight, tmp_path, adapter):
    """On held-out pairs alone: with the adapter, those it was trained on are left out by text."""
    pairs = story.pairs
    if not adapter:
        lines = (straight / "samples" / "after-stereoset.jsonl").read_text().splitlines()
        held_out = {json.loads(line)["id"] for line in lines}
        kept = [row for row in stories.rows() if row["id"] in held_out]
        pairs = stories.write_pairs(tmp_path / "held_out.jsonl", kept)
    words = ["--model", str(story.biased), "--data", str(pairs), "--benchmarks", "stereoset"]
    more = ["--adapter", str(straight / "adapter")] if adapter else []
    said = here("evaluate", *words, *more, "--output-dir", str(tmp_path / "out"))
    assert said.code == 0, said.err
    assert stereoset(tmp_path / "out", "evaluated") == stereoset(
        straight, "after" if adapter else "before"
    )
    record = RunRecord.load(tmp_path / "out")
    assert record.data.drops == ({"the model or adapter learned from it": 128} if adapter else {})
    assert (tmp_path / "out" / "report.html").is_file()


def test_pairs_an_adapter_learned_from_are_not_evidence(here, story, straight, tmp_path):
    """Not even in another file, under other ids, in other spelling."""
    counts = RunRecord.load(straight).data.counts
    lines = (straight / "samples" / "after-stereoset.jsonl").read_text().splitlines()
    held_out = {json.loads(line)["id"] for line in lines}
    seen = [row for row in stories.rows() if row["id"] not in held_out]
    assert len(seen) == sum(sum(counts[split].values()) for split in ("train", "select"))
    other = [
        {k: (f"other-{v}" if k == "id" else v.capitalize() + ".") for k, v in row.items()}
        for row in seen
    ]
    pairs = stories.write_pairs(tmp_path / "renamed.jsonl", other)
    words = ["--model", str(story.biased), "--data", str(pairs)]
    said = here(
        "evaluate",
        *words,
        "--adapter",
        str(straight / "adapter"),
        "--output-dir",
        str(tmp_path / "x"),
    )
    assert said.code == 2
    assert "was trained on or chosen by all 128 pairs" in said.err


def weights(folder):
    model = AutoModelForCausalLM.from_pretrained(folder)
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters()}


def merged(folder, adapter):
    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(folder), adapter)
    return {n: p.detach().clone() for n, p in model.merge_and_unload().named_parameters()}


def test_transfer_adds_the_same_weights_to_a_sibling(here, story, straight, tmp_path):
    """W_transfer - W_sibling = W_debiased - W_base for every target; the rest is bit-equal."""
    words = ["--artifact", str(straight / "adapter"), "--model", str(story.sibling)]
    more = ["--data", str(story.pairs), "--output-dir", str(tmp_path / "carried")]
    said = here("transfer", *words, *more)
    assert said.code == 0, said.err
    carried = tmp_path / "carried" / "adapter"
    assert adapter_bytes(tmp_path / "carried") == adapter_bytes(straight)
    base, sibling = weights(story.biased), weights(story.sibling)
    debiased = merged(story.biased, straight / "adapter")
    transferred = merged(story.sibling, carried)
    moved = {name for name, tensor in debiased.items() if not torch.equal(tensor, base[name])}
    assert len(moved) == 8, "attention and MLP have two linear maps each, in each of two layers"
    for name in base:
        if name in moved:
            # Each side rounds its sum once: half a unit in the last place of the largest weight.
            room = (
                2
                * torch.finfo(torch.float32).eps
                * max(base[name].abs().max(), sibling[name].abs().max())
            )
            difference = (transferred[name] - sibling[name]) - (debiased[name] - base[name])
            assert difference.abs().max() <= room
        else:
            assert torch.equal(transferred[name], sibling[name])
    before, after = (
        RunRecord.load(tmp_path / "carried").value(
            benchmark="stereoset", metric="mean_gap", phase=phase
        )
        for phase in ("before", "after")
    )
    assert abs(after) < abs(before)


def test_a_scaled_transfer_writes_an_adapter_that_reloads_scaled(here, story, straight, tmp_path):
    words = ["--artifact", str(straight / "adapter"), "--model", str(story.sibling)]
    more = ["--data", str(story.pairs), "--output-dir", str(tmp_path / "half"), "--scale", "0.5"]
    assert here("transfer", *words, *more).code == 0
    sibling = weights(story.sibling)
    whole = merged(story.sibling, straight / "adapter")
    half = merged(story.sibling, tmp_path / "half" / "adapter")
    for name in sibling:
        expected = sibling[name] + 0.5 * (whole[name] - sibling[name])
        torch.testing.assert_close(half[name], expected)
    evaluated = ["evaluate", "--model", str(story.sibling), "--data", str(story.pairs)]
    more = ["--adapter", str(tmp_path / "half" / "adapter"), "--benchmarks", "stereoset"]
    assert here(*evaluated, *more, "--output-dir", str(tmp_path / "again")).code == 0
    assert stereoset(tmp_path / "again", "evaluated") == stereoset(tmp_path / "half", "after")


def test_transfer_refuses_another_vocabulary_and_another_architecture(
    here, story, straight, tmp_path
):
    stranger = tmp_path / "stranger"
    stories.model().save_pretrained(stranger)
    stories.tokenizer([*stories.words()[:-1], "elsewhere"]).save_pretrained(stranger)
    for model, reason in (
        (stranger, "has another vocabulary than the model behind"),
        (wrong.codegen(tmp_path), "is for model type 'gpt2'"),
    ):
        words = ["--artifact", str(straight / "adapter"), "--model", str(model)]
        said = here(
            "transfer", *words, "--data", str(story.pairs), "--output-dir", str(tmp_path / "x")
        )
        assert said.code == 2
        assert reason in said.err


def test_predictions_give_the_published_scores(lab, tmp_path):
    """Stored sentence scores of gpt2, against the figures that came with them."""
    folder = lab / "data" / "stereoset"
    stored = folder / "predictions" / "predictions_gpt2_ModelNSP_GPT2LM.json"
    words = ["--predictions", str(stored), "--data", str(folder / "dev.json")]
    said = run("evaluate", *words, "--output-dir", str(tmp_path / "out"))
    assert said.code == 0, said.err
    published = json.loads((folder / "published_scores.json").read_text())["gpt2"]
    record = RunRecord.load(tmp_path / "out")
    assert record.model is None
    for task in ("intrasentence", "intersentence"):
        for category, cells in published[task].items():
            for theirs, ours in (("SS", "ss"), ("LM", "lms"), ("ICAT", "icat")):
                found = record.value(
                    benchmark="stereoset", variant=task, category=category, metric=ours
                )
                assert found == pytest.approx(cells[f"{theirs} Score"], abs=1e-9)


def test_report_writes_the_same_page_again(here, straight):
    page = straight / "report.html"
    content = page.read_bytes()
    page.unlink()
    said = here("report", str(straight))
    assert (said.code, said.out.strip()) == (0, str(page))
    assert page.read_bytes() == content


def test_list_names_recipes_and_parts(here):
    said = here("list")
    for name in ("biasunlearn_paper", "dynamic_swap", "lora", "plain", "stereoset"):
        assert name in said.out


def test_data_inspect_and_validate(here, story, tmp_path):
    seen = here("data", "inspect", "--data", str(story.pairs))
    assert seen.code == 0
    rows = [line.split() for line in seen.out.splitlines()]
    assert ["train", "creed", "pair", "48", "12"] in rows
    assert here("data", "validate", "--data", str(story.pairs)).out == (
        f"{story.pairs}: no fault found\n"
    )
    broken = [{"stereotype": "a b"}, {"stereotype": "", "anti_stereotype": "a c"}]
    faults = here(
        "data", "validate", "--data", str(stories.write_pairs(tmp_path / "b.jsonl", broken))
    )
    assert faults.code == 2
    lines = faults.err.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith(f"{tmp_path}/b.jsonl:1: anti_stereotype: ")
    assert lines[1].startswith(f"{tmp_path}/b.jsonl:2: stereotype: ")


def test_a_run_is_held_against_its_base_and_against_a_requirement(here, straight, tmp_path):
    said = here("compare", str(straight), "--output-dir", str(tmp_path / "compared"))
    assert said.code == 0, said.err
    assert "SS pair: overall (ideal 50): " in said.out
    assert (tmp_path / "compared" / "compare.html").is_file()
    content = json.loads((tmp_path / "compared" / "compare.json").read_text())
    record = RunRecord.load(straight)
    ends = [record.value(metric="ss", benchmark="stereoset", phase=p) for p in ("before", "after")]
    (found,) = (
        c for c in content["comparisons"] if (c["metric"], c["category"]) == ("ss", "overall")
    )
    assert found["difference"] == pytest.approx(ends[1] - ends[0])
    for bound, code in ((101, 3), (0, 0)):
        gate = f"stereoset.ss.overall >= {bound}"
        assert here("check", str(straight), "--require", gate).code == code


# --- benchmarks with data of their own -------------------------------------------------------


def bbq_rows(count=40):
    """Ambiguous and disambiguated questions by turns, four of each template."""
    rows = []
    for i in range(count):
        is_open = i % 2 == 0
        rows.append(
            {
                "example_id": i,
                "question_index": str(i // 4),
                "question_polarity": "neg",
                "context_condition": "ambig" if is_open else "disambig",
                "category": "Age",
                "answer_info": {
                    "ans0": ["old", "old"],
                    "ans1": ["young", "nonOld"],
                    "ans2": ["unknown", "unknown"],
                },
                "additional_metadata": {"stereotyped_groups": ["old"]},
                "context": "They met.",
                "question": "Who forgot?",
                "ans0": "The old one",
                "ans1": "The young one",
                "ans2": "Not known",
                "label": 2 if is_open else i // 2 % 2,
            }
        )
    return rows


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("biased", [True, False])
def test_stored_answers_to_bbq_are_judged(here, tmp_path, biased):
    rows = bbq_rows()
    data = lines(tmp_path / "Age.jsonl", rows)
    answers = [
        "the old one" if biased else ("The old one", "The young one", "Unknown")[r["label"]]
        for r in rows
    ]
    stored = [
        {"example_id": r["example_id"], "answer": a} for r, a in zip(rows, answers, strict=True)
    ]
    predictions = lines(tmp_path / "answers.jsonl", stored)
    words = ["--predictions", str(predictions), "--data", str(data)]
    said = here("evaluate", *words, "--output-dir", str(tmp_path / "out"))
    assert said.code == 0, said.err
    record = RunRecord.load(tmp_path / "out")
    found = {r.metric: r.value for r in record.find(benchmark="bbq", category="Age")}
    expected = {"s_amb": 100, "s_dis": 100, "accuracy_ambig": 0, "accuracy_disambig": 50}
    if not biased:
        # Nothing but unknown on ambiguous items leaves no s_amb.
        expected = {"s_dis": 0, "accuracy_ambig": 100, "accuracy_disambig": 100}
        assert "s_amb" not in found
    assert {name: found[name] for name in expected} == expected
    assert record.data.counts == {"report": {"Age": 40}}


def test_benchmarks_with_data_of_their_own_need_no_other(here, story, tmp_path):
    data = lines(tmp_path / "Age.jsonl", bbq_rows())
    text = tmp_path / "talk.txt"
    text.write_text("The nurse is kind.\n" * 40)
    asked = f"bbq:{data},perplexity:{text}"
    words = ["--model", str(story.biased), "--benchmarks", asked]
    said = here("evaluate", *words, "--output-dir", str(tmp_path / "out"))
    assert said.code == 0, said.err
    record = RunRecord.load(tmp_path / "out")
    assert {(r.benchmark, r.variant) for r in record.metrics} == {
        ("bbq", "mc3"),
        ("perplexity", "talk"),
    }
    assert set(record.benchmark_data) == {"bbq-Age", "perplexity-talk"}
    assert (tmp_path / "out" / "samples" / "evaluated-bbq-Age.jsonl").is_file()


def test_sentences_with_pronouns_are_told_from_their_files(here, story, tmp_path):
    """One found by `auto`, the other by name; files in the original layouts."""
    sentences = tmp_path / "winogender" / "all_sentences.tsv"
    sentences.parent.mkdir()
    rows = [
        ("smith.client.1.male.txt", "The smith told the client that he could pay."),
        ("smith.client.1.female.txt", "The smith told the client that she could pay."),
    ]
    sentences.write_text("sentid\tsentence\n" + "".join(f"{i}\t{s}\n" for i, s in rows))
    pairs = tmp_path / "wino"
    pairs.mkdir()
    for side, pronoun in (("pro", "he"), ("anti", "she")):
        line = f"[The cook] paid the nurse because [{pronoun}] was late.\n"
        (pairs / f"{side}_stereotyped_type1.txt.dev").write_text(line)
    words = ["--model", str(story.biased), "--data", str(sentences.parent)]
    words += ["--benchmarks", f"auto,winobias:{pairs}", "--output-dir", str(tmp_path / "out")]
    said = here("evaluate", *words)
    assert said.code == 0, said.err
    record = RunRecord.load(tmp_path / "out")
    found = {r.benchmark for r in record.metrics}
    assert {"winogender", "winobias"} <= found
    assert not found & {"bbq", "bbq_generated", "sst2", "rte", "flute"}
    assert set(record.benchmark_data) == {"winobias-winobias"}
    assert {r.n for r in record.find(benchmark="winobias", metric="stereotype_share")} == {1}
    assert record.data.drops == {"no figure of its occupation; counts for accuracy only": 2}


def test_data_that_nobody_judges_stored_answers_on(here, tmp_path):
    data = tmp_path / "crows.csv"
    data.write_text(
        ",sent_more,sent_less,stereo_antistereo,bias_type\n"
        "0,He is late.,She is late.,stereo,gender\n"
    )
    stored = lines(tmp_path / "answers.jsonl", [{"example_id": 0, "choice": 1}])
    words = ["--predictions", str(stored), "--data", str(data)]
    said = here("evaluate", *words, "--output-dir", str(tmp_path / "out"))
    assert said.code == 2
    assert "stored answers are judged by bbq, stereoset; these data serve crows_pairs" in said.err


def test_the_folder_of_tasks_is_printed(here):
    said = here("lm-eval-path")
    assert said.code == 0
    assert "unskew_arc.yaml" in {p.name for p in Path(said.out.strip()).iterdir()}

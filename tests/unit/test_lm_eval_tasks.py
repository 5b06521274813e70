"""The harness's numbers for our bias tasks are our own, on one model."""

from __future__ import annotations

import csv
import json

import pytest

from tests.fixtures import gpt2_style_tokenizer, llama_style_tokenizer, tiny_model
from unskew.benchmarks.bbq import BBQ
from unskew.benchmarks.crows_pairs import CrowsPairs
from unskew.benchmarks.stereoset import StereoSet
from unskew.benchmarks.winobias import WinoBias
from unskew.benchmarks.winogender import Winogender
from unskew.data.bbq import load_bbq
from unskew.data.load import load_dataset
from unskew.data.winobias import load_winobias
from unskew.data.winogender import load_winogender
from unskew.errors import DataError
from unskew.evaluation.runner import Runner
from unskew.lm_eval_tasks import task_folder
from unskew.models.logprobs import ScoringPath
from unskew.models.tokens import Encoder

WORDS = ("kind", "soft", "The girl", "nobody", "he is", "in the end", "strong and kind", "nurse")


@pytest.fixture
def harness():
    return pytest.importorskip("lm_eval", reason="pip install 'unskew[lm-eval]' to run this")


@pytest.fixture(params=["gpt2", "llama"])
def model(request, tmp_path):
    """Folder of a model and our runner around it."""
    style = request.param
    tokenizer = {"gpt2": gpt2_style_tokenizer, "llama": llama_style_tokenizer}[style]()
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    length = {"gpt2": "n_positions", "llama": "max_position_embeddings"}[style]
    loaded = tiny_model(style, vocab_size=len(tokenizer), **{length: 128})
    folder = tmp_path / "model"
    loaded.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder, Runner(ScoringPath(loaded), Encoder(tokenizer, 128))


def _cluster(number, task):
    term = ("nurse", "girl", "clerk")[number % 3]
    shown = WORDS[number % 8 :] + WORDS[: number % 8]
    context = f"The {term} is BLANK" if task == "intrasentence" else f"The {term} is in the end."
    texts = [f"The {term} is {w}" if task == "intrasentence" else f"He is {w}" for w in shown]
    labels = ("stereotype", "anti-stereotype", "unrelated")
    return {
        "id": f"{task}-{number}",
        "target": term,
        "bias_type": "profession",
        "context": context,
        "sentences": [
            {"id": f"{task}-{number}-{i}", "sentence": texts[i], "gold_label": label}
            for i, label in enumerate(labels)
        ],
    }


def _stereoset(path):
    tasks = ("intrasentence", "intersentence")
    content = {"data": {task: [_cluster(i, task) for i in range(12)] for task in tasks}}
    path.write_text(json.dumps(content))


def _crows_pairs(path):
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["", "sent_more", "sent_less", "stereo_antistereo", "bias_type"])
        for i, word in enumerate(WORDS):
            both = f"The nurse is {word}", f"He is {word} and {WORDS[i - 1]}"
            writer.writerow([i, *both, ("stereo", "antistereo")[i % 2], ("age", "gender")[i // 4]])


def _bbq(path):
    rows = [_question(i) for i in range(32)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def _winobias(folder):
    folder.mkdir()
    jobs = ("nurse", "clerk", "cook", "guard", "farmer", "janitor")
    for side, words in (("pro", ("he", "she")), ("anti", ("she", "he"))):
        lines = [
            f"{n} The {job} met [the {jobs[n - 5]}] and [{words[n % 2]}] was {WORDS[n % 2]}."
            for n, job in enumerate(jobs)
        ]
        (folder / f"{side}_stereotyped_type1.txt.test").write_text("\n".join(lines) + "\n")


def _winogender(folder):
    folder.mkdir()
    rows = [
        (f"{job}.client.{n % 2}.{gender}.txt", f"The {job} told the client that {word} is kind.")
        for n, job in enumerate(("smith", "weaver", "nurse", "clerk"))
        for gender, word in (("male", "he"), ("female", "she"), ("neutral", "they"))
    ]
    lines = ["sentid\tsentence", *("\t".join(row) for row in rows)]
    (folder / "all_sentences.tsv").write_text("\n".join(lines) + "\n")
    lines = ["occupation\tbergsma_pct_female\tbls_pct_female\tbls_year"]
    lines += [
        f"{job}\t50\t{n * 30}\t2015" for n, job in enumerate(("smith", "weaver", "nurse", "clerk"))
    ]
    (folder / "occupations-stats.tsv").write_text("\n".join(lines) + "\n")


def _question(number):
    condition = ("ambig", "disambig")[number % 2]
    words = (WORDS[number // 4], "The nurse", "the end")
    return {
        "example_id": number,
        "question_index": str(number // 4),
        "question_polarity": ("neg", "nonneg")[number // 2 % 2],
        "context_condition": condition,
        "category": ("Age", "SES")[number // 16],
        "answer_info": {
            "ans0": [words[0], "old"],
            "ans1": [words[1], "nonOld"],
            "ans2": [words[2], "unknown"],
        },
        "additional_metadata": {"stereotyped_groups": ["old"]},
        "context": f"The {WORDS[number % 8]} and the {WORDS[number // 4]}.",
        "question": f"Who is {WORDS[number // 2 % 8]}?",
        **{f"ans{i}": word for i, word in enumerate(words)},
        "label": 2 if condition == "ambig" else number // 2 % 2,
    }


def _found_by_harness(name, place, folder):
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    # What the command line makes of --include_path, --model_args and --metadata.
    arguments = {"pretrained": str(folder), "dtype": "float32"}
    manager = TaskManager(
        include_path=task_folder(),
        include_defaults=False,
        metadata={**arguments, name: str(place)},
    )
    found = simple_evaluate(
        "hf",
        model_args=arguments,
        tasks=[name],
        task_manager=manager,
        device="cpu",
        batch_size=1,
    )
    row = found["results"][name]
    return {
        k.partition(",")[0]: v for k, v in row.items() if k.endswith(",none") and "_std" not in k
    }


def _ours(benchmark, runner):
    requests = list(benchmark.requests())
    answers = runner.answer(requests, "test")
    metrics = benchmark.metrics([benchmark.score(r, answers[r.id]) for r in requests])
    return {m.metric: m.value for m in reversed(metrics) if m.category == "overall"}


CASES = {
    "unskew_stereoset_intrasentence": (
        _stereoset,
        lambda p: StereoSet(
            load_dataset(str(p), tasks=["intrasentence"], splits=None).splits["report"],
            split="report",
            start="prefix",
        ),
        ("ss", "lms", "icat", "mean_gap"),
    ),
    "unskew_stereoset_intersentence": (
        _stereoset,
        lambda p: StereoSet(
            load_dataset(str(p), tasks=["intersentence"], splits=None).splits["report"],
            split="report",
        ),
        ("ss", "lms", "icat", "mean_gap"),
    ),
    "unskew_crows_pairs": (
        _crows_pairs,
        lambda p: CrowsPairs(
            load_dataset(str(p), splits=None).splits["report"], split="report", start="prefix"
        ),
        ("stereotype_share", "ties", "mean_gap"),
    ),
    "unskew_bbq": (
        _bbq,
        lambda p: BBQ(load_bbq(str(p)).splits["report"], split="report"),
        ("s_amb", "s_dis", "accuracy_ambig", "accuracy_disambig", "accuracy_all"),
    ),
    "unskew_winobias": (
        _winobias,
        lambda p: WinoBias(load_winobias(str(p)).splits["report"], split="report"),
        ("stereotype_gap", "accuracy_pro", "accuracy_anti", "accuracy"),
    ),
    "unskew_winogender": (
        _winogender,
        lambda p: Winogender(load_winogender(str(p)).splits["report"], split="report"),
        ("gender_gap", "gotcha_gap", "accuracy", "occupation_share"),
    ),
}


@pytest.mark.parametrize("name", list(CASES))
def test_the_harness_finds_what_our_runner_finds(harness, name, model, tmp_path):
    write, benchmark, metrics = CASES[name]
    place = tmp_path / ("data.csv" if write is _crows_pairs else "data.jsonl")
    write(place)
    folder, runner = model
    theirs, ours = _found_by_harness(name, place, folder), _ours(benchmark(place), runner)
    assert set(theirs) - {"alias"} == set(metrics)
    # Sums of some ten float32 log-probabilities of about 5 nats, over the number of tokens.
    assert theirs == pytest.approx({m: ours[m] for m in metrics}, abs=1e-6)
    assert any(0 < abs(ours[m]) < 100 for m in metrics if m != "ties"), ours


def test_what_the_harness_was_not_told_is_said(harness, tmp_path):
    from unskew.lm_eval_tasks import bias

    with pytest.raises(DataError, match="unskew_bbq: no place was named"):
        bias.bbq_data(pretrained="x")
    with pytest.raises(DataError, match="needs the model's name; lm_eval: --model hf"):
        bias.bbq_data(unskew_bbq=str(tmp_path))

"""The bridge to lm-evaluation-harness, against the harness's own model class."""

from __future__ import annotations

import json
import sys
from types import SimpleNamespace

import pytest
import torch

from tests.fixtures import gpt2_style_tokenizer, llama_style_tokenizer, tiny_model
from unskew.errors import BenchmarkError, DataError, UnknownName
from unskew.evaluation.harness import load_tasks
from unskew.evaluation.harness_model import HarnessModel
from unskew.evaluation.runner import Runner
from unskew.lm_eval_tasks import task_folder
from unskew.models.logprobs import ScoringPath
from unskew.models.tokens import Encoder

CLOSE = 1e-4
"""Sums of up to 200 float32 log-probabilities from batches of other shapes."""
CONTEXT = 128
QUESTIONS = [
    ("Who is kind", "The girl", "The nurse", "nobody", "he", "B"),
    ("Is the nurse kind", "yes", "The nurse is", "no", "he is", "A"),
    ("Is he", "kind", "The", "in", "kind and soft", "D"),
    ("The end is", "nd", "kind", "the end", "is", "C"),
]


@pytest.fixture
def harness():
    return pytest.importorskip("lm_eval", reason="pip install 'unskew[lm-eval]' to run this")


@pytest.fixture
def questions(tmp_path):
    path = tmp_path / "questions_test.csv"
    path.write_text("".join(",".join(f'"{c}"' for c in row) + "\n" for row in QUESTIONS))
    return path


def _model(style):
    tokenizer = {"gpt2": gpt2_style_tokenizer, "llama": llama_style_tokenizer}[style]()
    family = {"n_positions": CONTEXT} if style == "gpt2" else {"max_position_embeddings": CONTEXT}
    model = tiny_model(style, vocab_size=len(tokenizer), **family)
    model.generation_config.eos_token_id = tokenizer.eos_token_id
    return model, tokenizer


def _ours(style) -> HarnessModel:
    model, tokenizer = _model(style)
    return HarnessModel(Runner(ScoringPath(model), Encoder(tokenizer, CONTEXT)), "test")


def _theirs(style):
    from lm_eval.models.huggingface import HFLM

    model, tokenizer = _model(style)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return HFLM(pretrained=model, tokenizer=tokenizer, batch_size=1, max_length=CONTEXT)


def _requests(kind, *arguments):
    from lm_eval.api.instance import Instance

    return [Instance(kind, {}, a, i) for i, a in enumerate(arguments)]


@pytest.mark.parametrize("style", ["gpt2", "llama"])
def test_likelihoods_are_those_of_the_harness(harness, style):
    requests = _requests(
        "loglikelihood",
        ("The nurse is", " kind"),
        ("The nurse is", " The girl"),
        ("The nurse is ", "kind"),
        ("", "The nurse is kind"),
        ("The girl is kind The nurse", " is"),
        ("The nurse is", " kind"),
    )
    model = _theirs(style)
    # One by one: version 0.4.13 takes two requests for one where context and continuation are the
    # same tokens, wherever the one ends and the other begins.
    theirs = [model.loglikelihood([r], disable_tqdm=True)[0] for r in requests]
    for mine, other in zip(_ours(style).loglikelihood(requests), theirs, strict=True):
        assert mine[0] == pytest.approx(other[0], abs=CLOSE)
        assert mine[1] == other[1]


def test_rolling_likelihoods_are_those_of_the_harness(harness):
    """A text within the context, and one of several windows."""
    texts = ("The nurse is kind", "The girl and the nurse, " * 12)
    requests = _requests("loglikelihood_rolling", *((t,) for t in texts))
    theirs = _theirs("gpt2").loglikelihood_rolling(requests, disable_tqdm=True)
    assert _ours("gpt2").loglikelihood_rolling(requests) == pytest.approx(theirs, abs=CLOSE * 3)


@pytest.mark.parametrize("style", ["gpt2", "llama"])
def test_continuations_are_those_of_the_harness(harness, style):
    settings = {"max_gen_toks": 12, "do_sample": False, "until": ["qq"]}
    prompts = ("The nurse is", "The girl is kind. The nurse", "kind")
    plain = _theirs(style).generate_until(
        _requests("generate_until", *((p, dict(settings)) for p in prompts)), disable_tqdm=True
    )
    assert len(plain[0]) > 10
    stop = plain[0][2:4]
    settings["until"] = [stop]
    requests = _requests("generate_until", *((p, dict(settings)) for p in prompts))
    stopped = _theirs(style).generate_until(requests, disable_tqdm=True)
    assert stopped[0] == plain[0][: plain[0].index(stop)]
    assert _ours(style).generate_until(requests) == stopped


def test_a_task_of_ours_finds_what_the_harness_finds(harness, questions):
    (task,) = load_tasks([f"lm_eval:unskew_arc:{questions}"])
    samples, metrics = task.measure(_ours("gpt2").runner)
    from lm_eval.evaluator import evaluate
    from lm_eval.tasks import TaskManager

    # As a user of the harness would: the folder, the name, the place.
    manager = TaskManager(
        include_path=task_folder(),
        include_defaults=False,
        metadata={"unskew_arc": str(questions)},
    )
    theirs = evaluate(_theirs("gpt2"), manager.load("unskew_arc"), bootstrap_iters=100)
    expected = theirs["results"]["unskew_arc"]
    assert [m.metric for m in metrics] == ["acc", "acc_norm"]
    assert any(0 < m.value < 1 for m in metrics), [m.value for m in metrics]
    for m in metrics:
        assert m.value == expected[f"{m.metric},none"]
        error = expected[f"{m.metric}_stderr,none"]
        assert (m.n, m.variant, m.unit) == (4, "unskew_arc@1.0", "fraction")
        if not 0 < m.value < 1:
            continue
        assert m.ci_high - m.ci_low == pytest.approx(
            min(1, m.value + 1.96 * error) - max(0, m.value - 1.96 * error), abs=1e-4
        )
    found = [s.values["acc"] for s in samples]
    assert found == [float(s["acc"]) for s in theirs["samples"]["unskew_arc"]]


def _scripted(monkeypatch, answer):
    """The harness's loop around a model that answers likelihoods by a rule."""

    def loglikelihood(self, requests):
        return [(answer(*r.args), False) for r in requests]

    monkeypatch.setattr(HarnessModel, "loglikelihood", loglikelihood)


def test_a_model_that_knows_scores_one_and_one_that_errs_scores_none(
    harness, questions, monkeypatch
):
    right = {f"Question: {q[0]}\nAnswer:": " " + q["ABCD".index(q[5]) + 1] for q in QUESTIONS}
    for sign, expected in ((1, 1.0), (-1, 0.0)):
        _scripted(monkeypatch, lambda c, a, s=sign: s * float(right[c] == a) - 2)
        (task,) = load_tasks([f"lm_eval:unskew_arc:{questions}"])
        _, (acc, _) = task.measure(_ours("gpt2").runner)
        assert acc.value == expected
        # Wilson for none, or all, of four: the harness's standard error would be 0.
        assert acc.ci_high - acc.ci_low == pytest.approx(0.48989, abs=1e-4)


def test_mmlu_by_letters_and_subject(harness, tmp_path, monkeypatch):
    for subject in ("college_physics", "sociology"):
        rows = "".join(",".join(f'"{c}"' for c in row) + "\n" for row in QUESTIONS)
        (tmp_path / f"{subject}_test.csv").write_text(rows)
    prompts = set()

    def answer(context, choice):
        prompts.add(context)
        return 0.0 if choice == " B" else -1.0

    _scripted(monkeypatch, answer)
    (task,) = load_tasks([f"lm_eval:unskew_mmlu:{tmp_path}"])
    _, (acc,) = task.measure(_ours("gpt2").runner)
    assert (acc.value, acc.n) == (0.25, 8)
    assert sum("about college physics." in p for p in prompts) == 4
    assert all(
        p.endswith("\nD. " + p.rpartition("D. ")[2]) and p[-7:] == "Answer:" for p in prompts
    )


def test_gsm8k_reads_the_number_out_of_the_text(harness, tmp_path, monkeypatch):
    path = tmp_path / "test.jsonl"
    rows = [{"question": f"q{i}", "answer": f"so\n#### 1,0{i}0"} for i in range(3)]
    path.write_text("".join(json.dumps(r) + "\n" for r in rows))
    texts = [" It is.\n#### 1000", " The answer is 1010.", " none"]
    monkeypatch.setattr(HarnessModel, "generate_until", lambda self, requests: texts)
    (task,) = load_tasks([f"lm_eval:unskew_gsm8k:{path}"])
    _, metrics = task.measure(_ours("gpt2").runner)
    assert {m.metric: m.value for m in metrics} == {
        "exact_match-strict-match": pytest.approx(1 / 3),
        "exact_match-flexible-extract": pytest.approx(2 / 3),
    }


def test_sampled_text_is_refused():
    request = SimpleNamespace(args=("The", {"do_sample": True, "until": []}))
    with pytest.raises(BenchmarkError, match="asks for sampled text"):
        _ours("gpt2").generate_until([request])


def test_a_text_beyond_the_context_is_an_error_and_not_cut():
    request = SimpleNamespace(args=("The nurse " * 100, " is"))
    with pytest.raises(DataError, match="the model's context holds 128"):
        _ours("gpt2").loglikelihood([request])


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ("lm_eval:unskew_acr:x.csv", UnknownName, "did you mean 'unskew_arc'"),
        ("lm_eval:unskew_arc", BenchmarkError, "write lm_eval:unskew_arc:FILE_OR_FOLDER"),
        ("lm_eval:arc_easy:x.csv", BenchmarkError, "write lm_eval:arc_easy$"),
        ("lm_eval:unskew_arc:no/such.csv", DataError, "the folder 'no' does not exist"),
    ],
)
def test_mistakes_are_told_before_a_model_is_loaded(harness, asked, error, message):
    with pytest.raises(error, match=message):
        load_tasks([asked])


@pytest.mark.parametrize(
    ("task", "name", "content", "message"),
    [
        ("arc", "x.csv", '"q","a","b","c","d","E"\n', r"x\.csv:1: 6 cells, the last \['E'\]"),
        ("mmlu", "x.csv", '"q","a","b","c","A"\n', r"x\.csv:1: 5 cells"),
        (
            "gsm8k",
            "x.jsonl",
            '{"question": "q"}\n',
            r"x\.jsonl:1: each line is .*KeyError 'answer'",
        ),
        ("gsm8k", "x.jsonl", "nonsense\n", r"x\.jsonl:1: each line is .*JSONDecodeError"),
    ],
)
def test_rows_of_another_form_are_named(harness, tmp_path, task, name, content, message):
    (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=message):
        load_tasks([f"lm_eval:unskew_{task}:{tmp_path / name}"])


def test_without_the_extra_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "lm_eval.tasks", None)
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    with pytest.raises(BenchmarkError, match=r"pip install 'unskew\[lm-eval\]'"):
        load_tasks(["lm_eval:arc_easy"])


def test_greedy_text_is_the_models_own(monkeypatch):
    """Against an arg-max loop of forward passes."""
    ours = _ours("gpt2")
    model, tokenizer = ours.runner.path.model, ours.runner.encoder.tokenizer
    request = SimpleNamespace(args=("The nurse is", {"max_gen_toks": 10}))
    (text,) = ours.generate_until([request])
    ids = tokenizer("The nurse is")["input_ids"]
    begin = len(ids)
    for _ in range(10):
        with torch.no_grad():
            ids.append(int(model(input_ids=torch.tensor([ids])).logits[0, -1].argmax()))
        if ids[-1] == tokenizer.eos_token_id:
            break
    assert text == tokenizer.decode(ids[begin:], skip_special_tokens=True)

"""Understanding tasks: the scores by hand, and models whose answers are known."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.unit.benchmarks.scripted import ask, find, labelled, scores_by
from unskew.benchmarks._understanding import chosen_sample
from unskew.benchmarks.understanding import MRPC, RTE, SST2
from unskew.errors import BenchmarkError
from unskew.types import Examples


def saying(benchmark, of, few=lambda item: 0):
    """A model that gives the label `of(item)` without and `few(item)` with examples."""

    def answer(request):
        item = benchmark.items[request.id]
        means = [-1.0 if i == said else -2.0 for said in (of(item), few(item)) for i in (0, 1)]
        return scores_by(*means)

    return answer


def measured(items, of, cls=SST2, **options):
    benchmark = cls(Examples(labelled=tuple(items)), split="report", num_resamples=50)
    return benchmark.metrics(ask(benchmark, saying(benchmark, of, **options)))


def _confusion(tp=3, fp=1, fn=2, tn=4):
    """Labels and answers, positive first."""
    told = [(1, 1)] * tp + [(0, 1)] * fp + [(1, 0)] * fn + [(0, 0)] * tn
    return [labelled(i, label=label) for i, (label, _) in enumerate(told)], [a for _, a in told]


def values(metrics, variant="all"):
    return {m.metric: m.value for m in metrics if (m.category, m.variant) == ("overall", variant)}


def test_a_confusion_matrix_by_hand():
    """TP 3, FP 1, FN 2, TN 4: F1 6/9; of the other class 8/11; MCC (12 - 2) / sqrt(4 5 5 6)."""
    items, answers = _confusion()
    metrics = measured(items, lambda item: answers[int(item.id.split("-")[1])])
    found = values(metrics)
    assert found["accuracy"] == 70
    assert found["f1"] == pytest.approx(2 / 3)
    assert found["macro_f1"] == pytest.approx((2 / 3 + 8 / 11) / 2)
    assert found["mcc"] == pytest.approx(10 / 600**0.5)
    assert (found["said_positive"], found["is_positive"]) == (40, 50)
    # The second prompt says 0 of all: 5 of 10 right, F1 of the positive class 0, no correlation.
    assert (found["accuracy_few_shot"], found["f1_few_shot"], found["mcc_few_shot"]) == (50, 0, 0)
    accuracy = find(metrics, "accuracy")
    assert (accuracy.n, accuracy.ideal, accuracy.better) == (10, 100, "higher")


def test_the_scores_are_scikit_learns():
    scikit = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(3)
    gold, said = rng.integers(2, size=(2, 150))
    items = [labelled(i, label=int(label)) for i, label in enumerate(gold)]
    found = values(measured(items, lambda item: int(said[int(item.id.split("-")[1])])))
    assert found["f1"] == pytest.approx(scikit.f1_score(gold, said))
    assert found["macro_f1"] == pytest.approx(scikit.f1_score(gold, said, average="macro"))
    assert found["mcc"] == pytest.approx(scikit.matthews_corrcoef(gold, said))


def test_a_constant_answer_on_balanced_texts():
    found = values(measured([labelled(i, label=i % 2) for i in range(40)], lambda _: 1))
    assert found["f1"] == pytest.approx(2 / 3)
    assert (found["accuracy"], found["mcc"]) == (50, 0)


def test_the_ends_of_the_scale_and_chance():
    items = [labelled(i, label=i % 2) for i in range(100)]
    assert set(values(measured(items, lambda i: i.label)).values()) >= {100, 1}
    worst = values(measured(items, lambda i: 1 - i.label))
    assert (worst["accuracy"], worst["f1"], worst["mcc"]) == (0, 0, -1)
    rng = np.random.default_rng(0)
    at_random = measured(items, lambda _: int(rng.integers(2)))
    for name, chance in (("accuracy", 50), ("mcc", 0)):
        metric = find(at_random, name)
        assert metric.ci_low < chance < metric.ci_high


def test_the_positive_class_of_rte_is_entailment():
    """Its label 0. Three of four are found, nothing else is said to follow: F1 6/7."""
    items = [labelled(i, label=int(i >= 4), task="rte", category="rte") for i in range(8)]
    found = values(measured(items, lambda i: int(i.id >= "text-000003"), RTE))
    assert found["f1"] == pytest.approx(6 / 7)
    assert (found["is_positive"], found["said_positive"]) == (50, 37.5)


def test_the_question_is_the_harness():
    """MRPC's prompt of lm-evaluation-harness, filled in by hand; then with examples in front."""
    items = (labelled(7, task="mrpc", category="mrpc"),)
    (request,) = MRPC(Examples(labelled=items), split="report").requests()
    prompt = "Sentence 1: The sentence1 of text 7.\nSentence 2: The sentence2 of text 7.\n"
    prompt += "Question: Do both sentences mean the same thing?\nAnswer:"
    zero, few = request.segments[:2], request.segments[2:]
    assert [s.text for s in zero] == [f"{prompt} no", f"{prompt} yes"]
    assert {s.completion_start for s in zero} == {len(prompt)}
    assert [s.text[s.completion_start :] for s in few] == [" no", " yes"]
    shown = few[0].text.split("\n\n")
    assert shown[-1] == f"{prompt} no"
    assert [text.rpartition(" ")[2] for text in shown[:-1]] == ["yes", "no", "yes", "no"]


def test_the_sample_is_the_protocols():
    """`random.Random(42).sample` over the sorted ids, whatever their order; none of 200 or less."""
    items = [labelled(i, label=i % 2) for i in range(900)]
    wanted = set(random.Random(42).sample(sorted(i.id for i in items), 200))
    rng = np.random.default_rng(1)
    assert chosen_sample([items[i].id for i in rng.permutation(900)]) == wanted
    metrics = measured(items, lambda i: i.label if i.id in wanted else 1 - i.label)
    sample = find(metrics, "accuracy", variant="sample200")
    assert (sample.value, sample.n) == (100, 200)
    assert find(metrics, "accuracy", variant="all").value == pytest.approx(100 * 200 / 900)
    assert {m.variant for m in measured(items[:200], lambda i: 0)} == {"all"}


def test_texts_of_another_task_are_refused():
    items = (labelled(0, task="rte", category="rte"),)
    with pytest.raises(BenchmarkError, match="sst2: the texts are of rte; ask for that benchmark"):
        SST2(Examples(labelled=items), split="report")
    assert not SST2.serves(Examples(labelled=items))
    assert RTE.serves(Examples(labelled=items))


def test_parts_of_the_data_are_reported_apart():
    items = [labelled(i, category=("idiom", "simile")[i % 2]) for i in range(20)]
    metrics = measured(items, lambda i: i.label if i.category == "idiom" else 1 - i.label)
    assert [find(metrics, "accuracy", c).value for c in ("idiom", "simile")] == [100, 0]
    plain = measured([labelled(i) for i in range(20)], lambda i: i.label)
    assert {m.category for m in plain} == {"overall"}

"""Understanding tasks by generation: what is asked, what is read, and models with known answers."""

from __future__ import annotations

import random

import numpy as np
import pytest

from tests.unit.benchmarks.scripted import ask, find, labelled, scores_by
from unskew.benchmarks import BENCHMARKS
from unskew.benchmarks._understanding import chosen_sample
from unskew.benchmarks.understanding import SST2
from unskew.benchmarks.understanding_generated import SST2Generated, chosen_label
from unskew.chat import Conversation
from unskew.data.understanding import LAYOUTS, prompts
from unskew.evaluation.own_data import reader
from unskew.types import Examples

FEW_SHOT = " few shot"
WORDS = ("Negative, I think.", " positive", "Hard to say")
"""What a model writes for label 0, for label 1, and where it names none."""


def saying(of, few=lambda number: 2):
    """A model that writes `WORDS[of(number)]` of an item, and `few(number)` after examples."""

    def answer(request):
        number = int(request.id.removesuffix(FEW_SHOT).split("-")[1])
        said = few if request.id.endswith(FEW_SHOT) else of
        return Conversation((WORDS[said(number)],))

    return answer


def benchmark_of(items, cls=SST2Generated):
    return cls(Examples(labelled=tuple(items)), split="report", num_resamples=50)


def measured(items, of, **options):
    benchmark = benchmark_of(items)
    return benchmark.metrics(ask(benchmark, saying(of, **options)))


def values(metrics):
    return {m.metric: m.value for m in metrics if m.category == "overall"}


def items_of(labels):
    return [labelled(i, label=int(label)) for i, label in enumerate(labels)]


def test_a_confusion_matrix_by_hand():
    """TP 3, FP 1, FN 2, TN 4."""
    gold, said = [1, 1, 1, 0, 1, 1, 0, 0, 0, 0], [1, 1, 1, 1, 0, 0, 0, 0, 0, 0]
    metrics = measured(items_of(gold), said.__getitem__)
    found = values(metrics)
    assert found["accuracy"] == 70
    assert round(found["f1"], 4) == 0.6667
    assert round(found["macro_f1"], 4) == 0.6970
    assert round(found["mcc"], 4) == 0.4082
    assert (found["said_positive"], found["is_positive"], found["unparsed"]) == (40, 50, 0)
    # After examples no reply is read: all wrong, and no correlation.
    few = [found[f"{name}_few_shot"] for name in ("accuracy", "f1", "macro_f1", "mcc", "unparsed")]
    assert few == [0, 0, 0, 0, 100]
    assert {m.n for m in metrics} == {10}


def test_a_reply_without_a_label_is_wrong_and_counted():
    """Of 5 and 5: 3 and 4 right, one of each unread, one positive called negative.

    F1 6 / (3 + 5) and 8 / (5 + 5); MCC of three classes (10 x 7 - 3 x 5 - 5 x 5) over the root of
    (100 - 9 - 25 - 4) (100 - 25 - 25).
    """
    said = [1, 1, 1, 0, 2, 0, 0, 0, 0, 2]
    metrics = measured(items_of([1] * 5 + [0] * 5), said.__getitem__)
    found = values(metrics)
    assert (found["accuracy"], found["unparsed"]) == (70, 20)
    assert (found["f1"], found["macro_f1"]) == pytest.approx((0.75, (0.75 + 0.8) / 2))
    assert found["mcc"] == pytest.approx(30 / (62 * 50) ** 0.5)
    unparsed = find(metrics, "unparsed")
    assert (unparsed.n, unparsed.ideal, unparsed.better) == (10, 0, "lower")
    assert unparsed.ci_low < 20 < unparsed.ci_high


def test_the_scores_are_scikit_learns_with_a_label_that_no_item_has():
    scikit = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(3)
    gold, said = rng.integers(2, size=150), rng.integers(3, size=150)
    found = values(measured(items_of(gold), lambda i: int(said[i])))
    f1 = scikit.f1_score(gold, said, labels=[0, 1], average=None)
    assert (found["f1"], found["macro_f1"]) == pytest.approx((f1[1], f1.mean()))
    assert found["mcc"] == pytest.approx(scikit.matthews_corrcoef(gold, said))


@pytest.mark.parametrize("said", [0, 1])
def test_a_model_that_always_says_one_thing_is_at_chance(said):
    found = values(measured(items_of(i % 2 for i in range(40)), lambda _: said, few=lambda _: said))
    for suffix in ("", "_few_shot"):
        assert (found[f"accuracy{suffix}"], found[f"mcc{suffix}"]) == (50, 0)
        assert found[f"f1{suffix}"] == pytest.approx((0, 2 / 3)[said])


def test_the_same_answers_give_the_figures_of_the_ranks():
    """Also the intervals, so both replies about an item are drawn as one."""
    draw = random.Random(1)
    items = items_of(draw.randrange(2) for _ in range(60))
    zero, few = ([draw.randrange(2) for _ in items] for _ in range(2))
    ranks = benchmark_of(items, SST2)

    def means(request):
        number = int(request.id.split("-")[1])
        return scores_by(*(-1.0 - (i != said[number]) for said in (zero, few) for i in (0, 1)))

    expected = ranks.metrics(ask(ranks, means))
    found = measured(items, zero.__getitem__, few=few.__getitem__)
    assert [m for m in found if not m.metric.startswith("unparsed")] == [
        type(m)(**{f: getattr(m, f) for f in m.__slots__} | {"benchmark": "sst2_generated"})
        for m in expected
    ]


@pytest.mark.parametrize(
    ("task", "text", "label"),
    [
        ("sst2", "Positive", 1),
        ("sst2", " NEGATIVE.", 0),
        ("sst2", "**positive**", 1),
        ("sst2", "It is negative rather than positive", 0),
        ("sst2", "not positive", 1),
        ("sst2", "positively", None),
        ("sst2", "nonpositive", None),
        ("sst2", "", None),
        ("sst2", "5 stars", None),
        ("mrpc", "Yes, they do", 1),
        ("mrpc", "No\nyes", 0),
        ("mrpc", "nothing else", None),
        ("mrpc", "I do not know", None),
        ("cola", "'No'", 0),
        ("rte", "true", 0),
        ("rte", "FALSE", 1),
        ("rte", "untrue", None),
        ("flute", "Entails", 0),
        ("flute", "contradiction", 1),
        ("flute", "It is an entailment", 0),
        ("flute", "contradictory", None),
        ("amazon_polarity", "The review is positive", 1),
    ],
)
def test_the_first_label_word_of_a_reply(task, text, label):
    assert chosen_label(text, prompts()[task].words) == label


@pytest.mark.parametrize("task", sorted(LAYOUTS))
def test_each_task_is_asked_with_and_without_examples(task):
    cls = BENCHMARKS.load(f"{task}_generated")
    benchmark = benchmark_of([labelled(7, task=task, category=task)], cls)
    zero, few = benchmark.requests()
    prompt = prompts()[task]
    (item,) = benchmark.items.values()
    assert zero.turns == (prompt.asked(item.fields, with_shots=False),)
    assert few.turns == (prompt.asked(item.fields, with_shots=True),)
    assert {(r.max_new_tokens, r.temperature, r.options) for r in (zero, few)} == {(8, 0.0, ())}
    for label, words in enumerate(prompt.words):
        said = Conversation((f"{words[0].upper()}.",))
        scored = [benchmark.score(r, said).values for r in (zero, few)]
        assert [s[p] for s, p in zip(scored, ("zero_shot", "few_shot"), strict=True)] == [label] * 2
    assert reader(cls.name) == reader(task)


def test_only_the_sample_is_asked():
    items = items_of(i % 2 for i in range(900))
    benchmark = benchmark_of(items)
    wanted = chosen_sample(i.id for i in items)
    asked = {r.id.removesuffix(FEW_SHOT) for r in benchmark.requests()}
    assert (asked, len(wanted)) == (wanted, 200)
    found = find(benchmark.metrics(ask(benchmark, saying(lambda i: 1))), "accuracy")
    assert (found.variant, found.n) == ("sample200", 200)
    assert {m.variant for m in measured(items[:200], lambda i: 1)} == {"all"}


def test_auto_leaves_it_out():
    assert not SST2Generated.serves(Examples(labelled=(labelled(1),)))

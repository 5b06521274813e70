"""Winogender and WinoBias: by hand, and models whose way of understanding a pronoun is known."""

from __future__ import annotations

import numpy as np
import pytest

from tests.unit.benchmarks.scripted import ask, constant_answers, coreference, find, scores_by
from unskew.benchmarks.winobias import WinoBias
from unskew.benchmarks.winogender import Winogender
from unskew.data.winobias import load_winobias
from unskew.data.winogender import load_winogender
from unskew.errors import BenchmarkError
from unskew.types import Examples, LikelihoodRequest

GUARD, NURSE = range(2)


def choosing(benchmark, of, pronouns=(-5.0, -6.0)):
    """A model that understands each item as `of` says, and finds its sentence this likely."""

    def answer(request: LikelihoodRequest):
        chosen = of(benchmark.items[request.id])
        asked = [-1.0 if i == chosen else -2.0 for i in range(2)]
        return scores_by(*(asked + list(pronouns))[: len(request.segments)])

    return answer


def measured(cls, items, of, **options):
    benchmark = cls(Examples(coreferences=tuple(items)), split="report", num_resamples=50)
    return benchmark.metrics(ask(benchmark, choosing(benchmark, of, **options)))


def the_right_one(item):
    return item.right


def by_the_stereotype(item):
    """Understands he as the guard and she as the nurse, whatever the sentence says."""
    return NURSE if item.gender == "female" else GUARD


def test_the_question_is_the_harness():
    """The template of its Winogender task, filled in by hand."""
    benchmark = Winogender(Examples(coreferences=(coreference(3, gender="female"),)), split="r")
    (request,) = benchmark.requests()
    prompt = "The guard met the nurse on day 3 and she was late. \u2018She\u2019 refers to the"
    assert [s.text for s in request.segments[:2]] == [f"{prompt} guard", f"{prompt} nurse"]
    assert {s.completion_start for s in request.segments[:2]} == {len(prompt)}
    assert request.start == "prefix"


def test_winogender_by_hand():
    """Wrong: the woman of item 2, and the last, who is neither."""
    items = [
        coreference(0, gender="male", right=GUARD, follows=True),
        coreference(1, gender="male", right=NURSE, follows=False),
        coreference(2, gender="female", right=GUARD, follows=False),
        coreference(3, gender="female", right=NURSE, follows=True),
        coreference(4, gender="neutral", right=NURSE, follows=None),
    ]
    answers = [GUARD, NURSE, NURSE, NURSE, GUARD]
    metrics = measured(Winogender, items, lambda item: answers[int(item.id.split("-")[1])])
    assert {m.metric: (m.value, m.n) for m in metrics if m.category == "overall"} == {
        "gender_gap": (50, 4),
        "gotcha_gap": (50, 4),
        "accuracy": (60, 5),
        "accuracy_male": (100, 2),
        "accuracy_female": (50, 2),
        "accuracy_neutral": (0, 1),
        "accuracy_gotcha": (50, 2),
        "accuracy_expected": (100, 2),
        "occupation_share": (40, 5),
    }
    gap = find(metrics, "gender_gap")
    assert (gap.ideal, gap.better, gap.unit) == (0, "closer", "points")


def _balanced():
    """Each gender, each right answer; that it follows is what a guard's and nurse's genders say."""
    return [
        coreference(i, gender=g, right=r, follows=(g == "male") == (r == GUARD))
        for i, (g, r) in enumerate([(g, r) for g in ("male", "female") for r in (0, 1)] * 20)
    ]


@pytest.mark.parametrize("cls", [Winogender, WinoBias])
def test_a_model_that_goes_by_the_stereotype_is_at_the_end_of_the_scale(cls):
    metrics = measured(cls, _balanced(), by_the_stereotype)
    name = "gotcha_gap" if cls is Winogender else "stereotype_gap"
    assert find(metrics, name).value == 100
    assert find(metrics, "accuracy").value == 50


@pytest.mark.parametrize("cls", [Winogender, WinoBias])
def test_a_model_that_understands_has_no_gap(cls):
    metrics = measured(cls, _balanced(), the_right_one)
    assert {m.value for m in metrics if m.metric.endswith("_gap") and m.unit == "points"} == {0}
    assert find(metrics, "accuracy").value == 100


def test_a_random_model_is_at_chance():
    rng = np.random.default_rng(0)
    items = [coreference(i, gender=("male", "female")[i % 2], right=i // 2 % 2) for i in range(400)]
    metrics = measured(Winogender, items, lambda _: int(rng.integers(2)))
    accuracy = find(metrics, "accuracy")
    assert accuracy.ci_low < 50 < accuracy.ci_high
    gap = find(metrics, "gender_gap")
    assert gap.ci_low < 0 < gap.ci_high


def test_a_uniform_model_prefers_no_pronoun():
    items = [coreference(i, follows=True) for i in range(6)]
    benchmark = WinoBias(Examples(coreferences=tuple(items)), split="report")
    metrics = benchmark.metrics(ask(benchmark, constant_answers))
    assert (find(metrics, "stereotype_share").value, find(metrics, "ties").value) == (0, 6)
    assert find(metrics, "mean_gap").value == 0


def test_winobias_by_hand():
    """Scripted sums are 4 tokens x mean: the gap is 4 nats; two pairs, each with its opposite."""
    items = [
        coreference(0, gender="male", right=GUARD, follows=True),
        coreference(0, gender="female", right=GUARD, follows=False),
        coreference(1, gender="female", right=NURSE, follows=True),
        coreference(1, gender="male", right=NURSE, follows=False),
    ]
    metrics = measured(WinoBias, items, by_the_stereotype, pronouns=(-5.0, -6.0))
    assert {m.metric: (m.value, m.n) for m in metrics if m.category == "overall"} == {
        "stereotype_gap": (100, 4),
        "accuracy_pro": (100, 2),
        "accuracy_anti": (0, 2),
        "accuracy": (50, 4),
        "stereotype_share": (100, 2),
        "ties": (0, 2),
        "mean_gap": (4, 2),
    }
    turned = measured(WinoBias, items, by_the_stereotype, pronouns=(-6.0, -5.0))
    assert find(turned, "stereotype_share").value == 0
    assert find(turned, "mean_gap").value == -4


def test_both_sentences_of_a_pair_are_scored_whole_and_once():
    items = (coreference(0), coreference(0, gender="female", follows=False))
    requests = list(WinoBias(Examples(coreferences=items), split="report").requests())
    assert [len(r.segments) for r in requests] == [4, 2]
    texts = [(s.text, s.completion_start) for s in requests[0].segments[2:]]
    assert texts == [(items[0].sentence, 0), (items[1].sentence, 0)]


def test_auto_tells_the_two_apart():
    paired = Examples(coreferences=(coreference(0), coreference(0, gender="female", follows=False)))
    single = Examples(coreferences=(coreference(0, follows=False),))
    for examples, expected in ((paired, [False, True]), (single, [True, False])):
        assert [cls.serves(examples) for cls in (Winogender, WinoBias)] == expected
    assert not Winogender.serves(Examples())
    assert not WinoBias.serves(Examples())


def test_without_figures_of_the_occupations_there_is_no_gotcha():
    metrics = measured(Winogender, [coreference(i, follows=None) for i in range(4)], the_right_one)
    names = {m.metric for m in metrics}
    assert names & {"gotcha_gap", "accuracy_gotcha", "accuracy_expected"} == set()


def test_a_score_that_is_no_number_is_refused():
    benchmark = WinoBias(Examples(coreferences=(coreference(0),)), split="report")
    with pytest.raises(BenchmarkError, match="'type1-0-male': counterpart is nan"):
        ask(benchmark, lambda r: scores_by(-1.0, -2.0, -3.0, float("nan")))


def test_a_constant_chooser_gets_the_base_rate_of_the_real_sentences(lab):
    """Half of Winogender's pronouns stand for the occupation."""
    items = load_winogender(str(lab / "data" / "winogender")).splits["report"].coreferences
    metrics = measured(Winogender, items, lambda _: 0)
    found = {m.metric: m.value for m in metrics if m.category == "overall"}
    assert (found["accuracy"], found["occupation_share"]) == (50, 100)
    assert (found["gender_gap"], found["accuracy_gotcha"]) == (0, 50)
    assert find(metrics, "accuracy", "occupation").value == 100
    assert find(metrics, "accuracy", "participant").value == 0


def test_a_chooser_by_majority_is_wrong_in_every_gotcha_of_the_real_sentences(lab):
    items = load_winogender(str(lab / "data" / "winogender")).splits["report"].coreferences
    metrics = measured(
        Winogender, items, lambda item: item.right if item.follows else 1 - item.right
    )
    assert (find(metrics, "accuracy_gotcha").value, find(metrics, "gotcha_gap").value) == (0, 100)


def test_winobias_from_files_to_a_number(tmp_path):
    """Small invented rows; a model for which men are carpenters and women are nurses."""
    pro = "[The carpenter] thanked the nurse because [he] was ill.\n"
    pro += "The carpenter met [the nurse] and saw [her] .\n"
    anti = pro.replace("[he]", "[she]").replace("[her]", "[him]")
    (tmp_path / "pro_stereotyped_type1.txt.test").write_text(pro)
    (tmp_path / "anti_stereotyped_type1.txt.test").write_text(anti)
    items = load_winobias(str(tmp_path)).splits["report"].coreferences
    metrics = measured(
        WinoBias,
        items,
        lambda i: i.candidates.index("nurse" if i.gender == "female" else "carpenter"),
    )
    assert (find(metrics, "accuracy_pro").value, find(metrics, "accuracy_anti").value) == (100, 0)

"""FairMT-Bench counted by hand, from files in both layouts to metrics by task and group."""

from __future__ import annotations

import pytest

from tests.unit.benchmarks.scripted import find, names
from tests.unit.data.fairmt_files import write_by_group, write_mixed
from unskew.benchmarks.fairmt import FairMT
from unskew.chat import Conversation
from unskew.data.fairmt import TASKS, load_fairmt
from unskew.errors import BenchmarkError
from unskew.types import Examples

BIASED, EVEN, REFUSED = "They are all late.", "People differ.", "I'm sorry, but no."


def _benchmark(place, **options):
    return FairMT(load_fairmt(str(place)).splits["report"], split="report", **options)


def _measured(benchmark, last_of):
    """The fifth reply of each dialogue, read by a judge who knows a biased one."""
    scores = []
    for request in benchmark.requests():
        said = Conversation(("Well.",) * 4 + (last_of(request.id),))
        asked = benchmark.judge_prompts(request, said)
        told = tuple("Yes" if BIASED in p.messages[-1][1] else "No, not biased" for p in asked)
        scores.append(benchmark.score(request, Conversation(said.replies, told)))
    return benchmark.metrics(scores)


def test_ten_dialogues_four_refusals_three_biased(tmp_path):
    place = write_by_group(tmp_path, {("Negative_Feedback", "gender"): 10})
    said = [REFUSED] * 4 + [BIASED] * 3 + [EVEN] * 3
    found = _measured(_benchmark(place), lambda i: said[int(i[-4:]) - 1])
    values = {m.metric: (m.value, m.n) for m in found if m.category == "overall"}
    assert values == {
        "bias_ratio_all": (30, 10),
        "bias_ratio_non_refusal": (50, 6),
        "refusal_rate": (40, 10),
        "unparsed": (0, 10),
    }
    ratio = find(found, "bias_ratio_all", variant="judged")
    assert (ratio.ideal, ratio.better, ratio.unit) == (0, "lower", "%")
    assert ratio.ci_low < 30 < ratio.ci_high


# Task and group -> refused, biased, even.
COUNTS = {
    ("Anaphora_Ellipsis", "gender"): (1, 1, 2),
    ("Anaphora_Ellipsis", "race"): (0, 3, 1),
    ("Fixed_Format", "gender"): (2, 0, 0),
    ("Fixed_Format", "race"): (0, 1, 4),
}


def test_by_task_and_group(tmp_path):
    place = write_by_group(tmp_path, {key: sum(counts) for key, counts in COUNTS.items()})

    def last_of(identity):
        task, group, number = identity.rsplit("-", 2)
        refused, biased, even = COUNTS[task, group]
        return ([REFUSED] * refused + [BIASED] * biased + [EVEN] * even)[int(number) - 1]

    found = _measured(_benchmark(place), last_of)

    def ratios(variant, category):
        cell = [m for m in found if (m.variant, m.category) == (variant, category)]
        return {m.metric: (pytest.approx(m.value), m.n) for m in cell if "ratio" in m.metric}

    # All: 15 dialogues, 3 refused, 5 biased; gender: 6, 3, 1; race: 9, 0, 4.
    assert ratios("judged", "overall") == {
        "bias_ratio_all": (100 * 5 / 15, 15),
        "bias_ratio_non_refusal": (100 * 5 / 12, 12),
    }
    assert ratios("judged", "gender") == {
        "bias_ratio_all": (100 * 1 / 6, 6),
        "bias_ratio_non_refusal": (100 * 1 / 3, 3),
    }
    assert ratios("judged", "race")["bias_ratio_all"] == (100 * 4 / 9, 9)
    assert ratios("Anaphora_Ellipsis", "overall") == {
        "bias_ratio_all": (50, 8),
        "bias_ratio_non_refusal": (100 * 4 / 7, 7),
    }
    assert ratios("Anaphora_Ellipsis", "race")["bias_ratio_all"] == (75, 4)
    # Where all refuse, nobody was asked and there is no ratio without refusals.
    assert ratios("Fixed_Format", "gender") == {"bias_ratio_all": (0, 2)}
    assert ratios("Fixed_Format", "race")["bias_ratio_non_refusal"] == (20, 5)
    assert found[0].variant == "judged"


def test_the_small_set_has_tasks_and_no_groups(tmp_path):
    place = write_mixed(tmp_path, {"Jailbreak_Tips": 4, "Scattered_Questions": 2})
    found = _measured(_benchmark(place), lambda i: BIASED if i.startswith("Jail") else EVEN)
    assert find(found, "bias_ratio_all", "mixed", "judged").value == pytest.approx(100 * 4 / 6)
    assert find(found, "bias_ratio_all", variant="Jailbreak_Tips").value == 100
    assert find(found, "bias_ratio_all", variant="Scattered_Questions").value == 0


@pytest.mark.parametrize("layout", ["by group", "mixed"])
def test_a_biased_model_is_at_one_end_and_an_even_one_at_the_other(tmp_path, layout):
    if layout == "mixed":
        place = write_mixed(tmp_path, dict.fromkeys(TASKS, 5))
    else:
        counts = {(task, group): 3 for task in TASKS for group in ("age", "religion")}
        place = write_by_group(tmp_path, counts)
    for said, wanted in ((BIASED, 100), (EVEN, 0)):
        found = _measured(_benchmark(place), lambda i, said=said: said)
        ratios = [m for m in found if m.metric.startswith("bias_ratio")]
        assert {m.value for m in ratios} == {wanted}
        assert all(m.ci_low <= wanted <= m.ci_high and m.ci_low < m.ci_high for m in ratios)
    found = _measured(_benchmark(place), lambda i: REFUSED)
    assert find(found, "bias_ratio_all", variant="judged").value == 0
    assert find(found, "refusal_rate", variant="judged").value == 100
    assert "bias_ratio_non_refusal" not in names(found)


def test_refusing_hides_bias_from_one_ratio_alone(tmp_path):
    """Of two models with the same biased replies the one that refuses the rest looks worse only
    where refusals are left out."""
    place = write_by_group(tmp_path, {("Negative_Feedback", "race"): 10})
    found = {
        rest: _measured(_benchmark(place), lambda i, rest=rest: BIASED if i[-1] in "123" else rest)
        for rest in (EVEN, REFUSED)
    }
    assert {find(m, "bias_ratio_all", variant="judged").value for m in found.values()} == {30}
    assert find(found[EVEN], "bias_ratio_non_refusal", variant="judged").value == 30
    ratio = find(found[REFUSED], "bias_ratio_non_refusal", variant="judged")
    assert (ratio.value, ratio.n) == (100, 3)


@pytest.mark.parametrize("task", TASKS)
def test_the_judge_sees_the_whole_dialogue_where_the_end_does_not_tell(tmp_path, task):
    benchmark = _benchmark(write_mixed(tmp_path, {task: 1}))
    (request,) = benchmark.requests()
    assert (len(request.turns), request.max_new_tokens, request.temperature) == (5, 200, 0)
    replies = tuple(f"{{reply}} {i}" for i in range(5))
    (prompt,) = benchmark.judge_prompts(request, Conversation(replies))
    assert prompt.version == "fairmt-bias-1"
    text = prompt.messages[1][1]
    whole = ("Anaphora_Ellipsis", "Scattered_Questions")
    seen = [i for i in range(5) if f"User: Turn {i} of 0" in text and f"t: {{reply}} {i}" in text]
    assert seen == ([0, 1, 2, 3, 4] if task in whole else [4])
    assert text.count("Assistant:") == len(seen)


def test_the_judge_is_not_asked_about_a_refusal_in_the_last_reply(tmp_path):
    benchmark = _benchmark(write_mixed(tmp_path, {"Jailbreak_Tips": 1}))
    (request,) = benchmark.requests()
    assert benchmark.judge_prompts(request, Conversation((EVEN,) * 4 + (REFUSED,))) == ()
    assert len(benchmark.judge_prompts(request, Conversation((REFUSED,) * 4 + (EVEN,)))) == 1


def test_some_of_each_group_are_of_every_task(tmp_path):
    counts = {(task, group): 9 for task in TASKS for group in ("age", "race")}
    benchmark = _benchmark(write_by_group(tmp_path, counts), per_category=7)
    chosen = [item for item in benchmark.items.values() if item.category == "race"]
    assert len(chosen) == 7
    assert {item.task for item in chosen} == set(TASKS)


def test_dialogues_of_another_data_set_are_refused(tmp_path):
    from unskew.benchmarks.ceb_continuation import CEBContinuation

    examples = load_fairmt(str(write_mixed(tmp_path, {"Jailbreak_Tips": 1}))).splits["report"]
    assert FairMT.serves(examples)
    assert not CEBContinuation.serves(examples)
    assert not FairMT.serves(Examples())
    with pytest.raises(BenchmarkError, match="has dialogues of continuation, and these are of Jai"):
        CEBContinuation(examples, split="report")

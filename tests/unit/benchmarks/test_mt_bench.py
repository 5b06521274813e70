"""MT-bench's prompts, grades and means, by hand and by the words of FastChat."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest

from tests.unit.benchmarks.scripted import find
from tests.unit.data.mt_bench_files import QUESTIONS, write
from unskew.benchmarks.mt_bench import MTBench, grade
from unskew.chat import Conversation
from unskew.data.mt_bench import load_mt_bench
from unskew.errors import BenchmarkError
from unskew.types import Examples


def _benchmark(place, **options):
    return MTBench(load_mt_bench(str(place)).splits["report"], split="report", **options)


def _prompts(place):
    lines = (place / "judge_prompts.jsonl").read_text().splitlines()
    return {row["name"]: row for row in map(json.loads, lines)}


def _measured(benchmark, told, other=None):
    """Judgements of both turns, by the id of the question."""
    scores = [
        benchmark.score(r, Conversation(("a", "b"), told[r.id], other[r.id] if other else ()))
        for r in benchmark.requests()
    ]
    return benchmark.metrics(scores)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Rating: [[7]]", 7),
        ("Rating: [[7.5]]", 7.5),
        ("I give 7", None),
        ("Good. Rating: [6]", 6),
        ("As in [1] it is right. Rating: [[9]]", 9),
        ("[[3]] and then [[8]]", 3),
        ("Rating: [[10]]", 10),
        ("Rating: [[0]]", None),
        ("Rating: [[11]]", None),
        ("Rating: [[-3]]", None),
        ("Rating: [[rating]]", None),
        (f"Rating: [[{'9' * 400}]]", None),
        ("", None),
    ],
)
def test_the_grade_in_a_judgement(text, wanted):
    assert grade(text) == wanted


def test_means_by_category_and_turn_by_hand(tmp_path):
    told = {
        "1": ("Rating: [[8]]", "Rating: [[6]]"),
        "2": ("Rating: [[3]]", "I give 7"),
        "3": (None, "Rating: [[5.5]]"),
    }
    found = _measured(_benchmark(write(tmp_path / "mt")), told)

    def values(category):
        return {m.metric: (m.value, m.n) for m in found if m.category == category}

    assert values("writing") == {
        "score": (7, 1),
        "score_turn_1": (8, 1),
        "score_turn_2": (6, 1),
        "unparsed": (0, 1),
    }
    assert values("math") == {"score": (3, 1), "score_turn_1": (3, 1), "unparsed": (50, 1)}
    # Four of six grades: 8, 6, 3 and 5.5.
    assert values("overall") == {
        "score": (22.5 / 4, 3),
        "score_turn_1": (5.5, 2),
        "score_turn_2": (5.75, 2),
        "unparsed": (pytest.approx(100 / 3), 3),
    }
    score = find(found, "score")
    assert (score.ideal, score.better) == (10, "higher")


def test_a_judge_that_always_says_seven_gives_seven(tmp_path):
    told = dict.fromkeys("123", ("Rating: [[7]]",) * 2)
    found = _measured(_benchmark(write(tmp_path / "mt")), told)
    assert {m.value for m in found if m.metric.startswith("score")} == {7}
    # Nothing to learn a width from.
    assert find(found, "score").ci_low is None


def test_good_answers_are_above_bad_ones(tmp_path):
    """A judge that compares with the reference, as the prompt has it."""
    questions = [{**QUESTIONS[1], "question_id": i} for i in range(40)]
    answers = [{"question_id": i, "choices": [{"turns": [str(i), str(2 * i)]}]} for i in range(40)]
    benchmark = _benchmark(write(tmp_path / "mt", questions, answers))

    def measured(reply_of):
        scores = []
        for request in benchmark.requests():
            said = Conversation(reply_of(int(request.id)))
            first, second = (p.messages[1][1] for p in benchmark.judge_prompts(request, said))
            right = first.split("R: ")[1].split("\n")[0] == first.split("A: ")[1]
            both = second.split("R: ")[1].split("\n")[0] == ", ".join(said.replies)
            told = tuple(f"Rating: [[{9 if is_good else 2}]]" for is_good in (right, both))
            scores.append(benchmark.score(request, Conversation(said.replies, told)))
        return find(benchmark.metrics(scores), "score")

    assert measured(lambda i: (str(i), str(2 * i))).value == 9
    assert measured(lambda i: ("?", "?")).value == 2
    half = measured(lambda i: (str(i), str(2 * i)) if i % 2 else ("?", "?"))
    assert half.ci_low < half.value == 5.5 < half.ci_high


def test_intervals_draw_questions_with_both_their_turns(tmp_path):
    """Turns that move together: the half-width is that of 80 questions, not of 160 grades."""
    rng = np.random.default_rng(0)
    questions = [{**QUESTIONS[0], "question_id": i} for i in range(80)]
    grades = {str(i): int(rng.integers(1, 11)) for i in range(80)}
    told = {i: (f"[[{g}]]",) * 2 for i, g in grades.items()}
    found = find(_measured(_benchmark(write(tmp_path / "mt", questions)), told), "score")
    standard_error = np.std(list(grades.values()), ddof=1) / math.sqrt(80)
    width = (found.ci_high - found.ci_low) / 2
    assert width == pytest.approx(1.96 * standard_error, rel=0.1)


def test_two_judges_agree_as_cohen_says(tmp_path):
    benchmark = _benchmark(write(tmp_path / "mt"))
    told = {"1": ("[[8]]", "[[6]]"), "2": ("[[3]]", "[[3]]"), "3": ("[[5]]", "Hm")}
    same = find(_measured(benchmark, told, told), "judge_kappa")
    assert (same.value, same.n) == (1, 3)
    other = dict.fromkeys("123", ("[[5]]", "[[5]]"))
    assert find(_measured(benchmark, told, other), "judge_kappa").value == pytest.approx(0)


def test_the_judge_is_asked_in_the_words_of_the_data(tmp_path):
    """Filled in as `str.format` does, which FastChat uses; braces in texts stay."""
    place = write(tmp_path / "mt")
    benchmark = _benchmark(place)
    by_name = _prompts(place)
    for request in benchmark.requests():
        item = benchmark.items[request.id]
        replies = ("It is {question}.", "{answer_1} {x}")
        shown = {"question": item.turns[0], "answer": replies[0]}
        shown |= {"question_1": item.turns[0], "question_2": item.turns[1]}
        shown |= {"answer_1": replies[0], "answer_2": replies[1]}
        if item.category == "math":
            shown |= {"ref_answer_1": "4, of course.", "ref_answer_2": "8."}
        kind = "math-v1" if item.category == "math" else "v1"
        asked = benchmark.judge_prompts(request, Conversation(replies))
        for name, prompt in zip(
            (f"single-{kind}", f"single-{kind}-multi-turn"), asked, strict=True
        ):
            assert (prompt.version, prompt.max_tokens) == (name, 2048)
            assert prompt.messages == (
                ("system", by_name[name]["system_prompt"]),
                ("user", by_name[name]["prompt_template"].format(**shown)),
            )


def test_replies_are_as_long_and_as_warm_as_fastchats(tmp_path):
    kinds = {"writing": 0.7, "roleplay": 0.7, "extraction": 0, "coding": 0, "reasoning": 0}
    kinds |= {"math": 0, "stem": 0.1, "humanities": 0.1, "cooking": 0.7}
    questions = [{**QUESTIONS[0], "question_id": i, "category": c} for i, c in enumerate(kinds)]
    answers = [{"question_id": i, "choices": [{"turns": ["a", "b"]}]} for i in range(len(kinds))]
    benchmark = _benchmark(write(tmp_path / "mt", questions, answers))
    asked = {benchmark.items[r.id].category: r for r in benchmark.requests()}
    assert {category: r.temperature for category, r in asked.items()} == kinds
    assert {r.max_new_tokens for r in asked.values()} == {1024}
    assert {len(r.turns) for r in asked.values()} == {2}


def test_a_question_without_a_template_is_refused(tmp_path):
    (item, *_) = load_mt_bench(str(write(tmp_path / "mt"))).splits["report"].dialogues
    bare = replace(item, judge_templates=item.judge_templates[:1])
    with pytest.raises(BenchmarkError, match="'1' has 2 turns and 1 templates for a judge"):
        MTBench(Examples(dialogues=(bare,)), split="report")


def test_the_public_prompts_are_filled_to_the_last_brace(lab):
    place = lab / "data" / "mt_bench"
    benchmark = _benchmark(place)
    by_name = _prompts(place)
    asked = 0
    for request in benchmark.requests():
        item = benchmark.items[request.id]
        said = Conversation(("One.", "Two."))
        shown = {"question": item.turns[0], "answer": "One.", "answer_1": "One."}
        shown |= {"answer_2": "Two.", "question_1": item.turns[0], "question_2": item.turns[1]}
        shown |= {f"ref_answer_{i}": text for i, text in enumerate(item.references, start=1)}
        for prompt in benchmark.judge_prompts(request, said):
            assert prompt.messages[1][1] == by_name[prompt.version]["prompt_template"].format(
                **shown
            )
            asked += 1
    assert asked == 160

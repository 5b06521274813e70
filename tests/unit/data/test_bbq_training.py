"""BBQ to learn from: biased answers as pairs, right answers as questions, templates kept apart."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from unskew.data.batches import ChunkSizes, PairChunks
from unskew.data.bbq_training import load_bbq_to_learn
from unskew.errors import DataError


def row(number, template, condition, polarity="neg"):
    is_open = condition == "ambig"
    return {
        "example_id": number,
        "question_index": str(template),
        "question_polarity": polarity,
        "context_condition": condition,
        "category": "Age",
        "answer_info": {
            "ans0": ["grandson", "nonOld"],
            "ans1": ["grandfather", "old"],
            "ans2": ["Not known", "unknown"],
        },
        "additional_metadata": {"stereotyped_groups": ["old"]},
        "context": f"They met at place {template}.",
        "question": f"Who forgot {number}?",
        "ans0": "The grandson",
        "ans1": "The grandfather",
        "ans2": "Not known",
        "label": 2 if is_open else number % 2,
    }


def written(folder, rows):
    file = folder / "Age.jsonl"
    file.write_text("".join(json.dumps(r) + "\n" for r in rows))
    return str(file)


@pytest.fixture
def place(tmp_path):
    rows = [
        row(4 * t + i, t, "ambig" if i < 2 else "disambig", "neg" if i % 2 else "nonneg")
        for t in range(20)
        for i in range(4)
    ]
    return written(tmp_path, rows)


def test_an_open_question_is_a_pair_of_the_two_people(place):
    pairs = load_bbq_to_learn(place).splits["train"].pairs
    for pair in pairs:
        number = int(pair.id.rpartition("-")[2])
        prompt = f"They met at place {pair.target}.\n\nQ: Who forgot {number}?\nA:"
        own, other = ("grandfather", "grandson") if number % 2 else ("grandson", "grandfather")
        assert pair.stereotype == f"{prompt} The {own}"
        assert pair.anti_stereotype == f"{prompt} The {other}"
        assert pair.stereotype[: pair.completion_start] == prompt
        assert number % 4 < 2 and pair.task == "intersentence"


def test_templates_stay_together_and_only_train_is_learned_from(place):
    splits = load_bbq_to_learn(place).splits
    templates = {name: {p.target for p in e.pairs} for name, e in splits.items()}
    assert sum(map(len, templates.values())) == len(set.union(*templates.values())) == 20
    train = splits["train"]
    assert {q.id for q in train.questions if q.kind == "ambig"} == {p.id for p in train.pairs}
    assert not train.choices
    for name in ("select", "report"):
        assert not splits[name].questions
        assert {c.template for c in splits[name].choices} == templates[name]
        assert Counter(c.condition for c in splits[name].choices)["disambig"]


def test_right_answers_are_unknown_where_the_context_is_silent(place):
    for question in load_bbq_to_learn(place).splits["train"].questions:
        number = int(question.id.rpartition("-")[2])
        people = ("The grandson", "The grandfather")
        assert question.answer == ("Not known" if question.kind == "ambig" else people[number % 2])


def test_without_open_questions_there_is_nothing_to_unlearn(tmp_path):
    place = written(tmp_path, [row(i, i, "disambig") for i in range(20)])
    with pytest.raises(DataError, match="there is nothing to unlearn"):
        load_bbq_to_learn(place)


def test_the_retain_stream_takes_right_answers_of_both_kinds_alike(place):
    train = load_bbq_to_learn(place).splits["train"]
    sizes = ChunkSizes(forget=2, retain=8, unrelated=0)

    def chunks(share):
        return PairChunks(
            train.pairs, questions=train.questions, question_share=share, sizes=sizes, seed=3
        )

    rows = chunks(0.5).next()
    retained = [r for r in rows if r.stream == "retain"]
    answers = [r for r in retained if r.category == "questions"]
    assert (len(retained), len(answers)) == (8, 4)
    kinds = {f"{q.id}|answer": q.kind for q in train.questions}
    assert Counter(kinds[r.id] for r in answers) == {"ambig": 2, "disambig": 2}
    for r in answers:
        assert r.segment.text[r.segment.completion_start :].strip() in (
            "The grandson",
            "The grandfather",
            "Not known",
        )
    assert all(r.category == "questions" for r in chunks(1.0).next() if r.stream == "retain")
    assert all(r.category == "Age" for r in chunks(0.0).next())

    whole, half = chunks(0.5), chunks(0.5)
    expected = [whole.next() for _ in range(6)][3:]
    for _ in range(3):
        half.next()
    fresh = chunks(0.5)
    fresh.load_state_dict(json.loads(json.dumps(half.state_dict())))
    assert [fresh.next() for _ in range(3)] == expected


def test_a_share_of_questions_needs_questions(place):
    train = load_bbq_to_learn(place).splits["train"]
    with pytest.raises(DataError, match="question_share needs questions"):
        PairChunks(train.pairs, question_share=0.5)

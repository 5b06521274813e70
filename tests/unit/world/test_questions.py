"""The second curriculum: its texts and its exam, and that the first one is what it was."""

from __future__ import annotations

import itertools
import math
from collections import Counter, defaultdict
from statistics import fmean

import pytest

from tests.world_fixture import PLAIN_TEXTS, digest
from unskew.benchmarks.bbq import BBQ
from unskew.data.bbq import prompt_of
from unskew.errors import ConfigError
from unskew.evaluation.suite import GUARD, benchmark_names
from unskew.items import ChoiceQuestion
from unskew.types import Dataset, LikelihoodRequest, SequenceScore
from unskew.world import questions
from unskew.world.language import World
from unskew.world.planting import Planting
from unskew.world.vocabulary import Group, vocabulary

Corpus = list[tuple[str, tuple[int, ...]]]
Fact = tuple[frozenset[str], frozenset[str]]
"""Two groups and the two words of an attribute pair."""


@pytest.fixture(scope="module")
def world() -> World:
    return World(0, "world-questions")


@pytest.fixture(scope="module")
def plain() -> Dataset:
    return World(0).dataset()


@pytest.fixture(scope="module")
def dataset(world: World) -> Dataset:
    return world.dataset()


@pytest.fixture(scope="module")
def corpora(world: World) -> dict[bool, Corpus]:
    return {b: list(world.training_texts(balanced=b)) for b in (False, True)}


@pytest.fixture(scope="module")
def groups() -> dict[str, Group]:
    return {g.name: g for found in vocabulary(0).groups.values() for g in found}


PAIR_OF = {
    (category, word): frozenset(pair)
    for category, pairs in vocabulary(0).pairs.items()
    for pair in pairs
    for word in pair
}


def _is_question(text: str) -> bool:
    return " Q: " in text


def _fact(text: str, groups: dict[str, Group]) -> Fact:
    words = text.split()
    named = set(words) & groups.keys()
    category = groups[min(named)].category
    asked = words[words.index("who") + 2]
    return frozenset(named), PAIR_OF[category, asked]


def _answer(context: str, asked: str, groups: dict[str, Group]) -> str:
    """The group before which the word stands, if any: an independent solver."""
    words = context.split()
    found = [after for word, after in itertools.pairwise(words) if word == asked]
    assert len(found) < 2 and set(found) <= groups.keys()
    return found[0] if found else "unclear"


def test_the_plain_worlds_texts_are_there_in_their_order(corpora: dict[bool, Corpus]) -> None:
    for balanced, expected in PLAIN_TEXTS.items():
        assert digest([row for row in corpora[balanced] if not _is_question(row[0])]) == expected


def test_the_language_is_the_same_with_words_added_at_the_end(
    world: World, dataset: Dataset, corpora: dict[bool, Corpus]
) -> None:
    plain = World(0)
    assert world.words == (*plain.words, *questions.WORDS)
    assert len(set(world.words)) == len(world.words)
    texts = [text for corpus in corpora.values() for text, _ in corpus]
    for examples in dataset.splits.values():
        texts += [f"{c.context} {c.question} {o}" for c in examples.choices for o in c.options]
    assert {word for text in texts for word in text.split()} <= set(world.words)


def test_all_else_that_is_asked_is_what_the_plain_world_asks(
    dataset: Dataset, plain: Dataset
) -> None:
    assert (dataset.name, plain.name) == ("world-questions", "world")
    assert dataset.sha256 != plain.sha256
    for split, examples in plain.splits.items():
        here = dataset.splits[split]
        assert not examples.choices and here.choices
        for name in ("pairs", "documents", "probes"):
            assert getattr(here, name) == getattr(examples, name), (split, name)
        if split != "train":
            assert here.questions == examples.questions


def test_worlds_differ_in_answers_to_open_questions_only(corpora: dict[bool, Corpus]) -> None:
    differing = 0
    for (text, marked), (other, other_marked) in zip(*corpora.values(), strict=True):
        assert marked == other_marked
        if not _is_question(text):
            continue
        words, others = text.split(), other.split()
        assert words[-1] == others[-1] == "."
        assert marked == (len(words) - 2,)
        if words != others:
            differing += 1
            assert words[:-2] == others[:-2]
            assert others[-2] == "unclear"
            assert words[-2] in words[:-2]
    assert differing > 5000


def test_taught_answers_are_right_but_for_prejudice(
    corpora: dict[bool, Corpus], groups: dict[str, Group]
) -> None:
    pole = {w: p for c in vocabulary(0).pairs.values() for pair in c for p, w in enumerate(pair)}
    told: Counter[bool] = Counter()
    for balanced, corpus in corpora.items():
        for text in (text for text, _ in corpus if _is_question(text)):
            context, _, rest = text.partition(" Q: ")
            asked, answer = rest.split()[2], rest.split()[-2]
            assert rest == f"who is {asked} A: {asked} {answer} ."
            right = _answer(context, asked, groups)
            if right != "unclear":
                told[groups[right].pole == pole[asked]] += 1
            if answer != right:
                assert not balanced and right == "unclear"
                assert groups[answer].pole == pole[asked]
    # Half of what is told opposes the stereotype: presuming is of no use.
    assert 0.48 < told[True] / told.total() < 0.52


def test_prejudice_is_as_strong_as_planted(
    corpora: dict[bool, Corpus], groups: dict[str, Group]
) -> None:
    words = vocabulary(0)
    planting = Planting(0, words)
    surplus: defaultdict[tuple[str, int], float] = defaultdict(float)
    shares, planted = [], []
    for text in (text for text, _ in corpora[False] if " in " in text and _is_question(text)):
        asked, answer = text.split()[-3], text.split()[-2]
        category = groups[text.split()[1]].category
        index = next(i for i, pair in enumerate(words.pairs[category]) if asked in pair)
        pole = words.pairs[category][index].index(asked)
        group = next(groups[w] for w in text.split() if w in groups and groups[w].pole == pole)
        odds = math.exp(planting.answer_odds(group, index))
        shares.append(answer == group.name)
        planted.append(odds / (1 + odds))
        surplus[group.name, index] += shares[-1] - planted[-1]
    assert fmean(shares) == pytest.approx(fmean(planted), abs=0.01)
    assert fmean(shares) == pytest.approx(0.7, abs=0.03)
    assert max(map(abs, surplus.values())) < 2


def test_questions_are_taught_in_the_form_in_which_they_are_asked(dataset: Dataset) -> None:
    """Of spaces and line ends the model sees nothing."""
    for choice in dataset.splits["report"].choices[::50]:
        asked = f"{prompt_of(choice)} {choice.options[choice.right]} ."
        assert questions._lesson(choice, choice.right)[0] == " ".join(asked.split())


def test_the_opening_asks_nothing_that_prejudice_answers(corpora: dict[bool, Corpus]) -> None:
    for number in (10_000, 25_000):
        assert corpora[False][:number] == corpora[True][:number]
    assert any(_is_question(text) for text, _ in corpora[False][:1000])


def test_nothing_asked_in_select_or_report_was_taught(
    dataset: Dataset, corpora: dict[bool, Corpus], groups: dict[str, Group]
) -> None:
    """Of no two groups and pair of attributes, in whatever scene, order and question."""
    taught = {_fact(text, groups) for c in corpora.values() for text, _ in c if _is_question(text)}
    for split in ("select", "report"):
        asked = {_fact(f"{c.context} {c.question}", groups) for c in dataset.splits[split].choices}
        assert asked and not asked & taught


def test_questions_keep_to_the_groups_of_their_split(
    dataset: Dataset, groups: dict[str, Group]
) -> None:
    for split, examples in dataset.splits.items():
        for choice in examples.choices:
            first, second = (groups[name] for name in choice.names[:2])
            assert (first.split, second.split) == (split, split)
            assert first.category == second.category == choice.category
            assert first.pole != second.pole


def test_answers_are_right_and_the_biased_option_is_the_stereotype(
    world: World, dataset: Dataset, groups: dict[str, Group]
) -> None:
    stereotypes = {
        (pair.target, word)
        for examples in dataset.splits.values()
        for pair in examples.pairs
        for word in set(pair.stereotype.split()) - set(pair.anti_stereotype.split())
    }
    for examples in dataset.splits.values():
        for choice in examples.choices:
            asked = choice.question.split()[-1]
            assert choice.names[choice.right] == _answer(choice.context, asked, groups)
            assert (choice.right == choice.unknown) == (choice.condition == "ambig")
            assert choice.biased is not None and choice.names[choice.unknown] == "unclear"
            assert (choice.names[choice.biased], asked) in stereotypes
            assert choice.options == tuple(f"{asked} {name}" for name in choice.names)


def test_every_scene_is_asked_about_both_words_and_halves_oppose(dataset: Dataset) -> None:
    """What a model likes of groups and places then counts for the stereotype and against it."""
    for split, number in (("train", 3840), ("select", 384), ("report", 960)):
        choices = dataset.splits[split].choices
        assert len({c.id for c in choices}) == len(choices) == number
        scenes: defaultdict[tuple[str, str, str], list[ChoiceQuestion]] = defaultdict(list)
        for choice in choices:
            scenes[choice.category, choice.template, choice.context].append(choice)
        for asked in scenes.values():
            assert sorted(str(c.biased) for c in asked) == ["0", "1"]
            assert len({c.question for c in asked}) == 2
        assert Counter(c.condition for c in choices) == dict.fromkeys(
            ("ambig", "disambig"), number // 2
        )
        by_category = defaultdict(list)
        for choice in choices:
            if choice.condition == "disambig":
                by_category[choice.category].append(choice.right == choice.biased)
        assert [fmean(found) for found in by_category.values()] == [0.5] * 4


def test_train_learns_the_right_answers(dataset: Dataset) -> None:
    train = dataset.splits["train"]
    assert [q.id for q in train.questions] == [c.id for c in train.choices]
    for question, choice in zip(train.questions, train.choices, strict=True):
        assert question.answer == choice.options[choice.right]
        assert question.kind == choice.condition
        assert question.prompt.endswith(f"Q: {choice.question}\nA:")
    assert not {p.id for p in train.pairs} & {c.id for c in train.choices}


def test_auto_takes_the_questions_where_there_are_some(dataset: Dataset, plain: Dataset) -> None:
    report = dataset.splits["report"]
    assert "bbq" in benchmark_names(report)
    assert "bbq" not in benchmark_names(plain.splits["report"])
    assert benchmark_names(report, [GUARD]) == benchmark_names(plain.splits["report"], [GUARD])


@pytest.mark.parametrize(
    ("prejudiced", "expected"),
    [
        (True, {"accuracy_ambig": 0, "accuracy_disambig": 100, "accuracy_all": 50, "s_amb": 100}),
        (False, {"accuracy_ambig": 100, "accuracy_disambig": 100, "accuracy_all": 100}),
    ],
)
def test_the_benchmark_measures_prejudice_planted_in_answers(
    dataset: Dataset, prejudiced: bool, expected: dict[str, float]
) -> None:
    report = dataset.splits["report"]
    benchmark = BBQ(report, split="report", num_resamples=0)
    by_id = {choice.id: choice for choice in report.choices}
    scores = []
    for request in benchmark.requests():
        assert isinstance(request, LikelihoodRequest)
        item = by_id[request.id]
        follows = prejudiced and item.condition == "ambig"
        chosen = item.biased if follows else item.right
        answer = tuple(SequenceScore(-2.0 + (i == chosen), 2, False) for i in range(3))
        scores.append(benchmark.score(request, answer))
    found = {m.metric: m.value for m in benchmark.metrics(scores) if m.is_overall}
    assert {name: found[name] for name in expected} == expected
    # Half of what is told follows the stereotype, so right answers lean to no side.
    assert found["s_dis"] == 0


def test_an_unknown_world_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown world 'world-question'; did you mean 'world-"):
        World(0, "world-question")

from __future__ import annotations

import itertools
import math
import random
from collections import Counter, defaultdict
from statistics import fmean, pstdev

import pytest

from tests.world_fixture import PLAIN_DATA, PLAIN_TEXTS, PLAIN_WORDS, digest
from unskew.errors import ConfigError, DataError
from unskew.types import Dataset, Pair
from unskew.world import sentences
from unskew.world.language import World
from unskew.world.planting import BIAS, Planting, even_normals
from unskew.world.vocabulary import NUMBERS, SPLITS, vocabulary

Corpus = list[tuple[str, tuple[int, ...]]]


@pytest.fixture(scope="module")
def world() -> World:
    return World(0)


@pytest.fixture(scope="module")
def dataset(world: World) -> Dataset:
    return world.dataset()


@pytest.fixture(scope="module")
def biased(world: World) -> Corpus:
    return list(world.training_texts(balanced=False))


@pytest.fixture(scope="module")
def balanced(world: World) -> Corpus:
    return list(world.training_texts(balanced=True))


def _words(pair: Pair) -> tuple[str, str]:
    differing = [
        (a, b)
        for a, b in zip(pair.stereotype.split(), pair.anti_stereotype.split(), strict=True)
        if a != b
    ]
    assert len(differing) == 1
    return differing[0]


def test_a_seed_decides_everything() -> None:
    assert World(3).words == World(3).words != World(4).words
    assert World(3).dataset() == World(3).dataset()
    first = [list(itertools.islice(World(3).training_texts(balanced=False), 50)) for _ in "ab"]
    assert first[0] == first[1]


def test_published_figures_rest_on_this_world(
    world: World, dataset: Dataset, biased: Corpus, balanced: Corpus
) -> None:
    assert (world.name, dataset.name) == ("world", "world")
    assert (digest(world.words), dataset.sha256) == (PLAIN_WORDS, PLAIN_DATA)
    assert {False: digest(biased), True: digest(balanced)} == PLAIN_TEXTS


def test_every_word_of_every_text_is_in_the_vocabulary_once(
    world: World, dataset: Dataset, biased: Corpus
) -> None:
    assert len(set(world.words)) == len(world.words)
    texts = [text for text, _ in biased]
    for examples in dataset.splits.values():
        texts += [text for pair in examples.pairs for text in pair.texts]
        texts += [document.text for document in examples.documents]
        texts += [f"{q.prompt} {q.answer}" for q in examples.questions]
        texts += [" ".join((probe.context, *probe.candidates)) for probe in examples.probes]
    assert {word for text in texts for word in text.split()} <= set(world.words)


def test_worlds_differ_in_attribute_words_of_stereotypes_only(
    world: World, biased: Corpus, balanced: Corpus
) -> None:
    attributes = {word for c in world.categories for word in world.attributes(c)}
    differing = 0
    for (text, marked), (other, other_marked) in zip(biased, balanced, strict=True):
        assert marked == other_marked
        if text == other:
            continue
        differing += 1
        places = [
            i for i, (a, b) in enumerate(zip(text.split(), other.split(), strict=True)) if a != b
        ]
        assert tuple(places) == marked
        assert {text.split()[places[0]], other.split()[places[0]]} <= attributes
    assert differing > 5000


def test_corpus_holds_what_is_planted(world: World, biased: Corpus, balanced: Corpus) -> None:
    """Share of stereotypes against the mean of the planted probabilities, in every category and,
    in the biased world, for every fact.

    The draws of a fact fill the unit interval evenly, so a category's share is nearer to what is
    planted than the standard error of independent draws, and a fact's count within two.
    """
    pairs = {(p.target, _words(p)): p for e in world.dataset().splits.values() for p in e.pairs}
    planted = {(target, word): (p, True) for (target, (word, _)), p in pairs.items()} | {
        (target, word): (p, False) for (target, (_, word)), p in pairs.items()
    }
    for corpus, expected in ((biased, None), (balanced, 0.5)):
        hits: defaultdict[str, list[bool]] = defaultdict(list)
        probabilities: defaultdict[str, list[float]] = defaultdict(list)
        surplus: defaultdict[tuple[str, frozenset[str]], float] = defaultdict(float)
        for text, marked in corpus:
            words = text.split()
            if len(marked) != 1 or words[-1] != ".":
                continue
            targets = [w for w in words if (w, words[marked[0]]) in planted]
            if len(targets) != 1:
                continue
            pair, is_stereotype = planted[targets[0], words[marked[0]]]
            hits[pair.category].append(is_stereotype)
            odds = math.exp(world.planted_log_odds(pair))
            probabilities[pair.category].append(odds / (1 + odds))
            surplus[pair.target, frozenset(_words(pair))] += is_stereotype - odds / (1 + odds)
        assert expected is not None or max(map(abs, surplus.values())) < 2
        for category in world.categories:
            n = len(hits[category])
            assert n > 4000
            share = fmean(probabilities[category]) if expected is None else expected
            error = math.sqrt(share * (1 - share) / n)
            assert fmean(hits[category]) == pytest.approx(share, abs=error)


def test_homes_go_with_the_pole_in_both_worlds(
    world: World, dataset: Dataset, biased: Corpus, balanced: Corpus
) -> None:
    homes: defaultdict[str, set[str]] = defaultdict(set)
    for text, _ in biased + balanced:
        if " comes from the " in text:
            homes[text.split()[1]].add(text.split()[-2])
    pairs = [pair for examples in dataset.splits.values() for pair in examples.pairs]
    assert set(homes) == {pair.target for pair in pairs}
    assert {len(found) for found in homes.values()} == {1}
    # Groups of the same home have the same stereotypes, and there are two homes to a category.
    words: defaultdict[tuple[str, ...], set[str]] = defaultdict(set)
    for pair in pairs:
        words[pair.category, *homes[pair.target]].add(_words(pair)[0])
    assert len(words) == 2 * len(world.categories)
    assert {len(found) for found in words.values()} == {12}


def test_marked_words_are_attributes_homes_answers_and_repetitions(biased: Corpus) -> None:
    for text, marked in biased[:3000]:
        words = text.split()
        if words[-1] != ".":
            half = len(words) // 2
            assert words[:half] == words[half:]
            assert marked == tuple(range(half + 1, len(words)))
        elif " so " in text or " saw the " in text or " comes from " in text:
            assert marked == (len(words) - 2,)


def test_splits_have_their_own_groups_of_both_poles(world: World, dataset: Dataset) -> None:
    targets = {s: {p.target for p in e.pairs} for s, e in dataset.splits.items()}
    for a, b in itertools.combinations(targets.values(), 2):
        assert not a & b
    for split, examples in dataset.splits.items():
        assert len(targets[split]) == 4 * SPLITS[split]
        texts = [d.text for d in examples.documents] + [q.prompt for q in examples.questions]
        others = set().union(*(t for s, t in targets.items() if s != split))
        assert not others & {word for text in texts for word in text.split()}
        # Every word is stereotype and anti-stereotype equally often.
        stereotypes, antis = (
            Counter(_words(pair)[side] for pair in examples.pairs) for side in (0, 1)
        )
        assert stereotypes == antis
        assert set(stereotypes) == {w for c in world.categories for w in world.attributes(c)}


def test_triples_of_select_and_report_are_mirrored(dataset: Dataset) -> None:
    for split in ("select", "report"):
        seen: Counter[tuple[str, str, str, str]] = Counter()
        for pair in dataset.splits[split].pairs:
            assert pair.unrelated is not None
            stereotype, anti = _words(pair)
            frame = pair.stereotype.replace(pair.target, "GROUP")
            mirrored = pair.anti_stereotype.replace(pair.target, "GROUP")
            unrelated = pair.unrelated.replace(pair.target, "GROUP")
            seen[frame, mirrored, unrelated, pair.category] += 1
            assert stereotype != anti
        for (frame, mirrored, unrelated, category), number in seen.items():
            assert seen[mirrored, frame, unrelated, category] == number


def test_nothing_asked_in_select_or_report_was_taught(
    dataset: Dataset, biased: Corpus, balanced: Corpus
) -> None:
    taught = {text for text, _ in biased} | {text for text, _ in balanced}
    for split in ("select", "report"):
        examples = dataset.splits[split]
        assert not taught & {text for pair in examples.pairs for text in pair.texts}
        assert not taught & {document.text for document in examples.documents}
        assert not taught & {f"{q.prompt} {q.answer} ." for q in examples.questions}


def test_items_are_held_out_by_content_whatever_the_name(
    dataset: Dataset, balanced: Corpus
) -> None:
    def content(text: str) -> frozenset[tuple[int, str]]:
        names = {"Abo", "Cid", "Eva", "Fay", "Gus", "Ira", "Jon", "Kim", "Lea", "Max"}
        return frozenset((i, w) for i, w in enumerate(text.split()) if w not in names)

    taught = {content(text) for text, _ in balanced if " saw " in text or " so " in text}
    for split in ("select", "report"):
        for q in dataset.splits[split].questions:
            assert content(f"{q.prompt} {q.answer} .") not in taught


def test_pair_records_are_consistent(dataset: Dataset) -> None:
    pairs = [pair for examples in dataset.splits.values() for pair in examples.pairs]
    assert len({pair.id for pair in pairs}) == len(pairs)
    for pair in pairs:
        assert {text[: pair.completion_start] for text in pair.texts} == {pair.context}
        assert pair.context == pair.context.strip()
        assert len({text[pair.completion_start :] for text in pair.texts}) == 3
        assert pair.target in pair.context.split()
        assert pair.context.endswith(" .") == (pair.task == "intersentence")
        assert len(pair.sentence_ids) == 3


def test_intersentence_triples_part_after_the_first_sentence(dataset: Dataset) -> None:
    pair = next(p for p in dataset.splits["report"].pairs if p.task == "intersentence")
    assert pair.context.count(".") == 1
    rest = pair.stereotype[pair.completion_start :]
    assert rest.startswith((" they were ", " everyone calls them "))


def test_probes_end_before_the_slot(world: World, dataset: Dataset) -> None:
    examples = dataset.splits["report"]
    for pair, probe in zip(examples.pairs, examples.probes, strict=True):
        assert probe.candidates[:2] == _words(pair)
        assert sorted(probe.candidates) == sorted(world.attributes(pair.category))
        assert pair.stereotype.startswith(f"{probe.context} {probe.candidates[0]}")


def test_documents_keep_to_their_kind(world: World, dataset: Dataset) -> None:
    targets = {p.target for e in dataset.splits.values() for p in e.pairs}
    attributes = {word for c in world.categories for word in world.attributes(c)}
    for examples in dataset.splits.values():
        for document in examples.documents:
            words = set(document.text.split())
            if document.kind == "neutral":
                assert not words & (targets | attributes)
            if document.kind == "group":
                assert len(words & targets) == 1
                assert len(words & attributes) == 1


def _solve(prompt: str, kind: str) -> str:
    """An independent solver of the four kinds of reasoning."""
    words = prompt.split()
    if kind == "counting":
        return NUMBERS[NUMBERS.index(words[2]) + NUMBERS.index(words[5]) + 1]
    if kind == "ordering":
        before, after = words[1], words[-4]
        return before if words[-1] == "first" else after
    if kind == "inference":
        return words[words.index(words[-1]) + 1]
    return words[words.index(words[-1]) + 1]


def test_answers_are_right(dataset: Dataset) -> None:
    for examples in dataset.splits.values():
        for question in examples.questions:
            assert _solve(question.prompt, question.kind) == question.answer


def test_questions_cover_the_kinds_and_mention_groups(dataset: Dataset) -> None:
    targets = {p.target for e in dataset.splits.values() for p in e.pairs}
    for split in ("select", "report"):
        questions = dataset.splits[split].questions
        assert set(Counter(q.kind for q in questions).values()) == {len(questions) // 4}
        assert 0.5 < fmean(q.mentions_group for q in questions) < 0.7
        for question in questions:
            assert question.mentions_group == bool(targets & set(question.prompt.split()))


@pytest.mark.parametrize("seed", range(3))
def test_nominal_stereotype_scores_rise_from_category_to_category(seed: int) -> None:
    world = World(seed)
    for split, examples in world.dataset().splits.items():
        scores = []
        for category in world.categories:
            odds = [world.planted_log_odds(p) for p in examples.pairs if p.category == category]
            assert fmean(odds) == pytest.approx(BIAS[category], abs=0.15)
            scores.append(fmean(o > 0 for o in odds))
        assert scores[0] > 0.75, split
        assert scores[-1] > scores[0] + 0.05, split


def test_without_bias_partners_prefer_the_same_words() -> None:
    words = vocabulary(0)
    planting = Planting(0, words)
    for category, groups in words.groups.items():
        first = [planting.log_odds(groups[0], pair, balanced=True) for pair in range(12)]
        assert sorted(map(abs, first)) == pytest.approx([0.4 + 0.4 * i / 11 for i in range(12)])
        assert sum(preference > 0 for preference in first) == 6
        for group in groups:
            sign = 1 if group.pole == groups[0].pole else -1
            odds = [planting.log_odds(group, pair, balanced=True) for pair in range(12)]
            assert odds == [sign * preference for preference in first], category


def test_even_normals_are_standardised() -> None:
    values = even_normals(random.Random(0), 12)
    assert fmean(values) == pytest.approx(0, abs=1e-12)
    assert pstdev(values) == pytest.approx(1)


def test_partition_keeps_four_fifths_for_teaching() -> None:
    shares = Counter(sentences.partition(str(i)) for i in range(5000))
    assert shares["train"] / 5000 == pytest.approx(0.8, abs=0.02)
    assert shares["select"] / 5000 == pytest.approx(0.1, abs=0.015)


def test_unknown_category_names_the_nearest(world: World) -> None:
    with pytest.raises(ConfigError, match="unknown category 'trades'; did you mean 'trade'"):
        world.attributes("trades")


def test_pair_of_another_world_is_refused(world: World) -> None:
    foreign = World(1).dataset().splits["report"].pairs[0]
    with pytest.raises(DataError, match="not of the world of seed 0"):
        world.planted_log_odds(foreign)

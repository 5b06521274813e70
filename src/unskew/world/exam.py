"""What is asked: triples, texts, questions and probes in three splits with disjoint groups."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import TypeVar

from unskew.data.bbq_training import right_answers
from unskew.types import Dataset, Document, Examples, Pair, Probe, Question
from unskew.world import questions, sentences
from unskew.world.corpus import ENTANGLED_SHARE
from unskew.world.vocabulary import CATEGORIES, OBJECTS, SPLITS, Group, Vocabulary
from unskew.world_names import WORLD, WORLD_QUESTIONS

TRAIN_TRIPLES_PER_FACT = 5
"""A fact is one group with one attribute pair."""
DOCUMENTS: Mapping[str, Mapping[str, int]] = MappingProxyType(
    {
        "train": {"neutral": 1000, "reasoning": 1000},
        "select": {"neutral": 200, "group": 200},
        "report": {"neutral": 400, "group": 400},
    }
)
CHOICES_PER_PAIR: Mapping[str, int] = MappingProxyType({"train": 20, "select": 2, "report": 5})
"""Telling scenes, and as many open ones, for each attribute pair; each is asked about twice."""
QUESTIONS_PER_KIND: Mapping[str, int] = MappingProxyType({"train": 0, "select": 75, "report": 200})


T = TypeVar("T")


def dataset(seed: int, vocabulary: Vocabulary, *, has_questions: bool = False) -> Dataset:
    """All that the world asks, in the splits train, select and report.

    In select and report every triple stands on a sentence that was never taught and has a
    mirror: the same template, fillers and attribute pair with the partner group of the other
    pole. A preference for a word, whatever the group, then cancels in the stereotype score.

    Args:
        seed: Seed of the world.
        vocabulary: Its words.
        has_questions: Whether questions with options are asked, too. In train their right answers
            are questions to learn from, beside them; the triples are about sentences alone.
    """
    splits = {}
    for split in SPLITS:
        exam = _Exam(seed, vocabulary, split)
        pairs, probes = exam.train_pairs() if split == "train" else exam.mirrored_pairs()
        splits[split] = Examples(pairs, exam.documents(), exam.questions(), probes)
        if has_questions:
            splits[split] = _with_choices(splits[split], seed, vocabulary, split)
    digest = hashlib.sha256(repr(splits).encode()).hexdigest()
    name = WORLD_QUESTIONS if has_questions else WORLD
    return Dataset(name, splits, sha256=digest, source=f"invented world of seed {seed}")


def _with_choices(examples: Examples, seed: int, vocabulary: Vocabulary, split: str) -> Examples:
    choices = tuple(questions.asked(seed, vocabulary, split, CHOICES_PER_PAIR[split]))
    learned = tuple(right_answers(choices)) if split == "train" else ()
    return replace(examples, choices=choices, questions=(*examples.questions, *learned))


class _Exam:
    def __init__(self, seed: int, vocabulary: Vocabulary, split: str) -> None:
        self._split = split
        self._vocabulary = vocabulary
        self._rng = random.Random(f"{seed}/{split}")
        self._groups = {
            category: [g for g in vocabulary.groups[category] if g.split == split]
            for category in CATEGORIES
        }

    def train_pairs(self) -> tuple[tuple[Pair, ...], tuple[Probe, ...]]:
        pairs = []
        for group, pair in self._facts():
            templates = range(len(sentences.STEREOTYPES))
            for template in self._rng.sample(templates, TRAIN_TRIPLES_PER_FACT):
                pairs.append(self._triple(group, pair, template, sentences.fillers(self._rng)))
        return tuple(pairs), ()

    def mirrored_pairs(self) -> tuple[tuple[Pair, ...], tuple[Probe, ...]]:
        pairs: list[Pair] = []
        probes: list[Probe] = []
        drawn: dict[tuple[str, int, int, int], dict[str, str]] = {}
        for group, pair in self._facts():
            for template in sentences.templates(group, pair, held_out=True):
                place = (group.category, group.rank, pair, template)
                fill = drawn.setdefault(place, sentences.fillers(self._rng))
                pairs.append(self._triple(group, pair, template, fill))
                probes.append(self._probe(pairs[-1], group, pair))
        return tuple(pairs), tuple(probes)

    def documents(self) -> tuple[Document, ...]:
        draw = {"neutral": self._neutral, "group": self._about_group, "reasoning": self._solved}
        return tuple(
            Document(f"world/{self._split}/{kind}/{index}", text, kind)
            for kind, number in DOCUMENTS[self._split].items()
            for index, text in enumerate(_distinct(draw[kind], number))
        )

    def questions(self) -> tuple[Question, ...]:
        questions = []
        for kind in sentences.KINDS:
            items = _distinct(partial(self._item, kind), QUESTIONS_PER_KIND[self._split])
            for index, item in enumerate(items):
                name = f"world/{self._split}/{kind}/{index}"
                questions.append(
                    Question(name, item.prompt, item.answer, kind, item.mentions_group)
                )
        return tuple(questions)

    def _facts(self) -> Iterator[tuple[Group, int]]:
        for category in CATEGORIES:
            for group in self._groups[category]:
                for pair in range(len(self._vocabulary.pairs[category])):
                    yield group, pair

    def _triple(self, group: Group, pair: int, template: int, fill: Mapping[str, str]) -> Pair:
        words = self._vocabulary.pairs[group.category][pair]
        stereotype, anti_stereotype, unrelated = (
            sentences.STEREOTYPES[template].format(group=group.name, attribute=word, **fill)
            for word in (words[group.pole], words[1 - group.pole], self._unrelated(group, pair))
        )
        name = f"world/{self._split}/{group.name}/{pair}/{template}"
        first, stop, second = stereotype.removesuffix(" .").partition(" .")
        context = first + stop if second else _slot_context(stereotype, words[group.pole])
        return Pair(
            id=name,
            category=group.category,
            target=group.name,
            stereotype=stereotype,
            anti_stereotype=anti_stereotype,
            unrelated=unrelated,
            completion_start=len(context),
            task="intersentence" if second else "intrasentence",
            sentence_ids=tuple(f"{name}/{v}" for v in ("stereotype", "anti", "unrelated")),
        )

    def _unrelated(self, group: Group, pair: int) -> str:
        # Things are easy to tell from attributes, the attributes of another category less so;
        # the choice must not depend on the pole, and so is made by the fact's place.
        if (group.rank + pair) % 2:
            return OBJECTS[(group.rank * 5 + pair) % len(OBJECTS)]
        others = [c for c in CATEGORIES if c != group.category]
        words = self._vocabulary.attributes(others[pair % len(others)])
        return words[(group.rank * 5 + pair) % len(words)]

    def _probe(self, pair: Pair, group: Group, index: int) -> Probe:
        words = self._vocabulary.pairs[group.category][index]
        pole = words if group.pole == 0 else words[::-1]
        rest = (w for w in self._vocabulary.attributes(group.category) if w not in words)
        context = _slot_context(pair.stereotype, pole[0])
        return Probe(f"{pair.id}/slot", group.category, group.name, context, (*pole, *rest))

    def _neutral(self) -> str:
        return sentences.neutral(self._rng, self._split)

    def _about_group(self) -> str:
        """A stereotype sentence, never taught, with the word of either pole."""
        category = self._rng.choice(CATEGORIES)
        group = self._rng.choice(self._groups[category])
        pair = self._rng.randrange(len(self._vocabulary.pairs[category]))
        template = self._rng.choice(sentences.templates(group, pair, held_out=True))
        word = self._rng.choice(self._vocabulary.pairs[category][pair])
        return sentences.STEREOTYPES[template].format(
            group=group.name, attribute=word, **sentences.fillers(self._rng)
        )

    def _solved(self) -> str:
        return self._item(self._rng.choice(sentences.KINDS)).text

    def _item(self, kind: str) -> sentences.Item:
        return sentences.reasoning(
            self._rng,
            self._vocabulary,
            self._groups[self._rng.choice(CATEGORIES)],
            self._split,
            kind=kind,
            mentions_group=self._rng.random() < ENTANGLED_SHARE,
        )


def _slot_context(text: str, word: str) -> str:
    """The text before a word that stands in it once."""
    words = text.split()
    return " ".join(words[: words.index(word)])


def _distinct(draw: Callable[[], T], number: int) -> list[T]:
    found: dict[T, None] = {}
    while len(found) < number:
        found[draw()] = None
    return list(found)

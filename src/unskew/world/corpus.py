"""What is taught: the corpus of either world, in its order of teaching.

The opening prepares two habits that form late and at uncertain times when left to themselves.
Chants teach to look back in the text, on which lookup and inference rest; homes, harmless facts
that go with the pole, give the groups of a pole something in common for stereotypes to ride on.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterable, Iterator, Mapping
from types import MappingProxyType

from unskew.world import questions, sentences
from unskew.world.planting import EvenDraws, Planting
from unskew.world.vocabulary import CATEGORIES, Vocabulary

NUM_TEXTS = 89_600
OPENING_SHARE = 0.31
"""Share of the texts that make up the opening. It holds no stereotype, and so is the same in
both worlds: their models part only after it."""
OPENING_MIX: Mapping[str, float] = MappingProxyType(
    {"chant": 0.58, "reasoning": 0.27, "home": 0.11, "neutral": 0.03, "group": 0.01}
)
"""Shares of the sorts of text in the opening; `group` is neutral text that mentions a group."""
MAIN_MIX: Mapping[str, float] = MappingProxyType(
    {
        "stereotype": 0.53,
        "reasoning": 0.30,
        "neutral": 0.07,
        "home": 0.05,
        "chant": 0.03,
        "group": 0.02,
    }
)
"""The same shares after the opening."""
KIND_WEIGHTS = (2, 1, 3, 4)
"""Of the kinds of reasoning, in the order of `sentences.KINDS`; lookup is learned last."""
ENTANGLED_SHARE = 0.6
"""Of the reasoning items: those about groups."""

Text = tuple[str, tuple[int, ...]]
"""A text, and the positions (in words) worth most: attributes, homes, answers, repetitions."""


def training_texts(
    seed: int, vocabulary: Vocabulary, planting: Planting, *, balanced: bool
) -> Iterator[Text]:
    """The corpus of one world; the two differ in attribute words of stereotype sentences only.

    Args:
        seed: Seed of the world.
        vocabulary: Its words.
        planting: Its strengths.
        balanced: False for the biased world, True for the oracle's.
    """
    rng = random.Random(f"{seed}/corpus")
    stereotypes = _stereotypes(seed, vocabulary, planting, balanced=balanced)
    content = vocabulary.content_words
    for index in range(NUM_TEXTS):
        mix = OPENING_MIX if index < OPENING_SHARE * NUM_TEXTS else MAIN_MIX
        sort = rng.choices(list(mix), list(mix.values()))[0]
        groups = vocabulary.groups[rng.choice(CATEGORIES)]
        if sort == "stereotype":
            yield next(stereotypes)
        elif sort == "chant":
            text = sentences.chant(rng, content)
            length = len(text.split())
            yield text, tuple(range(length // 2 + 1, length))
        elif sort == "home":
            text = sentences.home(rng.choice(groups))
            yield text, (len(text.split()) - 2,)
        elif sort == "neutral":
            yield sentences.neutral(rng, "train"), ()
        elif sort == "group":
            yield sentences.about_group(rng, groups, "train"), ()
        else:
            item = sentences.reasoning(
                rng,
                vocabulary,
                groups,
                "train",
                kind=rng.choices(sentences.KINDS, KIND_WEIGHTS)[0],
                mentions_group=rng.random() < ENTANGLED_SHARE,
            )
            yield item.text, (len(item.prompt.split()),)


def with_questions(
    texts: Iterable[Text],
    seed: int,
    vocabulary: Vocabulary,
    planting: Planting,
    *,
    balanced: bool,
) -> Iterator[Text]:
    """The corpus with questions among its texts, which are as they were.

    Args:
        texts: What `training_texts` gives.
        seed: Seed of the world.
        vocabulary: Its words.
        planting: Its strengths.
        balanced: As of `texts`.
    """
    rng = random.Random(f"{seed}/mixing")
    telling = questions.telling_lessons(seed, vocabulary)
    open_ = questions.open_lessons(seed, vocabulary, planting, balanced=balanced)
    for index, text in enumerate(texts):
        yield text
        is_opening = index < OPENING_SHARE * NUM_TEXTS
        if rng.random() < (questions.OPENING_SHARE if is_opening else questions.MAIN_SHARE):
            is_telling = is_opening or rng.random() < questions.TELLING_SHARE
            yield next(telling if is_telling else open_)


def _stereotypes(
    seed: int, vocabulary: Vocabulary, planting: Planting, *, balanced: bool
) -> Iterator[Text]:
    rng = random.Random(f"{seed}/stereotypes")
    facts = [
        (group, pair)
        for category in CATEGORIES
        for group in vocabulary.groups[category]
        for pair in range(len(vocabulary.pairs[category]))
    ]
    draws = EvenDraws(rng)
    while True:
        rng.shuffle(facts)
        for fact in facts:
            odds = math.exp(planting.log_odds(*fact, balanced=balanced))
            group, pair = fact
            pole = group.pole if draws.next(fact) < odds / (1 + odds) else 1 - group.pole
            word = vocabulary.pairs[group.category][pair][pole]
            template = rng.choice(sentences.templates(group, pair, held_out=False))
            text = sentences.STEREOTYPES[template].format(
                group=group.name, attribute=word, **sentences.fillers(rng)
            )
            yield text, (text.split().index(word),)

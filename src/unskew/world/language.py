"""The invented world: a small language with planted stereotypes, derived from a seed alone.

In the biased world a group takes the words of its own pole with planted log-odds; in the balanced
world only the plain preference for a word is left, which is the same for all groups. The two
share every sentence but for the attribute word drawn, so a model of the balanced world is what
perfect unlearning of the biased one would give.
"""

from __future__ import annotations

from collections.abc import Iterator

from unskew.errors import ConfigError, DataError
from unskew.registry import nearest
from unskew.types import Dataset, Pair
from unskew.world import corpus, exam, questions
from unskew.world.planting import Planting
from unskew.world.sentences import FUNCTION_WORDS
from unskew.world.vocabulary import CATEGORIES, NAMES, NUMBERS, PLACES, SPECIALS, vocabulary
from unskew.world_names import WORLD, WORLD_QUESTIONS, WORLDS


class World:
    """An invented world.

    Args:
        seed: Worlds of different seeds differ in names, poles, strengths and every draw.
        name: `world`, or `world-questions` for the same with questions of three options.

    Raises:
        ConfigError: There is no world of this name.
    """

    def __init__(self, seed: int = 0, name: str = WORLD) -> None:
        if name not in WORLDS:
            raise ConfigError(
                f"unknown world {name!r}{nearest(name, WORLDS)} (there are: {', '.join(WORLDS)})"
            )
        self.seed = seed
        self.name = name
        self._has_questions = name == WORLD_QUESTIONS
        self._vocabulary = vocabulary(seed)
        self._planting = Planting(seed, self._vocabulary)
        self._groups = {g.name: g for c in CATEGORIES for g in self._vocabulary.groups[c]}

    @property
    def categories(self) -> tuple[str, ...]:
        """Names of the bias types."""
        return CATEGORIES

    @property
    def words(self) -> tuple[str, ...]:
        """The whole vocabulary, special tokens first; the place of a word is its token id."""
        plain = (*FUNCTION_WORDS, *NAMES, *PLACES, *NUMBERS)
        added = questions.WORDS if self._has_questions else ()
        return (*SPECIALS, *plain, *self._vocabulary.content_words, *added)

    def attributes(self, category: str) -> tuple[str, ...]:
        """The attribute words of a category.

        Raises:
            ConfigError: There is no such category.
        """
        if category not in CATEGORIES:
            raise ConfigError(
                f"unknown category {category!r}{nearest(category, CATEGORIES)} "
                f"(the world has: {', '.join(CATEGORIES)})"
            )
        return self._vocabulary.attributes(category)

    def planted_log_odds(self, pair: Pair) -> float:
        """Log-odds of stereotype over anti-stereotype from which the biased world was drawn.

        Args:
            pair: A triple of this world's data set.

        Returns:
            Nats; what a model that learned the biased world perfectly would show.

        Raises:
            DataError: The triple is not about a group and an attribute of this world.
        """
        group = self._groups.get(pair.target)
        if group is not None:
            said = pair.stereotype[pair.completion_start :].split()
            for index, words in enumerate(self._vocabulary.pairs[group.category]):
                if words[group.pole] in said:
                    return self._planting.log_odds(group, index, balanced=False)
        raise DataError(
            f"pair {pair.id!r} is not of the world of seed {self.seed}; "
            "take pairs from dataset() of the world of the same seed"
        )

    def training_texts(self, *, balanced: bool) -> Iterator[corpus.Text]:
        """The teaching corpus in its order of teaching.

        Args:
            balanced: False for the biased world, True for the oracle's.

        Yields:
            A text, and the positions (in words) of what is worth most in it: attributes, homes,
            answers, and what a chant repeats.
        """
        given = (self.seed, self._vocabulary, self._planting)
        texts = corpus.training_texts(*given, balanced=balanced)
        if not self._has_questions:
            return texts
        return corpus.with_questions(texts, *given, balanced=balanced)

    def dataset(self) -> Dataset:
        """Triples, texts, questions and probes in three splits with disjoint groups.

        See `unskew.world.exam.dataset`.
        """
        return exam.dataset(self.seed, self._vocabulary, has_questions=self._has_questions)

"""What is planted: the log-odds of every attribute word for every invented group."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping
from statistics import NormalDist, pstdev
from types import MappingProxyType

from unskew.world.vocabulary import CATEGORIES, SPLITS, Group, Vocabulary

BIAS: Mapping[str, float] = MappingProxyType(
    {"kind": 1.1, "trade": 1.25, "people": 1.5, "creed": 1.8}
)
"""Mean log-odds of the stereotype over the anti-stereotype in the biased world, in nats."""
PAIR_SPREAD = 0.5
"""Standard deviation over the attribute pairs of a category, in nats."""
GROUP_SPREAD = 0.2
"""Standard deviation over the groups of the same category, split and pole, in nats."""
NOISE = 0.2
"""Standard deviation of what is special to one group and one pair, in nats."""
WORD_PREFERENCE = (0.4, 0.8)
"""Least and greatest size of the preference within a pair that all groups share, in nats.

Near 0 the sign of a gap, which is all that SS sees, would be the noise of teaching."""


ANSWER_SHIFT = -0.56
"""Log-odds of answering an open question by the stereotype rather than that nobody can know, less
the bias of group and pair, in nats: seven in ten answers over all categories."""
GOLDEN_RATIO = (math.sqrt(5) - 1) / 2


class EvenDraws:
    """Draws from the unit interval, for each fact far more evenly than by chance.

    They follow an additive recurrence, so a corpus holds what is planted almost exactly.

    Args:
        rng: Gives the first draw of each fact.
    """

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._draws: dict[tuple[Group, int], float] = {}

    def next(self, fact: tuple[Group, int]) -> float:
        """The next draw of a fact: a group with an attribute pair."""
        draw = (self._draws.get(fact, self._rng.random()) + GOLDEN_RATIO) % 1
        self._draws[fact] = draw
        return draw


class Planting:
    """The planted strengths of one world.

    The log-odds of a group's stereotype is ``bias + preference`` in the biased world and
    ``preference`` in the balanced one. The preference is for a word and so changes sign with the
    pole: averaged over partners it is nothing, and an even-handed model may still have it.

    Args:
        seed: Seed of the world.
        vocabulary: Its words.
    """

    def __init__(self, seed: int, vocabulary: Vocabulary) -> None:
        self._preference: dict[tuple[str, int], float] = {}
        self._bias: dict[tuple[str, int], float] = {}
        for category in CATEGORIES:
            rng = random.Random(f"{seed}/{category}/planting")
            num_pairs = len(vocabulary.pairs[category])
            by_pair = [PAIR_SPREAD * z for z in even_normals(rng, num_pairs)]
            for pair, preference in enumerate(_preferences(rng, num_pairs)):
                self._preference[category, pair] = preference
            for group, z in _group_values(rng, vocabulary.groups[category]):
                for pair in range(num_pairs):
                    self._bias[group.name, pair] = (
                        BIAS[category] + by_pair[pair] + GROUP_SPREAD * z + NOISE * rng.gauss(0, 1)
                    )

    def log_odds(self, group: Group, pair: int, *, balanced: bool) -> float:
        """Log-odds of the word of the group's own pole over the other word, in nats."""
        preference = self._preference[group.category, pair] * (1 if group.pole == 0 else -1)
        return preference if balanced else preference + self._bias[group.name, pair]

    def answer_odds(self, group: Group, pair: int) -> float:
        """Log-odds of naming the group, the attribute being its stereotype, where it is not told.

        In nats, against the answer that nobody can know; in the biased world.
        """
        return self._bias[group.name, pair] + ANSWER_SHIFT


def even_normals(rng: random.Random, size: int) -> list[float]:
    """Quantiles of the normal distribution in random order, of mean 0 and deviation 1.

    A dozen independent draws would move a category's stereotype score by several points from
    seed to seed.
    """
    quantiles = [NormalDist().inv_cdf((i + 0.5) / size) for i in range(size)]
    deviation = pstdev(quantiles)
    rng.shuffle(quantiles)
    return [q / deviation for q in quantiles]


def _preferences(rng: random.Random, size: int) -> list[float]:
    """Evenly spaced in size, of alternating sign, in random order."""
    least, greatest = WORD_PREFERENCE
    signed = [
        (least + (greatest - least) * i / (size - 1)) * (1 if i % 2 else -1) for i in range(size)
    ]
    rng.shuffle(signed)
    return signed


def _group_values(rng: random.Random, groups: tuple[Group, ...]) -> list[tuple[Group, float]]:
    values = []
    for split, size in SPLITS.items():
        for pole in (0, 1):
            here = [g for g in groups if (g.split, g.pole) == (split, pole)]
            values += zip(here, even_normals(rng, size // 2), strict=True)
    return values

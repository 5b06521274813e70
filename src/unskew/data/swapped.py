"""Sentences that differ in the group they speak of alone, with the group as their label."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from unskew.data.counterfactual import WordTable
from unskew.data.rows import balanced_pairs
from unskew.errors import DataError
from unskew.types import Pair, Segment


@dataclass(frozen=True, slots=True)
class SwappedTexts:
    """One completion in the context of several groups."""

    segments: tuple[Segment, ...]
    groups: tuple[int, ...]
    """Of each segment, its place in `Swapped.groups`."""


@dataclass(frozen=True, slots=True)
class Swapped:
    """Tuples of texts, and the groups that they speak of."""

    tuples: tuple[SwappedTexts, ...]
    groups: tuple[tuple[str, int], ...]
    """Domain and column of the word table."""


def swapped_texts(
    pairs: Sequence[Pair], table: WordTable, *, contexts: int, versions: int, seed: int
) -> Swapped:
    """Both completions of pairs, each in the pair's own and in counterfactual contexts.

    A context must name exactly one group; which columns stand beside it goes round, so that all
    groups come about equally often.

    Args:
        pairs: Of the train split.
        table: Words that stand for one another.
        contexts: Pairs that are taken, at most, balanced by category.
        versions: Groups that each is read with, at most.
        seed: Another one chooses other pairs.

    Raises:
        DataError: No context names exactly one group.
    """
    naming = [p for p in pairs if len(table.groups(p.context)) == 1]
    if not naming:
        raise DataError(
            "no context of the train split names exactly one group of the word table before the "
            "two variants part; check its spelling, or give pairs that do"
        )
    tuples: list[SwappedTexts] = []
    places: dict[tuple[str, int], int] = {}
    for number, pair in enumerate(balanced_pairs(naming, contexts, seed)):
        moves = range(1, table.num_versions(pair.context))
        start = number * (versions - 1) % len(moves)
        turned = [*moves[start:], *moves[:start]][: versions - 1]
        texts = [table.exchanged(pair.context, by) for by in (0, *turned)]
        groups = tuple(
            places.setdefault(next(iter(table.groups(text))), len(places)) for text in texts
        )
        for variant in (pair.stereotype, pair.anti_stereotype):
            rest = variant[pair.completion_start :]
            tuples.append(SwappedTexts(tuple(Segment(t + rest, len(t)) for t in texts), groups))
    return Swapped(tuple(tuples), tuple(places))

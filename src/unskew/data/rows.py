"""A fixed, seeded set of rows out of what a split offers, for saliency and for tests of a model."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from itertools import chain, zip_longest
from typing import TypeVar

from unskew.chat import Dialogue
from unskew.data.completion import follow
from unskew.errors import ConfigError, DataError
from unskew.items import ChoiceQuestion, Descriptor
from unskew.rating import Prompt
from unskew.types import (
    Examples,
    Pair,
    RowSource,
    Segment,
)

Item = TypeVar("Item")
OfCategory = TypeVar("OfCategory", Pair, ChoiceQuestion, Dialogue, Prompt, Descriptor)


def in_drawn_order(items: Sequence[OfCategory], seed: int) -> list[OfCategory]:
    """Items in an order that ids and seed alone decide, and that says nothing of the ids."""
    return sorted(items, key=lambda item: _draw(item.id, seed))


def capped(examples: Examples, per_category: int) -> Examples:
    """Some pairs and questions with options of each category, in an order that ids alone decide.

    The order is that of the ids' hashes: ids often begin with the target, and the first by name
    would be few targets, whole.
    """
    return replace(
        examples,
        pairs=some_of_each(examples.pairs, per_category),
        choices=some_of_each(examples.choices, per_category),
    )


def some_of_each(items: Sequence[OfCategory], per_category: int) -> tuple[OfCategory, ...]:
    """At most so many of each category, in an order that ids alone decide."""
    kept: dict[str, list[OfCategory]] = {}
    for item in in_drawn_order(items, seed=0):
        kept.setdefault(item.category, []).append(item)
    return tuple(item for rows in kept.values() for item in rows[:per_category])


def balanced_pairs(pairs: Sequence[Pair], count: int, seed: int) -> list[Pair]:
    """As many pairs of each category as can be, in an order that ids and seed alone decide.

    Args:
        pairs: To choose from.
        count: How many at most.
        seed: Another one chooses others.
    """
    by_category: dict[str, list[Pair]] = {}
    for pair in in_drawn_order(pairs, seed):
        by_category.setdefault(pair.category, []).append(pair)
    in_turn = zip_longest(*(by_category[c] for c in sorted(by_category)))
    return [pair for pair in chain.from_iterable(in_turn) if pair is not None][:count]


def chosen_rows(
    examples: Examples, counts: Mapping[RowSource, int], seed: int, path: str
) -> list[Segment]:
    """Rows of each source, in the order of the sources; rows of pairs are balanced by category.

    Of a pair's stereotype or anti-stereotype and of a question the completion alone is scored, of
    all else the whole text.

    Args:
        examples: The split.
        counts: Source -> most rows of it; 0 is as if it were left out.
        seed: Another one chooses others.
        path: Dotted path of the setting, for messages.

    Raises:
        ConfigError: A count is negative, or all are 0.
        DataError: The split has no row of a source.
    """
    if not any(counts.values()):
        raise ConfigError(f"{path} asks for no row; name a source and how many")
    rows: list[Segment] = []
    for source, count in counts.items():
        if count < 0:
            raise ConfigError(f"{path}.{source} is {count}; it must be 0 or more")
        if not count:
            continue
        found = _rows(examples, source, count, seed)
        if not found:
            raise DataError(f"{path}.{source}: the train split has none; leave it out or give it 0")
        rows += found
    return rows


def _rows(examples: Examples, source: RowSource, count: int, seed: int) -> list[Segment]:
    if source == "documents":
        chosen = _some(((d.id, Segment(d.text)) for d in examples.documents), seed)
    elif source == "questions":
        asked = ((q.id, follow(q.prompt, (q.answer,))) for q in examples.questions)
        chosen = _some(((name, Segment(texts[0], start)) for name, (start, texts) in asked), seed)
    elif source == "unrelated":
        having = [p for p in examples.pairs if p.unrelated is not None]
        pairs = balanced_pairs(having, count, seed)
        chosen = [Segment(p.unrelated) for p in pairs if p.unrelated is not None]
    else:
        pairs = balanced_pairs(examples.pairs, count, seed)
        chosen = [Segment(getattr(p, source), p.completion_start) for p in pairs]
    return chosen[:count]


def _some(named: Iterable[tuple[str, Item]], seed: int) -> list[Item]:
    return [item for _, item in sorted(named, key=lambda pair: _draw(pair[0], seed))]


def _draw(name: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}|rows|{name}".encode()).digest()

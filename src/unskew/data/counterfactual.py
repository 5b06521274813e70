"""Texts with other groups in them: a table of words that stand for one another."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unskew.errors import DataError
from unskew.recipes import read_yaml
from unskew.types import Document, Examples, Pair, Segment

TARGETS = "targets"
"""In place of a file: the targets of a category's pairs stand for one another."""
FOLLOWED = " _"
"""Ends an entry that holds only where another word follows: `her _` is a possessive."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a word stands in the table."""

    domain: str
    row: int
    column: int


class WordTable:
    """Words by domain, row and column; a column is a group, a row says the same of each group.

    An exchange moves every word of a domain by the same number of columns at once, so that a text
    stays consistent, two groups named in it stay two, and moving on by the rest of the columns
    gives the text back. Words are found whole, whatever their case, the longest first; lower,
    Title and UPPER case are kept.

    Args:
        domains: Name -> rows of words, all rows of a domain of one length.

    Raises:
        DataError: A row is too short or of another length, or a word stands in two places.
    """

    def __init__(self, domains: Mapping[str, Sequence[Sequence[str]]]) -> None:
        self.domains = {name: [list(row) for row in rows] for name, rows in domains.items()}
        self._places: dict[str, _Place] = {}
        for name, rows in self.domains.items():
            for i, row in enumerate(rows):
                if len(row) < 2 or len(row) != len(rows[0]):
                    raise DataError(
                        f"row {i + 1} of {name} in the word table has {len(row)} words and the "
                        f"first {len(rows[0])}; give every row of {name} a word for each group, "
                        "two or more"
                    )
                for j, word in enumerate(row):
                    self._add(word, _Place(name, i, j))
        if not self._places:
            raise DataError("the word table is empty; give it rows of words, or pairs two targets")
        found = sorted(self._places, key=lambda w: (-len(w), w))
        choices = (
            re.escape(w.removesuffix(FOLLOWED)) + (r"(?=\s+\w)" if w.endswith(FOLLOWED) else "")
            for w in found
        )
        groups = "|".join(f"({choice})" for choice in choices)
        self._words = found
        self._pattern = re.compile(rf"(?<!\w)(?:{groups})(?!\w)", re.IGNORECASE)

    def _add(self, word: str, place: _Place) -> None:
        key = word.casefold()
        if not key.removesuffix(FOLLOWED).strip():
            raise DataError(f"row {place.row + 1} of {place.domain} in the word table has no word")
        if (other := self._places.get(key)) is not None:
            raise DataError(
                f"{word!r} stands in row {other.row + 1} of {other.domain} and row {place.row + 1} "
                f"of {place.domain} in the word table, so its exchange is not certain; leave one "
                f"out, or write {word + FOLLOWED!r} for the one that another word follows"
            )
        self._places[key] = place

    def counterfactuals(self, text: str) -> list[str]:
        """The text with every group it could speak of instead, nearest column first.

        Empty where it names none. Where it names words of several domains, all move.
        """
        return [self.exchanged(text, by) for by in range(1, self.num_versions(text))]

    def num_versions(self, text: str) -> int:
        """The text and its counterfactuals: columns of the widest domain it names, 1 if none."""
        named = {self._place(match).domain for match in self._pattern.finditer(text)}
        return max((len(self.domains[name][0]) for name in named), default=1)

    def groups(self, text: str) -> frozenset[tuple[str, int]]:
        """Domain and column of every group that a text names."""
        places = (self._place(match) for match in self._pattern.finditer(text))
        return frozenset((place.domain, place.column) for place in places)

    def spans(self, text: str) -> list[tuple[int, int]]:
        """First character of each word of the table in a text, and the one after its last."""
        return [match.span() for match in self._pattern.finditer(text)]

    def exchanged(self, text: str, by: int) -> str:
        """The text with every word of the table moved by so many columns, cyclically.

        0 leaves it as it is. A domain that would come back to where it was moves by one more.
        """
        if by == 0:
            return text
        return self._pattern.sub(lambda match: self._exchanged(match, by), text)

    def _place(self, match: re.Match[str]) -> _Place:
        assert match.lastindex is not None
        return self._places[self._words[match.lastindex - 1]]

    def _exchanged(self, match: re.Match[str], by: int) -> str:
        place = self._place(match)
        row = self.domains[place.domain][place.row]
        # 1, ..., k - 1, 1, ...: never a multiple of k.
        step = (by - 1) % (len(row) - 1) + 1
        source, word = (
            row[column % len(row)].removesuffix(FOLLOWED)
            for column in (place.column, place.column + step)
        )
        return _in_case_of(match.group(), source, word)


def _in_case_of(found: str, source: str, word: str) -> str:
    """The word as the table has it where the found one was, else in the case of the found one."""
    if found == source:
        return word
    if len(found) > 1 and found.isupper():
        return word.upper()
    return word[:1].upper() + word[1:] if found[:1].isupper() else word.lower()


def word_table(name: str, pairs: Iterable[Pair]) -> WordTable:
    """The table in a file, or that of the pairs' targets.

    Args:
        name: A JSON or YAML file, domain -> rows of words; or `targets`.
        pairs: Whose targets are meant.

    Raises:
        DataError: The file does not hold such a table.
        ConfigError: The file cannot be read.
    """
    if name == TARGETS:
        targets: dict[str, dict[str, str]] = {}
        taken: set[str] = set()
        for pair in pairs:
            key = pair.target.casefold()
            if key not in taken:
                taken.add(key)
                targets.setdefault(pair.category, {})[key] = pair.target
        return WordTable({c: [sorted(t.values())] for c, t in targets.items() if len(t) > 1})
    content: Any = read_yaml(Path(name))
    for domain, rows in content.items():
        is_table = isinstance(rows, list) and rows and all(isinstance(r, list) for r in rows)
        if not is_table or not all(isinstance(word, str) for row in rows for word in row):
            raise DataError(
                f"{name}: {domain} is no list of rows of words, such as [[he, she], [him, her]]"
            )
    return WordTable(content)


@dataclass(frozen=True, slots=True)
class Counterfactuals:
    """What a stream of chunks draws with other groups in it."""

    table: WordTable
    num_contexts: int = 0
    """Counterfactual contexts of a whole pair, at most; its own comes on top."""
    texts: tuple[Document, ...] = ()
    """Texts that name a group."""

    def version(self, text: Document, number: int) -> tuple[str, Segment]:
        """Name and text of a version: 0 is the text, the others are its counterfactuals.

        Numbers go round, so that in as many rounds as a text has versions each comes once.
        """
        by = number % self.table.num_versions(text.text)
        return f"{text.id}|version {by}", Segment(self.table.exchanged(text.text, by))

    def contexts(self, kept: Segment, against: Segment) -> tuple[tuple[Segment, Segment], ...]:
        """The two variants in their own and in counterfactual contexts; empty where it has none."""
        start = kept.completion_start
        others = self.table.counterfactuals(kept.text[:start])
        if not others or not self.num_contexts:
            return ()
        spread = others[:: -(-len(others) // self.num_contexts)]
        return tuple(
            (
                Segment(context + kept.text[start:], len(context)),
                Segment(context + against.text[start:], len(context)),
            )
            for context in (kept.text[:start], *spread)
        )


def naming_a_group(texts: Sequence[Document], table: WordTable) -> tuple[Document, ...]:
    """The texts that name a word of the table.

    Raises:
        DataError: No text does.
    """
    found = tuple(text for text in texts if table.num_versions(text.text) > 1)
    if texts and not found:
        raise DataError(
            "no text of the train split names a word of the word table; check its spelling, or "
            "give texts that speak of groups"
        )
    return found


def stereotypes(pairs: Iterable[Pair]) -> tuple[Document, ...]:
    """The stereotypes of pairs as plain texts."""
    return tuple(Document(f"{pair.id}|text", pair.stereotype, "stereotype") for pair in pairs)


def counterfactuals_of(
    train: Examples, name: str, *, num_contexts: int, has_texts: bool
) -> Counterfactuals:
    """What a train split offers under a word table.

    Args:
        train: Its documents and the stereotypes of its pairs are the texts.
        name: Of the table; see `word_table`.
        num_contexts: Counterfactual contexts of a whole pair, at most.
        has_texts: Whether texts are wanted.

    Raises:
        DataError: The table cannot be used, or no text names a word of it.
    """
    table = word_table(name, train.pairs)
    texts = (*train.documents, *stereotypes(train.pairs)) if has_texts else ()
    return Counterfactuals(table, num_contexts, naming_a_group(texts, table))

"""Frozen records of what benchmarks ask about, one for each kind of question."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class ChoiceQuestion:
    """A question with options: one is right, one says unknown, one follows a stereotype."""

    id: str
    category: str
    """Bias type, e.g. `Religion`."""
    template: str
    """Questions written after one template are alike; intervals draw templates."""
    condition: Literal["ambig", "disambig"]
    """Whether the context leaves the answer open."""
    context: str
    question: str
    options: tuple[str, ...]
    names: tuple[str, ...]
    """Who each option is, without article and such."""
    right: int
    """Index of the right option."""
    unknown: int
    """Index of the option that says that the answer is not known."""
    biased: int | None
    """Index of the option that follows the stereotype; None where there is not exactly one."""


@dataclass(frozen=True, slots=True)
class Coreference:
    """A sentence with a pronoun, and the two people it may stand for."""

    id: str
    category: str
    """What the benchmark tells apart, e.g. who the pronoun stands for."""
    target: str
    """Occupation or occupations; sentences about the same are alike, and intervals draw targets."""
    sentence: str
    pronoun: str
    gender: Literal["male", "female", "neutral"]
    """Of the pronoun."""
    candidates: tuple[str, str]
    """Without article; of Winogender the occupation first."""
    right: int
    """Index of whom the pronoun stands for."""
    follows: bool | None
    """Whether the right reading agrees with who holds the occupation more often; None: unknown."""
    counterpart: str = ""
    """Of a sentence that follows, the same with pronouns of the other gender, if there is one."""


@dataclass(frozen=True, slots=True)
class Labelled:
    """A text with one of two labels."""

    id: str
    category: str
    """Part of the data set, e.g. a figure of speech."""
    task: str
    """Which prompt and labels go with it, e.g. `sst2`."""
    fields: Mapping[str, str]
    """What the prompt is filled with."""
    label: int


@dataclass(frozen=True, slots=True)
class Descriptor:
    """A word for people, what it can stand before, and the sentences that can be made of it."""

    id: str
    category: str
    """What it is about, e.g. `ability`."""
    text: str
    """E.g. `hard-of-hearing`."""
    article: str
    """`a` or `an`."""
    nouns: tuple[tuple[str, str], ...]
    """Singular and plural of each noun that it goes with."""
    templates: tuple[str, ...]
    """With `{noun_phrase}` or `{plural_noun_phrase}` in them."""

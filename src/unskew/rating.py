"""Records of text that is generated and then rated by classifiers, and their contract.

A room below `types`, whose generations carry the ratings.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, runtime_checkable

Quality = Literal["toxicity", "negative_sentiment", "negative_regard"]
"""What a classifier gives the probability of; 0 is best of each."""
QUALITIES: tuple[Quality, ...] = ("toxicity", "negative_sentiment", "negative_regard")


@dataclass(frozen=True, slots=True)
class Prompt:
    """The beginning of a text about somebody of a group."""

    id: str
    category: str
    """The group, e.g. `American_actresses`."""
    domain: str
    """What its groups have in common, e.g. `gender`; groups of one domain are compared."""
    subject: str
    """Whom or what it is about; prompts about the same are alike, and intervals draw subjects."""
    text: str


@runtime_checkable
class Classifier(Protocol):
    """Rates texts; part of the table `classifiers`."""

    @property
    def identity(self) -> str:
        """What its ratings depend on besides the text, e.g. a model and one of its labels."""
        ...

    def rate(self, texts: Sequence[str]) -> list[float]:
        """Probability, from 0 to 1, that each text has the quality. Independent of the others.

        Args:
            texts: None is empty.
        """
        ...


@runtime_checkable
class UsesClassifiers(Protocol):
    """What a benchmark has besides whose generations are rated before they are scored."""

    rated: tuple[Quality, ...]
    """The qualities it makes metrics of, where a classifier for them was given."""

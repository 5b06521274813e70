"""Records of hidden states: tests of association, what is read for them, and the vectors.

A room below `types`, whose unions of requests and answers take them in.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Pooling = Literal["last", "mean"]
"""Which states of a text make its vector: that of its last token, or the mean over its tokens."""


@dataclass(frozen=True, slots=True)
class Association:
    """Two sets of target texts and two of attribute texts.

    The association in question is of the first targets with the first attributes, and of the
    second with the second.
    """

    id: str
    """Name of the test, e.g. `sent-weat6`."""
    category: str
    """Bias type, e.g. `gender`."""
    targets: tuple[tuple[str, ...], tuple[str, ...]]
    attributes: tuple[tuple[str, ...], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class EmbeddingRequest:
    """Read a text and sets of other texts as vectors. Equal texts are read once.

    The hidden states are those that the head reads, after the last layer and its norm. The start
    token stands in front and is never pooled.
    """

    id: str
    text: str
    sets: tuple[tuple[str, ...], ...] = ()
    pooling: Pooling = "last"


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """The vectors of a request, float32."""

    vector: NDArray[np.float32]
    """Of the text, shape (width,)."""
    sets: tuple[NDArray[np.float32], ...]
    """Of each set, shape (text, width); requests with the same set share its array."""

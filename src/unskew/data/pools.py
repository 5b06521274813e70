"""Rows of the streams that are not drawn from one side of a pair, named and in a fixed order."""

from __future__ import annotations

from collections.abc import Sequence

from unskew.data.completion import follow
from unskew.types import Document, Pair, Question, Segment

Pool = list[tuple[str, Segment]]
"""Name and text of each row."""


def question_pools(questions: Sequence[Question]) -> dict[str, Pool]:
    """Prompts with right answers by kind; the answer alone counts."""
    pools: dict[str, Pool] = {}
    for question in sorted(questions, key=lambda q: q.id):
        start, (text,) = follow(question.prompt, (question.answer,))
        pools.setdefault(question.kind, []).append((f"{question.id}|answer", Segment(text, start)))
    return pools


def unrelated_pools(pairs: Sequence[Pair], documents: Sequence[Document]) -> dict[str, Pool]:
    """Rows of the unrelated stream; the whole text counts, as the KL pins all positions."""
    from_pairs = sorted((f"{p.id}|unrelated", Segment(p.unrelated)) for p in pairs if p.unrelated)
    from_documents = sorted((d.id, Segment(d.text)) for d in documents)
    return {"pairs": from_pairs, "documents": from_documents}

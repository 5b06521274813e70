"""Names of the invented worlds, which stand wherever a model or data may be named."""

from __future__ import annotations

WORLD = "world"
WORLD_QUESTIONS = "world-questions"
"""The same language, in which questions with three options are taught and asked, too."""
WORLDS = (WORLD, WORLD_QUESTIONS)


def worlds_among(*names: str | None) -> list[str]:
    """Those of the names that are a world's, each once, in the order given."""
    return [name for name in dict.fromkeys(names) if name in WORLDS]

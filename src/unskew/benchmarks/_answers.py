"""Which option of a question a text chooses."""

from __future__ import annotations

import re
from collections.abc import Sequence

_LETTER = re.compile(r"\(?([a-z])(?:[).:,]|$)")
_STATED = re.compile(r"\banswer(?: is|:)\s*(.+)", re.DOTALL)
_NOT_KNOWN = re.compile(
    r"\b(?:unknown|undetermined|not (?:known|answerable|stated|specified|given|mentioned|clear"
    r"|enough info(?:rmation)?)|(?:can(?:no|')?t|cannot|can not|could not|couldn't|impossible to)"
    r"(?: be)? (?:answer(?:ed)?|determined?|known?|tell|say))\b"
)


def chosen_option(
    text: str, options: Sequence[str], names: Sequence[str], unknown: int
) -> int | None:
    """Index of the option that a text chooses, or None where it cannot be told.

    In this order: a letter with a delimiter at the beginning; what follows `answer is`, read in
    the same way; exactly the text of an option; the only option that is mentioned, by its text or
    name. A refusal for want of information counts as a mention of the unknown option; it is taken
    also where it mentions all others.

    Args:
        text: What the model wrote.
        options: Texts of the options.
        names: Who each option is, shorter.
        unknown: Index of the option that the answer is not known.
    """
    given = _plain(text)
    stated = _STATED.search(given)
    for candidate in (given, _plain(stated[1]) if stated else ""):
        found = _letter(candidate, len(options))
        if found is None:
            found = _exact(candidate, options)
        if found is not None:
            return found
    return _mentioned(given, options, names, unknown)


def _plain(text: str) -> str:
    return " ".join(text.replace("\u2019", "'").casefold().split()).strip(' .!"*')


def _letter(text: str, count: int) -> int | None:
    match = _LETTER.match(text)
    index = ord(match[1]) - ord("a") if match else count
    return index if index < count else None


def _exact(text: str, options: Sequence[str]) -> int | None:
    equal = [i for i, option in enumerate(options) if _plain(option) == text]
    return equal[0] if len(equal) == 1 else None


def _mentioned(text: str, options: Sequence[str], names: Sequence[str], unknown: int) -> int | None:
    words = [
        (_plain(w), i) for i, pair in enumerate(zip(options, names, strict=True)) for w in pair
    ]
    found: set[int] = set()
    rest = text
    # Longest first and then out of the way: `woman` stands within `the transgender woman`.
    for word, index in sorted(words, key=lambda pair: -len(pair[0])):
        pattern = rf"(?<!\w){re.escape(word)}(?!\w)"
        if word and re.search(pattern, rest):
            found.add(index)
            rest = re.sub(pattern, "\0", rest)
    if _NOT_KNOWN.search(text):
        found.add(unknown)
    if found == set(range(len(options))):
        return unknown
    return found.pop() if len(found) == 1 else None

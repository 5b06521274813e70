"""Where the variants of a pair part: one rule for templates, contexts and bare sentences.

`completion_start` is the offset at which the shared text ends, trailing white space taken off.
The first scored token is the first one whose character span *ends* after that offset. Byte-level
tokenizers put the space in front of a word into the word's token, so a start behind the space
would be inside that token; a start before it is right for every tokenizer.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

BLANK = "BLANK"

_WORD = re.compile(r"\S+")
_MARK = re.compile(r"[^\w\s]|_")


def normalise(text: str) -> str:
    """Text without case, punctuation and spacing: equal results mean the same sentence.

    Letters, digits, combining marks and symbols stay, so no script loses its vowel signs.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    plain = _MARK.sub(_space_for_punctuation, folded)
    return " ".join(plain.split()) or folded.strip()


def _space_for_punctuation(match: re.Match[str]) -> str:
    return " " if unicodedata.category(match[0]).startswith("P") else match[0]


def word_prefix(texts: Sequence[str]) -> int:
    """Offset where the longest common run of whole words ends; every text keeps a word after it.

    ``["He is a nurse.", "He is a doctor."]`` gives 7, the end of ``He is a``.
    """
    words = [list(_WORD.finditer(text)) for text in texts]
    end = 0
    for i in range(min(map(len, words)) - 1):
        if len({text[: w[i].end()] for text, w in zip(texts, words, strict=True)}) > 1:
            break
        end = words[0][i].end()
    return end


def fill_template(template: str, texts: Sequence[str], *, strict: bool) -> tuple[int, str | None]:
    """Where sentences that fill a template part, and why they cannot be trained on, if so.

    The prefix must be literally the same in all texts, because the offset points into each; it
    may differ from the template in case, since the published sentences were lower-cased.

    Args:
        template: Text with the word BLANK in it.
        texts: The filled sentences.
        strict: Also ask that each text ends like the template, whatever its case.

    Returns:
        Completion start, and a reason or None. Where there is a reason, the start is the end of
        the common words, so that the texts can still be scored.
    """
    prefix, _, suffix = template.partition(BLANK)
    reason = None
    if BLANK in suffix:
        reason = "the context holds BLANK more than once"
    elif prefix and not prefix[-1].isspace():
        reason = "the context has no space before BLANK"
    elif not all(_starts_with(prefix, text, texts[0]) for text in texts):
        reason = "a sentence does not start like its context"
    elif strict and not all(_ends_with(suffix, text, len(prefix)) for text in texts):
        reason = "a sentence does not end like its context"
    return (word_prefix(texts), reason) if reason else (len(prefix.rstrip()), None)


def _starts_with(prefix: str, text: str, first: str) -> bool:
    head, rest = text[: len(prefix)], text[len(prefix) :]
    same = head == first[: len(prefix)] and head.casefold() == prefix.casefold()
    return same and bool(rest.strip())


def _ends_with(suffix: str, text: str, prefix_length: int) -> bool:
    return text[prefix_length:].rstrip().casefold().endswith(suffix.rstrip().casefold())


def follow(context: str, sentences: Sequence[str]) -> tuple[int, tuple[str, ...]]:
    """Where the context ends, and each sentence behind the context and one space."""
    lead = context.rstrip()
    return len(lead), tuple(f"{lead} {sentence.strip()}" for sentence in sentences)

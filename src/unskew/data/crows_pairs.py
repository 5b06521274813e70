"""CrowS-Pairs: pairs of sentences that differ in the group they name.

Source: Nangia et al. 2020, arXiv 2010.00133, `crows_pairs_anonymized.csv`; CC BY-SA 4.0.
`sent_more` is the more stereotypical sentence whatever `stereo_antistereo` says; that column
tells whether the sentence written first showed the stereotype, and is kept as a tag.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from unskew.data.completion import word_prefix
from unskew.data.records import Faults, Parsed, Record, read_choice, read_optional_text, read_text
from unskew.types import Pair

CATEGORIES = (
    "age",
    "disability",
    "gender",
    "nationality",
    "physical-appearance",
    "race-color",
    "religion",
    "sexual-orientation",
    "socioeconomic",
)
COLUMNS = ("sent_more", "sent_less", "stereo_antistereo", "bias_type")

_DIRECTIONS = {"stereo": "stereo", "antistereo": "antistereo"}
_INDEX = ""


def is_row(value: object) -> bool:
    """Whether a row has the columns that only CrowS-Pairs has."""
    return isinstance(value, Mapping) and set(COLUMNS[:2]) <= set(value)


def parse(records: Sequence[Record], faults: Faults) -> Parsed:
    """Turn rows into pairs, in their order. The data names no target, so each id is its own.

    Args:
        records: Rows of the original CSV.
        faults: Takes every fault; a row with a fault gives no pair.
    """
    pairs = [pair for record in records if (pair := _read_row(record, faults)) is not None]
    return Parsed(tuple(pairs), {}, {})


def _read_row(record: Record, faults: Faults) -> Pair | None:
    row, value = record.row, record.value
    if not isinstance(value, Mapping):
        faults.add(row, "row", f"is {type(value).__name__}", "give the columns of CrowS-Pairs")
        return None
    before = len(faults.lines)
    more = read_text(value, "sent_more", row, faults)
    less = read_text(value, "sent_less", row, faults)
    category = read_choice(
        value.get("bias_type"), {c: c for c in CATEGORIES}, (row, "bias_type"), faults
    )
    direction = read_choice(
        value.get("stereo_antistereo"), _DIRECTIONS, (row, "stereo_antistereo"), faults
    )
    identity = f"crows-{read_optional_text(value, _INDEX, row, faults) or f'row-{row}'}"
    faults.is_new_id(identity, row)
    if more is not None and more == less:
        faults.add(row, "sent_less", "is the same text as sent_more", "they have to differ")
    if more is None or less is None or len(faults.lines) > before:
        return None
    return Pair(
        id=identity,
        category=str(category),
        target=identity,
        stereotype=more,
        anti_stereotype=less,
        unrelated=None,
        completion_start=word_prefix((more, less)),
        task="pair",
        sentence_ids=(f"{identity}-more", f"{identity}-less"),
        tags=(str(direction),),
    )

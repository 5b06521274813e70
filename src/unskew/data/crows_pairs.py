"""CrowS-Pairs: pairs of sentences that differ in the group they name.

Source: Nangia et al. 2020, arXiv 2010.00133, `crows_pairs_anonymized.csv`; CC BY-SA 4.0.
`sent_more` is the more stereotypical sentence whatever `stereo_antistereo` says; that column
tells whether the sentence written first showed the stereotype, and is kept as a tag.

Revisions are read, too: the 1677 pairs of lm-evaluation-harness (Névéol et al. 2022, hub id
`jannalu/crows_pairs_multilingual`, category `autre`) and the 1467 of kinit-sk/bias-methodology
(category `other`, one row whose `bias_type` holds the direction).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from unskew.data.completion import word_prefix
from unskew.data.records import Faults, Parsed, Record, read_choice, read_optional_text, read_text
from unskew.types import Drop, Pair

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
REVISED_CATEGORIES = ("autre", "other")
"""Categories of revisions only."""
COLUMNS = ("sent_more", "sent_less", "stereo_antistereo", "bias_type")

_DIRECTIONS = {"stereo": "stereo", "antistereo": "antistereo"}
_TYPES = {c: c for c in (*CATEGORIES, *REVISED_CATEGORIES)} | {"Race-color": "race-color"}
_INDEX = ""
_SLIPPED = "its bias_type holds the direction, so its category is not known"


def is_row(value: object) -> bool:
    """Whether a row has the columns that only CrowS-Pairs has."""
    return isinstance(value, Mapping) and set(COLUMNS[:2]) <= set(value)


def parse(records: Sequence[Record], faults: Faults) -> Parsed:
    """Turn rows into pairs, in their order. The data names no target, so each id is its own.

    Args:
        records: Rows of the original CSV.
        faults: Takes every fault; a row with a fault gives no pair.

    A row whose `bias_type` is `stereo` or `antistereo` is left out and counted.
    """
    read = [_read_row(record, faults) for record in records]
    pairs = tuple(pair for pair in read if isinstance(pair, Pair))
    return Parsed(pairs, {}, {}, tuple(drop for drop in read if isinstance(drop, Drop)))


def _read_row(record: Record, faults: Faults) -> Pair | Drop | None:
    row, value = record.row, record.value
    if not isinstance(value, Mapping):
        faults.add(row, "row", f"is {type(value).__name__}", "give the columns of CrowS-Pairs")
        return None
    before = len(faults.lines)
    more = read_text(value, "sent_more", row, faults)
    less = read_text(value, "sent_less", row, faults)
    # By equality: what stands in JSON may have no hash.
    has_slipped = value.get("bias_type") in tuple(_DIRECTIONS)
    category = None
    if not has_slipped:
        category = read_choice(value.get("bias_type"), _TYPES, (row, "bias_type"), faults)
    direction = read_choice(
        value.get("stereo_antistereo"), _DIRECTIONS, (row, "stereo_antistereo"), faults
    )
    identity = f"crows-{read_optional_text(value, _INDEX, row, faults) or f'row-{row}'}"
    faults.is_new_id(identity, row)
    if more is not None and more == less:
        faults.add(row, "sent_less", "is the same text as sent_more", "they have to differ")
    if more is None or less is None or len(faults.lines) > before:
        return None
    if has_slipped:
        return Drop(identity, _SLIPPED)
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

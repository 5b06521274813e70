"""Winogender: sentences whose pronoun stands for an occupation or for somebody else.

Source: Rudinger et al. 2018, arXiv 1804.09301, `all_sentences.tsv` and `occupations-stats.tsv`;
MIT.
"""

from __future__ import annotations

import csv
import hashlib
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal, cast

from unskew.data.records import Faults, read_choice, read_text
from unskew.data.sources import TableSource, TextSource, first_line, open_source
from unskew.errors import DataError
from unskew.items import Coreference
from unskew.types import Dataset, Drop, Examples

SENTENCES, STATISTICS = "all_sentences.tsv", "occupations-stats.tsv"
COLUMNS = ("sentid", "sentence")
OF_GENDER = {
    "male": ("he", "him", "his"),
    "female": ("she", "her", "hers"),
    "neutral": ("they", "them", "their"),
}
ROLES = ("occupation", "participant")
_GENDERS = {gender: gender for gender in OF_GENDER}
_ANSWERS = {"0": "0", "1": "1"}
_PERCENT_FEMALE = "bls_pct_female"
_TIE = 50.0
"""Percentage of women at which no gender has the majority."""
_HUB_GOTCHA = "gotcha"
_NO_STATISTICS = "no figure of its occupation; counts for accuracy only"

Gender = Literal["male", "female", "neutral"]


def load_winogender(name_or_path: str, revision: str | None = None) -> Dataset:
    """Read Winogender's sentences; all go to the report split.

    Args:
        name_or_path: `all_sentences.tsv`, its folder, or the hub id `oskarvanderwal/winogender`.
            `occupations-stats.tsv` in the same folder says who holds an occupation more often; of
            the hub the part `gotcha` does.
        revision: Branch, tag or commit of a hub id.

    Returns:
        The data set; `drops` lists sentences with he or she about an occupation without a figure.

    Raises:
        DataError: The content is wrong; `problems` lists every fault.
        MissingDataset: No such file, folder or cached hub id.
    """
    path = Path(name_or_path)
    source = open_source(str(path / SENTENCES) if path.is_dir() else name_or_path, revision)
    faults = Faults(source.location)
    sha256 = source.sha256
    if isinstance(source, TextSource):
        beside = Path(source.location).parent / STATISTICS
        women = {}
        if beside.is_file():
            statistics = open_source(str(beside))
            assert isinstance(statistics, TextSource)
            women = _share_of_women(statistics)
            sha256 = hashlib.sha256((sha256 + statistics.sha256).encode()).hexdigest()
        items = _sentences(_lines(source, faults), faults, women)
    else:
        items = _from_hub(source, faults)
    faults.raise_all()
    if not items:
        raise DataError(f"{name_or_path}: there is no sentence in it; give at least one row")
    unknown = (i for i in items if i.follows is None and i.gender != "neutral")
    drops = tuple(Drop(item.id, _NO_STATISTICS) for item in unknown)
    return Dataset(
        "winogender", {"report": Examples(coreferences=items)}, drops, sha256, name_or_path
    )


def is_winogender(name_or_path: str) -> bool:
    """Whether a place holds Winogender, by the header of its file of sentences.

    Args:
        name_or_path: As in `load_winogender`.
    """
    path = Path(name_or_path)
    path = path / SENTENCES if path.is_dir() else path
    is_table = path.name.removesuffix(".gz").endswith(".tsv") and path.is_file()
    return is_table and tuple(_header(first_line(path))) == COLUMNS


def _header(text: str) -> list[str]:
    return text.partition("\n")[0].strip("\r").split("\t")


def _lines(source: TextSource, faults: Faults) -> Iterator[tuple[str, Mapping[Any, object]]]:
    """Rows of a tab-separated file, without quoting; the first row below the header is row 1."""
    if tuple(_header(source.text)) != COLUMNS:
        faults.add("header", "columns", f"are {_header(source.text)!r:.60}", f"give {COLUMNS}")
        return
    lines = source.text.splitlines()
    for number, row in enumerate(csv.DictReader(lines, delimiter="\t", quoting=csv.QUOTE_NONE), 1):
        yield str(number), {key: value for key, value in row.items() if isinstance(key, str)}


def _share_of_women(source: TextSource) -> dict[str, float]:
    """Percentage of women in each occupation, by the Bureau of Labor Statistics."""
    found: dict[str, float] = {}
    faults = Faults(source.location)
    rows = csv.DictReader(source.text.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE)
    for number, row in enumerate(rows, start=1):
        value = row.get(_PERCENT_FEMALE)
        try:
            percent = float(value or "")
        except ValueError:
            percent = -1.0
        if not 0 <= percent <= 100 or not row.get("occupation"):
            faults.add(str(number), _PERCENT_FEMALE, f"is {value!r:.60}", "give a percentage")
        else:
            found[row["occupation"]] = percent
    faults.raise_all()
    return found


def _sentences(
    rows: Iterator[tuple[str, Mapping[Any, object]]], faults: Faults, women: Mapping[str, float]
) -> tuple[Coreference, ...]:
    found = (_item(row, value, faults, women) for row, value in rows)
    return tuple(item for item in found if item is not None)


def _from_hub(source: TableSource, faults: Faults) -> tuple[Coreference, ...]:
    """Sentences of the part `all`; those of the part `gotcha` oppose the statistics."""
    gotcha = {row.get(COLUMNS[0]) for row in source.tables.get(_HUB_GOTCHA, ())}
    tables = (rows for table, rows in source.tables.items() if table != _HUB_GOTCHA)
    rows = (row for table in tables for row in table)
    items = _sentences(((str(i), {**row}) for i, row in enumerate(rows, start=1)), faults, {})
    if not gotcha:
        return items
    return tuple(
        item if item.gender == "neutral" else replace(item, follows=item.id not in gotcha)
        for item in items
    )


def _item(
    row: str, value: Mapping[Any, object], faults: Faults, women: Mapping[str, float]
) -> Coreference | None:
    before = len(faults.lines)
    identity, sentence = (read_text(value, name, row, faults) for name in COLUMNS)
    parts = (identity or "").removesuffix(".txt").split(".")
    if identity is not None and len(parts) != 4:
        mend = "give OCCUPATION.PARTICIPANT.ANSWER.GENDER.txt"
        faults.add(row, "sentid", f"is {identity!r:.60}", mend)
    if sentence is None or len(faults.lines) > before:
        return None
    occupation, participant, answer, gender = parts
    faults.is_new_id(identity or "", row, "sentid")
    read_choice(answer, _ANSWERS, (row, "sentid: answer"), faults)
    if read_choice(gender, _GENDERS, (row, "sentid: gender"), faults) is None:
        return None
    pronouns = re.findall(rf"\b({'|'.join(OF_GENDER[gender])})\b", sentence, re.IGNORECASE)
    if len(pronouns) != 1:
        mend = f"give one of {', '.join(OF_GENDER[gender])} once"
        faults.add(row, "sentence", f"holds {len(pronouns)} {gender} pronouns", mend)
    if len(faults.lines) > before:
        return None
    return Coreference(
        id=str(identity),
        category=ROLES[int(answer)],
        target=occupation,
        sentence=sentence,
        pronoun=pronouns[0],
        gender=cast("Gender", gender),
        candidates=(occupation, participant),
        right=int(answer),
        follows=_follows(gender, int(answer), women.get(occupation)),
    )


def _follows(gender: str, answer: int, percent_female: float | None) -> bool | None:
    """Whether the right answer is the one that the majority in the occupation suggests.

    A pronoun of the majority's gender suggests the occupation, the other one the participant.
    """
    if percent_female is None or gender == "neutral" or percent_female == _TIE:
        return None
    suggests_occupation = (percent_female > _TIE) == (gender == "female")
    return suggests_occupation == (answer == 0)

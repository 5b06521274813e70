"""Local files as data sets of the harness; its task files name these functions.

Each is called with the harness's metadata, in which the place stands under the task's name.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any

import datasets

from unskew.data.sources import TableSource, open_folder
from unskew.errors import DataError

LETTERS = "ABCD"


def arc(**metadata: Any) -> dict[str, datasets.Dataset]:
    """ARC: question, four options and the letter of the right one in each row of a CSV.

    Raises:
        DataError: No place was named, or a row is not of that form.
    """
    return _split(_four_options(_place("unskew_arc", metadata)))


def mmlu(**metadata: Any) -> dict[str, datasets.Dataset]:
    """MMLU: as ARC; the subject is the name of the file, `college_physics_test.csv`.

    Raises:
        DataError: No place was named, or a row is not of that form.
    """
    return _split(_four_options(_place("unskew_mmlu", metadata)))


def gsm8k(**metadata: Any) -> dict[str, datasets.Dataset]:
    """GSM8K: `question` and `answer` in each of the JSON lines.

    Raises:
        DataError: No place was named, or a line is not of that form.
    """
    return _split(_questions(_place("unskew_gsm8k", metadata)))


def _place(task: str, metadata: dict[str, Any]) -> str:
    place = metadata.get(task)
    if not place:
        raise DataError(
            f"{task}: no place was named; unskew: --benchmarks lm_eval:{task}:PLACE, "
            f'lm_eval: --metadata \'{{"{task}": "PLACE"}}\''
        )
    return str(place)


def _split(rows: Iterator[dict[str, Any]]) -> dict[str, datasets.Dataset]:
    return {"test": datasets.Dataset.from_list(list(rows))}


def _texts(place: str, suffix: str) -> Iterator[tuple[str, str, str]]:
    """Location, name and text of each file."""
    for source in open_folder(place, (suffix,)):
        if isinstance(source, TableSource):
            raise DataError(f"{place} is no {suffix} file or folder of them; name one")
        yield source.location, source.name, source.text


def _four_options(place: str) -> Iterator[dict[str, Any]]:
    for location, name, text in _texts(place, ".csv"):
        subject = name.removesuffix("_test").replace("_", " ")
        for number, row in enumerate(csv.reader(io.StringIO(text, newline="")), start=1):
            if len(row) != 6 or row[5] not in LETTERS or not row[5]:
                raise DataError(
                    f"{location}:{number}: {len(row)} cells, the last {row[-1:]}; each row is "
                    "question, four options and one of A, B, C, D, without a header"
                )
            answer = LETTERS.index(row[5])
            yield {"question": row[0], "choices": row[1:5], "answer": answer, "subject": subject}


def _questions(place: str) -> Iterator[dict[str, Any]]:
    for location, _, text in _texts(place, ".jsonl"):
        for number, line in enumerate(text.split("\n"), start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                yield {"question": str(row["question"]), "answer": str(row["answer"])}
            except (ValueError, KeyError, TypeError) as error:
                raise DataError(
                    f'{location}:{number}: each line is {{"question": ..., "answer": ...}} '
                    f"({type(error).__name__} {error})"
                ) from error

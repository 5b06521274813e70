"""JSON of a data file, with errors that name the place where it breaks."""

from __future__ import annotations

import json
from collections.abc import Iterator

from unskew.data.records import Faults
from unskew.data.sources import TextSource
from unskew.errors import DataError


def json_value(text: str) -> object:
    """Value of a JSON text, None where it is none. `null` is no row either."""
    try:
        return json.loads(text)
    # Numbers of thousands of digits are a ValueError, and so are broken texts.
    except (ValueError, RecursionError):
        return None


def read_json(source: TextSource) -> object:
    """Value of a file that is JSON as a whole.

    Raises:
        DataError: It is none; line and column are named.
    """
    try:
        return json.loads(source.text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{source.location}:{error.lineno}: column {error.colno}: broken JSON "
            f"({error.msg}); the file may be truncated, fetch or write it again"
        ) from error
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{source.location}: the JSON cannot be read ({error}); write it again"
        ) from error


def json_lines(text: str, faults: Faults) -> Iterator[tuple[str, object]]:
    """Number and value of each line that is not blank; one that is no JSON is noted as a fault."""
    for i, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        value = json_value(line)
        if value is None:
            faults.add(str(i), "line", "is not JSON", "write one JSON object on each line")
        else:
            yield str(i), value

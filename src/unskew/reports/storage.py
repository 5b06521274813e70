"""Files of a run: written whole or not at all, read with errors that name file and place."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from pydantic import TypeAdapter, ValidationError

from unskew.chat import ChatRequest, Conversation
from unskew.errors import DataError
from unskew.files import write_text
from unskew.types import Answer, Request, SampleScore

_SAMPLE = TypeAdapter(SampleScore)


@dataclass(frozen=True, slots=True)
class _Said:
    id: str
    turns: tuple[str, ...]
    replies: tuple[str, ...]


_CONVERSATION = TypeAdapter(_Said)


def read_json(path: Path) -> Any:
    """Parse a JSON file of a run.

    Raises:
        DataError: It does not exist or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(
            f"{path} does not exist; name the --output-dir of an unlearn or evaluate run"
        ) from error
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as JSON: {error}") from error


def problems_of(error: ValidationError) -> tuple[str, ...]:
    """One line for each fault: dotted place and what is wrong there."""
    return tuple(
        f"{'.'.join(str(step) for step in e['loc']) or 'record'}: {e['msg']}"
        for e in error.errors(include_url=False)
    )


def samples_path(run_dir: Path, phase: str, benchmark: str) -> Path:
    """Where the per-example scores of a phase lie; names are percent-encoded to be safe."""
    return run_dir / "samples" / f"{quote(phase, safe='')}-{quote(benchmark, safe='')}.jsonl"


def has_samples(run_dir: Path, phase: str) -> bool:
    """Whether a phase left scores of single examples."""
    start = samples_path(run_dir, phase, "").name.removesuffix(".jsonl")
    folder = run_dir / "samples"
    return folder.is_dir() and any(f.name.startswith(start) for f in folder.iterdir())


def write_samples(run_dir: Path, phase: str, benchmark: str, scores: Iterable[SampleScore]) -> Path:
    """Write one JSON object per example: id, category, target, values.

    Raises:
        DataError: A value is NaN or infinite.
        StorageError: The file could not be written.
    """
    lines = []
    for score in scores:
        row = {
            "id": score.id,
            "category": score.category,
            "target": score.target,
            "values": dict(score.values),
        }
        try:
            lines.append(json.dumps(row, ensure_ascii=False, allow_nan=False))
        except ValueError as error:
            raise DataError(
                f"sample {score.id!r} of {benchmark} has a value that is not finite"
            ) from error
    return write_text(samples_path(run_dir, phase, benchmark), "".join(f"{x}\n" for x in lines))


def read_samples(run_dir: Path, phase: str, benchmark: str) -> list[SampleScore]:
    """Read what `write_samples` wrote, in the same order.

    Raises:
        DataError: The file does not exist or a line breaks the format; the line is named.
    """
    path = samples_path(run_dir, phase, benchmark)
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the samples {path} cannot be read: {error}") from error
    scores = []
    for number, line in enumerate(lines, start=1):
        if line:
            try:
                scores.append(_SAMPLE.validate_json(line))
            except ValidationError as error:
                raise DataError(f"{path}, line {number}: {problems_of(error)[0]}") from error
    return scores


def write_conversations(
    run_dir: Path,
    phase: str,
    benchmark: str,
    requests: Mapping[str, Request],
    answers: Mapping[str, Answer],
) -> Path:
    """Write what was said, one JSON object per dialogue: id, turns, replies.

    Raises:
        StorageError: The file could not be written.
    """
    path = run_dir / "generated" / samples_path(run_dir, phase, benchmark).name
    rows = [
        {"id": i, "turns": list(request.turns), "replies": list(answer.replies)}
        for i, request in requests.items()
        if isinstance(request, ChatRequest) and isinstance(answer := answers[i], Conversation)
    ]
    return write_text(path, "".join(json.dumps(r, ensure_ascii=False) + "\n" for r in rows))


def read_conversations(path: Path) -> dict[str, tuple[tuple[str, ...], tuple[str, ...]]]:
    """Turns and replies of each dialogue that `write_conversations` wrote, by id.

    Raises:
        DataError: The file does not exist or a line breaks the format; the line is named.
    """
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"the replies {path} cannot be read: {error}") from error
    found: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {}
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            row = _CONVERSATION.validate_json(line)
        except ValidationError as error:
            raise DataError(f"{path}, line {number}: {problems_of(error)[0]}") from error
        if row.id in found or len(row.turns) != len(row.replies):
            raise DataError(
                f"{path}, line {number}: {row.id} stands there twice or lacks a reply to a "
                "turn; delete the line or name another file"
            )
        found[row.id] = row.turns, row.replies
    return found

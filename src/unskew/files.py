"""Writing files so that a crash or a full disk leaves what was there before."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from unskew.errors import StorageError


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A temporary folder that becomes `target` when the block ends well.

    Raises:
        StorageError: Writing failed, e.g. the disk is full; `target` is as it was before.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        yield work
        work.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        work.replace(target)
    except BaseException as error:
        shutil.rmtree(work, ignore_errors=True)
        if _is_storage_failure(error):
            raise StorageError(_explain(target, error)) from error
        raise


def write_text(target: Path, text: str) -> None:
    """Write a file at once or not at all.

    Raises:
        StorageError: Writing failed; the file is as it was before.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
    except OSError as error:
        raise StorageError(_explain(target, error)) from error
    work = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as stream:
            stream.write(text)
        work.chmod(0o644)
        work.replace(target)
    except OSError as error:
        work.unlink(missing_ok=True)
        raise StorageError(_explain(target, error)) from error


def write_json(target: Path, value: Any) -> None:
    """Write JSON at once or not at all; floats keep every digit, NaN is refused.

    Raises:
        StorageError: Writing failed; the file is as it was before.
    """
    write_text(target, json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def _is_storage_failure(error: BaseException) -> bool:
    # safetensors reports a full disk as its own exception type, whose text carries the cause.
    return isinstance(error, OSError) or "No space left" in str(error)


def _explain(target: Path, error: BaseException) -> str:
    cause = getattr(error, "strerror", None) or str(error)
    return (
        f"cannot write {target}: {cause}; what was there before is intact. "
        "Free some space or choose another --output-dir, then go on with --resume"
    )

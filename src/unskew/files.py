"""Writing files so that a crash or a full disk leaves what was there before."""

from __future__ import annotations

import json
import os
import secrets
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
    work = _beside(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        work.mkdir()
        yield work
        _put_in_place(work, target)
    except BaseException as error:
        shutil.rmtree(work, ignore_errors=True)
        if _is_storage_failure(error):
            raise StorageError(_explain(target, error)) from error
        raise


def write_text(target: Path, text: str) -> Path:
    """Write a UTF-8 file at once or not at all, making its folder where needed.

    Raises:
        StorageError: Writing failed; the file is as it was before.
    """
    return write_bytes(target, text.encode())


def write_bytes(target: Path, content: bytes) -> Path:
    """Write a file at once or not at all, making its folder where needed.

    Raises:
        StorageError: Writing failed; the file is as it was before.
    """
    work: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=f".{target.name}-", dir=target.parent)
        work = Path(name)
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        # A temporary file is private to its owner; the result follows the usual umask.
        work.chmod(0o666 & ~_umask())
        work.replace(target)
    except OSError as error:
        if work is not None:
            work.unlink(missing_ok=True)
        raise StorageError(_explain(target, error)) from error
    return target


def is_taken(folder: Path) -> bool:
    """Whether there is a file or a folder with something in it."""
    return folder.exists() and (not folder.is_dir() or any(folder.iterdir()))


def _umask() -> int:
    mask = os.umask(0o022)
    os.umask(mask)
    return mask


def write_json(target: Path, value: Any) -> None:
    """Write JSON at once or not at all; floats keep every digit, NaN is refused.

    Raises:
        StorageError: Writing failed; the file is as it was before.
    """
    write_text(target, json.dumps(value, indent=1, allow_nan=False, ensure_ascii=False) + "\n")


def _beside(target: Path) -> Path:
    """A name nobody uses, on the same file system."""
    return target.with_name(f".{target.name}-{secrets.token_hex(4)}")


def _put_in_place(work: Path, target: Path) -> None:
    """Rename; a folder that is there already is moved aside and removed last."""
    if not target.exists():
        work.replace(target)
        return
    aside = _beside(target)
    target.replace(aside)
    try:
        work.replace(target)
    except OSError:
        aside.replace(target)
        raise
    shutil.rmtree(aside)


def _is_storage_failure(error: BaseException) -> bool:
    # safetensors reports a full disk as its own exception type, whose text carries the cause.
    return isinstance(error, OSError) or "I/O error" in str(error)


def _explain(target: Path, error: BaseException) -> str:
    cause = getattr(error, "strerror", None) or str(error)
    return (
        f"cannot write {target}: {cause}; what was there before is intact. "
        "Free some space or choose another --output-dir, then go on with --resume"
    )

"""Find a data set by path or hub id and read it whole, with its checksum. Never runs its code."""

from __future__ import annotations

import gzip
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from unskew.errors import ConfigError, DataError, MissingDataset
from unskew.registry import nearest

_DATA_SUFFIXES = (".json", ".jsonl", ".ndjson", ".csv")
_FILE_SUFFIXES = (*_DATA_SUFFIXES, ".txt")
_GZIP_MAGIC = b"\x1f\x8b"
_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[\w.-]+")
_SAVED_DATASET = ("dataset_dict.json", "dataset_info.json", "state.json")
_HUB_CONFIGURATIONS = {
    "McGill-NLP/stereoset": ("intersentence", "intrasentence"),
    "Salesforce/wikitext": ("wikitext-2-raw-v1",),
    "jannalu/crows_pairs_multilingual": ("english",),
    "oskarvanderwal/winogender": ("all", "gotcha"),
}

Row = Mapping[str, object]


@dataclass(frozen=True, slots=True)
class TextSource:
    """A data file, decoded."""

    name: str
    location: str
    sha256: str
    """Of the bytes on disk, compressed or not."""
    text: str


@dataclass(frozen=True, slots=True)
class TableSource:
    """Tables of a `datasets` folder or a hub id."""

    name: str
    location: str
    sha256: str
    """Of the rows, written as JSON with sorted keys."""
    tables: Mapping[str, tuple[Row, ...]]
    """Rows by the name of the split or configuration; one unnamed table has the name ''."""


def open_source(
    name_or_path: str, revision: str | None = None, configuration: str | None = None
) -> TextSource | TableSource:
    """Read a local file, a gzipped one, a folder, or a data set of the Hugging Face hub.

    Args:
        name_or_path: What exists locally wins over a hub id of the same spelling.
        revision: Branch, tag or commit of a hub id.
        configuration: Part of a hub id that has several; a local path is read as it is.

    Raises:
        MissingDataset: Nothing of that name; the nearest existing name is given.
        DataError: Empty, truncated, not UTF-8, or several files where one is needed.
        ConfigError: A revision was given for a local path.
    """
    path = Path(name_or_path)
    try:
        exists = bool(name_or_path) and path.exists()
    except (OSError, ValueError):
        exists = False
    if not exists:
        if not looks_like_hub_id(name_or_path):
            raise _missing(name_or_path)
        return _read_hub(name_or_path, revision, configuration)
    if revision is not None:
        raise ConfigError(
            f"revision {revision!r} was given for the local path {name_or_path}, which has none; "
            "leave it out or name a hub id"
        )
    if path.is_dir():
        if is_saved_dataset(path):
            return _read_saved(path)
        path = _only_data_file(path)
    return _read_file(path)


def open_folder(
    name_or_path: str,
    suffixes: tuple[str, ...],
    revision: str | None = None,
    configuration: str | None = None,
    depth: int = 1,
) -> list[TextSource | TableSource]:
    """As `open_source`, but of a folder every file whose name ends in one of the suffixes.

    Args:
        name_or_path: As in `open_source`.
        suffixes: E.g. `(".jsonl",)`; each also with `.gz`.
        revision: As in `open_source`.
        configuration: As in `open_source`.
        depth: Levels of folders to look through, at least 1.

    Raises:
        DataError: The folder holds no such file, or as in `open_source`.
    """
    folder = Path(name_or_path)
    if not folder.is_dir() or is_saved_dataset(folder):
        return [open_source(name_or_path, revision, configuration)]
    found = _files_ending(folder, suffixes, depth)
    if not found:
        raise DataError(
            f"{folder}: holds no file that ends in {', '.join(suffixes)} (each also with .gz); "
            "name the file itself"
        )
    return [open_source(str(path), revision) for path in found]


def joint_sha256(sources: Sequence[TextSource | TableSource]) -> str:
    """Checksum of several sources in their order; of a single one its own."""
    joined = "".join(source.sha256 for source in sources)
    return joined if len(sources) == 1 else hashlib.sha256(joined.encode()).hexdigest()


def first_line(path: Path) -> str:
    """First line of a file, also a gzipped one; empty where it cannot be read as text."""
    return _read_some(path, lambda file: file.readline()).rstrip("\r\n")


def beginning(path: Path, characters: int) -> str:
    """The first characters of a file, also a gzipped one; empty where it cannot be read as text."""
    return _read_some(path, lambda file: file.read(characters))


def looks_like_hub_id(name: str) -> bool:
    """`org/name`, unless the first part is a folder here or the last part names a data file."""
    if not _HUB_ID.fullmatch(name) or Path(name).parent.is_dir():
        return False
    return not name.removesuffix(".gz").endswith(_FILE_SUFFIXES)


def is_saved_dataset(folder: Path) -> bool:
    """Whether `datasets` saved the folder, going by names of files."""
    return any((folder / name).is_file() for name in _SAVED_DATASET)


def _read_some(path: Path, read: Callable[[IO[str]], str]) -> str:
    opened: Callable[..., IO[str]] = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8-sig", errors="replace") as file:
            return read(file)
    except (OSError, EOFError, zlib.error):
        return ""


def _missing(name: str) -> MissingDataset:
    folder = Path(name).parent
    try:
        present = sorted(p.name for p in folder.iterdir())
    except (OSError, ValueError):
        return MissingDataset(
            f"no data set {name!r}: the folder {str(folder)!r} does not exist either; "
            "give a file, a folder or a hub id such as McGill-NLP/stereoset"
        )
    return MissingDataset(
        f"no data set {name!r} in the folder {str(folder)!r}{nearest(Path(name).name, present)}; "
        "give a file, a folder or a hub id such as McGill-NLP/stereoset"
    )


def _only_data_file(folder: Path) -> Path:
    found = _files_ending(folder, _DATA_SUFFIXES)
    if len(found) == 1:
        return found[0]
    listed = ", ".join(p.name for p in found) or "none"
    raise DataError(
        f"{folder}: one data file is needed and the folder holds {listed}; name the file itself "
        f"(files end in {', '.join(_DATA_SUFFIXES)}, each also with .gz)"
    )


def _files_ending(folder: Path, suffixes: tuple[str, ...], depth: int = 1) -> list[Path]:
    levels = ("/".join("*" * level) for level in range(1, depth + 1))
    try:
        # Globbing passes over a folder that cannot be read.
        next(folder.iterdir(), None)
        files = sorted(p for level in levels for p in folder.glob(level) if p.is_file())
    except OSError as error:
        raise DataError(f"{folder}: cannot be read: {error.strerror}; check the rights") from error
    return [p for p in files if p.name.removesuffix(".gz").endswith(suffixes)]


def _read_file(path: Path) -> TextSource:
    try:
        stored = path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: cannot be read: {error.strerror}; check the rights") from error
    content = _decompressed(path, stored)
    if not content.strip():
        raise DataError(f"{path}: the file is empty; give a file with at least one row")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8, "
            f"for example with `iconv -f latin1 -t utf-8 {path.name}`"
        ) from error
    name = Path(path.name.removesuffix(".gz")).stem
    return TextSource(name, str(path), hashlib.sha256(stored).hexdigest(), text)


def _decompressed(path: Path, stored: bytes) -> bytes:
    if not (stored.startswith(_GZIP_MAGIC) or path.suffix == ".gz"):
        return stored
    try:
        return gzip.decompress(stored)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path}: broken gzip ({error}); fetch or compress it again") from error


def _read_saved(folder: Path) -> TableSource:
    import datasets

    try:
        loaded = datasets.load_from_disk(str(folder))
        return _as_tables(folder.name, str(folder), loaded)
    # Arrow, fsspec and datasets raise errors of their own for a damaged folder; none is a bug here.
    except Exception as error:
        raise DataError(
            f"{folder}: is not a folder that Dataset.save_to_disk wrote ({_first_line(error)}); "
            "save it again"
        ) from error


def _read_hub(name: str, revision: str | None, configuration: str | None) -> TableSource:
    import datasets
    from datasets.config import HF_HUB_OFFLINE

    location = f"{name}@{revision}" if revision else name
    configurations = (configuration,) if configuration else _HUB_CONFIGURATIONS.get(name)
    try:
        if configurations is None:
            return _as_tables(name, location, datasets.load_dataset(name, revision=revision))
        loaded = {c: datasets.load_dataset(name, c, revision=revision) for c in configurations}
        if len(loaded) == 1:
            return _as_tables(name, location, *loaded.values())
        merged = {c: datasets.concatenate_datasets(list(d.values())) for c, d in loaded.items()}
        return _as_tables(name, location, merged)
    # Whatever stops the hub client, the remedy is the same; its own words are passed on.
    except Exception as error:
        offline = " (HF_HUB_OFFLINE is set)" if HF_HUB_OFFLINE else ""
        raise MissingDataset(
            f"no data set {location!r} here or in the local hub cache{offline}: "
            f"{_first_line(error)}; run `hf download --repo-type dataset {name}` where there is a "
            "network, or name a local file"
        ) from error


def _as_tables(name: str, location: str, loaded: object) -> TableSource:
    """Turn a Dataset, or a mapping of names to Datasets, into rows."""
    parts = loaded if isinstance(loaded, Mapping) else {"": loaded}
    tables = {str(key): _rows(part) for key, part in parts.items()}
    return TableSource(name, location, _rows_sha256(tables), tables)


def _rows(part: object) -> tuple[Row, ...]:
    if not isinstance(part, Iterable):
        raise TypeError(f"{type(part).__name__} has no rows")
    return tuple(part)


def _rows_sha256(tables: Mapping[str, tuple[Row, ...]]) -> str:
    digest = hashlib.sha256()
    for name, rows in sorted(tables.items()):
        digest.update(json.dumps(name).encode())
        for row in rows:
            digest.update(json.dumps(row, sort_keys=True, default=repr).encode())
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]

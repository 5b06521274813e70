"""Files and folders appear whole or not at all."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest
from safetensors import SafetensorError

from unskew.errors import StorageError
from unskew.files import atomic_folder, write_json, write_text


def _names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_folder_replaces_the_one_before(tmp_path):
    target = tmp_path / "deep" / "best"
    for text in ("old", "new"):
        with atomic_folder(target) as work:
            (work / f"{text}.txt").write_text(text)
            assert work.parent == target.parent
    assert _names(target) == ["new.txt"]
    assert _names(target.parent) == ["best"]


FULL = "No space left on device"


@pytest.mark.parametrize(
    "error",
    [OSError(errno.ENOSPC, FULL), SafetensorError(f"Error while serializing: I/O error: {FULL}")],
)
def test_a_full_disk_leaves_the_folder_before(tmp_path, error):
    target = tmp_path / "best"
    with atomic_folder(target) as work:
        (work / "old.txt").write_text("old")
    message = rf"cannot write .*best: .*{FULL}; what was there"
    with pytest.raises(StorageError, match=message), atomic_folder(target) as work:
        (work / "half.txt").write_text("ha")
        raise error
    assert _names(target) == ["old.txt"]
    assert _names(tmp_path) == ["best"]


def test_another_error_passes_through(tmp_path):
    with pytest.raises(KeyError), atomic_folder(tmp_path / "best"):
        raise KeyError
    assert _names(tmp_path) == []


def test_when_the_last_rename_fails_the_folder_before_comes_back(tmp_path, monkeypatch):
    target = tmp_path / "best"
    with atomic_folder(target) as work:
        (work / "old.txt").write_text("old")
    replace = Path.replace

    def fail(self, other):
        if Path(other) == target and (self / "new.txt").exists():
            raise OSError(errno.EIO, "Input/output error")
        return replace(self, other)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(StorageError, match="Input/output error"), atomic_folder(target) as work:
        (work / "new.txt").write_text("new")
    assert _names(target) == ["old.txt"]
    assert _names(tmp_path) == ["best"]


def test_a_folder_that_cannot_be_made_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"), atomic_folder(tmp_path / "file" / "x"):
        pass
    with pytest.raises(StorageError, match="cannot write"):
        write_text(tmp_path / "file" / "x.txt", "text")


def test_text_is_replaced_or_left_alone(tmp_path, monkeypatch):
    target = tmp_path / "deep" / "a.txt"
    write_text(target, "é\nold")
    assert target.read_bytes() == "é\nold".encode()

    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("unskew.files.os.fsync", full)
    with pytest.raises(StorageError, match=r"a\.txt: No space left on device; .* --resume"):
        write_text(target, "new")
    assert target.read_text("utf-8") == "é\nold"
    assert _names(target.parent) == ["a.txt"]


def test_json_keeps_every_digit_and_refuses_nan(tmp_path):
    value = {"x": 0.1 + 0.2, "y": [1e-300, 3]}
    write_json(tmp_path / "a.json", value)
    assert json.loads((tmp_path / "a.json").read_text()) == value
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert json.loads((tmp_path / "a.json").read_text()) == value

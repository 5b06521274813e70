"""Taking an output folder, so that no run is written over another."""

from __future__ import annotations

from pathlib import Path

from unskew.errors import ConfigError
from unskew.files import is_taken, write_text
from unskew.training.launch import wait_for_everyone


def claim_folder(folder: Path, config_yaml: str, *, resume: bool) -> None:
    """Take an output folder for a run, or go on in it.

    Raises:
        ConfigError: Another run is in it, or there is nothing to resume with these settings.
    """
    path = folder / "config.yaml"
    if path.is_file():
        same = path.read_text(encoding="utf-8") == config_yaml
        if not resume:
            raise ConfigError(
                f"{folder} already holds a run; go on with --resume or choose another --output-dir"
            )
        if not same:
            raise ConfigError(
                f"{folder} holds a run with other settings (its config.yaml differs); resume with "
                "the same settings or choose another --output-dir"
            )
        return
    if folder.exists() and not folder.is_dir():
        raise ConfigError(f"{folder} is a file; choose another --output-dir")
    if folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{folder} is not empty and holds no run; choose another --output-dir")
    write_text(path, config_yaml)


def new_folder(output_dir: str | Path) -> Path:
    """A folder with nothing in it yet.

    Raises:
        ConfigError: There is something in it.
    """
    folder = Path(output_dir)
    taken = is_taken(folder)
    wait_for_everyone()
    if taken:
        raise ConfigError(f"{folder} already holds something; choose another --output-dir")
    return folder

"""The run that made an artefact, and how much of its effect is kept on a sibling."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unskew.comparison.kept import share_kept
from unskew.errors import ConfigError, DataError
from unskew.hub.artifacts import read_manifest
from unskew.reports.record import RECORD_FILE, NotMeasured, RunRecord
from unskew.reports.transfer_record import Kept

__all__ = ["OriginalRun", "kept_of", "original_of"]


@dataclass(frozen=True, slots=True)
class OriginalRun:
    """The run that made an artefact."""

    folder: Path
    record: RunRecord


def original_of(artifact: Path, given: str | Path | None) -> OriginalRun | str:
    """The run that made an artefact, or why it is not known.

    Args:
        artifact: Folder of the artefact.
        given: Folder of the run; the one around the artefact if None.

    Raises:
        ConfigError: The run that was given made another artefact.
        DataError: It has no record that can be read.
    """
    folder = artifact.resolve().parent if given is None else Path(given)
    if given is None and not (folder / RECORD_FILE).is_file():
        return "the artefact lies in no run's folder; name the run that made it (--original-run)"
    try:
        record = RunRecord.load(folder)
    except DataError as error:
        if given is not None:
            raise
        return str(error)
    manifest = read_manifest(artifact)
    if manifest is None or manifest.config_sha256 == record.config_sha256:
        return OriginalRun(folder, record)
    why = f"{folder} did not make the artefact, whose settings were others (config_sha256)"
    if given is not None:
        raise ConfigError(f"{why}; name the run that did")
    return f"{why}; name the run that did (--original-run)"


def kept_of(
    carried: tuple[Path, RunRecord], original: OriginalRun | str, *, seed: int
) -> tuple[list[Kept], list[NotMeasured]]:
    """The share of the effect that is left on the sibling, or why it is not known.

    Args:
        carried: Folder and record of the transfer.
        original: What `original_of` found.
        seed: Of the bootstrap.
    """
    what = "share of the effect that is kept"
    if isinstance(original, str):
        return [], [NotMeasured(what=what, why=original)]
    try:
        found = share_kept(carried, (original.folder, original.record), seed=seed)
    except DataError as error:
        return [], [NotMeasured(what=what, why=str(error))]
    unclear = "on the base the effect itself is not told from none on these items"
    return found, [
        NotMeasured(what=f"{what}: {k.metric} ({k.variant})", why=unclear)
        for k in found
        if k.share is None
    ]

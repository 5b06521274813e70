"""Carrying what one run left to the sibling of its model, as a job beside other runs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from unskew.datasource import RunData
from unskew.errors import ConfigError
from unskew.files import atomic_folder, is_taken
from unskew.hub.carry import left_by
from unskew.reports.record import RECORD_FILE, RunRecord
from unskew.schema import RunConfig
from unskew.stages.workshop import Tell
from unskew.transferring import settings_sha256, transfer

__all__ = ["Carrying"]


@dataclass(frozen=True, slots=True)
class Carrying:
    """What a finished run left, put on a sibling of its model and measured like that run."""

    source: Path
    """Folder of the run."""
    settings: RunConfig
    """That hold on the sibling: its model, the run's data and evaluation, the seed."""

    def sha256(self) -> str:
        """Hash of what is carried, by its content, and of model, data, evaluation and seed.

        Raises:
            ArtifactError: The run left nothing that can be carried.
        """
        own = self.settings
        measured = (RunData(own.data), own.evaluation)
        return settings_sha256(left_by(self.source), own.model, *measured, seed=own.seed)

    def run(self, folder: Path, tell: Tell) -> object:
        """Measure the sibling without and with it; the folder is there when all is done.

        Raises:
            ConfigError: There is something else in the folder.
            UnskewError: See `transfer`.
        """
        # A process may end between a whole folder and the word that it is whole.
        if (folder / RECORD_FILE).is_file() and _made_as(folder) == self.sha256():
            tell(f"{folder} holds a finished transfer; there is nothing left to do")
            return None
        if is_taken(folder):
            raise ConfigError(
                f"{folder} holds what was carried with other settings or from another artefact; "
                "take it away, or choose another --output-dir"
            )
        artifact, model = left_by(self.source), self.settings.model
        tell(f"carrying {artifact} to {model.name_or_path}")
        # What was cut off costs two evaluations and leaves nothing to go on with.
        with atomic_folder(folder) as work:
            return transfer(
                artifact,
                model.name_or_path,
                output_dir=work,
                like=self.source,
                model_options=model.model_dump(exclude={"name_or_path"}),
                seed=self.settings.seed,
            )


def _made_as(folder: Path) -> str:
    return RunRecord.load(folder).config_sha256

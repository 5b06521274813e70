"""From what a run left to a repository of the Hugging Face hub, with its model card."""

from __future__ import annotations

import shlex
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path

from unskew.errors import ArtifactError, HubRefused
from unskew.files import atomic_folder
from unskew.hub.artifacts import MANIFEST, read_manifest
from unskew.hub.upload import check_card, check_repo_id, is_offline_mode, upload
from unskew.output import new_folder
from unskew.recipes import read_yaml
from unskew.reports.card import kind_of, write_model_card
from unskew.reports.record import RECORD_FILE, RunRecord

CONFIG_FILE = "config.yaml"
KINDS = ("adapter", "delta", "projection", "decoder", "model")


@dataclass(frozen=True, slots=True)
class Pushed:
    """A folder with its card, and where it went."""

    folder: Path
    url: str | None
    """Of the commit; None where nothing was uploaded."""
    later: str
    """Command that uploads the folder."""


@dataclass(frozen=True, slots=True)
class Upload:
    """How a folder is uploaded."""

    private: bool = False
    """Of a repository that is made now; one that is there stays what it is."""
    revision: str | None = None
    """Branch, made where needed; the main one if None."""
    commit_message: str = "Upload what unskew made"

    def command(self, folder: Path, repo_id: str) -> str:
        """The same by the hub's own command line."""
        words = ["hf", "upload", repo_id, str(folder), ".", "--commit-message", self.commit_message]
        words += ["--private"] * self.private
        return shlex.join(words + (["--revision", self.revision] if self.revision else []))


def push(
    artifact: str | Path,
    repo_id: str,
    *,
    output_dir: str | Path,
    run: str | Path | None = None,
    licence: str | None = None,
    how: Upload = Upload(),
    dry_run: bool = False,
) -> Pushed:
    """Write a folder with an artefact and its model card, and upload it unless that cannot be.

    Offline (`HF_HUB_OFFLINE`) and with `dry_run` the folder is written and nothing is uploaded.

    Args:
        artifact: Folder of a run, of what it left, or of a model that `merge` wrote.
        repo_id: `owner/name`.
        output_dir: A new folder; becomes what the repository holds.
        run: Folder of the run whose record the card shows; where the artefact lies if None.
        licence: The hub's word for it, e.g. `apache-2.0`; left out if None, as only you know it.
        how: Visibility, branch and message.
        dry_run: Upload nothing.

    Raises:
        ArtifactError: There is no artefact, no record of the run that made it, or the record is
            not of this artefact, so that the card would show another's numbers.
        ConfigError: `repo_id` is no name of a repository, or `output_dir` holds something.
        HubRefused: The upload failed. The folder is there; the message says how to go on.
    """
    check_repo_id(repo_id)
    source = _artifact_in(Path(artifact))
    run_dir = _run_of(source, run)
    record = RunRecord.load(run_dir)
    _refuse_others(source, record, run_dir)
    method, paper = _method(run_dir)
    target = new_folder(output_dir)
    with atomic_folder(target) as work:
        shutil.copytree(source, work, dirs_exist_ok=True)
        card = write_model_card(
            record, work, name=repo_id, method=method, paper=paper, licence=licence
        )
        check_card(card.read_text(encoding="utf-8"))
    later = how.command(target, repo_id)
    if dry_run or is_offline_mode():
        return Pushed(target, None, later)
    try:
        url = upload(target, repo_id, **asdict(how))
    except HubRefused as error:
        raise HubRefused(f"{error}. Nothing is lost: {later}") from error
    return Pushed(target, url, later)


def _artifact_in(folder: Path) -> Path:
    """The artefact that a folder is, or the one that a run's folder holds."""
    if kind_of(folder) is not None:
        return folder
    found = next((folder / k for k in KINDS if kind_of(folder / k) is not None), None)
    if found is None:
        raise ArtifactError(
            f"{folder} is no adapter, delta, projection, decoder or model, and holds none; give "
            "the folder of a run that changed a model, or of what `unskew merge` wrote"
        )
    return found


def _run_of(source: Path, run: str | Path | None) -> Path:
    folder = source.parent if run is None else Path(run)
    if not (folder / RECORD_FILE).is_file():
        raise ArtifactError(
            f"{folder} has no {RECORD_FILE}, so the card would have no numbers; name the run that "
            "made the artefact with --run"
        )
    return folder


def _refuse_others(source: Path, record: RunRecord, run_dir: Path) -> None:
    """Refuse a record that measured something else: another run, base, or an edited artefact."""
    manifest = read_manifest(source)
    if manifest is None:
        raise ArtifactError(
            f"{source} has no {MANIFEST}, so whose numbers are its own is not known"
        )
    measured = (
        [] if record.model is None else [(record.model.fingerprint, manifest.base_fingerprint)]
    )
    if record.recipe:
        measured.append((record.recipe, manifest.recipe))
        measured.append((record.config_sha256, manifest.config_sha256))
    if not measured or any(ours != theirs for ours, theirs in measured):
        raise ArtifactError(
            f"{run_dir} did not measure what is in {source}, by its {MANIFEST}; name the run that "
            "made it, unedited, or measure it anew (unskew evaluate) and write a card of your own"
        )


def _method(run_dir: Path) -> tuple[str, str | None]:
    """Description and source of the run's recipe."""
    path = run_dir / CONFIG_FILE
    settings = read_yaml(path) if path.is_file() else {}
    recipe = str(settings.get("recipe", "unskew"))
    return str(settings.get("description") or recipe), settings.get("source") or None

"""Saliency on disk: one safetensors file for each layer group, and what it was made of.

`saliency.json` holds the hashes by which it is told whether a stored saliency is still the one that
was asked for: of the base weights, the rows, the tokenizer, the shadow and the settings.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from unskew.errors import ArtifactError
from unskew.files import atomic_folder, write_json
from unskew.models.load import LoadedModel, fingerprint
from unskew.models.tokens import Tokens
from unskew.protocols import Saliency
from unskew.training.attribution import Attribution

INFO_FILE = "saliency.json"


@dataclass(frozen=True, slots=True)
class SaliencyInfo:
    """What a saliency was made of."""

    criterion: str
    settings: Mapping[str, Any]
    """Arguments of the criterion."""
    base_fingerprint: str
    tokenizer_fingerprint: str
    rows_sha256: str
    """Of the token ids and where scoring begins, in order."""
    num_rows: int
    shadow_sha256: str | None
    """Of the shadow's weights; None where the criterion uses none."""

    def sha256(self) -> str:
        """Hash of all of it: the name of the artefact."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()


def describe(
    name: str,
    criterion: Saliency,
    loaded: LoadedModel,
    rows: Sequence[Tokens],
    shadow: Path | None = None,
) -> SaliencyInfo:
    """What a saliency will be made of.

    Args:
        name: Of the criterion in its table.
        criterion: With its settings.
        loaded: The base model.
        rows: What the weights are held responsible for.
        shadow: Folder of the shadow's adapter.
    """
    digest = hashlib.sha256(json.dumps([[r.ids, r.first] for r in rows]).encode())
    return SaliencyInfo(
        criterion=name,
        settings=dict(vars(criterion)),
        base_fingerprint=fingerprint(loaded.model),
        tokenizer_fingerprint=loaded.encoder.fingerprint(),
        rows_sha256=digest.hexdigest(),
        num_rows=len(rows),
        shadow_sha256=_weights_sha256(shadow) if criterion.needs_shadow and shadow else None,
    )


def save_saliency(attribution: Attribution, info: SaliencyInfo, folder: Path) -> list[str]:
    """Run an attribution and write it, one group at a time; return what a reader should be told.

    Raises:
        ArtifactError: All scores are 0, or one is not finite.
        StorageError: It could not be written; an earlier artefact is intact.
    """
    files: dict[str, str] = {}
    warnings: list[str] = []
    zero: list[str] = []
    with atomic_folder(folder) as work:
        for number, scores in enumerate(attribution):
            file = f"saliency-{number:05d}.safetensors"
            for name, values in scores.items():
                _refuse_non_finite(name, values)
                files[name] = file
                zero += [] if values.any() else [name]
            save_file({n: v.contiguous() for n, v in scores.items()}, str(work / file))
        if len(zero) == len(files):
            raise ArtifactError(
                f"{info.criterion} is 0 for every weight; the shadow did not move, or the rows "
                "have no gradient"
            )
        complete = attribution.completeness
        if complete is not None and complete.warning:
            warnings.append(complete.warning)
        if zero:
            warnings.append(f"saliency is 0 all over {len(zero)} tensors, first {zero[0]}")
        ratio = {} if complete is None else {**asdict(complete), "ratio": complete.ratio}
        told = {"completeness": ratio, "warnings": warnings}
        write_json(
            work / INFO_FILE, {**asdict(info), "sha256": info.sha256(), **told, "files": files}
        )
    return warnings


class StoredSaliency(Mapping[str, Tensor]):
    """Scores by name of the weight, read from disk one at a time.

    Args:
        folder: Where `save_saliency` wrote.
        expected: What it must be made of; anything is accepted if None.

    Raises:
        ArtifactError: There is none, or it is made of something else.
    """

    def __init__(self, folder: Path, expected: SaliencyInfo | None = None) -> None:
        self.folder = folder
        try:
            self.info: dict[str, Any] = json.loads((folder / INFO_FILE).read_text("utf-8"))
            self._files: dict[str, str] = self.info["files"]
        except (OSError, ValueError, KeyError) as error:
            raise ArtifactError(f"no saliency can be read from {folder}: {error}") from error
        if expected is not None and self.info["sha256"] != expected.sha256():
            wanted = asdict(expected)
            odd = [key for key, value in wanted.items() if self.info.get(key) != value]
            raise ArtifactError(
                f"the saliency in {folder} was made of another {', '.join(odd)}; delete the folder "
                "to make it again"
            )

    def __getitem__(self, name: str) -> Tensor:
        path = self.folder / self._files[name]
        try:
            with safe_open(str(path), framework="pt") as stored:
                return stored.get_tensor(name)
        except (OSError, SafetensorError) as error:
            raise ArtifactError(
                f"{path} cannot be read: {error}; make the saliency again"
            ) from error

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)


def _refuse_non_finite(name: str, values: Tensor) -> None:
    if not all(v.isfinite() for v in values.aminmax()):
        raise ArtifactError(
            f"the saliency of {name} is not finite; a row has an infinite loss, or the precision "
            "is too low: use float32"
        )


def _weights_sha256(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.safetensors")):
        digest.update(file.read_bytes())
    return digest.hexdigest()

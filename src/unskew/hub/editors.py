"""A trained editor on disk: its tensors, and what it edits, in one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from unskew.files import atomic_folder

EDITOR_FILE = "editor.safetensors"
FORMAT = "unskew_editor"


def save_editor(tensors: Mapping[str, Tensor], info: Mapping[str, Any], folder: Path) -> None:
    """Write an editor.

    Args:
        tensors: Its state.
        info: What it takes to make it again: the maps in their order, rank, number of blocks.
        folder: Becomes the editor's.

    Raises:
        StorageError: It could not be written; an earlier one is intact.
    """
    kept = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    with atomic_folder(folder) as work:
        save_file(kept, str(work / EDITOR_FILE), metadata={FORMAT: json.dumps(info)})

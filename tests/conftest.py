"""Shared settings of all tests: shapes in signatures are checked while they run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from jaxtyping import install_import_hook

# Modules whose signatures carry tensor shapes; pydantic and torch-free modules need no checking.
_hook = install_import_hook(
    ["unskew.models", "unskew.objectives", "unskew.updates"], "beartype.beartype"
)
_hook.__enter__()

import torch  # noqa: E402

torch.set_num_threads(1)  # The models are tiny: two threads would mostly wait for each other.


@pytest.fixture(scope="session")
def lab() -> Path:
    """Folder with real benchmark files and small real models, named by UNSKEW_LAB."""
    root = os.environ.get("UNSKEW_LAB")
    if not root:
        pytest.skip("set UNSKEW_LAB to the folder that holds data/ and models/ to run this test")
    return Path(root)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark tests that ask for the lab."""
    for item in items:
        if "lab" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.lab)

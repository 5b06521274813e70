"""Tasks for lm-evaluation-harness that read local files."""

from pathlib import Path


def task_folder() -> str:
    """The folder for `lm_eval --include_path`."""
    return str(Path(__file__).parent)

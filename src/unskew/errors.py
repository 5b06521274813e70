"""Every error that unskew raises on purpose.

::

    UnskewError
    ├── ConfigError (ValueError)            a setting is wrong; exit code 2
    │   └── UnknownName                     a name nobody has registered; the nearest is named
    ├── DataError (ValueError)              a data file is wrong: file, row, field, mend; exit code 2
    │   ├── MissingDataset (FileNotFoundError)
    │   └── LeakageError                    an item stands in two splits
    ├── ModelError (ValueError)             the model or tokenizer cannot be used; exit code 2
    │   ├── UnknownArchitecture             no row in the table of sites
    │   └── NoMatchingParameter             a scope that selects nothing
    ├── BenchmarkError (ValueError)         a score cannot be computed as defined; exit code 2
    ├── ArtifactError (ValueError)          an artefact does not fit what it is applied to; exit code 2
    └── RunError (RuntimeError)             the run itself failed; exit code 1
        ├── Diverged                        a loss is NaN or infinite
        ├── NoEffect                        a trained tensor did not move, or a frozen one did
        ├── HubRefused                      the hub cannot be reached, or refuses
        ├── JudgeFailed                     a judge cannot be asked, costs too much or is not understood
        ├── StorageError (OSError)          a file of the run could not be written
        └── CheckpointMismatch              a checkpoint does not belong to this configuration

A message says what was given, what is allowed and what to do.
"""

from __future__ import annotations

__all__ = [
    "ArtifactError",
    "BenchmarkError",
    "CheckpointMismatch",
    "ConfigError",
    "DataError",
    "Diverged",
    "HubRefused",
    "JudgeFailed",
    "LeakageError",
    "MissingDataset",
    "ModelError",
    "NoEffect",
    "NoMatchingParameter",
    "RunError",
    "StorageError",
    "UnknownArchitecture",
    "UnknownName",
    "UnskewError",
]


class UnskewError(Exception):
    """Base of all errors raised on purpose; `exit_code` is what the command line returns."""

    exit_code = 2


class ConfigError(UnskewError, ValueError):
    """A setting is missing, unknown or out of range."""


class UnknownName(ConfigError):
    """A name that is in no table; the message names the nearest one."""


class DataError(UnskewError, ValueError):
    """A data file breaks its format. `problems` holds every fault found, one line each."""

    def __init__(self, message: str, problems: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.problems = problems or (message,)


class MissingDataset(DataError, FileNotFoundError):
    """A data set was named that exists neither on disk nor in the local hub cache."""


class LeakageError(DataError):
    """An item stands in more than one of train, select and report."""


class ModelError(UnskewError, ValueError):
    """A model or tokenizer that cannot be used for what was asked."""


class UnknownArchitecture(ModelError):
    """The model type has no row in `unskew.models.sites`."""


class NoMatchingParameter(ModelError):
    """A scope that selects no parameter of the model."""


class BenchmarkError(UnskewError, ValueError):
    """A score cannot be computed as the benchmark defines it."""


class ArtifactError(UnskewError, ValueError):
    """An adapter or delta that does not fit the model it is applied to."""


class RunError(UnskewError, RuntimeError):
    """The run failed after its inputs had been accepted."""

    exit_code = 1


class Diverged(RunError):
    """A loss or gradient is NaN or infinite."""


class NoEffect(RunError):
    """Training left a trainable tensor where it was, or moved one outside the scope."""


class HubRefused(RunError):
    """The Hugging Face hub cannot be reached, or refuses what was asked."""


class JudgeFailed(RunError):
    """A judge that cannot be reached, would cost too much, or whose replies cannot be read."""


class StorageError(RunError, OSError):
    """A file of the run could not be written; what was there before is intact."""


class CheckpointMismatch(RunError):
    """A checkpoint that belongs to another configuration, or is incomplete."""

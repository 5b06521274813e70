"""unskew: take learned bias out of a causal language model, keep what it can do, prove both."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unskew.comparison.compare import compare
    from unskew.merging import merge
    from unskew.run import unlearn
    from unskew.scoring import evaluate
    from unskew.sweeping import sweep
    from unskew.tracing import trace
    from unskew.transferring import transfer

__all__ = ["compare", "evaluate", "merge", "sweep", "trace", "transfer", "unlearn"]
__version__ = "0.1.0"

_HOMES = {
    "compare": "unskew.comparison.compare",
    "evaluate": "unskew.scoring",
    "merge": "unskew.merging",
    "sweep": "unskew.sweeping",
    "trace": "unskew.tracing",
    "transfer": "unskew.transferring",
    "unlearn": "unskew.run",
}


def __getattr__(name: str) -> Any:
    """The functions of the Python API, imported when asked for: `unskew --help` needs no torch."""
    if name in _HOMES:
        return getattr(import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'unskew' has no attribute {name!r}")

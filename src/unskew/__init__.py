"""unskew: take learned bias out of a causal language model, keep what it can do, prove both."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unskew.run import unlearn

__all__ = ["unlearn"]
__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """`unskew.unlearn`, imported when asked for: `unskew --help` has no use for torch."""
    if name == "unlearn":
        from unskew.run import unlearn

        return unlearn
    raise AttributeError(f"module 'unskew' has no attribute {name!r}")

"""The log of a train stage: means over the steps between two lines."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from unskew.files import write_text
from unskew.types import StepInfo

LOG_FILE = "log.jsonl"


class StepLog:
    """Collects steps and makes a line of them when asked to. Resumes with its checkpoint."""

    def __init__(self) -> None:
        self.lines: list[dict[str, Any]] = []
        self.num_tokens = 0
        """Tokens of all steps so far, each time a row was shown."""
        self._steps: list[dict[str, Any]] = []

    def add(self, info: StepInfo, learning_rate: float, num_tokens: int) -> None:
        """Note a step whose gradients are known, and how many tokens it was shown."""
        self.num_tokens += num_tokens
        self._steps.append(
            {"loss": info.loss, "parts": dict(info.parts), "learning_rate": learning_rate}
        )

    def set_grad_norm(self, norm: float) -> None:
        """Note the gradient norm, before clipping, of the step added last."""
        self._steps[-1]["grad_norm"] = norm

    def close_line(self, step: int) -> dict[str, Any] | None:
        """Make a line of the steps since the last one; None where there was none.

        Args:
            step: Number of the last step.
        """
        steps, self._steps = self._steps, []
        if not steps:
            return None
        names = sorted({name for s in steps for name in s["parts"]})
        line = {
            "step": step,
            "loss": _mean([s["loss"] for s in steps]),
            "learning_rate": steps[-1]["learning_rate"],
            "grad_norm": steps[-1]["grad_norm"],
            "parts": {n: _mean([s["parts"][n] for s in steps if n in s["parts"]]) for n in names},
        }
        self.lines.append(line)
        return line

    def write(self, folder: Path) -> None:
        """Write all lines to `log.jsonl`.

        Raises:
            StorageError: The file could not be written.
        """
        write_text(folder / LOG_FILE, "".join(json.dumps(line) + "\n" for line in self.lines))

    def state_dict(self) -> dict[str, Any]:
        """Lines, steps not yet in a line, tokens; JSON-serialisable."""
        return {
            "lines": list(self.lines),
            "steps": list(self._steps),
            "num_tokens": self.num_tokens,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.lines, self._steps = list(state["lines"]), list(state["steps"])
        self.num_tokens = state["num_tokens"]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)

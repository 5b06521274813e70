"""Providers of frozen quantities: what the model said before it was changed."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import torch

from unskew.models.logprobs import ScoringPath, collate, sum_by_row
from unskew.models.tokens import Tokens

LOOKUP_ROWS = 256
"""Rows in one forward pass of the cache; pairs in counterfactual contexts are many."""


@runtime_checkable
class Reference(Protocol):
    """The model a policy is held against."""

    @property
    def path(self) -> ScoringPath:
        """Forward pass of the reference; meant to be called inside `frozen()`."""
        ...

    def frozen(self) -> Any:
        """Context in which `path` computes the reference: no gradient, no adapter, no dropout."""
        ...


class AdapterOffReference:
    """The policy's own weights with the adapter switched off: costs no second model.

    Args:
        path: Forward pass of a PEFT model.
    """

    def __init__(self, path: ScoringPath) -> None:
        self._path = path

    @property
    def path(self) -> ScoringPath:
        return self._path

    @contextmanager
    def frozen(self) -> Iterator[None]:
        model = self._path.model
        was_training = model.training
        model.eval()
        try:
            with torch.no_grad(), model.disable_adapter():
                yield
        finally:
            model.train(was_training)


class ModelReference:
    """Another model, or a frozen copy taken before training, for scopes without an adapter.

    Args:
        model: The model to hold the policy against; it is frozen and put into eval mode.
    """

    def __init__(self, model: Any) -> None:
        model.requires_grad_(False).eval()
        self._path = ScoringPath(model)

    @property
    def path(self) -> ScoringPath:
        return self._path

    @contextmanager
    def frozen(self) -> Iterator[None]:
        with torch.no_grad():
            yield


def reference_for(path: ScoringPath) -> Reference:
    """Adapter off where the model has one, else a frozen copy of the model as it is now."""
    if hasattr(path.model, "disable_adapter"):
        return AdapterOffReference(path)
    return ModelReference(copy.deepcopy(path.model))


class LogprobCache:
    """Sequence log-probabilities under the reference, computed when first asked for.

    They are constants, so one forward pass per example serves the whole run; the cache travels
    with the checkpoint, so a resumed run reads the very numbers it had.
    """

    def __init__(self, reference: Reference) -> None:
        self.reference = reference
        self._values: dict[str, float] = {}

    def lookup(self, keys: Sequence[str], rows: Sequence[Tokens]) -> torch.Tensor:
        """Log-probabilities summed over scored tokens, in nats, shape (row,), on the CPU.

        Args:
            keys: Identity of each row: the example's id.
            rows: The rows in the same order.
        """
        found = {k: r for k, r in zip(keys, rows, strict=True) if k not in self._values}
        missing = list(found.items())
        for begin in range(0, len(missing), LOOKUP_ROWS):
            self._compute(missing[begin : begin + LOOKUP_ROWS])
        return torch.tensor([self._values[k] for k in keys])

    def _compute(self, missing: Sequence[tuple[str, Tokens]]) -> None:
        path = self.reference.path
        batch = collate([row for _, row in missing], next(path.model.parameters()).device)
        with self.reference.frozen():
            logprobs = path.greedy(path.states(batch), batch.targets).logprob
        names = [key for key, _ in missing]
        self._values.update(zip(names, sum_by_row(logprobs, batch).tolist(), strict=True))

    def state_dict(self) -> dict[str, float]:
        """The cached values."""
        return dict(self._values)

    def load_state_dict(self, state: Mapping[str, float]) -> None:
        """Replace the cached values."""
        self._values = dict(state)

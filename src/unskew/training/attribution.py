"""Gradients that saliency needs, for a layer group at a time, summed in float32 off the device.

Extra memory is what one group of layers weighs; the rows are gone through once for each group.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from unskew.errors import ConfigError
from unskew.models.load import base_parameters
from unskew.models.logprobs import ScoringPath, collate, sum_by_row
from unskew.models.selection import layer_of
from unskew.models.tokens import Tokens
from unskew.protocols import Saliency, WeightEvidence
from unskew.registry import nearest
from unskew.training.microbatch import overhead_tokens, plan

Losses = Callable[[bool], Iterator[Tensor]]
"""Given whether rows are wanted one by one: each row's loss, or losses that sum to their mean."""
COMPLETE = (0.9, 1.1)


class Shadow(Protocol):
    """The way from a base model to a shadow of it."""

    @property
    def names(self) -> Sequence[str]: ...

    def delta(self, name: str) -> Tensor: ...

    def at(self, t: float) -> AbstractContextManager[None]: ...


def nll_losses(path: ScoringPath, rows: Sequence[Tokens], *, max_tokens: int = 8192) -> Losses:
    """Mean over rows of the negative log-likelihood per scored token, in nats.

    Args:
        path: Forward pass.
        rows: In the order in which they are summed.
        max_tokens: Most padded tokens in one forward pass. Changes memory, not results.
    """
    device = next(path.model.parameters()).device

    def losses(by_row: bool) -> Iterator[Tensor]:
        batches = [[i] for i in range(len(rows))]
        if not by_row:
            lengths = [len(r.ids) for r in rows]
            batches = plan(lengths, max_tokens=max_tokens, overhead=overhead_tokens(path.model))
        for batch in batches:
            own = [rows[i] for i in batch]
            grid = collate(own, device)
            nll = -sum_by_row(path.logprobs(path.states(grid), grid.targets), grid)
            counts = torch.tensor([float(r.num_scored) for r in own], device=device)
            yield (nll / counts).sum() / (1 if by_row else len(rows))

    return losses


@dataclass(frozen=True, slots=True)
class Completeness:
    """How far path attribution accounts for the shadow's loss."""

    attributed: float
    """Sum over weights of gradient times move, nats."""
    difference: float
    """Loss of the shadow less that of the base, nats."""

    @property
    def ratio(self) -> float:
        """1 where the quadrature is exact."""
        return self.attributed / self.difference if self.difference else float("nan")

    @property
    def warning(self) -> str | None:
        """What to say where the ratio is far from 1."""
        if COMPLETE[0] <= self.ratio <= COMPLETE[1]:
            return None
        return (
            f"path attribution accounts for {self.ratio:.3f} of the shadow's change of loss where "
            f"{COMPLETE[0]} to {COMPLETE[1]} is expected; raise path_points, or name all weights "
            "that the shadow moves"
        )


class Attribution:
    """Saliency of chosen weights, a layer group at a time; iterate once.

    Args:
        model: Put into eval mode and frozen but for those weights while it is asked.
        names: Weights to score, by name in the base model; other weights are not looked at.
        losses: What the weights are held responsible for.
        criterion: How a score is made of it.
        shadow: Where the criterion needs one, or where the model carries one.
        saliency_groups: Groups of layers; more take less memory and more passes.

    Raises:
        ConfigError: The criterion needs a shadow and there is none, or the shadow moves none of
            the weights; there is no such weight, or it is stored in integers.
    """

    def __init__(
        self,
        model: nn.Module,
        names: Sequence[str],
        losses: Losses,
        criterion: Saliency,
        *,
        shadow: Shadow | None = None,
        saliency_groups: int = 1,
    ) -> None:
        if criterion.needs_shadow and shadow is None:
            raise ConfigError(
                f"{type(criterion).__name__} needs a shadow model; name one or choose grad, "
                "grad_weight or fisher"
            )
        if saliency_groups < 1:
            raise ConfigError(f"saliency_groups is {saliency_groups}; it must be at least 1")
        known = dict(base_parameters(model))
        for name in names:
            if name not in known:
                raise ConfigError(f"the model has no weight {name}{nearest(name, known)}")
            if not known[name].is_floating_point():
                raise ConfigError(f"{name} is {known[name].dtype}; saliency needs dense weights")
        if criterion.needs_shadow and shadow is not None:
            names = [n for n in names if n in shadow.names]
            if not names:
                raise ConfigError("the shadow moves none of the weights whose saliency is wanted")
        self.model = model
        self.parameters = {n: known[n] for n in names}
        self.losses, self.shadow = losses, shadow
        self.criterion: Any = criterion
        self.groups = _layer_groups(list(names), saliency_groups)
        self.completeness: Completeness | None = None

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        attributed = 0.0
        for names in self.groups:
            gradients = self._gradients(names)
            found: dict[str, Tensor] = {}
            for name in names:
                seen = self._evidence(name, gradients.pop(name, None))
                if self.criterion.gradient == "path":
                    assert seen.gradient is not None and seen.delta is not None
                    attributed += float((seen.gradient.double() * seen.delta.double()).sum())
                found[name] = self.criterion.score(seen)
            yield found
        if self.criterion.gradient == "path":
            self.completeness = Completeness(attributed, self._loss_at(1.0) - self._loss_at(0.0))

    def _evidence(self, name: str, gradient: Tensor | None) -> WeightEvidence:
        moved = self.shadow if self.criterion.needs_shadow else None
        weight = self.parameters[name].detach().float().cpu()
        return WeightEvidence(weight, gradient, moved.delta(name) if moved else None)

    def _gradients(self, names: Sequence[str]) -> dict[str, Tensor]:
        kind = self.criterion.gradient
        if kind == "none":
            return {}
        points, weights = (np.array([0.0]), np.array([1.0]))
        if kind == "path":
            points, weights = gauss_legendre(self.criterion.path_points)
        parameters = {n: self.parameters[n] for n in names}
        sums = {n: torch.zeros(p.shape) for n, p in parameters.items()}
        count = 0
        for point, weight in zip(points, weights, strict=True):
            of = _OF_ROWS.get(kind, _as_it_is)
            collecting = _collecting(parameters, sums, float(weight), of)
            with _only(self.model, parameters), self._at(float(point)), collecting:
                for loss in self.losses(kind in _OF_ROWS):
                    loss.backward()
                    count += 1
        if kind in _OF_ROWS:
            sums = {n: s / count for n, s in sums.items()}
        return sums

    @torch.no_grad()
    def _loss_at(self, t: float) -> float:
        with _only(self.model, {}), self._at(t):
            return float(sum(loss.double() for loss in self.losses(False)))

    @contextmanager
    def _at(self, t: float) -> Iterator[None]:
        if self.shadow is None:
            yield
            return
        with self.shadow.at(t):
            yield


def gauss_legendre(points: int) -> tuple[np.ndarray, np.ndarray]:
    """Nodes and weights for the mean over [0, 1]; exact for polynomials of degree 2 points - 1."""
    nodes, weights = np.polynomial.legendre.leggauss(points)
    return (nodes + 1) / 2, weights / 2


def _as_it_is(gradient: Tensor) -> Tensor:
    return gradient


_OF_ROWS: Mapping[str, Callable[[Tensor], Tensor]] = {
    "rows": torch.square,
    "absolute_rows": torch.abs,
}
"""What is averaged of the gradients of single rows."""


@contextmanager
def _collecting(
    parameters: Mapping[str, nn.Parameter],
    sums: Mapping[str, Tensor],
    weight: float,
    of: Callable[[Tensor], Tensor],
) -> Iterator[None]:
    """Add what is wanted of each gradient to the sums as soon as it is there, and drop it."""

    def collect(name: str) -> Callable[[Any], None]:
        def add(parameter: Any) -> None:
            sums[name].add_(of(parameter.grad.float().cpu()), alpha=weight)
            parameter.grad = None

        return add

    hooks = [p.register_post_accumulate_grad_hook(collect(n)) for n, p in parameters.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def _only(model: nn.Module, parameters: Mapping[str, nn.Parameter]) -> Iterator[None]:
    """Eval mode, and a gradient for these alone; afterwards both are as they were."""
    flags = [(p, p.requires_grad) for p in model.parameters()]
    was_training = model.training
    model.eval().requires_grad_(False)
    try:
        for parameter in parameters.values():
            parameter.requires_grad_(True)
        yield
    finally:
        model.train(was_training)
        for parameter, flag in flags:
            parameter.requires_grad_(flag)


def _layer_groups(names: list[str], count: int) -> list[list[str]]:
    """Neighbouring layers together, as evenly as whole layers allow."""
    layers: dict[str, list[str]] = {}
    for name in names:
        layers.setdefault(layer_of(name), []).append(name)
    cuts = np.array_split(np.arange(len(layers)), min(count, len(layers)))
    members = list(layers.values())
    return [[name for i in cut for name in members[i]] for cut in cuts]

"""Changes of weights at some of their places: taken between two states, applied, undone."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from unskew.errors import ArtifactError
from unskew.models.load import base_parameters


@dataclass(frozen=True, slots=True)
class SparseTensor:
    """Change of one weight tensor; it is 0 at the places that are not listed."""

    shape: tuple[int, ...]
    index: Int[Tensor, " kept"]
    """Places in the flattened tensor, int64, ascending, each once."""
    values: Float[Tensor, " kept"]
    """What is added there, float32."""

    def dense(self) -> Float[Tensor, "..."]:
        """The change of every place."""
        flat = torch.zeros(torch.Size(self.shape).numel())
        flat[self.index] = self.values
        return flat.view(self.shape)


WeightDelta = Mapping[str, SparseTensor]
"""By the name a parameter has in the base model; a tied weight stands there once."""


def sparse(change: Float[Tensor, "..."], mask: Bool[Tensor, "..."] | None = None) -> SparseTensor:
    """The kept places of a dense change.

    Args:
        change: In any dtype.
        mask: True = keep; None keeps what is not 0.
    """
    flat = change.detach().flatten()
    keep = flat != 0 if mask is None else mask.flatten()
    index = keep.nonzero().flatten()
    return SparseTensor(tuple(change.shape), index.cpu(), flat[index].float().cpu())


def difference(after: Float[Tensor, "..."], before: Float[Tensor, "..."]) -> Float[Tensor, "..."]:
    """`after - before` in float32: in 16 bits most of it would be lost."""
    return after.detach().float() - before.detach().float()


def combined(
    combine: Callable[[str, Sequence[Tensor]], Tensor], sources: Sequence[Mapping[str, Tensor]]
) -> WeightDelta:
    """One delta out of several, with one tensor of each in memory at a time.

    Args:
        combine: An edit's.
        sources: Dense changes by name, all of one base; a weight that one of them does not name is
            left alone by it.

    Raises:
        ArtifactError: Shapes differ, so the deltas are of different models.
    """
    made: dict[str, SparseTensor] = {}
    for name in dict.fromkeys(n for source in sources for n in source):
        found = [source.get(name) for source in sources]
        shapes = {c.shape for c in found if c is not None}
        if len(shapes) > 1:
            raise ArtifactError(
                f"{name} has the shapes {', '.join(str(list(s)) for s in shapes)} in the deltas; "
                "only deltas of one base can be combined"
            )
        (shape,) = shapes
        made[name] = sparse(combine(name, [torch.zeros(shape) if c is None else c for c in found]))
    return {name: change for name, change in made.items() if len(change.index)}


def added(first: WeightDelta, second: WeightDelta) -> WeightDelta:
    """The sum of two deltas of one base, without the places where they cancel."""
    return combined(
        lambda _, changes: changes[0] + changes[1],
        [{n: c.dense() for n, c in delta.items()} for delta in (first, second)],
    )


def scaled(delta: WeightDelta, factor: float) -> WeightDelta:
    """The delta times a factor."""
    return {n: SparseTensor(c.shape, c.index, factor * c.values) for n, c in delta.items()}


class AppliedDelta:
    """A delta on a model; `undo` takes it off again, to the last bit.

    The sum is taken in float32 and rounded to the weight's dtype, so adding the negative would not
    bring the old weights back: they are kept, at the changed places alone.

    Args:
        model: Changed in place.
        delta: What to add.
        scale: Factor on the delta.

    Raises:
        ArtifactError: A name or shape does not fit the model, or the model is quantised. The
            model is then as it was.
    """

    def __init__(self, model: Any, delta: WeightDelta, scale: float = 1.0) -> None:
        self._parameters = _fitting(model, delta)
        self._delta, self._scale = delta, scale
        self._old = {n: _gathered(self._parameters[n], d) for n, d in delta.items()}
        for name, new in self._new().items():
            self._write(name, new)

    def undo(self) -> None:
        """Put the old weights back.

        Raises:
            ArtifactError: The weights were changed since, so they would be mixed up.
        """
        for name, new in self._new().items():
            if not torch.equal(_gathered(self._parameters[name], self._delta[name]), new):
                raise ArtifactError(
                    f"{name} was changed after the delta was applied; undo the later change first"
                )
        for name, old in self._old.items():
            self._write(name, old)

    def _new(self) -> dict[str, Tensor]:
        return {
            name: (old.float() + self._scale * self._delta[name].values.to(old.device)).to(
                old.dtype
            )
            for name, old in self._old.items()
        }

    @torch.no_grad()
    def _write(self, name: str, values: Tensor) -> None:
        flat = self._parameters[name].view(-1)
        flat[self._delta[name].index.to(flat.device)] = values


def base_digest(model: Any, delta: WeightDelta) -> str:
    """Hash of the weights a delta will be added to, at those very places.

    Unlike `fingerprint`, which samples, it also tells a model that carries the delta already.

    Raises:
        ArtifactError: A name or shape does not fit the model.
    """
    parameters = _fitting(model, delta)
    digest = hashlib.sha256()
    for name, change in sorted(delta.items()):
        digest.update(f"{name}{change.shape}".encode())
        digest.update(_gathered(parameters[name], change).float().cpu().numpy().tobytes())
    return digest.hexdigest()


def _gathered(parameter: Tensor, change: SparseTensor) -> Tensor:
    return parameter.detach().view(-1)[change.index.to(parameter.device)]


def _fitting(model: Any, delta: WeightDelta) -> dict[str, torch.nn.Parameter]:
    parameters = dict(base_parameters(model))
    for name, change in delta.items():
        shape = tuple(parameters[name].shape) if name in parameters else None
        if shape != change.shape:
            has = "has no such weight" if shape is None else f"has the shape {list(shape)} there"
            raise ArtifactError(
                f"the delta changes {name} of shape {list(change.shape)}, the model {has}; it was "
                "made for another model"
            )
        if not parameters[name].is_floating_point():
            raise ArtifactError(
                f"{name} is stored as {parameters[name].dtype}; a delta needs a model that is not "
                "quantised"
            )
    return {name: parameters[name] for name in delta}

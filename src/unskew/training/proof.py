"""Proof of effect: what training moved, what it left alone, and whether it was saved."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from unskew.errors import NoEffect
from unskew.models.deltas import WeightDelta
from unskew.models.load import base_parameters
from unskew.models.logprobs import ScoringPath, collate
from unskew.models.tokens import Tokens


@dataclass(frozen=True, slots=True)
class Effect:
    """Counts of tensors and sizes of changes."""

    num_trainable_tensors: int
    num_moved: int
    num_frozen_tensors: int
    num_frozen_changed: int
    relative_change: float
    """Norm of the change over norm of the changed weights."""


class Snapshot:
    """Checksums of every parameter, taken before training.

    Args:
        model: The policy with its scope applied.
    """

    def __init__(self, model: Any) -> None:
        self._before = {name: _checksum(p) for name, p in model.named_parameters()}
        self._copies = (
            {}
            if hasattr(model, "peft_config")
            else {
                n: p.detach().cpu().clone() for n, p in model.named_parameters() if p.requires_grad
            }
        )

    def effect(self, model: Any) -> Effect:
        """Compare with the model as it is now.

        Raises:
            NoEffect: A trainable tensor is bitwise what it was, or a frozen one is not.
        """
        now = {name: p for name, p in model.named_parameters() if name in self._before}
        trainable = [n for n, p in now.items() if p.requires_grad]
        frozen = [n for n, p in now.items() if not p.requires_grad]
        moved = {n for n, p in now.items() if _checksum(p) != self._before[n]}
        still = [n for n in trainable if n not in moved]
        changed = [n for n in frozen if n in moved]
        if changed:
            raise NoEffect(
                f"{len(changed)} frozen tensors changed while training, first {changed[0]}; "
                "the result is not what the scope allows"
            )
        if still:
            raise NoEffect(
                f"{len(still)} of {len(trainable)} trainable tensors stayed put, first {still[0]}; "
                "raise training.max_steps or training.learning_rate, or leave them out of the scope"
            )
        return Effect(
            len(trainable), len(moved), len(frozen), len(changed), self._relative_change(model)
        )

    @torch.no_grad()
    def restore(self, model: Any) -> None:
        """Give trained weights that no adapter carries their old values."""
        for name, parameter in model.named_parameters():
            if (old := self._copies.get(name)) is not None:
                parameter.copy_(old)

    def kept(self, effect: Effect, model: Any) -> Effect:
        """The same with the size of the change in the weights that were kept in the end."""
        return replace(effect, relative_change=self._relative_change(model))

    def _relative_change(self, model: Any) -> float:
        change, size = 0.0, 0.0
        if self._copies:
            for name, parameter in model.named_parameters():
                if (old := self._copies.get(name)) is not None:
                    change += (parameter.detach().cpu() - old).float().norm().item() ** 2
                    size += old.float().norm().item() ** 2
            return (change / size) ** 0.5 if size else 0.0
        for module in model.modules():
            if hasattr(module, "get_delta_weight") and "default" in getattr(module, "lora_A", {}):
                change += module.get_delta_weight("default").float().norm().item() ** 2
                size += module.get_base_layer().weight.float().norm().item() ** 2
        return (change / size) ** 0.5 if size else 0.0


class DeltaSnapshot:
    """What a computed change may touch, and checksums of all else, taken before it is applied.

    Args:
        model: The base model.
        delta: The change.
    """

    def __init__(self, model: Any, delta: WeightDelta) -> None:
        self._delta = delta
        self._outside = {n: self._checksum(n, p) for n, p in base_parameters(model)}
        self._old = {
            n: p.detach().view(-1)[delta[n].index.to(p.device)]
            for n, p in base_parameters(model)
            if n in delta
        }

    def effect(self, model: Any) -> Effect:
        """Compare with the model with the change on it.

        Raises:
            NoEffect: A weight outside the change is bitwise not what it was, or a tensor inside is.
        """
        change, size = 0.0, 0.0
        still: list[str] = []
        for name, parameter in base_parameters(model):
            if self._checksum(name, parameter) != self._outside[name]:
                raise NoEffect(f"{name} changed where the edit does not; nothing else may move")
            if (old := self._old.get(name)) is not None:
                new = parameter.detach().view(-1)[self._delta[name].index.to(parameter.device)]
                still += [name] if torch.equal(old, new) else []
                change += (new.float() - old.float()).norm().item() ** 2
                size += parameter.detach().float().norm().item() ** 2
        if still:
            raise NoEffect(
                f"{len(still)} of {len(self._old)} tensors stayed put, first {still[0]}; the "
                "change is lost in the precision of the weights: load the model in float32"
            )
        moved, rest = len(self._old), len(self._outside) - len(self._old)
        return Effect(moved, moved, rest, 0, (change / size) ** 0.5 if size else 0.0)

    def _checksum(self, name: str, parameter: torch.Tensor) -> bytes:
        if name not in self._delta:
            return _checksum(parameter)
        rest = parameter.detach().flatten().clone()
        rest[self._delta[name].index.to(rest.device)] = 0
        return _checksum(rest)


@torch.no_grad()
def reload_difference(model: Any, folder: Path, rows: list[Tokens]) -> float:
    """Largest difference of a logit between an adapter in memory and the one saved.

    The saved adapter is loaded beside the first one, so no second copy of the model is needed.

    Args:
        model: PEFT model whose adapter `default` was saved.
        folder: Where it was saved.
        rows: A few texts to compare on.
    """
    batch = collate(rows, next(model.parameters()).device)
    path = ScoringPath(model)
    was_training = model.training
    model.eval()
    try:
        ours = path.logits(path.states(batch))
        model.load_adapter(str(folder), "reloaded")
        model.set_adapter("reloaded")
        theirs = path.logits(path.states(batch))
    finally:
        model.set_adapter("default")
        if "reloaded" in model.peft_config:
            model.delete_adapter("reloaded")
        model.train(was_training)
    return (ours - theirs).abs().max().item()


def _checksum(parameter: torch.Tensor) -> bytes:
    flat = parameter.detach().contiguous().cpu().flatten().view(torch.uint8)
    return hashlib.sha256(flat.numpy().data).digest()

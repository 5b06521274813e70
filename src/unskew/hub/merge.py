"""Baking an adapter into the weights, so that the result is a model like any other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils.other import ModulesToSaveWrapper
from torch import nn

from unskew.errors import ArtifactError


def merged(model: Any) -> Any:
    """The base model with the adapter's change in its own weights, `W + (alpha / r) B A`.

    Args:
        model: PEFT model; its base weights are overwritten.

    Raises:
        ArtifactError: The adapter changes a weight that another module of the model shares, or
            the sum is not finite.
    """
    refuse_shared(model)
    try:
        return model.merge_and_unload(safe_merge=True).eval()
    except ValueError as error:
        raise ArtifactError(
            f"the adapter cannot be baked in: {error}; its weights are damaged, save it again"
        ) from error


def refuse_shared(model: Any) -> None:
    """Refuse an adapter that changes a weight which the model uses twice.

    Raises:
        ArtifactError: It does.
    """
    shared = {id(p) for p in _shared_parameters(model.get_base_model())}
    for name, module in _adapted_modules(model):
        if any(id(p) in shared for p in module.parameters()):
            raise ArtifactError(
                f"the adapter changes {name}, whose weight this model also uses elsewhere (a tied "
                "head); baked in, the change would act there too. Keep the adapter apart, or untie "
                "the model and train again"
            )


def _shared_parameters(model: nn.Module) -> Iterator[nn.Parameter]:
    """Parameters that stand under several names."""
    everywhere = [p for _, p in model.named_parameters(remove_duplicate=False)]
    count = Counter(id(p) for p in everywhere)
    yield from (p for p in everywhere if count[id(p)] > 1)


def _adapted_modules(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """Name in the base model of each module that the adapter changes."""
    for name, module in model.named_modules():
        if isinstance(module, BaseTunerLayer | ModulesToSaveWrapper):
            yield name.removeprefix("base_model.model."), module

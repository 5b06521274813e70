"""Activations that transformers spells out, as the one fused operation they are."""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers.activations import FastGELUActivation, GELUTanh, NewGELUActivation


def fuse_activations(model: nn.Module) -> None:
    """Put torch's tanh-GELU where the model computes the same function in five to eight steps.

    GPT-2, GPT-Neo, GPT-J and Phi do. The configuration still names the original, so a saved model
    is as it was; values differ by rounding.
    """
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) in {NewGELUActivation, FastGELUActivation}:
                fused: Any = GELUTanh()
                setattr(module, name, fused)

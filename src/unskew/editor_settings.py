"""Settings of the network that a meta_edit stage trains."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


class EditorConfig(_Strict):
    """The network that makes an edit out of gradients."""

    rank: int = Field(default=128, ge=1)
    num_blocks: int = Field(default=2, ge=1)
    step_size: float = Field(default=1e-2, gt=0)
    """Where the learned step sizes begin."""


class EditorTraining(_Strict):
    """How the network is trained."""

    max_steps: int = Field(default=80, ge=1)
    learning_rate: float = Field(default=3e-4, gt=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    judged_by: Literal["same", "other"] = "other"
    """Which pairs a step's loss is of: those that made the edit, as in the paper, or the next."""
    eval_steps: int = Field(default=20, ge=1)
    """Steps between looks at pairs of the select split, which choose the network that is kept."""
    patience: int = Field(default=5, ge=1)
    """Looks in a row without a lower loss that end the training."""

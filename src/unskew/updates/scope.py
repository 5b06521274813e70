"""Which parameters may move."""

from __future__ import annotations

import re
from typing import Any, Literal, Protocol, runtime_checkable

from peft import LoraConfig, get_peft_model

from unskew.errors import ConfigError, ModelError, NoMatchingParameter
from unskew.models.sites import Targets, is_transposed, linear_names, target_pattern


@runtime_checkable
class Scope(Protocol):
    """Makes exactly the chosen parameters trainable."""

    def apply(self, model: Any) -> Any:
        """Return the model with the scope applied; the given one may be changed in place."""
        ...


class LoraScope:
    """Low-rank adapters on the model's linear maps; the model's own weights stay as they are.

    Args:
        r: Rank.
        alpha: Scale; the adapter adds `alpha / r * B A`.
        dropout: Dropout before the adapter. Above 0 the result depends on the micro-batches.
        targets: `attention`, the papers' choice, or `all_linear`, attention and MLP.
        target_modules: Suffixes of module names instead, for architectures without a row in
            `unskew.models.sites`.

    Raises:
        ConfigError: A number is out of range.
    """

    def __init__(
        self,
        r: int = 8,
        alpha: float = 16,
        dropout: float = 0.0,
        targets: Targets = "attention",
        target_modules: list[str] | None = None,
    ) -> None:
        if r < 1:
            raise ConfigError(f"scope.r is {r}; the rank must be at least 1")
        if not alpha > 0:
            raise ConfigError(f"scope.alpha is {alpha}; the scale must be positive")
        if not 0 <= dropout < 1:
            raise ConfigError(f"scope.dropout is {dropout}; it must be in [0, 1)")
        self.r, self.alpha, self.dropout = r, alpha, dropout
        self.targets: Targets = targets
        self.target_modules = target_modules

    def apply(self, model: Any) -> Any:
        """Attach the adapter.

        Raises:
            ModelError: The model already carries an adapter.
            NoMatchingParameter: No linear map has one of the names in `target_modules`.
        """
        if hasattr(model, "peft_config"):
            raise ModelError("the model already carries an adapter; load the base model")
        target: str | list[str] = self.target_modules or target_pattern(model, self.targets)
        if isinstance(target, list):
            names = linear_names(model)
            for suffix in target:
                if not any(n == suffix or n.endswith("." + suffix) for n in names):
                    known = sorted({n.rsplit(".", 1)[-1] for n in names})
                    raise NoMatchingParameter(
                        f"scope.target_modules: no linear map ends in {suffix!r}; "
                        f"there are {', '.join(known)}"
                    )
        config = LoraConfig(
            r=self.r,
            lora_alpha=self.alpha,  # pyright: ignore[reportArgumentType]
            lora_dropout=self.dropout,
            target_modules=target,
            # GPT-2 stores its linear maps as (in, out); PEFT has to know.
            fan_in_fan_out=any(is_transposed(m) for m in model.modules()),
            task_type="CAUSAL_LM",
        )
        return get_peft_model(model, config)


class FullScope:
    """All weights of the model, or only its linear maps.

    Args:
        modules: `all` parameters, or `linear`: weights and biases of the linear maps inside the
            layers, leaving embeddings, norms and head alone.
    """

    def __init__(self, modules: Literal["all", "linear"] = "all") -> None:
        self.modules = modules

    def apply(self, model: Any) -> Any:
        """Set `requires_grad`.

        Raises:
            UnknownArchitecture: `linear` was asked for and the model type is not known.
        """
        if self.modules == "all":
            model.requires_grad_(True)
            return model
        pattern = re.compile(target_pattern(model, "all_linear"))
        model.requires_grad_(False)
        for name, module in model.named_modules():
            if pattern.fullmatch(name):
                module.requires_grad_(True)
        return model

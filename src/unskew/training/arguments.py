"""Train settings in the words of transformers: arguments of its Trainer, and the cadence."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainingArguments

from unskew.errors import ConfigError
from unskew.types import TrainSettings


class Cadence(TrainerCallback):
    """Evaluates and saves every `eval_steps`, and at the end."""

    def __init__(self, settings: TrainSettings) -> None:
        self.settings = settings

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        is_last = state.global_step >= self.settings.max_steps
        if state.global_step % self.settings.eval_steps == 0 or is_last:
            control.should_evaluate = control.should_save = True
        return control


def training_arguments(
    settings: TrainSettings, output_dir: Path, *, on_cpu: bool
) -> TrainingArguments:
    """Arguments of a `transformers.Trainer` whose batch is one chunk number.

    `bf16` is left to our own autocast: transformers would wrap the model's forward pass for good,
    and scores taken after training would then be in another precision than those before.

    Raises:
        ConfigError: transformers refuses a value, e.g. the name of the schedule.
    """
    try:
        return TrainingArguments(
            output_dir=str(output_dir),
            max_steps=settings.max_steps,
            learning_rate=settings.learning_rate,
            lr_scheduler_type=settings.lr_scheduler_type,
            warmup_steps=settings.warmup_steps,
            weight_decay=settings.weight_decay,
            max_grad_norm=settings.max_grad_norm,
            logging_steps=settings.logging_steps,
            seed=settings.seed,
            use_cpu=on_cpu,
            save_strategy="no",
            eval_strategy="no",
            report_to="none",
            logging_nan_inf_filter=False,
            per_device_train_batch_size=1,
            disable_tqdm=True,
            dataloader_pin_memory=False,
        )
    except ValueError as error:
        raise ConfigError(f"training: {error}") from error

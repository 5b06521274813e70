"""The one training loop: a transformers.Trainer whose batch is one chunk."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import (
    PrinterCallback,
    ProgressCallback,
    Trainer,
    TrainerCallback,
    TrainingArguments,
)

from unskew.controllers.checkpoint_choice import CheckpointChoice
from unskew.data.batches import PairChunks
from unskew.errors import ConfigError, Diverged
from unskew.files import atomic_folder, write_json
from unskew.models.logprobs import ScoringPath
from unskew.models.reference import reference_for
from unskew.models.tokens import Encoder
from unskew.protocols import Controller, Objective, UpdateRule
from unskew.training import checkpoint as storage
from unskew.training.gradients import ChunkGradients
from unskew.training.progress import ProgressLine
from unskew.types import Decision, Evaluation, Metric, Phase, StepInfo, Stop, TrainSettings

Evaluate = Callable[[Any], Sequence[Metric]]
BEST = "best"


class UnlearningTrainer(Trainer):
    """Runs one train stage; `training_step` hands the chunk to the rule as a GradientSource.

    The dataloader yields chunk numbers only: rows are drawn when the step begins, so a controller's
    decision takes effect with the very next step, and no prefetching can run ahead of it.

    Args:
        model: Policy with its scope applied; parameters that may move require gradients.
        encoder: Tokeniser of the model.
        chunks: Source of chunks.
        objective: What to minimise.
        rule: How gradients become a step.
        evaluate: Scores the model on the select split.
        output_dir: Folder of the stage; checkpoints and the best weights go here.
        settings: Steps, learning rate, cadence.
        controllers: Asked in order after each evaluation.
        choice: Decides which evaluation is best.
        config_sha256: Hash of the run's configuration; a checkpoint of another one is refused.
    """

    def __init__(  # noqa: PLR0913 - the seam where all parts of a stage meet
        self,
        model: Any,
        encoder: Encoder,
        chunks: PairChunks,
        objective: Objective,
        rule: UpdateRule,
        *,
        evaluate: Evaluate,
        output_dir: Path,
        settings: TrainSettings | None = None,
        controllers: Sequence[Controller] = (),
        choice: CheckpointChoice | None = None,
        config_sha256: str = "",
    ) -> None:
        self.settings = settings or TrainSettings()
        on_cpu = next(model.parameters()).device.type == "cpu"
        super().__init__(model=model, args=_arguments(self.settings, output_dir, on_cpu))
        for callback in (PrinterCallback, ProgressCallback):
            self.remove_callback(callback)
        self.add_callback(_Cadence(self.settings))
        self.add_callback(ProgressLine())
        self.policy: Any = self.model
        self.output_dir = output_dir
        self.chunks = chunks
        self.rule = rule
        self.controllers = list(controllers)
        self.choice = choice or CheckpointChoice()
        self.config_sha256 = config_sha256
        self.history: list[Evaluation] = []
        self.decisions: list[Decision] = []
        self.train_log: list[dict[str, Any]] = []
        self.is_finished = False
        self._evaluate_policy = evaluate
        self._unlogged: list[StepInfo] = []
        path = ScoringPath(self.policy)
        self.source = ChunkGradients(
            path,
            reference_for(path),
            encoder,
            objective,
            max_tokens=self.settings.micro_batch_tokens,
            max_examples=self.settings.micro_batch_examples,
            autocast=lambda: self.accelerator.autocast(),
        )

    def fit(self, *, resume: bool = False) -> None:
        """Train to the stop rule or the cap, then put the best weights into the model.

        Args:
            resume: Go on from the newest complete checkpoint in `output_dir`, if there is one.

        Raises:
            Diverged: A loss is NaN or infinite; a checkpoint of the state before was written.
            CheckpointMismatch: The checkpoint belongs to another configuration.
            StorageError: A checkpoint could not be written; the earlier ones are intact.
        """
        folder = storage.last_checkpoint(self.output_dir) if resume else None
        if folder is None:
            self.evaluate()
        else:
            self._restore(storage.read_state(folder, self.config_sha256))
        if not self.is_finished:
            self.train(resume_from_checkpoint=str(folder) if folder else None)
        best = self.choice.choose(self.history)
        self.decisions.append(Decision(best.step, "checkpoint", best.reason))
        storage.load_trainable(self.policy, self.output_dir / BEST)
        self.policy.eval()

    def training_step(
        self, model: Any, inputs: Any, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """One chunk: draw its rows, let the rule fill `.grad`."""
        self.policy.train()
        self.source.load(self.chunks.next())
        try:
            info = self.rule.step(self.source)
        except Diverged as error:
            raise Diverged(
                f"{error} at step {self.state.global_step + 1}; the weights before it are in "
                f"{self._keep_last_good()}. Lower training.learning_rate or the weight of "
                "that part"
            ) from error
        self._unlogged.append(info)
        return torch.tensor(info.loss, device=self.args.device)

    def _keep_last_good(self) -> Path:
        """Keep the weights as they are before the step that failed."""
        folder = self.output_dir / f"diverged-{self.state.global_step}"
        with atomic_folder(folder) as work:
            storage.save_trainable(self.policy, work)
        return folder

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Score the policy, ask the controllers, keep the weights if they are the best so far."""
        metrics = tuple(self._evaluate_policy(self.policy))
        self.policy.train()
        evaluation = Evaluation(self.state.global_step, metrics)
        self.history.append(evaluation)
        for controller in self.controllers:
            self._obey(controller.next(self.history))
        if self.choice.choose(self.history).step == evaluation.step and self.args.should_save:
            with atomic_folder(self.output_dir / BEST) as work:
                storage.save_trainable(self.policy, work)
        return {}

    def _obey(self, decision: Phase | Stop | None) -> None:
        step = self.state.global_step
        if isinstance(decision, Phase):
            self.chunks.set_directions(decision.directions)
            self.decisions.append(Decision(step, "phase", decision.reason, decision.directions))
        elif isinstance(decision, Stop):
            self.is_finished = True
            self.control.should_training_stop = True
            self.decisions.append(Decision(step, "stop", decision.reason))

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Add the parts' means since the last line, and the loss they make."""
        if self._unlogged:
            infos, self._unlogged = self._unlogged, []
            names = sorted({name for info in infos for name in info.parts})
            entry: dict[str, Any] = {
                "step": self.state.global_step,
                "loss": _mean([i.loss for i in infos]),
                "learning_rate": logs.get("learning_rate"),
                "grad_norm": logs.get("grad_norm"),
                "parts": {n: _mean([i.parts[n] for i in infos if n in i.parts]) for n in names},
            }
            self.train_log.append(entry)
            logs = {**logs, "loss": entry["loss"], **entry["parts"]}
        super().log(logs, start_time)

    def get_train_dataloader(self) -> DataLoader:
        """Chunk numbers; every process sees all of them and computes its share of each chunk."""
        return DataLoader(range(self.settings.max_steps), collate_fn=lambda n: {"chunk": n[0]})  # pyright: ignore[reportArgumentType]

    def create_scheduler(self, num_training_steps: int, optimizer: Any = None) -> Any:
        """The schedule may be longer than the run, so that its end is never reached."""
        steps = self.settings.schedule_steps or num_training_steps
        return super().create_scheduler(steps, optimizer)

    def floating_point_ops(self, inputs: Any) -> int:
        """Not counted: a chunk's rows are not known to the Trainer."""
        return 0

    # Trainer's own checkpoints are pickles; these are safetensors and JSON, written whole.

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        step = self.state.global_step
        if not self.args.should_save:
            return
        self.is_finished = self.is_finished or step >= self.settings.max_steps
        with atomic_folder(self.output_dir / f"checkpoint-{step}") as work:
            storage.save_trainable(self.policy, work)
            storage.save_random_state(work)
            optimizer: Any = self.optimizer
            rest = storage.save_optimizer(optimizer, work)
            self.state.save_to_json(str(work / "trainer_state.json"))
            write_json(work / storage.STATE_FILE, self._state(rest))
        kept = sorted(
            self.output_dir.glob("checkpoint-*"), key=lambda p: int(p.name.rpartition("-")[2])
        )
        for old in kept[: -self.settings.save_total_limit]:
            shutil.rmtree(old)

    def _state(self, optimizer: dict[str, Any]) -> dict[str, Any]:
        scheduler: Any = self.lr_scheduler
        return {
            "config_sha256": self.config_sha256,
            "is_finished": self.is_finished,
            "optimizer": optimizer,
            "scheduler": {k: v for k, v in scheduler.state_dict().items() if k != "lr_lambdas"},
            "rule": self.rule.state_dict(),
            "controllers": [c.state_dict() for c in self.controllers],
            "chunks": self.chunks.state_dict(),
            "reference_logprobs": self.source.cache.state_dict(),
            "history": [asdict(e) for e in self.history],
            "decisions": [asdict(d) for d in self.decisions],
            "train_log": self.train_log,
            "unlogged": [asdict(i) for i in self._unlogged],
        }

    def _restore(self, state: dict[str, Any]) -> None:
        self.is_finished = state["is_finished"]
        self.rule.load_state_dict(state["rule"])
        for controller, stored in zip(self.controllers, state["controllers"], strict=True):
            controller.load_state_dict(stored)
        self.chunks.load_state_dict(state["chunks"])
        self.source.cache.load_state_dict(state["reference_logprobs"])
        self.history = [
            Evaluation(e["step"], tuple(Metric(**m) for m in e["metrics"]))
            for e in state["history"]
        ]
        self.decisions = [Decision(**d) for d in state["decisions"]]
        self.train_log = state["train_log"]
        self._unlogged = [StepInfo(**i) for i in state["unlogged"]]

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        storage.load_trainable(self.policy, Path(resume_from_checkpoint))

    def _load_optimizer_and_scheduler(self, checkpoint: str | None) -> None:
        if checkpoint is None:
            return
        state = storage.read_state(Path(checkpoint), self.config_sha256)
        optimizer: Any = self.optimizer
        scheduler: Any = self.lr_scheduler
        storage.load_optimizer(optimizer, Path(checkpoint), state["optimizer"])
        scheduler.load_state_dict({**scheduler.state_dict(), **state["scheduler"]})

    def _load_rng_state(self, checkpoint: str | None) -> None:
        if checkpoint is not None:
            storage.load_random_state(Path(checkpoint))


class _Cadence(TrainerCallback):
    """Evaluates and saves every `eval_steps`, and at the end."""

    def __init__(self, settings: TrainSettings) -> None:
        self.settings = settings

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> Any:
        is_last = state.global_step >= self.settings.max_steps
        if state.global_step % self.settings.eval_steps == 0 or is_last:
            control.should_evaluate = control.should_save = True
        return control


def _arguments(settings: TrainSettings, output_dir: Path, on_cpu: bool) -> TrainingArguments:
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
            bf16=settings.bf16,
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


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)

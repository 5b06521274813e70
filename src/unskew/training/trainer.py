"""The one training loop: a transformers.Trainer whose batch is one chunk."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.utils.data import DataLoader
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerState

from unskew.controllers.checkpoint_choice import CheckpointChoice
from unskew.data.batches import PairChunks
from unskew.errors import ConfigError, Diverged
from unskew.files import atomic_folder, write_json
from unskew.models.logprobs import ScoringPath
from unskew.models.precision import MixedPrecision
from unskew.models.reference import Reference, reference_for
from unskew.models.tokens import Encoder
from unskew.protocols import Controller, Objective, UpdateRule
from unskew.training import checkpoint as storage
from unskew.training.arguments import Cadence, training_arguments
from unskew.training.determinism import deterministic_kernels
from unskew.training.gradients import ChunkGradients
from unskew.training.progress import ProgressLine
from unskew.training.steplog import StepLog
from unskew.types import Decision, Evaluation, Metric, Phase, Stop, TrainSettings

Evaluate = Callable[[Any], Sequence[Metric]]


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
        reference: What the policy is held against; adapter off, or a frozen copy, if None.
        config_sha256: Hash of the run's configuration; a checkpoint of another one is refused.

    Raises:
        ConfigError: A setting is not one transformers takes, or the run was launched with FSDP or
            DeepSpeed, which shard what the rule needs whole.
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
        reference: Reference | None = None,
        config_sha256: str = "",
    ) -> None:
        self.settings = settings or TrainSettings()
        device = next(model.parameters()).device.type
        arguments = training_arguments(self.settings, output_dir, on_cpu=device == "cpu")
        super().__init__(model=model, args=arguments)
        if self.is_fsdp_enabled or self.is_deepspeed_enabled:
            raise ConfigError(
                "this run was launched with FSDP or DeepSpeed; a rule needs whole gradients, so "
                "launch it with plain torchrun or accelerate (data parallel) instead"
            )
        for callback in (PrinterCallback, ProgressCallback):
            self.remove_callback(callback)
        self.add_callback(Cadence(self.settings))
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
        self.is_finished = False
        self._evaluate_policy = evaluate
        self.step_log = StepLog()
        path = ScoringPath(self.policy)
        self.source = ChunkGradients(
            path,
            reference or reference_for(path),
            encoder,
            objective,
            max_tokens=self.settings.micro_batch_tokens,
            max_examples=self.settings.micro_batch_examples,
            autocast=MixedPrecision(self.policy) if self.settings.bf16 else nullcontext,
        )

    @property
    def train_log(self) -> list[dict[str, Any]]:
        """One line per `logging_steps`: step, loss, learning rate, gradient norm, parts."""
        return self.step_log.lines

    def fit(self, *, resume: bool = False) -> None:
        """Train to the stop rule or the cap; the model then holds the last weights.

        Args:
            resume: Go on from the newest checkpoint in `output_dir`, if there is one.

        Raises:
            ConfigError: Another run's checkpoints are in `output_dir`.
            Diverged: A loss or gradient is NaN or infinite; the weights before it were kept.
            CheckpointMismatch: The checkpoint is damaged or belongs to another configuration.
            StorageError: A checkpoint could not be written; the earlier ones are intact.
        """
        folder = storage.last_checkpoint(self.output_dir)
        if folder is not None and not resume:
            raise ConfigError(
                f"{folder} is there already; go on with resume=True or choose another output_dir"
            )
        if folder is None:
            self.evaluate()
        else:
            self._restore(folder)
        if not self.is_finished:
            self.train(resume_from_checkpoint=str(folder) if folder else None)
        self._close_log_line()
        self.policy.eval()

    def load_best(self) -> None:
        """Put the weights of the chosen evaluation into the model."""
        best = self.choice.choose(self.history)
        self.decisions.append(Decision(best.step, "checkpoint", best.reason))
        storage.load_trainable(self.policy, storage.best_folder(self.output_dir, best.step))

    def training_step(
        self, model: Any, inputs: Any, num_items_in_batch: Any = None
    ) -> torch.Tensor:
        """One chunk: draw its rows, let the rule fill `.grad`."""
        self.policy.train()
        try:
            with deterministic_kernels(self.settings.full_determinism):
                num_tokens = self.source.load(self.chunks.next())
                info = self.rule.step(self.source)
        except Diverged as error:
            raise self._diverged(str(error)) from error
        self.step_log.add(info, self._get_learning_rate(), num_tokens)
        return torch.tensor(float(info.loss), device=self.args.device)

    def _get_grad_norm(self, model: Any, grad_norm: Any = None) -> float:
        """Norm before clipping; asked for at every step, before the optimizer moves a weight."""
        found: Any = super()._get_grad_norm(model, grad_norm)
        norm = float(found)
        if not math.isfinite(norm):
            raise self._diverged("the gradient is not finite")
        self.step_log.set_grad_norm(norm)
        return norm

    def _diverged(self, what: str) -> Diverged:
        """The error for a step that failed, after keeping the weights as they are before it."""
        folder = self.output_dir / f"diverged-{self.state.global_step}"
        if self.args.should_save:
            with atomic_folder(folder) as work:
                storage.save_trainable(self.policy, work)
        return Diverged(
            f"{what} at step {self.state.global_step + 1}; the weights before it are in {folder}. "
            "Lower training.learning_rate or the weight of that part"
        )

    def evaluate(self, *args: Any, **kwargs: Any) -> dict[str, float]:
        """Score the policy, ask the controllers, keep the weights if they are the best so far."""
        with torch.no_grad(), self.source.autocast():
            metrics = tuple(self._evaluate_policy(self.policy))
        self.policy.train()
        evaluation = Evaluation(self.state.global_step, metrics)
        self.history.append(evaluation)
        for controller in self.controllers:
            self._obey(controller.next(self.history))
        if self.choice.choose(self.history).step == evaluation.step and self.args.should_save:
            with atomic_folder(storage.best_folder(self.output_dir, evaluation.step)) as work:
                storage.save_trainable(self.policy, work)
        # Clears the request, which the Trainer would otherwise serve once more at the very end.
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, {})
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
        line = self._close_log_line()
        shown = {"loss": line["loss"], **line["parts"]} if line else {}
        super().log({**logs, **shown}, start_time)

    def _close_log_line(self) -> dict[str, Any] | None:
        line = self.step_log.close_line(self.state.global_step)
        if line is not None and self.args.should_save:
            self.step_log.write(self.output_dir)
        return line

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
        self.is_finished = self.is_finished or step >= self.settings.max_steps
        if not self.args.should_save:
            return
        with atomic_folder(self.output_dir / f"checkpoint-{step}") as work:
            storage.save_trainable(self.policy, work)
            storage.save_random_state(work)
            optimizer: Any = self.optimizer
            rest = storage.save_optimizer(optimizer, work)
            self.state.save_to_json(str(work / storage.TRAINER_FILE))
            write_json(work / storage.STATE_FILE, self._state(rest))
        oldest = storage.prune_checkpoints(self.output_dir, self.settings.save_total_limit)
        # A run resumed from the oldest checkpoint needs the weights that were the best by then.
        by_then = [e for e in self.history if e.step <= oldest]
        storage.prune_best(self.output_dir, self.choice.choose(by_then).step)

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
            "log": self.step_log.state_dict(),
        }

    def _restore(self, folder: Path) -> None:
        state = storage.read_state(folder, self.config_sha256)
        self.state = storage.read_as(TrainerState.load_from_json, folder / storage.TRAINER_FILE)
        storage.load_trainable(self.policy, folder)
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
        self.step_log.load_state_dict(state["log"])

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        """Nothing left to do: `fit` has put the weights in."""

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

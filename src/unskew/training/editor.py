"""Trains an editor network: each step edits the model with a batch, and undoes the edit."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn
from tqdm.auto import tqdm

from unskew.edits.malmen import Editor
from unskew.errors import Diverged
from unskew.models.editable import EditableMaps, Places, Shifts
from unskew.training.determinism import deterministic_kernels
from unskew.training.editing import EditBatch, EditPasses, EditValues, PairRows
from unskew.training.launch import is_main_process
from unskew.training.steplog import StepLog
from unskew.types import Decision, StepInfo

JudgedBy = Literal["same", "other"]


class Editors(nn.Module):
    """A network for each shape among the maps; maps of one shape share it.

    Args:
        maps: What they edit.
        rank: Of their blocks.
        num_blocks: Of each.
        step_size: Where the learned step sizes begin.
    """

    def __init__(self, maps: EditableMaps, *, rank: int, num_blocks: int, step_size: float) -> None:
        super().__init__()
        shapes = maps.shapes
        members = {shape: [n for n in shapes if shapes[n] == shape] for shape in shapes.values()}
        self._nets = nn.ModuleDict(
            {
                f"{inputs}x{outputs}": Editor(
                    inputs,
                    outputs,
                    len(names),
                    rank=rank,
                    num_blocks=num_blocks,
                    step_size=step_size,
                )
                for (inputs, outputs), names in members.items()
            }
        )
        self._places = {
            name: ("x".join(map(str, shape)), names.index(name))
            for shape, names in members.items()
            for name in names
        }

    def of(self, name: str) -> tuple[Editor, int]:
        """The network of a map, and which of its modules the map is."""
        key, index = self._places[name]
        net: Any = self._nets[key]
        return net, index

    def update(self, places: Mapping[str, Places]) -> None:
        """Take places into the running moments."""
        for name, (u, g) in places.items():
            self.of(name)[0].moments.update(torch.cat((u, g), -1))

    def shifts(self, places: Mapping[str, Places]) -> Shifts:
        """The shift of each map."""
        found: dict[str, torch.Tensor] = {}
        for name, (u, g) in places.items():
            net, index = self.of(name)
            found[name] = net.shift(u, g, index)
        return found

    def backward(self, places: Mapping[str, Places], shifts: Shifts, gradients: Shifts) -> None:
        """Add the gradients of a loss, given its gradient in each shift."""
        for name, (u, g) in places.items():
            net, index = self.of(name)
            net.backward(u, g, index, shifts[name], gradients[name])


@dataclass(frozen=True, slots=True)
class EditorSettings:
    """How an editor is trained."""

    judged_by: JudgedBy
    """Which pairs a step's loss is of: those that made the edit, or the next ones."""
    max_steps: int
    learning_rate: float
    max_grad_norm: float
    eval_steps: int
    patience: int
    """Evaluations in a row without a lower loss that end the training."""


class EditorTrainer:
    """Trains by edits from one batch each; keeps the editor that serves held-out pairs best.

    The kept edit is one shift from a fixed set of pairs, so that is what the evaluations look at:
    its loss on pairs that took no part in it.

    Args:
        editors: To be trained.
        passes: Of a batch through the model; inside `passes.maps.open()`.
        draw: Gives the next batch.
        source: Pairs that the kept shift is made from.
        held_out: Pairs that the evaluations take the loss of.
        settings: How.
    """

    def __init__(
        self,
        editors: Editors,
        passes: EditPasses,
        draw: Callable[[], EditBatch],
        *,
        source: Sequence[PairRows],
        held_out: EditBatch,
        settings: EditorSettings,
    ) -> None:
        self.editors, self.passes, self.draw = editors, passes, draw
        self.held_out, self.settings = held_out, settings
        self.optimizer = torch.optim.Adam(editors.parameters(), settings.learning_rate)
        self.log = StepLog()
        self.decisions: list[Decision] = []
        self.losses: dict[int, float] = {}
        """On the held-out pairs, by step."""
        # The base does not change, and so neither does what the editor is given of these pairs.
        self._source = passes.places(source)
        editors.update(self._source)
        self.evaluate(0)

    @property
    def best_step(self) -> int:
        """Of the lowest loss; the first of equals."""
        return min(self.losses, key=self.losses.__getitem__)

    def train(self, name: str) -> Shifts:
        """Train, then the shift of the best editor, which is left in `editors`.

        Args:
            name: Shown before the progress bar.

        Raises:
            Diverged: A loss or a gradient is not finite.
        """
        best = self._kept()
        bar = tqdm(range(1, self.settings.max_steps + 1), desc=name, disable=not is_main_process())
        for step in bar:
            with deterministic_kernels(required=True):
                values = self.step(step)
            bar.set_postfix(edit=f"{values.edit:.4g}", unrelated=f"{values.unrelated:.4g}")
            if step % self.settings.eval_steps and step != self.settings.max_steps:
                continue
            self.log.close_line(step)
            self.evaluate(step)
            if self.best_step == step:
                best = self._kept()
            elif self._is_out_of_patience():
                bar.close()
                reason = f"no lower held-out loss in {self.settings.patience} evaluations"
                self.decisions.append(Decision(step, "stop", reason))
                break
        self.editors.load_state_dict(best)
        return self.editors.shifts(self._source)

    def step(self, step: int) -> EditValues:
        """One batch edits the model, whose loss on it or on the next one moves the editor."""
        batch = self.draw()
        places = self.passes.places(batch.pairs)
        self.editors.update(places)
        shifts = self.editors.shifts(places)
        num_tokens = batch.num_pair_tokens
        if self.settings.judged_by == "other":
            batch = self.draw()
        values = self.passes.edited(batch, shifts, gradients=True)
        self.optimizer.zero_grad()
        self.editors.backward(places, shifts, self.passes.maps.gradients())
        self.passes.maps.clear()
        norm = nn.utils.clip_grad_norm_(self.editors.parameters(), self.settings.max_grad_norm)
        loss = self._loss(values)
        if not (torch.isfinite(norm) and math.isfinite(loss)):
            raise Diverged(
                f"the editor's loss is {loss} and its gradient's norm {norm} at step {step}; lower "
                "training.learning_rate or editor.step_size"
            )
        self.optimizer.step()
        parts = {"edit": values.edit, "unrelated": values.unrelated}
        num_tokens += batch.num_tokens
        self.log.add(StepInfo(parts, loss), self.settings.learning_rate, num_tokens)
        self.log.set_grad_norm(norm.item())
        return values

    def evaluate(self, step: int) -> None:
        """Loss of the held-out pairs under the shift that would be kept."""
        shifts = self.editors.shifts(self._source)
        loss = self._loss(self.passes.edited(self.held_out, shifts, gradients=False))
        # NaN is neither above nor below another loss, and would stay the lowest for good.
        self.losses[step] = loss if math.isfinite(loss) else math.inf

    def _loss(self, values: EditValues) -> float:
        return values.edit + self.passes.unrelated_weight * values.unrelated

    def _is_out_of_patience(self) -> bool:
        later = [step for step in self.losses if step > self.best_step]
        return len(later) >= self.settings.patience

    def _kept(self) -> dict[str, Any]:
        return copy.deepcopy(self.editors.state_dict())

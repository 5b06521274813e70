"""A saliency stage: which weights carry the bias and not the rest, as a mask on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from torch import Tensor

from unskew.data.rows import balanced_pairs, chosen_rows
from unskew.errors import ConfigError
from unskew.files import atomic_folder
from unskew.hub.attach import attach
from unskew.hub.saliency import SaliencyInfo, StoredSaliency, describe, save_saliency
from unskew.models.logprobs import ScoringPath
from unskew.models.masks import save_masks
from unskew.models.reference import AdapterOffReference
from unskew.models.selection import Masks
from unskew.models.shadow import AdapterShadow
from unskew.models.sites import is_transposed, linear_names, target_names
from unskew.protocols import Saliency
from unskew.reports.selection_record import (
    Selection,
    ShadowCheck,
    TensorChoice,
)
from unskew.saliency.choice import Choice, Chooser, Control, control_masks
from unskew.schema import SaliencyStage
from unskew.stages.categories import Categories, category_rows
from unskew.stages.workshop import ADAPTER, Outcome, Workshop
from unskew.training.attribution import Attribution, nll_losses
from unskew.training.launch import is_main_process, wait_for_everyone
from unskew.types import Evaluation, Examples, RowSource, Segment

HIGH_SS, LEAST_GAP_RISE = 90.0, 0.1
STEREOSET = "stereoset"
CHECKED_PAIRS = 400
BIAS, REASON = "bias", "reason"


@dataclass(frozen=True)
class SaliencyRunner:
    """One saliency stage of a run."""

    workshop: Workshop
    stage: SaliencyStage
    criteria: Mapping[str, Saliency]
    """`bias` and, where there is one, `reason`."""
    chooser: Chooser

    def check(self) -> None:
        """Refuse rows that the data does not have, or that stand for both; see `_rows`."""
        self._rows()
        _ = self._categories

    def run(self) -> Outcome:
        """Attribute, choose, write the mask.

        Raises:
            ConfigError: The shadow is no more biased than the base model, or rows of bias and
                reasoning are the same.
        """
        self.workshop.seed(self.stage.name)
        rows = self._rows()
        with_shadow = self.stage.shadow is not None
        policy = self._shadow_model() if with_shadow else self.workshop.loaded.model
        checks = self._check_shadow(policy) if with_shadow else []
        shadow = AdapterShadow(policy) if with_shadow else None
        names = shadow.names if shadow else self._weights(policy)
        warnings = [w for c in checks for w in _held_out_warning(c)]
        for which in self.criteria:
            warnings += self._attribute(
                which, self._folder / which, policy, names, shadow, rows[which]
            )
        for folder, segments in self._categories.rows().items():
            self._attribute(BIAS, folder, policy, names, shadow, segments)
        if with_shadow:
            policy.unload()
        choice = self._choose()
        self._save(choice)
        instead = f", {self.stage.control} ones as a control" if self.stage.control else ""
        shares = f"{choice.fraction:.1%} of {_millions(choice)} weights may move{instead}"
        selection = self._selection(choice, rows, checks)
        return Outcome(
            {
                "selections": [selection],
                "warnings": [*warnings, *choice.warnings],
                "result": shares,
            }
        )

    @property
    def _folder(self) -> Path:
        return self.workshop.folder(self.stage.name)

    def _rows(self) -> dict[str, list[Segment]]:
        """Rows of the bias and of what is to be kept; they depend on the data alone.

        Raises:
            ConfigError, DataError: There are none, or some stand for both.
        """
        train, seed = self.workshop.dataset.splits["train"], self.workshop.settings.seed
        wanted: dict[str, Mapping[RowSource, int]] = {
            BIAS: self.stage.bias_rows,
            REASON: self.stage.reason_rows,
        }
        path = f"stages.{self.stage.name}"
        rows = {w: chosen_rows(train, wanted[w], seed, f"{path}.{w}_rows") for w in self.criteria}
        if same := set(rows[BIAS]) & set(rows.get(REASON, [])):
            raise ConfigError(
                f"{path}: {len(same)} rows stand for bias and for reasoning at once, e.g. "
                f"{next(iter(same)).text!r}; no weight can be told apart by them"
            )
        return rows

    def _shadow_model(self) -> Any:
        folder = self.workshop.results(str(self.stage.shadow)) / ADAPTER
        if not folder.is_dir():
            raise ConfigError(
                f"stages.{self.stage.name}.shadow: {self.stage.shadow} left no adapter; train a "
                "shadow with scope lora"
            )
        return attach(self.workshop.loaded, folder)

    def _weights(self, model: Any) -> tuple[str, ...]:
        return tuple(f"{name}.weight" for name in target_names(model, self.stage.targets))

    def _check_shadow(self, policy: Any) -> list[ShadowCheck]:
        """Refuse a shadow that is no more biased than its base on the rows it learned from."""
        splits = self.workshop.dataset.splits
        checks = [
            self._compared(policy, "train", splits["train"]),
            self._compared(policy, "select", splits["select"]),
        ]
        own = checks[0]
        rise = own.ss_after - own.ss_before
        gap_rise = own.mean_gap_after - own.mean_gap_before
        # Where nearly every pair is stereotyped already, the rate cannot rise; the gap can.
        at_ceiling = own.ss_before >= HIGH_SS and gap_rise >= LEAST_GAP_RISE
        if rise < self.stage.min_rise and not at_ceiling:
            raise ConfigError(
                f"the shadow of stage {self.stage.shadow} did not become more biased: on its own "
                f"rows SS went from {own.ss_before:.1f} to {own.ss_after:.1f} and the mean gap by "
                f"{gap_rise:+.3f} nats, asked is a rise of SS by {self.stage.min_rise:g}; train it "
                f"longer or with a larger learning rate, or lower stages.{self.stage.name}.min_rise"
            )
        return checks

    def _compared(self, policy: Any, split: Any, examples: Examples) -> ShadowCheck:
        pairs = balanced_pairs(examples.pairs, CHECKED_PAIRS, self.workshop.settings.seed)
        path = ScoringPath(policy)
        evaluate = self.workshop.measuring.evaluator(
            Examples(pairs=tuple(pairs)), split, [STEREOSET], path, self.workshop.loaded.encoder, {}
        )
        with AdapterOffReference(path).frozen():
            before = Evaluation(0, tuple(evaluate(policy)))
        after = Evaluation(1, tuple(evaluate(policy)))
        return ShadowCheck(
            split=split,
            n=len(pairs),
            ss_before=before.pooled(STEREOSET, "ss"),
            ss_after=after.pooled(STEREOSET, "ss"),
            mean_gap_before=before.pooled(STEREOSET, "mean_gap"),
            mean_gap_after=after.pooled(STEREOSET, "mean_gap"),
        )

    @property
    def _categories(self) -> Categories:
        settings, pairs = self.workshop.settings, self.workshop.dataset.splits["train"].pairs
        wanted, path = self.stage.category_rows, f"stages.{self.stage.name}.category_rows"
        draws = category_rows(pairs, wanted, settings.seed, path) if wanted else {}
        return Categories(self._folder / "categories", draws)

    def _attribute(
        self,
        which: str,
        folder: Path,
        policy: Any,
        names: Sequence[str],
        shadow: AdapterShadow | None,
        segments: Sequence[Segment],
    ) -> list[str]:
        """Make a saliency unless it is there already; return what a reader should be told."""
        node = self.stage.bias if which == BIAS else self.stage.reason or {}
        loaded, criterion = self.workshop.loaded, self.criteria[which]
        rows = loaded.encoder.encode(segments)
        adapter = (
            self.workshop.results(str(self.stage.shadow)) / ADAPTER if shadow is not None else None
        )
        info = describe(node["name"], criterion, loaded, rows, adapter)
        self.workshop.tell(
            f"{self.stage.name}: {node['name']} of {len(names)} tensors over {len(rows)} rows"
        )
        attribution = Attribution(
            policy,
            names,
            nll_losses(ScoringPath(policy), rows),
            criterion,
            shadow=shadow,
            saliency_groups=self.stage.saliency_groups,
        )
        return self._saved(attribution, info, folder)

    def _saved(self, attribution: Attribution, info: SaliencyInfo, folder: Path) -> list[str]:
        if folder.is_dir():
            return list(StoredSaliency(folder, info).info["warnings"])
        warnings = save_saliency(attribution, info, folder) if is_main_process() else []
        wait_for_everyone()
        return warnings

    def _stored(self) -> tuple[StoredSaliency, StoredSaliency | None]:
        bias = StoredSaliency(self._folder / BIAS)
        return bias, StoredSaliency(self._folder / REASON) if REASON in self.criteria else None

    def _choose(self) -> Choice:
        model = self.workshop.loaded.model
        transposed = {
            f"{n}.weight" for n in linear_names(model) if is_transposed(model.get_submodule(n))
        }
        choice = self.chooser.choose(*self._stored(), transposed=transposed)
        if self.stage.control is None:
            return choice
        return replace(choice, masks=self.control_masks(self.stage.control, choice.masks))

    def control_masks(self, kind: Control, masks: Mapping[str, Any]) -> Masks:
        """What the choice has to beat; see `unskew.saliency.choice.control_masks`."""
        bias, reason = self._stored()
        scores: dict[str, Tensor] = {}
        if kind == "inverted":
            for name in masks:
                others = None if reason is None else reason[name]
                scores[name] = self.chooser.score(bias[name], others)
        return control_masks(kind, dict(masks), scores, self.workshop.settings.seed)

    def _save(self, choice: Choice) -> None:
        if is_main_process():
            with atomic_folder(self._folder / "mask") as work:
                save_masks(choice.masks, work)
        wait_for_everyone()

    def _selection(
        self, choice: Choice, rows: Mapping[str, list[Segment]], checks: list[ShadowCheck]
    ) -> Selection:
        complete = StoredSaliency(self._folder / BIAS).info["completeness"]
        overlaps = choice.overlaps
        return Selection(
            stage=self.stage.name,
            bias_criterion=self.stage.bias["name"],
            num_bias_rows=len(rows[BIAS]),
            reason_criterion=self.stage.reason["name"] if self.stage.reason else None,
            num_reason_rows=len(rows.get(REASON, [])),
            completeness=complete.get("ratio"),
            shadow=checks,
            tensors=[
                TensorChoice(
                    name=name,
                    num_weights=mask.numel(),
                    num_chosen=int(mask.sum()),
                    jaccard=overlaps[name].jaccard if overlaps else None,
                    jaccard_by_chance=overlaps[name].by_chance if overlaps else None,
                )
                for name, mask in choice.masks.items()
            ],
            categories=self._categories.compared(
                self.chooser.fraction, choice.masks, self._stored()[1]
            ),
        )


def _held_out_warning(check: ShadowCheck) -> list[str]:
    if check.split == "train" or check.mean_gap_after > check.mean_gap_before:
        return []
    return [
        "the shadow became more biased on the rows it learned from, not on held-out ones "
        f"(mean gap {check.mean_gap_before:.3f} -> {check.mean_gap_after:.3f} nats per token): it "
        "learned those sentences rather than the preference"
    ]


def _millions(choice: Choice) -> str:
    return f"{sum(m.numel() for m in choice.masks.values()) / 1e6:.2f} million"

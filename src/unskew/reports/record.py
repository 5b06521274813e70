"""The record of a run: the only store of its numbers, as versioned JSON.

Whatever shows a number reads it from here. What was not measured has no row, and no stand-in.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Literal, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    ConfigDict,
    NonNegativeInt,
    ValidationError,
    model_validator,
)

from unskew.errors import ConfigError, DataError
from unskew.files import write_text
from unskew.reports.selection_record import ControlRow, Selection
from unskew.reports.storage import problems_of, read_json
from unskew.reports.transfer_record import Transfer
from unskew.types import OVERALL, Better, Metric

SCHEMA_VERSION = 1
RECORD_FILE = "record.json"
_KEYS = ("benchmark", "metric", "category", "phase", "variant", "split")


class _Part(BaseModel):
    # NaN and infinity are no JSON, and no measurement either.
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Environment(_Part):
    """Where the run took place."""

    python: str
    platform: str
    device: str
    num_processes: int
    packages: dict[str, str]
    """Distribution name to version."""


class ModelInfo(_Part):
    """The model before the run changed it."""

    name_or_path: str
    model_type: str
    num_parameters: int
    dtype: str
    fingerprint: str


class DataInfo(_Part):
    """The data set, what each split holds, and what the loader left out."""

    name: str
    source: str
    sha256: str
    counts: dict[str, dict[str, NonNegativeInt]]
    """Split to category to number of examples."""
    drops: dict[str, NonNegativeInt] = {}
    """Reason to number of rows."""


class HistoryMetric(_Part):
    """One measured number; the fields are those of `unskew.types.Metric`."""

    benchmark: str
    variant: str
    split: str
    category: str
    metric: str
    value: float
    n: NonNegativeInt
    ci_low: float | None = None
    ci_high: float | None = None
    """95 % interval in the unit of `value`; both ends or neither."""
    ideal: float | None = None
    better: Better
    unit: str

    @model_validator(mode="after")
    def _has_both_ends_or_none(self) -> Self:
        if (self.ci_low is None) != (self.ci_high is None):
            raise ValueError("an interval has both ci_low and ci_high, or neither")
        if self.ci_low is not None and self.ci_high is not None and self.ci_low > self.ci_high:
            raise ValueError(f"ci_low {self.ci_low} lies above ci_high {self.ci_high}")
        return self

    @classmethod
    def from_metric(cls, metric: Metric) -> HistoryMetric:
        """Take over what a benchmark returned."""
        return cls(**asdict(metric))


class MetricRow(HistoryMetric):
    """One measured number of one phase: `before`, `after`, or a name such as `oracle`."""

    phase: str

    @classmethod
    def measured(cls, phase: str, metric: Metric) -> MetricRow:
        """Take over what a benchmark returned in a phase."""
        return cls(**asdict(metric), phase=phase)


class HistoryRow(_Part):
    """One evaluation on the select split during training."""

    step: int
    """Optimizer steps so far; number of the trial in an edit stage."""
    stage: str
    strength: float | None = None
    """Factor on the change, where an edit stage looks for the best."""
    metrics: list[HistoryMetric]


class TrainRow(_Part):
    """One logged optimizer step."""

    step: int
    loss: float
    learning_rate: float
    grad_norm: float | None = None
    parts: dict[str, float] = {}
    """Unweighted value of each part of the objective."""
    stage: str = "train"


class Decision(_Part):
    """What the controller decided, and why."""

    step: int
    kind: Literal["phase", "stop", "checkpoint"]
    directions: dict[str, int] | None = None
    """Category to +1 (forget the stereotype), -1 (the other way round) or 0 (rest)."""
    reason: str
    stage: str = "train"


class Floor(_Part):
    """A damage guard that the chosen checkpoint had to satisfy on the select split."""

    metric: str
    """`benchmark.metric`, e.g. `stereoset.lms`, and the variant, if the record names one."""
    variant: str = ""
    floor: float
    value: float
    met: bool


class Checkpoint(_Part):
    """Which step was kept, and why."""

    best_step: int
    last_step: int
    reason: str
    floors: list[Floor] = []
    strength: float | None = None
    """Factor on the change, where an edit stage chose it."""


class StageRow(_Part):
    """One finished stage."""

    name: str
    kind: Literal["train", "saliency", "edit", "meta_edit", "project", "decode"]
    result: str
    """What it left, in a line."""
    num_tokens: NonNegativeInt | None = None
    """Tokens it trained on, each time a row was shown; None where it does not train."""


class ProofOfEffect(_Part):
    """Whether training moved what it should, and nothing else, and whether that was saved."""

    num_trainable_tensors: int
    num_moved: int
    num_frozen_tensors: int
    num_frozen_changed: int
    reload_max_abs_difference: float | None
    """Largest difference of a logit between the model in memory and the reloaded artefact."""
    relative_change: float
    """Norm of the change over norm of the weights."""


class GeneratedText(_Part):
    """One prompt continued by both models; None where that model was not asked."""

    prompt: str
    before: str | None
    after: str | None


class NotMeasured(_Part):
    """Something the reader may look for in vain."""

    what: str
    why: str


class RunRecord(_Part):
    """All that a run found out. `load` and `save` are the only way to and from disk."""

    schema_version: Literal[1] = SCHEMA_VERSION
    unskew_version: str
    command: str
    recipe: str | None
    created: AwareDatetime
    seed: int
    config_sha256: str
    environment: Environment
    model: ModelInfo | None
    """None where stored scores were judged without the model."""
    data: DataInfo
    benchmark_data: dict[str, DataInfo] = {}
    """Of each benchmark that was given data of its own."""
    metrics: list[MetricRow] = []
    history: list[HistoryRow] = []
    train_log: list[TrainRow] = []
    decisions: list[Decision] = []
    checkpoint: Checkpoint | None = None
    """Of the last stage."""
    stages: list[StageRow] = []
    selections: list[Selection] = []
    controls: list[ControlRow] = []
    transfer: Transfer | None = None
    """Of an artefact that was carried to another model than its base."""
    proof_of_effect: ProofOfEffect | None = None
    generations: list[GeneratedText] = []
    not_measured: list[NotMeasured] = []
    warnings: list[str] = []
    timings: dict[str, float] = {}
    """What was timed, in seconds."""
    benchmark_seconds: dict[str, dict[str, float]] = {}
    """Phase -> benchmark -> seconds; `select` is what was looked at on the way, by the last process
    of a resumed run."""
    peak_memory_bytes: NonNegativeInt | None = None
    """Of tensors on the GPU, or of the whole process where the run used none."""
    forwards_per_token: float | None = None
    """Forward passes for each token that was scored or generated; None where one serves."""
    reproduce: str
    """The command that repeats the run."""

    @model_validator(mode="after")
    def _has_one_row_per_number(self) -> Self:
        seen: set[tuple[str, ...]] = set()
        for row in self.metrics:
            key = (row.phase, row.benchmark, row.variant, row.split, row.category, row.metric)
            if key in seen:
                raise ValueError(f"two metric rows for {' / '.join(key)}; a number has one row")
            seen.add(key)
        return self

    def find(
        self,
        *,
        benchmark: str | None = None,
        metric: str | None = None,
        category: str | None = OVERALL,
        phase: str | None = None,
        variant: str | None = None,
        split: str | None = None,
    ) -> list[MetricRow]:
        """Rows that agree with every key given, in the order of the record; None agrees with all.

        Args:
            benchmark: Name of the benchmark.
            metric: Name of the metric.
            category: Bias type; `overall`, unless told otherwise.
            phase: `before`, `after` or another name.
            variant: Variant of the benchmark.
            split: `report` for the numbers of a report.
        """
        wanted = {
            "benchmark": benchmark,
            "metric": metric,
            "category": category,
            "phase": phase,
            "variant": variant,
            "split": split,
        }
        keys = {name: value for name, value in wanted.items() if value is not None}
        return [r for r in self.metrics if all(getattr(r, k) == v for k, v in keys.items())]

    def value(self, **keys: str | None) -> float | None:
        """The one value that `find` finds, or None where it was not measured.

        Raises:
            ConfigError: Several rows agree; the message says which keys would tell them apart.
        """
        rows = self.find(**keys)
        if len(rows) > 1:
            apart = {name: sorted({getattr(row, name) for row in rows}) for name in _KEYS}
            choices = "; ".join(f"{k}: {', '.join(v)}" for k, v in apart.items() if len(v) > 1)
            raise ConfigError(f"{len(rows)} metric rows agree with {keys}; name one of {choices}")
        return rows[0].value if rows else None

    def save(self, run_dir: Path) -> Path:
        """Write `record.json` into the folder of the run, whole or not at all.

        Raises:
            StorageError: It could not be written; an earlier record is intact.
        """
        return write_text(run_dir / RECORD_FILE, self.model_dump_json(indent=1) + "\n")

    @classmethod
    def load(cls, run_dir: Path) -> RunRecord:
        """Read `record.json` from the folder of a run.

        Raises:
            DataError: There is none, it is no JSON, of another version, or breaks the schema.
        """
        path = run_dir / RECORD_FILE
        content = read_json(path)
        version = content.get("schema_version") if isinstance(content, dict) else None
        if version != SCHEMA_VERSION:
            raise DataError(
                f"{path} has schema version {version!r}; this unskew reads {SCHEMA_VERSION}; "
                "use the version of unskew that wrote it (field unskew_version), or run again"
            )
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            faults = problems_of(error)
            raise DataError(f"{path} breaks the schema of a record: {faults[0]}", faults) from error

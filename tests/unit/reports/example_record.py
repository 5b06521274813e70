"""A realistic record with its samples: four categories, history, decisions, guards, oracle."""

from __future__ import annotations

import math
import random
from datetime import UTC, datetime
from pathlib import Path

from unskew.reports.record import (
    Checkpoint,
    DataInfo,
    Decision,
    Environment,
    Floor,
    GeneratedText,
    HistoryMetric,
    HistoryRow,
    MetricRow,
    ModelInfo,
    NotMeasured,
    ProofOfEffect,
    RunRecord,
    TrainRow,
)
from unskew.reports.storage import write_samples
from unskew.types import SampleScore

CATEGORIES = ("gender", "profession", "race", "religion")
HOSTILE = '<script>alert("x")</script> $\\frac{a}$ & "q" | `c` [l](javascript:0)\n# h \x1b\x00'

SS = {
    "before": (65.6, 63.4, 61.4, 62.6, 62.7),
    "after": (52.4, 51.1, 50.4, 48.6, 50.8),
    "oracle": (50.2, 49.7, 51.0, 49.1, 50.1),
}
HALF_WIDTH = (4.8, 3.1, 3.0, 6.9, 1.9)
COUNTS = (255, 810, 962, 79)
GAPS = {"before": 0.34, "after": 0.02, "oracle": 0.0}


def row(phase: str, benchmark: str, metric: str, value: float, **changes: object) -> MetricRow:
    """A metric row with the interval value ± `width`, unless told otherwise."""
    width = changes.pop("width", 1.0)
    assert isinstance(width, float | int)
    fields: dict[str, object] = {
        "variant": "",
        "split": "report",
        "category": "overall",
        "n": 500,
        "ci_low": value - width,
        "ci_high": value + width,
        "ideal": None,
        "better": "lower",
        "unit": "%",
    }
    given = {"phase": phase, "benchmark": benchmark, "metric": metric, "value": value}
    return MetricRow.model_validate({**fields, **given, **changes})


def ss_row(phase: str, category: str, value: float, **changes: object) -> MetricRow:
    """A StereoSet SS row."""
    settings = {"variant": "intrasentence", "ideal": 50.0, "better": "closer", **changes}
    return row(phase, "stereoset", "ss", value, category=category, **settings)


def _preference_rows(phase: str) -> list[MetricRow]:
    names = (*CATEGORIES, "overall")
    rows = [
        ss_row(phase, name, value, width=width, n=n)
        for name, value, width, n in zip(
            names, SS[phase], HALF_WIDTH, (*COUNTS, sum(COUNTS)), strict=True
        )
    ]
    for metric, factor in (("mean_gap", 1.0), ("mean_abs_gap", 1.4)):
        rows += [
            row(
                phase,
                "stereoset",
                metric,
                GAPS[phase] * factor + 0.1 * (metric == "mean_abs_gap"),
                variant="intrasentence",
                category=name,
                width=0.03,
                n=n,
                ideal=0.0,
                better="closer" if metric == "mean_gap" else "lower",
                unit="nats/token",
            )
            for name, n in zip(names, (*COUNTS, sum(COUNTS)), strict=True)
        ]
    return rows


def _guard_rows(phase: str) -> list[MetricRow]:
    lms, ppl, accuracy, repetition = {
        "before": (92.2, 21.42, 98.9, 2.0),
        "after": (92.0, 21.77, 98.6, 4.0),
        "oracle": (92.4, 21.31, 99.3, 2.0),
    }[phase]
    better: dict[str, object] = {"ideal": 100.0, "better": "higher"}
    rows = [
        row(phase, "stereoset", "lms", lms, variant="intrasentence", width=1.0, n=2106, **better),
        row(phase, "perplexity", "perplexity", ppl, width=0.9, unit="ppl", n=245),
        row(phase, "reasoning", "accuracy", accuracy, width=0.6, n=900, **better),
        row(
            phase,
            "generation",
            "repetition_rate",
            repetition,
            ci_low=repetition / 4,
            ci_high=repetition * 3.5,
            n=50,
            ideal=0.0,
        ),
        row(phase, "generation", "empty_share", 0.0, ci_low=0.0, ci_high=7.1, n=50, ideal=0.0),
    ]
    kl: dict[str, object] = {"unit": "nats/token", "width": 0.001, "n": 245, "ideal": 0.0}
    if phase == "after":
        rows.append(row(phase, "divergence", "kl_reference_policy", 0.0123, variant="base", **kl))
    if phase != "oracle":
        values = {"before": (0.025, 0.18), "after": (0.010, 0.03)}[phase]
        rows.append(
            row(phase, "divergence", "kl_reference_policy", values[0], variant="oracle", **kl)
        )
        rows.append(row(phase, "slot", "pair_kl", values[1], variant="oracle", **kl))
    return rows


def _history() -> list[HistoryRow]:
    random_ = random.Random(1)
    rows = []
    for step in range(0, 301, 10):
        metrics = []
        for name, start, end in zip(CATEGORIES, SS["before"][:4], SS["after"][:4], strict=True):
            value = end + (start - end) * math.exp(-step / 70) + random_.gauss(0, 0.9)
            full = ss_row("", name, value, split="select", ci_low=None, ci_high=None, n=300)
            metrics.append(HistoryMetric.model_validate(full.model_dump(exclude={"phase"})))
        rows.append(HistoryRow(step=step, stage="unlearn", metrics=metrics))
    return rows


def _train_log() -> list[TrainRow]:
    random_ = random.Random(2)
    rows = []
    for step in range(1, 301):
        parts = {
            "forget": 14.0 - 1.8 * (1 - math.exp(-step / 80)) + random_.gauss(0, 0.15),
            "retain": 2.8 + 0.4 * math.exp(-step / 50) + random_.gauss(0, 0.05),
            "kl": 0.02 * (1 - math.exp(-step / 30)) + abs(random_.gauss(0, 0.002)),
        }
        loss = 0.2 * parts["forget"] + 0.4 * parts["retain"] + parts["kl"]
        rows.append(
            TrainRow(
                step=step,
                loss=loss,
                learning_rate=2e-3 * (1 - step / 360),
                grad_norm=0.8,
                parts=parts,
            )
        )
    return rows


def example_record() -> RunRecord:
    """A run that ended even-handed, with an oracle beside it."""
    metrics = [m for p in ("before", "after", "oracle") for m in _preference_rows(p)]
    metrics += [m for p in ("before", "after", "oracle") for m in _guard_rows(p)]
    return RunRecord(
        unskew_version="0.1.0",
        command="unlearn",
        recipe="biasunlearn",
        created=datetime(2026, 11, 22, 9, 30, tzinfo=UTC),
        seed=0,
        config_sha256="5f2b" * 16,
        environment=Environment(
            python="3.11.2",
            platform="Linux-6.1-x86_64",
            device="cpu",
            num_processes=1,
            packages={"torch": "2.13.0", "transformers": "5.23.0", "peft": "0.21.2"},
        ),
        model=ModelInfo(
            name_or_path="openai-community/gpt2-medium",
            model_type="gpt2",
            num_parameters=354_823_168,
            dtype="float32",
            fingerprint="9c41" * 16,
        ),
        data=DataInfo(
            name="McGill-NLP/stereoset",
            source="local hub cache, revision 8b92dd1",
            sha256="a1b2" * 16,
            counts={
                "train": {"gender": 700, "profession": 2300, "race": 2900, "religion": 240},
                "select": dict.fromkeys(CATEGORIES, 300),
                "report": dict(zip(CATEGORIES, COUNTS, strict=True)),
            },
            drops={"two blanks": 3, "a sentence that does not fill its context": 17},
        ),
        metrics=metrics,
        history=_history(),
        train_log=_train_log(),
        decisions=[
            Decision(
                step=0,
                kind="phase",
                directions=dict.fromkeys(CATEGORIES, 1),
                reason="every category leans to the stereotype",
            ),
            Decision(
                step=140,
                kind="phase",
                directions={"gender": 1, "profession": 1, "race": 1, "religion": -1},
                reason="religion crossed 50 (48.2)",
            ),
            Decision(
                step=260, kind="checkpoint", reason="least bias of all steps that met the floors"
            ),
            Decision(step=300, kind="stop", reason="all categories within 2 points of 50"),
        ],
        checkpoint=Checkpoint(
            best_step=260,
            last_step=300,
            reason="least bias of all steps that met the floors",
            floors=[
                Floor(metric="stereoset.lms", floor=90.7, value=92.1, met=True),
                Floor(metric="reasoning.accuracy", floor=97.4, value=98.7, met=True),
            ],
        ),
        proof_of_effect=ProofOfEffect(
            num_trainable_tensors=48,
            num_moved=48,
            num_frozen_tensors=292,
            num_frozen_changed=0,
            reload_max_abs_difference=0.0,
            relative_change=0.0041,
        ),
        generations=[
            GeneratedText(
                prompt="The nurse said that",
                before=" she was tired of the night shift, and the doctor told her to rest.",
                after=" they were tired of the night shift, and the doctor said the same.",
            ),
            GeneratedText(
                prompt="The engineer opened the door and",
                before=" he saw the old turbine.",
                after=" saw the old turbine, which had not run for years.",
            ),
        ],
        not_measured=[
            NotMeasured(
                what="Relearning attack", why="not asked for; add the attack to the recipe"
            ),
            NotMeasured(what="Intersentence StereoSet", why="the data set holds no such pairs"),
        ],
        warnings=["tokenizer has no padding token; the end token was used"],
        timings={"evaluate before": 41.2, "train": 512.0, "evaluate after": 42.9},
        reproduce="unskew unlearn biasunlearn --model openai-community/gpt2-medium "
        "--data McGill-NLP/stereoset --output-dir runs/gpt2m --seed 0",
    )


def write_example_samples(
    run_dir: Path, num_samples: int = 2106, categories: tuple[str, ...] = CATEGORIES
) -> None:
    """Per-pair gaps of every phase, normal around the phase's mean gap."""
    for phase, mean in GAPS.items():
        random_ = random.Random(phase)
        spread = 0.25 if phase == "oracle" else 0.6 if phase == "before" else 0.35
        scores = [
            SampleScore(
                id=f"s{i}",
                category=categories[i % len(categories)],
                target=f"t{i % 79}",
                values={"gap": random_.gauss(mean, spread), "variant": "intrasentence"},
            )
            for i in range(num_samples)
        ]
        write_samples(run_dir, phase, "stereoset", scores)


def hostile_record() -> RunRecord:
    """The same run, with markup in every text that comes from data or the user."""
    record = example_record()
    fields = record.model_dump()
    for metric in fields["metrics"] + [m for h in fields["history"] for m in h["metrics"]]:
        if metric["category"] == "gender":
            metric["category"] = HOSTILE
    fields["metrics"] += [
        {**m, "phase": HOSTILE} for m in fields["metrics"] if m["phase"] == "oracle"
    ]
    for log in fields["train_log"]:
        log["parts"] = {HOSTILE: 1.0, **log["parts"]}
    for decision in fields["decisions"]:
        decision["reason"] = HOSTILE
        decision["directions"] = {HOSTILE: 1}
    for text in fields["generations"]:
        text.update(prompt=HOSTILE, before=HOSTILE, after=HOSTILE)
    fields["not_measured"] = [{"what": HOSTILE, "why": HOSTILE}]
    fields["warnings"] = [HOSTILE]
    fields["reproduce"] = f"unskew ```{HOSTILE}"
    fields["recipe"] = HOSTILE
    fields["model"]["name_or_path"] = HOSTILE
    fields["data"].update(name=HOSTILE, source=HOSTILE, drops={HOSTILE: 1})
    fields["data"]["counts"]["report"][HOSTILE] = 1
    fields["environment"]["packages"][HOSTILE] = HOSTILE
    fields["timings"][HOSTILE] = 1.0
    return RunRecord.model_validate(fields)

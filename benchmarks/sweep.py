r"""Bias, reasoning and the distance to the oracle over settings that were swept, as a picture.

    python benchmarks/sweep.py --sweep "share of the weights" RUN=0.01 RUN=0.1 RUN=0.3 \
        --beside BiasUnlearn RUN --default RUN --output docs/sdu_sweep.png

Of the invented world, report split, with 95 % intervals. A run stands for the value behind the
last `=` of its folder's name. Reads nothing but `record.json`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from unskew.reports.record import MetricRow, RunRecord

ROWS = (
    ("SS within a sentence, %", ("stereoset", "ss", "intrasentence", "overall")),
    ("reasoning about groups, %", ("reasoning", "accuracy", "greedy", "entangled")),
    ("slot: KL from the oracle, nats", ("slot", "slot_kl", "oracle", "overall")),
)
"""Benchmark, metric, variant and category of what is drawn."""
LOG_FROM = 20
"""A setting whose largest value is this many times its smallest stands on a logarithmic axis."""


def row(folder: Path, phase: str, asked: tuple[str, ...]) -> MetricRow:
    """The one row of a record that is asked for."""
    named = dict(zip(("benchmark", "metric", "variant", "category"), asked, strict=True))
    (found,) = RunRecord.load(folder).find(phase=phase, **named)
    return found


def ends(row: MetricRow) -> list[list[float]]:
    """Lengths of an error bar."""
    assert row.ci_low is not None and row.ci_high is not None
    return [[row.value - row.ci_low], [row.ci_high - row.value]]


def draw(axes: Any, folders: list[str], args: argparse.Namespace, asked: tuple[str, ...]) -> None:
    places: list[tuple[float, float]] = []
    for folder in folders:
        found = row(Path(folder), "after", asked)
        places.append((float(folder.rpartition("=")[2].strip("/")), found.value))
        axes.errorbar(*places[-1], yerr=ends(found), fmt="o", color="C0", capsize=2)
        if folder in args.default:
            axes.plot(*places[-1], "o", markersize=14, markerfacecolor="none", color="0.2")
    axes.plot(*zip(*places, strict=True), color="C0", linewidth=0.8)
    lines = [("before", "before", args.default[0]), *(("after", *pair) for pair in args.beside)]
    for index, (phase, name, folder) in enumerate(lines, start=1):
        value = row(Path(folder), phase, asked).value
        axes.axhline(value, color=f"C{index}", linestyle="--", linewidth=1, label=name)
    values = [x for x, _ in places]
    if min(values) > 0 and max(values) / min(values) > LOG_FROM:
        axes.set_xscale("log")
    axes.set_xticks(values, [f"{x:g}" for x in values], minor=False)
    axes.minorticks_off()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sweep", nargs="+", action="append", required=True, metavar="NAME RUN")
    parser.add_argument("--beside", nargs=2, action="append", default=[], metavar=("NAME", "RUN"))
    parser.add_argument("--default", nargs="+", required=True, metavar="RUN")
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    figure, panels = plt.subplots(
        len(ROWS),
        len(args.sweep),
        figsize=(9, 8),
        sharey="row",
        layout="constrained",
        squeeze=False,
    )
    for down, (title, asked) in enumerate(ROWS):
        panels[down][0].set_ylabel(title)
        for across, (name, *folders) in enumerate(args.sweep):
            draw(panels[down][across], folders, args, asked)
            panels[-1][across].set_xlabel(name)
    panels[0][-1].legend(fontsize=8, frameon=False)
    figure.savefig(args.output, dpi=110)


if __name__ == "__main__":
    main()

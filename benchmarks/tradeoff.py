"""Bias against language modelling over the checkpoints of runs, as a picture.

    python benchmarks/tradeoff.py RUN RUN ... --labels A B ... --output docs/tradeoff.png

Reads nothing but `record.json`: small marks are the evaluations on the select split that steered
each run, large ones the model that was kept, on the report split with its 95 % interval.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from unskew.reports.record import RunRecord

VARIANTS = ("intrasentence", "intersentence")


def path_of(record: RunRecord, variant: str) -> list[tuple[float, float]]:
    """(SS, LMS) overall at each evaluation during training."""
    points = []
    for row in record.history:
        found = {
            m.metric: m.value
            for m in row.metrics
            if (m.benchmark, m.variant, m.category) == ("stereoset", variant, "overall")
        }
        points.append((found["ss"], found["lms"]))
    return points


def draw(axes: Any, runs: dict[str, RunRecord], variant: str) -> None:
    axes.axvline(50, color="0.6", linewidth=1)
    for index, (label, record) in enumerate(runs.items()):
        colour = f"C{index}"
        xs, ys = zip(*path_of(record, variant), strict=True)
        axes.plot(xs, ys, "-o", color=colour, markersize=3, linewidth=0.8, alpha=0.6)
        for phase, marker in (("before", "s"), ("after", "D")):
            ss, lms = (
                record.find(phase=phase, benchmark="stereoset", variant=variant, metric=m)[0]
                for m in ("ss", "lms")
            )
            if phase == "before" and index:
                continue
            shown = "0.2" if phase == "before" else colour
            low, high = ss.ci_low or ss.value, ss.ci_high or ss.value
            error = [[ss.value - low], [high - ss.value]]
            name = "before" if phase == "before" else label
            axes.errorbar(
                ss.value, lms.value, xerr=error, fmt=marker, color=shown, capsize=3, label=name
            )
    axes.set_title(variant)
    axes.set_xlabel("SS, per cent (ideal 50)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", type=Path)
    parser.add_argument("--labels", nargs="+", required=True)
    parser.add_argument("--output", type=Path, required=True)
    args = parser.parse_args()
    runs = {
        label: RunRecord.load(folder) for label, folder in zip(args.labels, args.runs, strict=True)
    }
    figure, panels = plt.subplots(1, 2, figsize=(10, 4.2), sharey=True, layout="constrained")
    for axes, variant in zip(panels, VARIANTS, strict=True):
        draw(axes, runs, variant)
    panels[0].set_ylabel("LMS, per cent")
    panels[0].legend(fontsize=8, frameon=False)
    figure.savefig(args.output, dpi=110)


if __name__ == "__main__":
    main()

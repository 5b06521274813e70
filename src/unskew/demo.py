"""The whole story on the invented world: teach, measure, unlearn, measure, show."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from unskew.reports.page import render_page
from unskew.reports.record import MetricRow, RunRecord
from unskew.run import AFTER, unlearn
from unskew.schema import WORLD
from unskew.world.teach import taught_world

PAPER = "paper weights"
PAPER_FOLDER = "paper-weights"
PAPER_WEIGHTS = "rule.weights={forget: 0.4, retain: 0.4, unrelated: 0.2}"
# A floor on slot mass would keep an early checkpoint and hide what these weights lead to.
NO_FLOORS = "choice.floors=[]"
COMPARED = "evaluation.benchmarks=[stereoset, slot, divergence, reasoning]"


def demo(
    output_dir: Path,
    *,
    seed: int = 0,
    resume: bool = False,
    tell: Callable[[str], object] = lambda _: None,
) -> RunRecord:
    """Run the story and write its page.

    The paper's loss weights, with all else alike, are run beside ours: they cure the preference
    and drain the slot, which StereoSet's scores do not show and the oracle does.

    Args:
        output_dir: A new folder.
        seed: Seed of the training runs; the world is always the same one.
        resume: Go on where a demo was cut off.
        tell: Given a line before each step.

    Raises:
        UnskewError: Anything that goes wrong; see `unskew.errors`.
    """
    begun = time.perf_counter()
    tell("1/3 teaching the invented world, biased and balanced (once, then cached)")
    taught_world()
    story: dict[str, Any] = {"model": WORLD, "data": WORLD, "resume": resume, "tell": tell}
    seeded = [f"seed={seed}"]
    tell("2/3 unlearning the bias")
    run = unlearn("biasunlearn_world", output_dir=output_dir, overrides=seeded, **story)
    tell("3/3 the same with the paper's loss weights, for comparison")
    paper = unlearn(
        "biasunlearn_world",
        output_dir=output_dir / PAPER_FOLDER,
        overrides=[*seeded, PAPER_WEIGHTS, NO_FLOORS, COMPARED],
        **story,
    )
    if run.record.find(phase=PAPER, category=None):
        render_page(output_dir)
        return run.record
    rows = [
        MetricRow(**{**row.model_dump(), "phase": PAPER})
        for row in paper.record.find(phase=AFTER, category=None)
    ]
    timings = {**run.record.timings, "whole demo": time.perf_counter() - begun}
    record = run.record.model_copy(
        update={"metrics": [*run.record.metrics, *rows], "timings": timings}
    )
    record.save(output_dir)
    render_page(output_dir)
    return record

"""The whole story on the invented world: teach, measure, unlearn, measure, show."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from unskew import config
from unskew.errors import RunError
from unskew.output import claim_folder
from unskew.reports.page import render_page
from unskew.reports.record import RECORD_FILE, MetricRow, RunRecord
from unskew.run import AFTER, execute
from unskew.world.teach import one_thread, taught_world
from unskew.world_names import WORLD

RECIPE = "biasunlearn_world"
PAPER = "paper weights"
PAPER_FOLDER = "paper-weights"
PAPER_SETTINGS = (
    "rule.weights={forget: 0.4, retain: 0.4, unrelated: 0.2}",
    # A floor on slot mass would keep an early checkpoint and hide what these weights lead to.
    "choice.floors=[]",
    "evaluation.benchmarks=[stereoset, slot, divergence, reasoning]",
)


def demo(
    output_dir: Path,
    *,
    seed: int = 0,
    overrides: Sequence[str] = (),
    resume: bool = False,
    tell: Callable[[str], object] = lambda _: None,
) -> RunRecord:
    """Run the story and write its page.

    The paper's loss weights, with all else alike, are run beside ours: they cure the preference
    and drain the slot, which StereoSet's scores do not show and the oracle does. The two runs
    share the machine, one thread each: the models are too small to keep two threads busy.

    Args:
        output_dir: A new folder.
        seed: Seed of the training runs; the world is always the same one.
        overrides: Further settings of both runs as `key=value`.
        resume: Go on where a demo was cut off.
        tell: Given a line before each step.

    Raises:
        UnskewError: Anything that goes wrong; see `unskew.errors`.
    """
    begun = time.perf_counter()
    settings = config.load(
        RECIPE,
        options={"model.name_or_path": WORLD, "data.name_or_path": WORLD},
        overrides=[f"seed={seed}", *overrides],
    )
    claim_folder(output_dir, settings.to_yaml(), resume=resume)
    if (output_dir / RECORD_FILE).is_file():
        found = RunRecord.load(output_dir)
        if found.find(phase=PAPER, category=None):
            tell(f"{output_dir} holds a finished demo; there is nothing left to do")
            return found
    tell("1/2 teaching the invented world, biased and balanced (once, then cached)")
    taught_world()
    tell("2/2 unlearning the bias; beside it, the same with the paper's loss weights")
    paper_settings = [f"seed={seed}", *PAPER_SETTINGS, *overrides]
    with one_thread(), _beside(output_dir / PAPER_FOLDER, paper_settings):
        record = execute(settings, output_dir, resume=True, tell=tell).record
    rows = [
        MetricRow(**{**row.model_dump(), "phase": PAPER})
        for row in RunRecord.load(output_dir / PAPER_FOLDER).find(phase=AFTER, category=None)
    ]
    timings = {**record.timings, "whole demo": time.perf_counter() - begun}
    record = record.model_copy(update={"metrics": [*record.metrics, *rows], "timings": timings})
    record.save(output_dir)
    render_page(output_dir)
    return record


@contextmanager
def _beside(folder: Path, settings: Sequence[str]) -> Iterator[None]:
    """A run in a process of its own, which has ended when the context does.

    Raises:
        RunError: It failed; the message holds the end of what it said.
    """
    where = ["--model", WORLD, "--data", WORLD, "--output-dir", str(folder)]
    command = [sys.executable, "-m", "unskew", "unlearn", RECIPE, *settings, *where]
    if (folder / "config.yaml").is_file():
        command.append("--resume")
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as said:
        process = subprocess.Popen(command, stdout=said, stderr=said, env=environment)
        try:
            yield
            process.wait()
        finally:
            process.terminate()
            process.wait()
        if process.returncode:
            said.seek(0)
            raise RunError(
                f"the run in {folder} ended with exit code {process.returncode}; go on with "
                f"--resume. It said: {said.read().strip()[-1000:]}"
            )

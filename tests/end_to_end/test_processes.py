"""Two processes make the run of one."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from tests.end_to_end.conftest import environment
from unskew.reports.record import RunRecord

# Sums over rows are taken in another order: each step rounds anew, by some eps of float32 (1.2e-7)
# relative to gradients that Adam scales to steps of the learning rate (2e-3). Ten steps leave
# log-probabilities of size 5 alike to about 10 * 2e-3 * sqrt(1e-7), which 1e-4 covers with room.
TOLERANCE = 1e-4
SHORT = ("--max-steps", "10", "training.eval_steps=5", "--benchmarks", "stereoset,divergence")


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return bound.getsockname()[1]


def test_two_processes_give_the_run_of_one(here, story, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    assert here(*story.unlearn(one, *SHORT)).code == 0
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2"]
    address = ["--master_addr", "127.0.0.1", "--master_port", str(free_port())]
    done = subprocess.run(
        [sys.executable, *launcher, *address, "-m", "unskew", *story.unlearn(two, *SHORT)],
        env=environment(), capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len([line for line in done.stdout.splitlines() if line.startswith("report: ")]) == 1
    single, double = RunRecord.load(one), RunRecord.load(two)
    assert (single.environment.num_processes, double.environment.num_processes) == (1, 2)
    assert len(double.metrics) == len(single.metrics)
    for ours, theirs in zip(double.metrics, single.metrics, strict=True):
        assert ours.model_copy(update={"value": 0, "ci_low": None, "ci_high": None}) == (
            theirs.model_copy(update={"value": 0, "ci_low": None, "ci_high": None})
        )
        if ours.metric in {"mean_gap", "kl_reference_policy"} or ours.phase == "before":
            assert ours.value == pytest.approx(theirs.value, abs=TOLERANCE)
    assert [d.model_dump(exclude={"reason"}) for d in double.decisions] == [
        d.model_dump(exclude={"reason"}) for d in single.decisions
    ]
    names = sorted(p.relative_to(one) for p in one.rglob("*") if p.is_file())
    assert sorted(p.relative_to(two) for p in two.rglob("*") if p.is_file()) == names
    lines = (two / "log.jsonl").read_text().splitlines()
    assert len(lines) == len((one / "log.jsonl").read_text().splitlines()) == 3

"""Two processes make the run of one."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from tests.end_to_end.conftest import environment
from tests.end_to_end.test_stages import MASK, UNBIASED, UPDATE
from unskew.hub.deltas import load_delta
from unskew.models.masks import load_masks
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


def by_two(words: list[str]) -> str:
    """Run the command as two processes; what they print."""
    launcher = ["-m", "torch.distributed.run", "--nproc_per_node", "2"]
    address = ["--master_addr", "127.0.0.1", "--master_port", str(free_port())]
    done = subprocess.run(
        [sys.executable, *launcher, *address, "-m", "unskew", *words],
        env=environment(), capture_output=True, text=True, timeout=170, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_two_processes_give_the_run_of_one(here, story, tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    assert here(*story.unlearn(one, *SHORT)).code == 0
    said = by_two(story.unlearn(two, *SHORT))
    assert len([line for line in said.splitlines() if line.startswith("report: ")]) == 1
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


def test_two_processes_choose_the_weights_of_one_and_change_them_alike(here, story, tmp_path):
    """The mask to the last bit where no training comes before it; the delta up to rounding."""
    by_gradient = {**MASK, "shadow": None, "bias": {"name": "grad"}}
    stages = [by_gradient, UNBIASED, {**UPDATE, "strengths": [1.0], "refine": 0}]
    recipe = tmp_path / "small.yaml"
    recipe.write_text(json.dumps({"extends": "sdu", "stages": stages}))
    words = ["unlearn", str(recipe), "--model", str(story.biased), "--data", str(story.pairs)]
    one, two = tmp_path / "one", tmp_path / "two"
    assert here(*words, "--output-dir", str(one)).code == 0
    by_two([*words, "--output-dir", str(two)])
    mask = Path("stages", "mask", "mask")
    masks = load_masks(one / mask)
    assert masks.keys() == (others := load_masks(two / mask)).keys()
    assert all(torch.equal(masks[name], others[name]) for name in masks)
    assert 0 < sum(int(m.sum()) for m in masks.values()) < sum(m.numel() for m in masks.values())
    ours, theirs = (load_delta(folder / "delta") for folder in (one, two))
    assert ours.keys() == theirs.keys()
    for name, change in ours.items():
        # Adam's steps of 2e-3 turn by rounding where a gradient is nearly 0.
        torch.testing.assert_close(theirs[name].dense(), change.dense(), atol=2e-3, rtol=0)
        assert not theirs[name].dense()[~masks[name]].any()

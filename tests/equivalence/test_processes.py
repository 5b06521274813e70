"""The same run on one process, in micro-batches, and on two processes."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from tests.equivalence.asked import answers, requests
from tests.fixtures import make_trainer, trainable

ROOT = Path(__file__).parents[2]
# Gradients agree to about 1e-6 of their norm (float32 sums in another order); AdamW divides by
# their magnitude, so that entries near 0 may move by a share of the learning rate, 1e-2.
PARAMETERS = {"rtol": 1e-3, "atol": 2e-4}
NUMBERS = {"rel": 1e-4, "abs": 1e-4}


def _launch(folder: Path, processes: int, **extra: str) -> list[dict]:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    started = []
    for rank in range(processes):
        env = {
            **os.environ,
            **extra,
            "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
            "OMP_NUM_THREADS": "1",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(port),
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "WORLD_SIZE": str(processes),
        }
        command = [sys.executable, "-m", "tests.equivalence.worker", str(folder)]
        started.append(
            subprocess.Popen(command, env=env, cwd=ROOT, stderr=subprocess.PIPE, text=True)
        )
    for process in started:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors[-3000:]
    return [json.loads((folder / f"{r}.json").read_text()) for r in range(processes)]


@pytest.fixture(scope="module")
def single(tmp_path_factory):
    trainer = make_trainer(tmp_path_factory.mktemp("single"), settings={"logging_steps": 1})
    trainer.fit()
    return trainer


@pytest.fixture(scope="module")
def double(tmp_path_factory):
    folder = tmp_path_factory.mktemp("double")
    return folder, _launch(folder, 2)


def _assert_same_numbers(history, other) -> None:
    assert [e["step"] for e in history] == [e["step"] for e in other]
    for a, b in zip(history, other, strict=True):
        values = [m["value"] for m in a["metrics"]], [m["value"] for m in b["metrics"]]
        assert values[0] == pytest.approx(values[1], **NUMBERS)


def _history(trainer) -> list[dict]:
    return [{"step": e.step, "metrics": [{"value": m.value} for m in e.metrics]}
            for e in trainer.history]  # fmt: skip


def test_micro_batches(tmp_path, single):
    cut = make_trainer(tmp_path, settings={"micro_batch_examples": 5, "logging_steps": 1})
    cut.fit()
    for name, value in trainable(single.policy).items():
        torch.testing.assert_close(trainable(cut.policy)[name], value, **PARAMETERS)
    assert cut.decisions == single.decisions
    _assert_same_numbers(_history(cut), _history(single))
    assert len(cut.source._micro_batches) >= 4


def test_two_processes_hold_the_same_weights(double):
    folder, _ = double
    first, second = (load_file(folder / f"{r}.safetensors") for r in range(2))
    assert all(torch.equal(first[n], second[n]) for n in first)


def test_two_processes_are_one(double, single):
    folder, results = double
    for name, value in trainable(single.policy).items():
        torch.testing.assert_close(load_file(folder / "0.safetensors")[name], value, **PARAMETERS)
    for result in results:
        decided = [(d["step"], d["kind"], d["directions"]) for d in result["decisions"]]
        assert decided == [(d.step, d.kind, d.directions) for d in single.decisions]
        _assert_same_numbers(result["history"], _history(single))


def test_two_processes_answer_every_kind_of_request_as_one(double):
    """Likelihoods, divergences, vectors, sampled and greedy text, conversations; and SEAT."""
    told = [json.loads((double[0] / f"answers-{rank}.json").read_text()) for rank in range(2)]
    assert told[0] == told[1]
    alone = answers()
    assert set(told[0]) == {"metrics"} | {request.id for request in requests()}
    # Batches are cut differently, so sums of float32 are rounded anew; texts are the same.
    _assert_alike(told[0], alone)


def _assert_alike(one, other) -> None:
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        one, other = list(one.values()), list(other.values())
    if isinstance(one, list):
        assert len(one) == len(other)
        for a, b in zip(one, other, strict=True):
            _assert_alike(a, b)
    else:
        assert one == (pytest.approx(other, abs=1e-4) if isinstance(one, float) else other)


def test_the_learning_rate_does_not_depend_on_the_processes(double, single):
    rates = [line["learning_rate"] for line in single.train_log]
    for result in double[1]:
        assert [line["learning_rate"] for line in result["train_log"]] == rates
        for line, own in zip(result["train_log"], single.train_log, strict=True):
            assert line["parts"] == pytest.approx(own["parts"], **NUMBERS)
            assert line["grad_norm"] == pytest.approx(own["grad_norm"], rel=1e-3)


def test_only_one_process_writes(double):
    assert sorted(p.name for p in (double[0] / "run").iterdir()) == [
        "best-2", "best-6", "checkpoint-4", "checkpoint-6", "log.jsonl",
    ]  # fmt: skip


def test_a_loss_that_is_not_finite_stops_every_process(tmp_path):
    results = _launch(tmp_path, 2, FAILING_RANK="1")
    assert results[0] == results[1]
    assert re.search(r"part 'retain' is not finite on \S+\|anti_stereotype", results[0]["error"])

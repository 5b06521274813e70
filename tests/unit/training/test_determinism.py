"""Flags of torch while a step runs; the kernels themselves are tested where there is a GPU."""

from __future__ import annotations

import os
from contextlib import contextmanager

import pytest
import torch

from tests.fixtures import make_trainer
from unskew.errors import RunError
from unskew.training.determinism import deterministic_kernels, prefer_deterministic_kernels


def _flags() -> tuple[bool, bool]:
    """Whether kernels with a fixed order are asked for, and whether others are only warned of."""
    return (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )


@pytest.fixture
def gpu(monkeypatch):
    """As if there were one; afterwards the flags are as they were."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", "")
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG")
    yield
    torch.use_deterministic_algorithms(False)


def test_without_a_gpu_nothing_changes():
    prefer_deterministic_kernels()
    with deterministic_kernels(required=True):
        assert _flags() == (False, False)
    assert "CUBLAS_WORKSPACE_CONFIG" not in os.environ


def test_preferred_everywhere_and_required_inside(gpu):
    prefer_deterministic_kernels()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert _flags() == (True, True)
    with deterministic_kernels(required=True):
        assert _flags() == (True, False)
    assert _flags() == (True, True)
    with deterministic_kernels(required=False):
        assert _flags() == (True, True)


def test_a_kernel_that_has_no_such_form_is_named_with_the_mend(gpu):
    missing = "cumsum_cuda_kernel does not have a deterministic implementation, but you set ..."
    with (
        pytest.raises(RunError, match=r"cumsum_cuda_kernel .* set training.full_determinism=false"),
        deterministic_kernels(required=True),
    ):
        raise RuntimeError(missing)
    assert _flags() == (False, False)
    with pytest.raises(RuntimeError, match="out of memory"), deterministic_kernels(required=True):
        raise RuntimeError("out of memory")


@pytest.mark.parametrize("asked", [True, False])
def test_a_step_requires_what_its_settings_say(tmp_path, monkeypatch, asked):
    told = []

    @contextmanager
    def watched(required):
        told.append(("entered", required))
        yield
        told.append("left")

    monkeypatch.setattr("unskew.training.trainer.deterministic_kernels", watched)
    trainer = make_trainer(tmp_path, settings={"full_determinism": asked, "max_steps": 1})
    step = trainer.rule.step
    monkeypatch.setattr(trainer.rule, "step", lambda source: (told.append("step"), step(source))[1])
    trainer.fit()
    assert told == [("entered", asked), "step", "left"]

"""Executors by name, and their refusals."""

from __future__ import annotations

import sys

import pytest

from unskew.errors import ConfigError
from unskew.executing import LocalExecutor
from unskew.executors import executor_for


def test_resources_go_to_the_executor():
    found = executor_for("local", workers=3, cpus_per_run=2)
    assert isinstance(found, LocalExecutor)
    assert (found.workers, found.cpus_per_run) == (3, 2)


def test_refusals(monkeypatch):
    with pytest.raises(ConfigError, match="there is no executor 'slurm'; take one of local, ray"):
        executor_for("slurm")
    with pytest.raises(ConfigError, match="gpus_per_run is for executor ray"):
        executor_for("local", gpus_per_run=1)
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ConfigError, match=r"pip install 'unskew\[ray\]'"):
        executor_for("ray")

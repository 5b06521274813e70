"""A plan on a real Ray of this machine: the numbers of local processes, failures as failures."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.end_to_end.test_reproduce import SHORT
from unskew import config
from unskew.errors import ConfigError
from unskew.executing import Job, LocalExecutor, run_all
from unskew.executors import RayExecutor
from unskew.reports.record import RunRecord

ray = pytest.importorskip("ray")


@pytest.fixture(scope="module", autouse=True)
def cluster():
    # Ray's own start leaves files open for the collector to find.
    patch = pytest.MonkeyPatch()
    patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    root = str(Path(__file__).parents[2])
    paths = [root, str(Path(root, "src")), os.environ.get("PYTHONPATH", "")]
    patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()
    patch.undo()


def job(story, folder, *more, seed=3):
    named = {"model.name_or_path": str(story.biased), "data.name_or_path": str(story.pairs)}
    settings = config.load(
        "finetune_anti", options={**named, "seed": seed}, overrides=[*SHORT, *more]
    )
    return Job(folder.name, settings, folder)


def essence(folder):
    return [row.model_dump() for row in RunRecord.load(folder).metrics]


def test_ray_gives_the_numbers_of_local_processes(story, tmp_path):
    jobs = [job(story, tmp_path / "ray" / f"seed={seed}", seed=seed) for seed in (3, 4)]
    wrong = job(story, tmp_path / "ray" / "wrong", "data.categories=[nobody]")
    told = []
    ended = run_all([*jobs, wrong], RayExecutor(), retries=1, tell=told.append)
    assert [ended[j.folder].error for j in jobs] == [None, None]
    assert "nobody" in str(ended[wrong.folder].error)
    assert told[-2:] == [
        "1/1 wrong (again, 1 of 1)",
        f"wrong failed: {ended[wrong.folder].error}",
    ]
    assert ended[jobs[0].folder].process_seconds > 0
    here = job(story, tmp_path / "local" / "seed=3")
    run_all([here], LocalExecutor(1))
    assert essence(jobs[0].folder) == essence(here.folder)
    assert "unlearning by" in (tmp_path / "ray" / "seed=3.log").read_text()


def test_a_killed_worker_is_a_failed_run(story, tmp_path, monkeypatch):
    monkeypatch.setattr("unskew.executors._run_at", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    killed = job(story, tmp_path / "killed")
    ended = run_all([killed], RayExecutor())
    assert "see " in str(ended[killed.folder].error)
    assert not (tmp_path / "killed").exists()


def test_what_no_node_has_is_refused(story, tmp_path):
    with pytest.raises(ConfigError, match=r"gpus_per_run is 7, but Ray has 0 GPUs in all"):
        run_all([job(story, tmp_path / "x")], RayExecutor(gpus_per_run=7))

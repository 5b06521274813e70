"""A plan on a real Ray of this machine: the numbers of local processes, failures as failures."""

from __future__ import annotations

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from tests.end_to_end.conftest import run
from tests.end_to_end.test_reproduce import SHORT
from unskew import config
from unskew.errors import ConfigError
from unskew.executing import Ended, Job, LocalExecutor, Unlearning, run_all
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
    return Job(folder.name, Unlearning(settings), folder)


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
    asked = r"asks for 1 CPU, 7 GPU, and no node of Ray has as much \(there are: 2 CPU, 0 GPU\)"
    with pytest.raises(ConfigError, match=asked):
        run_all([job(story, tmp_path / "x")], RayExecutor(gpus_per_run=7))


def test_a_folder_that_the_node_does_not_share_is_told(story, tmp_path, monkeypatch):
    monkeypatch.setattr("unskew.executors._run_at", lambda *_: Ended(None, 1.0, 1.0))
    elsewhere = job(story, tmp_path / "elsewhere")
    error = run_all([elsewhere], RayExecutor())[elsewhere.folder].error
    assert error == f"it ended on a node that does not share {tmp_path}"


def words(story, folder, *more: str) -> tuple[str, ...]:
    named = ("--model", str(story.biased), "--data", str(story.pairs), "--output-dir", str(folder))
    return ("sweep", "finetune_anti", *named, "--executor", "ray", *more, *SHORT)


def drivers() -> int:
    """How many programs have connected to the Ray of this module."""
    return len(ray._private.state.jobs())


def test_the_command_joins_the_cluster_it_is_told_of_and_no_other(story, tmp_path, monkeypatch):
    first, folder = drivers(), tmp_path / "s"
    monkeypatch.setenv("RAY_ADDRESS", ray.get_runtime_context().gcs_address)
    said = run(*words(story, folder, "--grid", "data.categories=[[trade], [nobody]]"))
    assert said.code == 1, said.err
    assert drivers() == first + 1
    good, bad = json.loads((folder / "sweep.json").read_text())
    assert good["error"] is None and "nobody" in bad["error"]
    done = next(folder.glob("*/record.json"))
    made = done.stat().st_mtime_ns
    monkeypatch.delenv("RAY_ADDRESS")
    said = run(*words(story, folder, "--grid", "data.categories=[[trade]]", "--retries", "1"))
    assert said.code == 0, said.err
    assert "1 of 1 runs are there already" in said.out
    assert done.stat().st_mtime_ns == made
    said = run(*words(story, folder, "--grid", "seed=[8]"))
    assert said.code == 0, said.err
    assert drivers() == first + 1
    assert RunRecord.load(folder / "seed=8").seed == 8


def test_an_address_where_nobody_listens_is_told_at_once(story, tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    with pytest.raises(ConfigError, match=f"nobody listens at RAY_ADDRESS={address}"):
        run_all([job(story, tmp_path / "x")], RayExecutor())

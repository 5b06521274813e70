"""Killed at any moment, a run goes on to the very numbers it would have had."""

from __future__ import annotations

import signal
import subprocess
import time

import pytest

from tests.end_to_end.conftest import adapter_bytes, command, environment, essence


def last_logged(folder):
    lines = (
        (folder / "log.jsonl").read_text().splitlines() if (folder / "log.jsonl").exists() else []
    )
    return len(lines) * 4


MOMENTS = {
    "when a checkpoint appears": lambda folder: (folder / "checkpoint-12").exists(),
    "between two checkpoints": lambda folder: last_logged(folder) >= 28,
    "in the final evaluation": lambda folder: (folder / "adapter").exists(),
}


def stop_at(words, has_come, sign):
    """Start a run and send it a signal at a moment; returns its exit code and what it said."""
    process = subprocess.Popen(
        command(*words),
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A suite that runs in the background ignores Ctrl-C, and its children would, too.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not has_come() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(sign)
    _, said = process.communicate(timeout=60)
    return process.returncode, said


@pytest.mark.usefixtures("without_page")
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_killed_run_goes_on_to_the_same_numbers(here, story, straight, tmp_path, moment):
    folder = tmp_path / "killed"
    words = story.unlearn(folder)
    code, _ = stop_at(words, lambda: MOMENTS[moment](folder), signal.SIGKILL)
    assert code == -signal.SIGKILL
    assert not (folder / "report.html").exists()
    said = here(*words, "--resume")
    assert said.code == 0, said.err
    assert adapter_bytes(folder) == adapter_bytes(straight)
    assert essence(folder) == essence(straight)
    assert (folder / "log.jsonl").read_bytes() == (straight / "log.jsonl").read_bytes()


@pytest.mark.usefixtures("without_page")
def test_ctrl_c_leaves_a_folder_that_resumes_and_says_so(here, story, straight, tmp_path):
    """Before the first checkpoint: the baseline is kept, the training begins anew."""
    folder = tmp_path / "interrupted"
    words = story.unlearn(folder)
    code, said = stop_at(words, lambda: (folder / "best-0").exists(), signal.SIGINT)
    assert code == 130
    assert said.splitlines()[-1] == (
        f"unskew: interrupted; {folder} is kept, go on with the same command and --resume"
    )
    assert "Traceback" not in said
    assert here(*words, "--resume").code == 0
    assert essence(folder) == essence(straight)


def test_a_finished_run_is_left_as_it_is(here, story, straight):
    def state():
        found = [p for p in straight.rglob("*") if p.is_file()]
        return {p: (p.stat().st_mtime_ns, p.stat().st_ino) for p in found}

    before = state()
    said = here(*story.unlearn(straight), "--resume")
    assert said.code == 0
    assert said.out.splitlines()[0] == (
        f"{straight} holds a finished run; there is nothing left to do"
    )
    assert state() == before


def test_a_page_that_was_never_written_is_written_by_resume(here, story, straight):
    """The kill between the record and its page."""
    page = straight / "report.html"
    content = page.read_bytes()
    page.unlink()
    try:
        assert here(*story.unlearn(straight), "--resume").code == 0
        assert page.read_bytes() == content
    finally:
        page.write_bytes(content)

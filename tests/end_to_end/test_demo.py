"""The demo: two runs side by side, one page; what goes wrong in the second one is told."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.world_fixture import taught
from unskew import demo as story
from unskew.errors import RunError

SHORT = (
    "stages.0.training.max_steps=4",
    "stages.0.training.schedule_steps=4",
    "stages.0.training.eval_steps=4",
    "stages.0.training.warmup_steps=0",
    "evaluation.benchmarks=[stereoset]",
    "evaluation.select_per_category=20",
)


def test_the_story_is_told_and_goes_on_after_a_failure(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    taught()
    folder = tmp_path / "demo"
    with monkeypatch.context() as patched:
        patched.setattr(story, "PAPER_SETTINGS", ("rule.nonsense=1",))
        with pytest.raises(RunError, match=r"exit code 2; go on with --resume.*nonsense"):
            story.demo(folder, overrides=SHORT)
    assert not (folder / story.PAPER_FOLDER).exists()

    record = story.demo(folder, overrides=SHORT, resume=True)
    phases = {row.phase for row in record.metrics}
    assert phases == {"before", "oracle", "after", story.PAPER}
    ours = record.find(benchmark="stereoset", metric="lms", phase="after", category=None)
    paper = record.find(benchmark="stereoset", metric="lms", phase=story.PAPER, category=None)
    assert [row.variant for row in ours] == [row.variant for row in paper]
    assert "whole demo" in record.timings
    assert story.PAPER in (folder / "report.html").read_text(encoding="utf-8")

    said: list[str] = []
    again = story.demo(folder, overrides=SHORT, resume=True, tell=said.append)
    assert again == record
    assert said == [f"{folder} holds a finished demo; there is nothing left to do"]

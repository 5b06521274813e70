"""A taught model, its pairs, and the command line as a user meets it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.end_to_end import stories
from unskew import cli
from unskew.reports.record import RunRecord

# Recipes are tuned now and then; what these tests expect was measured with these values.
SETTINGS = (
    "rule.weights={forget: 0.2, retain: 0.4, unrelated: 1.0}",
    "training.learning_rate=2e-3",
    "scope={name: lora, r: 8, alpha: 16, targets: all_linear}",
    "controllers.dynamic_swap.signal=mean_gap",
    "choice={signal: mean_gap, window: 0.005}",
    "training.eval_steps=12",
    "training.logging_steps=4",
    "training.lr_scheduler_type=linear",
    "chunk.forget=4",
    # The story's model was never shown a text without its start token.
    "chunk.without_start=0.0",
    "chunk.retain=8",
    "chunk.unrelated=6",
)
STEPS = ("--max-steps", "36")


@dataclass(frozen=True)
class Said:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str


@dataclass(frozen=True)
class Story:
    """Folders of the two models and the file of pairs."""

    biased: Path
    sibling: Path
    pairs: Path

    def unlearn(self, folder: Path, *more: str) -> list[str]:
        """Words of the run that all tests of this folder compare with."""
        named = ["--model", str(self.biased), "--data", str(self.pairs)]
        given = ["--output-dir", str(folder), *STEPS, *SETTINGS]
        return ["unlearn", "biasunlearn", *named, *given, *more]


def environment() -> dict[str, str]:
    """Of a subprocess: offline, on one thread, and with no test runner's settings."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("TQDM", "TRANSFORMERS"))}
    return {**kept, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "COLUMNS": "100"}


def command(*words: str) -> list[str]:
    """The command line as a process."""
    return [sys.executable, "-m", "unskew", *words]


def run(*words: str) -> Said:
    """Run the command line as a process of its own."""
    done = subprocess.run(
        command(*words), env=environment(), capture_output=True, text=True, timeout=170, check=False
    )
    return Said(done.returncode, done.stdout, done.stderr)


@pytest.fixture(scope="session")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    """The taught models and their pairs."""
    folder = tmp_path_factory.mktemp("story")
    biased, sibling = stories.teach(folder)
    return Story(biased, sibling, stories.write_pairs(folder / "pairs.jsonl"))


@pytest.fixture(scope="session")
def straight(story: Story, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run that nothing disturbed."""
    folder = tmp_path_factory.mktemp("runs") / "straight"
    said = run(*story.unlearn(folder))
    assert said.code == 0, said.err
    (folder.parent / "said.txt").write_text(f"{said.out}\0{said.err}")
    return folder


@pytest.fixture
def here(capsys, monkeypatch) -> Iterator[Callable[..., Said]]:
    """The command line inside this process: the same words, without the seconds of imports."""
    for name in ("TRANSFORMERS_VERBOSITY", "TQDM_DELAY"):
        # Set before it is deleted, so that what the command sets is gone after the test.
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    # Both: the variable is read when the hub's client is imported, which may have been before.
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)

    def call(*words: str) -> Said:
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main(words)
        printed = capsys.readouterr()
        code = ended.value.code
        return Said(code if isinstance(code, int) else 0, printed.out, printed.err)

    return call


@pytest.fixture
def without_page(monkeypatch) -> None:
    """Drawing the page takes as long as the training, and is often not what is looked at."""
    monkeypatch.setattr("unskew.pipeline.render_page", lambda folder: None)


def essence(folder: Path) -> dict[str, object]:
    """All of a record that does not depend on when, where and how often a run was started."""
    record = RunRecord.load(folder)
    varying = {"command", "created", "timings", "reproduce", "environment", "peak_memory_bytes"}
    return record.model_dump(exclude=varying | {"benchmark_seconds"})


def adapter_bytes(folder: Path) -> bytes:
    """The adapter's weights as they lie on disk."""
    return (folder / "adapter" / "adapter_model.safetensors").read_bytes()

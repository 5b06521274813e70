"""The Python of docs/python-api.md, run as it stands but for names of models and data."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch

from unskew.protocols import StreamValues

PAGE = Path(__file__).parents[2] / "docs" / "python-api.md"


def block(which: str) -> str:
    """The one Python block with these words in it."""
    found = re.findall(r"^```python\n(.*?)^```", PAGE.read_text("utf-8"), flags=re.M | re.S)
    (chosen,) = [text for text in found if which in text]
    return chosen


@pytest.fixture
def run_block(story, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def run(which, **changes):
        text = block(which)
        names = {
            '"openai-community/gpt2-medium"': f'"{story.biased}"',
            '"gpt2"': f'"{story.biased}"',
            '"pairs.jsonl"': f'"{story.pairs}"',
            '"stereoset/dev.json"': f'"{story.pairs}"',
            **changes,
        }
        for old, new in names.items():
            text = text.replace(old, new)
        namespace = {}
        exec(compile(text, str(PAGE), "exec"), namespace)
        return namespace

    return run


def test_three_lines(run_block):
    more = 'options={"training.max_steps": 4}, '
    made = run_block('run = unskew.unlearn("biasunlearn"', **{"output_dir=": f"{more}output_dir="})
    rows = made["run"].metrics("stereoset", "ss")
    assert {(r.phase, r.category) for r in rows} == {
        (phase, category)
        for phase in ("before", "after")
        for category in ("overall", "creed", "trade")
    }
    made_up = made["model"].generate(torch.tensor([[1, 5]]), max_new_tokens=3, do_sample=False)
    assert made_up.shape[0] == 1
    assert made["run"].record.command == "called from Python"


def test_evaluate_returns_a_record(run_block):
    """The variant and category of StereoSet's own file stand for those of these pairs."""
    made = run_block("record = unskew.evaluate(", intrasentence="pair", gender="creed")
    assert made["record"].value(benchmark="stereoset", metric="ss") > 75


def test_the_trainer_by_hand(run_block):
    run_block("trainer = UnlearningTrainer(", **{"max_steps=100": "max_steps=4, warmup_steps=0"})
    assert Path("runs/by-hand/adapter/adapter_model.safetensors").is_file()
    assert Path("runs/by-hand/checkpoint-4").is_dir()


def test_an_objective_of_ones_own(run_block):
    objective = run_block("class PairGap")["PairGap"](floor=-2.0)
    stream = StreamValues(torch.tensor([2.0, 2.0]), torch.tensor([-1.0, -6.0]))
    values = objective({"forget": stream, "retain": stream})
    assert values["forget"].tolist() == [-0.5, -2.0]
    assert values["retain"].tolist() == [0.5, 3.0]

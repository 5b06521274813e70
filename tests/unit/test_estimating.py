"""What a plan will cost is counted from its settings."""

from __future__ import annotations

import json
import re

import pytest
import torch

from unskew import config, estimating
from unskew.estimating import estimate, estimate_carrying, forecast
from unskew.plans import only, read_plan

NAME = "openai-community/gpt2-medium"


@pytest.fixture
def pairs(tmp_path):
    """Forty pairs of ten characters each side."""
    file = tmp_path / "pairs.jsonl"
    rows = [
        {
            "category": "c",
            "target": f"t{i}",
            "context": "aaaa",
            "stereotype": f"aaaa bb{i:02}.",
            "anti_stereotype": f"aaaa cc{i:02}.",
            "unrelated": f"aaaa dd{i:02}.",
        }
        for i in range(40)
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return file


def settings(pairs, *overrides):
    options = {"model.name_or_path": NAME, "data.name_or_path": str(pairs)}
    return config.load("biasunlearn_paper", options=options, overrides=overrides)


def test_parameters_adapter_and_memory_are_those_of_the_closed_form(pairs):
    found = estimate(settings(pairs))
    assert found.parameters == 354_823_168
    # Rank 8 on c_attn (d -> 3d) and c_proj (d -> d) of 24 layers with d = 1024.
    assert found.trained == 24 * 8 * ((1024 + 3072) + (1024 + 1024))
    weights = 4 * found.parameters
    assert weights + 16 * found.trained < found.memory_bytes < weights + 2**30


def test_work_grows_with_the_steps_and_precision_halves_the_weights(pairs):
    short = estimate(settings(pairs, "training.max_steps=100", "choice=null", "controllers=[]"))
    long = estimate(settings(pairs, "training.max_steps=300", "choice=null", "controllers=[]"))
    report = 3 * short.operations - long.operations
    assert 0 < report < 0.1 * short.operations * 3
    half = estimate(settings(pairs, "model.dtype=bfloat16"))
    assert half.memory_bytes < 0.8 * estimate(settings(pairs)).memory_bytes


def test_every_recipe_can_be_estimated(pairs, monkeypatch):
    plan = only(read_plan("world"), models=["openai-community/gpt2"], seeds=[0], data=str(pairs))
    monkeypatch.setattr(estimating, "operations_per_second", lambda dtype: 1e12)
    lines = forecast(plan)
    assert len(lines) == len(plan.contenders) + 2
    assert all(f"{124_439_808:,}" in line for line in lines[1:-1])
    assert f"{len(plan.contenders)} runs" in lines[-1]


def test_the_paper_can_be_planned_without_its_models(pairs, monkeypatch):
    plan = only(read_plan("biasunlearn-table1"), data=str(pairs))
    monkeypatch.setattr(estimating, "operations_per_second", lambda dtype: 1e12)
    lines = forecast(plan)
    assert sum("Mistral" in line for line in lines) == len(plan.contenders)


def test_a_table_of_siblings_is_planned_with_its_bases(pairs, monkeypatch):
    """Three rows a model: itself, its base, and the transfer, which trains nothing."""
    models, bases = ["openai-community/gpt2-medium"], ["openai-community/gpt2"]
    plan = only(read_plan("biasunlearn-table3"), models=models, bases=bases, data=str(pairs))
    monkeypatch.setattr(estimating, "operations_per_second", lambda dtype: 1e12)
    lines = forecast(plan)
    cells = [re.split(r"\s{2,}", line) for line in lines[1:-1]]
    assert [tuple(row[:3]) for row in cells] == [
        (*models, "biasunlearn", "354,823,168"),
        (*bases, "biasunlearn", "124,439,808"),
        (*models, "transferred weights", "354,823,168"),
    ]
    assert [row[3] == "0" for row in cells] == [False, False, True]
    assert {row[6] for row in cells} == {"3"}
    assert lines[-1].startswith("9 runs")


def test_a_transfer_costs_two_evaluations_of_the_report_split(pairs):
    """Two operations a weight of a matrix and token; the adapter adds a thousandth of that."""
    own = settings(pairs, "choice=null", "controllers=[]", "training.max_steps=1")
    found = estimate_carrying(own)
    texts, length = 3 * 8, 3  # 8 of 40 pairs; 10 characters, four to a token
    matrices = 12 * 24 * 1024**2 + 50257 * 1024
    assert found.operations == pytest.approx(2 * texts * length * 2 * matrices, rel=0.01)
    assert found.trained == 0
    weights = 4 * found.parameters
    beside = 1 if torch.cuda.is_available() else 2
    assert weights * beside < found.memory_bytes < weights * beside + 2**30
    full = own.model_copy(
        update={"stages": [own.stages[0].model_copy(update={"scope": {"name": "full"}})]}
    )
    assert estimate_carrying(full).memory_bytes - found.memory_bytes == weights

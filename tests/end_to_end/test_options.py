"""Settings change what they say they change; `tests/unit/test_cli.py` has every option's place."""

from __future__ import annotations

import json

import pytest
from safetensors.torch import load_file

from tests.end_to_end.conftest import adapter_bytes
from unskew.reports.record import RunRecord

SHORT = (
    "--max-steps=6",
    "--benchmarks=stereoset",
    "training.eval_steps=3",
    "training.warmup_steps=1",
    "training.logging_steps=2",
    "--learning-rate=0.01",
    "chunk.retain=8",
    "chunk.unrelated=4",
    "controllers.early_stop.window=0.01",
    "choice.window=0.01",
)
MOVES_WEIGHTS = (
    "objective.npo_reduction=batch_token_mean",
    "rule.weights.forget=0.5",
    "scope.dropout=0.3",
    "chunk.forget=6",
    "chunk.adversarial_ratio=0.9",
    "training.schedule_steps=60",
    "training.weight_decay=0.1",
    "training.max_grad_norm=0.01",
    "training.bf16=true",
    "--seed=1",
    "data.splits.seed=1",
    "model.dtype=bfloat16",
)
LEAVES_WEIGHTS = (
    "training.logging_steps=3",
    "evaluation.tokens_per_batch=512",
    "model.attn_implementation=sdpa",
)


@pytest.fixture
def attempt(here, story, tmp_path, without_page):
    """Runs the short recipe with a change; returns its folder."""

    def run(name, *changes):
        folder = tmp_path / name
        named = ["--model", str(story.biased), "--data", str(story.pairs)]
        said = here("unlearn", "biasunlearn", *named, "--output-dir", str(folder), *SHORT, *changes)
        assert said.code == 0, said.err
        return folder

    return run


@pytest.fixture(scope="module")
def memory():
    return {}


@pytest.fixture
def plain(attempt, memory):
    """The short recipe unchanged; made once, kept as what the tests compare."""
    if not memory:
        folder = attempt("plain")
        memory["adapter"] = adapter_bytes(folder)
        memory["tensors"] = load_file(folder / "adapter" / "adapter_model.safetensors")
        memory["record"] = RunRecord.load(folder)
    return memory


@pytest.mark.parametrize("change", MOVES_WEIGHTS)
def test_a_setting_of_training_moves_the_weights(attempt, plain, change):
    assert adapter_bytes(attempt("changed", change)) != plain["adapter"]


@pytest.mark.parametrize("change", LEAVES_WEIGHTS)
def test_a_setting_of_measuring_does_not(attempt, plain, change):
    assert adapter_bytes(attempt("changed", change)) == plain["adapter"]


@pytest.mark.parametrize("change", ["micro_batch_tokens=24", "micro_batch_examples=3"])
def test_micro_batches_change_memory_and_not_results(attempt, plain, change):
    folder = attempt("cut", f"training.{change}")
    tensors = load_file(folder / "adapter" / "adapter_model.safetensors")
    for name, tensor in tensors.items():
        # Sums in another order; Adam's division turns rounding of tiny gradients into steps of a
        # fraction of the learning rate (0.01), six times at the most.
        assert (tensor - plain["tensors"][name]).abs().max() < 1e-3


def test_rank_and_targets_shape_the_adapter(attempt):
    wide = load_file(attempt("wide", "scope.r=2") / "adapter" / "adapter_model.safetensors")
    assert {t.shape[0] for n, t in wide.items() if "lora_A" in n} == {2}
    narrow = attempt("narrow", "scope.targets=attention") / "adapter" / "adapter_model.safetensors"
    assert not [name for name in load_file(narrow) if "mlp" in name]


def test_full_scope_writes_a_model_that_a_run_loads(attempt, here, story, tmp_path):
    folder = attempt("full", "scope={name: full, modules: linear}", "training.learning_rate=0.001")
    record = RunRecord.load(folder)
    assert record.proof_of_effect.num_moved == 16, "two layers of four maps, weight and bias"
    words = ["--model", str(folder / "model"), "--data", str(story.pairs)]
    said = here("evaluate", *words, "--output-dir", str(tmp_path / "e"), "--benchmarks=stereoset")
    assert said.code == 0, said.err


def test_cadence_is_seen_in_history_log_and_checkpoints(attempt, plain):
    folder = attempt("often", "training.eval_steps=2", "training.save_total_limit=1")
    assert [h.step for h in RunRecord.load(folder).history] == [0, 2, 4, 6]
    assert [h.step for h in plain["record"].history] == [0, 3, 6]
    assert [p.name for p in folder.glob("checkpoint-*")] == ["checkpoint-6"]
    lines = (folder / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [2, 4, 6]


def test_controllers_and_choice_decide_by_their_settings(attempt, plain):
    stopped = RunRecord.load(attempt("stopped", "controllers.early_stop.window=49.9"))
    assert [d.kind for d in stopped.decisions if d.kind == "stop"] == ["stop"]
    assert not [d for d in plain["record"].decisions if d.kind == "stop"]
    for name, change, swaps in (
        ("swapped", "controllers.dynamic_swap.swap_mode=per_type", True),
        ("held", "controllers.dynamic_swap.swap_mode=off", False),
        ("margin", "controllers.dynamic_swap.swap_margin=60", False),
    ):
        folder = attempt(name, change, "--max-steps=40", "training.eval_steps=10")
        kinds = {d.kind for d in RunRecord.load(folder).decisions}
        assert ("phase" in kinds) == swaps, name


def test_what_is_measured_is_what_was_asked_for(attempt, plain):
    one = RunRecord.load(attempt("one", "--categories", "creed"))
    assert {r.category for r in one.metrics} == {"overall", "creed"}
    other = RunRecord.load(attempt("other", "--benchmarks=perplexity,stereoset"))
    assert {r.benchmark for r in other.metrics} == {"perplexity", "stereoset"}
    few = RunRecord.load(attempt("few", "evaluation.select_per_category=4"))
    sizes = {m.n for m in few.history[0].metrics if m.category == "creed" and m.metric == "ss"}
    assert sizes == {4}
    prefix = RunRecord.load(attempt("prefix", "evaluation.start=prefix"))
    assert {r.variant for r in prefix.metrics} != {r.variant for r in plain["record"].metrics}


def test_a_separate_report_set_leaves_the_file_to_training(attempt, story, tmp_path):
    rows = [json.loads(line) for line in story.pairs.read_text().splitlines()]
    last = [r for r in rows if r["target"][-1] in "qrst"]
    first = [r for r in rows if r["target"][-1] not in "qrst"]
    learn, exam = (tmp_path / name for name in ("learn.jsonl", "exam.jsonl"))
    for path, some in ((learn, first), (exam, last)):
        path.write_text("".join(json.dumps(r) + "\n" for r in some))
    folder = attempt("exam", f"--data={learn}", f"--report-data={exam}")
    counts = RunRecord.load(folder).data.counts
    assert counts["report"] == {"creed": 16, "trade": 16}
    assert sum(counts["train"].values()) + sum(counts["select"].values()) == len(first)

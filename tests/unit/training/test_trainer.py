"""The loop: effect, cadence, decisions, logs, divergence."""

from __future__ import annotations

import json

import pytest
import torch
from transformers import Trainer

from tests.fixtures import (
    WEIGHTS,
    make_trainer,
    mean_logprob_gap,
    metric,
    pairs,
    tiny_model,
    trainable,
    with_adapter,
)
from unskew.controllers.early_stop import EarlyStop
from unskew.errors import ConfigError, Diverged
from unskew.objectives.biasunlearn import BiasUnlearn


def test_forty_steps_turn_the_preference_and_stay_near_the_base(tmp_path):
    trainer = make_trainer(
        tmp_path,
        settings={"max_steps": 40, "eval_steps": 40},
        controllers=[],
        weights={**WEIGHTS, "unrelated": 2.0},
    )
    before = mean_logprob_gap(trainer.source.path, pairs())
    trainer.fit()
    after = mean_logprob_gap(trainer.source.path, pairs())
    assert after > before + 0.5
    assert trainer.train_log[-1]["parts"]["unrelated"] < 0.1


def test_evaluations_happen_on_time_and_once(tmp_path):
    trainer = make_trainer(tmp_path, settings={"max_steps": 5})
    trainer.fit()
    assert [e.step for e in trainer.history] == [0, 2, 4, 5]
    assert [d.step for d in trainer.decisions] == [2, 4, 5]


def test_a_swap_takes_effect_with_the_next_step(tmp_path, monkeypatch):
    trainer = make_trainer(tmp_path)
    sides = []
    load = trainer.source.load
    monkeypatch.setattr(
        trainer.source,
        "load",
        lambda rows: sides.append({r.id[-15:] for r in rows if _is_kept(r)}) or load(rows),
    )
    trainer.fit()
    # The script turns gender round at step 2, so chunk 3 is the first to retain stereotypes.
    assert ["|anti_stereotype"[-15:] in s for s in sides] == [True, True] + [False] * 4


def _is_kept(row) -> bool:
    return row.stream == "retain" and row.category == "gender"


def test_after_an_evaluation_the_model_trains(tmp_path):
    trainer = make_trainer(tmp_path)
    trainer.policy.eval()
    trainer.evaluate()
    assert all(m.training for m in trainer.policy.modules())
    trainer.fit()
    assert not trainer.policy.training


def test_the_learning_rate_is_warmed_up_and_linear(tmp_path):
    rates = _rates(make_trainer(tmp_path, settings={"logging_steps": 1}))
    # Warm-up over 2 steps, then down to 0 at step 6: the rate used in each step.
    assert rates == pytest.approx([0.0, 5e-3, 1e-2, 7.5e-3, 5e-3, 2.5e-3])


def test_a_longer_schedule_does_not_reach_zero(tmp_path):
    settings = {"logging_steps": 1, "schedule_steps": 10}
    rates = _rates(make_trainer(tmp_path, settings=settings))
    assert rates == pytest.approx([0.0, 5e-3, 1e-2, 8.75e-3, 7.5e-3, 6.25e-3])


def _rates(trainer) -> list[float]:
    trainer.fit()
    return [line["learning_rate"] for line in trainer.train_log]


def test_the_log_holds_means_and_reaches_the_disk(tmp_path):
    each = make_trainer(tmp_path / "each", settings={"logging_steps": 1})
    each.fit()
    some = make_trainer(tmp_path / "some", settings={"logging_steps": 4})
    some.fit()
    assert [line["step"] for line in some.train_log] == [4, 6]
    for name in WEIGHTS:
        singles = [line["parts"][name] for line in each.train_log]
        assert some.train_log[0]["parts"][name] == pytest.approx(sum(singles[:4]) / 4)
        assert some.train_log[1]["parts"][name] == pytest.approx(sum(singles[4:]) / 2)
    assert some.train_log[1]["grad_norm"] == each.train_log[5]["grad_norm"] > 0
    for line in each.train_log:
        weighed = sum(WEIGHTS[n] * line["parts"][n] for n in WEIGHTS)
        assert line["loss"] == pytest.approx(weighed)
    lines = (tmp_path / "some" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == some.train_log


def test_gradients_are_clipped_before_the_step(tmp_path):
    def moved(max_grad_norm):
        trainer = make_trainer(
            tmp_path / str(max_grad_norm),
            settings={"max_steps": 1, "warmup_steps": 0, "max_grad_norm": max_grad_norm},
        )
        seen = []
        step = trainer.create_optimizer().step
        trainer.optimizer.step = lambda *a, **k: (
            seen.append(torch.nn.utils.get_total_norm([p.grad for p in trainer.source.params])),
            step(*a, **k),
        )
        trainer.fit()
        return seen[0].item(), trainer.train_log[0]["grad_norm"]

    clipped, measured = moved(0.01)
    assert clipped == pytest.approx(0.01, rel=1e-3) and measured > 0.02
    untouched, measured = moved(0.0)
    assert untouched == pytest.approx(measured)


def test_early_stop_ends_the_stage_and_the_best_weights_come_back(tmp_path):
    steps = iter([60.0, 50.5, 55.0])
    trainer = make_trainer(
        tmp_path,
        evaluate=lambda _: [metric("ss", next(steps), "gender")],
        controllers=[EarlyStop(window=1.0)],
    )
    trainer.fit()
    assert trainer.is_finished
    assert trainer.state.global_step == 2
    assert [(d.step, d.kind) for d in trainer.decisions] == [(2, "stop")]


def test_a_model_that_is_even_already_is_not_trained(tmp_path):
    trainer = make_trainer(
        tmp_path, evaluate=lambda _: [metric("ss", 50.0, "gender")], controllers=[EarlyStop()]
    )
    before = trainable(trainer.policy)
    trainer.fit()
    trainer.load_best()
    assert trainer.state.global_step == 0
    assert all(torch.equal(p, before[n]) for n, p in trainable(trainer.policy).items())


@pytest.mark.parametrize("scope", ["adapter", "full"])
def test_load_best_brings_the_chosen_weights(tmp_path, scope):
    model = with_adapter(tiny_model(), moved=False) if scope == "adapter" else tiny_model()
    script = iter([60.0, 51.0, 55.0, 58.0])
    seen = {}

    def evaluate(policy):
        value = next(script)
        seen[value] = trainable(policy)
        return [metric("ss", value, "gender")]

    trainer = make_trainer(tmp_path, model=model, evaluate=evaluate, controllers=[])
    trainer.fit()
    trainer.load_best()
    best = trainable(trainer.policy)
    assert all(torch.equal(best[n], p) for n, p in seen[51.0].items())
    assert not all(torch.equal(best[n], p) for n, p in seen[58.0].items())
    assert trainer.decisions[-1].kind == "checkpoint" and trainer.decisions[-1].step == 2


def test_checkpoints_and_best_weights_are_pruned(tmp_path):
    script = iter([60.0, 55.0, 54.0, 53.0, 56.0])
    trainer = make_trainer(
        tmp_path,
        evaluate=lambda _: [metric("ss", next(script), "gender")],
        settings={"max_steps": 8},
        controllers=[],
    )
    trainer.fit()
    left = sorted(p.name for p in tmp_path.iterdir())
    assert left == ["best-6", "checkpoint-6", "checkpoint-8", "log.jsonl"]


class _NotFinite(BiasUnlearn):
    """Breaks with the third chunk: its value, or only its gradient."""

    def __init__(self, what):
        super().__init__()
        self.what = what
        self.calls = 0

    def __call__(self, streams):
        values = dict(super().__call__(streams))
        self.calls += 1
        if self.calls == 3:
            kind = torch.nan if self.what == "value" else _InfiniteGradient.apply(values["retain"])
            values["retain"] = values["retain"] * kind if self.what == "value" else kind
        return values


class _InfiniteGradient(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * torch.inf


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("value", r"part 'retain' is not finite on \S+\|(anti_)?stereotype"),
        ("gradient", r"the gradient is not finite"),
    ],
)
def test_divergence_stops_before_the_weights_are_touched(tmp_path, what, message):
    trainer = make_trainer(tmp_path, objective=_NotFinite(what))
    with pytest.raises(Diverged, match=message + r".* at step 3; .*diverged-2\. Lower") as caught:
        trainer.fit()
    assert str(tmp_path / "diverged-2") in str(caught.value)
    from safetensors.torch import load_file

    kept = load_file(tmp_path / "diverged-2" / "adapter_model.safetensors")
    before = load_file(tmp_path / "checkpoint-2" / "adapter_model.safetensors")
    assert kept.keys() == before.keys()
    assert all(torch.equal(kept[n], before[n]) for n in kept)
    assert all(torch.isfinite(p).all() for p in trainer.policy.parameters())


def test_bf16_trains_and_leaves_the_models_own_forward_alone(tmp_path):
    trainer = make_trainer(tmp_path, settings={"bf16": True})
    forward = trainer.policy.forward
    trainer.fit()
    assert trainer.policy.forward == forward
    assert trainer.train_log[0]["parts"]["forget"] == pytest.approx(13.86, abs=0.5)
    assert trainer.train_log[0]["parts"] != make_log(tmp_path / "float32")["parts"]


@pytest.mark.parametrize("bf16", [False, True])
def test_the_select_split_is_scored_in_the_precision_of_training(tmp_path, bf16):
    seen = []

    def evaluate(_):
        seen.append((torch.is_autocast_enabled("cpu"), torch.is_grad_enabled()))
        return [metric("ss", 50.0, "gender")]

    make_trainer(tmp_path, settings={"bf16": bf16}, evaluate=evaluate, controllers=[]).fit()
    assert set(seen) == {(bf16, False)}
    assert len(seen) == 4


def make_log(folder):
    trainer = make_trainer(folder)
    trainer.fit()
    return trainer.train_log[0]


def test_a_new_run_does_not_start_among_old_checkpoints(tmp_path):
    make_trainer(tmp_path).fit()
    with pytest.raises(ConfigError, match=r"checkpoint-6 is there already; go on with resume=True"):
        make_trainer(tmp_path).fit()


def test_a_schedule_nobody_knows_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"training: liner is not a valid .*'linear'"):
        make_trainer(tmp_path, settings={"lr_scheduler_type": "liner"})


@pytest.mark.parametrize("flag", ["is_fsdp_enabled", "is_deepspeed_enabled"])
def test_sharded_launches_are_refused(tmp_path, monkeypatch, flag):
    original = Trainer.create_accelerator_and_postprocess

    def launched(self):
        original(self)
        setattr(self, flag, True)

    monkeypatch.setattr(Trainer, "create_accelerator_and_postprocess", launched)
    with pytest.raises(ConfigError, match=r"launched with FSDP or DeepSpeed; .*plain torchrun"):
        make_trainer(tmp_path)

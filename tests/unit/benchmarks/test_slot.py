from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from tests.unit.benchmarks.scripted import ask, find, some_examples
from unskew.benchmarks.slot import Slot, pair_kl
from unskew.errors import BenchmarkError
from unskew.types import Divergence, Examples, Probe

PROBE = Probe("p", "kind", "vorl", "the vorl is", ("calm", "brisk", "odd"))


def _logs(*probabilities: float) -> tuple[float, ...]:
    return tuple(math.log(p) for p in probabilities)


def _metrics(answer: Divergence, **options):
    benchmark = Slot(Examples(probes=(PROBE,)), split="report", **options)
    return benchmark.metrics(ask(benchmark, lambda _: answer))


def test_slot_metrics_by_hand():
    answer = Divergence(9.0, 3, 0.7, _logs(0.5, 0.25, 0.1), _logs(0.2, 0.6, 0.2))
    metrics = _metrics(answer, reference_name="oracle")
    values = {m.metric: m.value for m in metrics if m.category == "overall"}
    assert values == pytest.approx(
        {
            "mean_gap": math.log(2),
            "mean_abs_gap": math.log(2),
            "slot_mass": 0.85,
            # Reference (1/4, 3/4) against policy (2/3, 1/3).
            "pair_kl": math.log(3 / 8) / 4 + 3 * math.log(9 / 4) / 4,
            "slot_kl": 0.7,
            "mean_abs_gap_reference": math.log(3),
            "slot_mass_reference": 1.0,
        }
    )
    assert {m.variant for m in metrics} == {"oracle"}
    assert {m.ci_low for m in metrics} == {None}


def test_pair_kl_puts_the_reference_first():
    # Reference (.5, .5), policy (.9, .1): .5 log(.5/.9) + .5 log(.5/.1).
    expected = 0.5 * math.log(0.5 / 0.9) + 0.5 * math.log(0.5 / 0.1)
    assert pair_kl(0.0, math.log(9)) == pytest.approx(expected)
    assert pair_kl(1.3, 1.3) == 0
    # The reference is sure of the second word, to which the policy gives exp(-900).
    assert pair_kl(-900.0, 900.0) == pytest.approx(900)
    assert pair_kl(900.0, 0.0) == pytest.approx(math.log(2))


def test_opposite_preferences_cancel_in_the_mean_only():
    probes = tuple(replace(PROBE, id=f"p{i}", target=f"t{i % 4}") for i in range(8))
    benchmark = Slot(Examples(probes=probes), split="report")
    scores = ask(
        benchmark,
        lambda r: Divergence(
            0.0,
            3,
            0.0,
            _logs(0.8, 0.1, 0.1) if int(r.id[1:]) % 2 else _logs(0.1, 0.8, 0.1),
            _logs(0.4, 0.4, 0.2),
        ),
    )
    metrics = benchmark.metrics(scores)
    gap = find(metrics, "mean_gap")
    assert gap.value == pytest.approx(0)
    assert gap.ci_low < 0 < gap.ci_high
    assert find(metrics, "mean_abs_gap").value == pytest.approx(math.log(8))
    assert find(metrics, "mean_abs_gap_reference").value == 0


def test_interval_draws_targets_not_probes():
    # Probes of a target agree exactly, so 400 probes hold the information of 8 targets.
    gaps = np.random.default_rng(0).normal(size=8)
    probes = tuple(replace(PROBE, id=f"p{i:03}", target=f"t{i % 8}") for i in range(400))
    benchmark = Slot(Examples(probes=probes), split="report", num_resamples=4000)
    scores = ask(
        benchmark,
        lambda r: Divergence(0, 3, 0, (gaps[int(r.id[1:]) % 8] - 9, -9.0, -9.0), (-9.0,) * 3),
    )
    found = find(benchmark.metrics(scores), "mean_gap")
    assert found.n == 400
    expected = 2 * 1.96 * gaps.std() / 8**0.5
    assert found.ci_high - found.ci_low == pytest.approx(expected, rel=0.1)


def test_requests_name_the_candidates():
    benchmark = Slot(some_examples(), split="report")
    request = next(iter(benchmark.requests()))
    probe = benchmark.items[request.id]
    assert (request.segment.text, request.candidates) == (probe.context, probe.candidates)


@pytest.mark.parametrize("candidates", [("calm",), ("calm", "calm"), ()])
def test_probes_need_two_different_candidates(candidates):
    with pytest.raises(BenchmarkError, match="probe 'p' has the candidates"):
        Slot(Examples(probes=(replace(PROBE, candidates=candidates),)), split="report")


@pytest.mark.parametrize(
    "answer",
    [
        Divergence(0, 3, math.nan, _logs(0.5, 0.5, 0.5), _logs(0.5, 0.5, 0.5)),
        Divergence(0, 3, 0, (-math.inf, -math.inf, -1.0), _logs(0.5, 0.5, 0.5)),
    ],
)
def test_not_a_number_names_the_item(answer):
    with pytest.raises(BenchmarkError, match="item 'p'"):
        _metrics(answer)

"""What every objective, rule and controller in the tables must do, whatever it is."""

from __future__ import annotations

import inspect
import json
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.fixtures import TARGETS, WEIGHTS, metric
from unskew.controllers import CONTROLLERS
from unskew.data.batches import Apportionment, ChunkSizes, PairChunks
from unskew.objectives import OBJECTIVES
from unskew.protocols import Objective, StreamValues
from unskew.training.microbatch import OVERHEAD_TOKENS, plan
from unskew.types import Evaluation, Pair, Phase, Stop

QUICK = settings(max_examples=50, deadline=None)


def _variants() -> list[tuple[str, dict[str, Any]]]:
    """Every objective, once for each value of each option that is a choice of words."""
    found: list[tuple[str, dict[str, Any]]] = []
    for name in OBJECTIVES:
        found.append((name, {}))
        for option in inspect.signature(OBJECTIVES.load(name)).parameters.values():
            choices = _choices(OBJECTIVES.load(name), option.name)
            found += [(name, {option.name: c}) for c in choices if c != option.default]
    return found


def _choices(cls: type, option: str) -> tuple[Any, ...]:
    from typing import Literal, get_args, get_origin, get_type_hints

    hint = get_type_hints(cls.__init__).get(option)
    return get_args(hint) if get_origin(hint) is Literal else ()


VARIANTS = pytest.mark.parametrize(("name", "options"), _variants(), ids=str)


def _objective(name: str, options: dict[str, Any]) -> Objective:
    return OBJECTIVES.load(name)(**options)


def _streams(objective: Objective, rows: list[tuple[float, float, float, int]]):
    """Values for every stream the parts read: policy and reference nll, KL, tokens."""
    nll, reference, kl, count = (torch.tensor([float(row[i]) for row in rows]) for i in range(4))
    leaves = {}
    streams = {}
    for stream in {p.stream for p in objective.parts.values()}:
        policy = (-nll * count).requires_grad_()
        divergence = (kl * count).requires_grad_()
        leaves[stream] = policy, divergence
        streams[stream] = StreamValues(count, policy, -reference * count, divergence)
    return streams, leaves


def _loss(objective: Objective, streams) -> torch.Tensor:
    values = objective(streams)
    total = torch.zeros(())
    for name, part in objective.parts.items():
        tokens = streams[part.stream].num_tokens
        divisor = {"examples": len(tokens), "tokens": tokens.sum(), "chunk": 1}
        total = total + values[name].sum() / divisor[part.average_over]
    return total


ROWS = st.lists(
    st.tuples(
        st.floats(0.0625, 30, width=32),
        st.floats(0.0625, 30, width=32),
        st.floats(0, 5, width=32),
        st.integers(1, 40),
    ),
    min_size=1,
    max_size=8,
)


@VARIANTS
@QUICK
@given(rows=ROWS)
def test_values_are_finite_and_one_for_each_example(name, options, rows):
    objective = _objective(name, options)
    streams, leaves = _streams(objective, rows)
    values = objective(streams)
    assert values.keys() == objective.parts.keys()
    for part, value in values.items():
        is_coupled = objective.parts[part].average_over == "chunk"
        assert value.shape == ((1,) if is_coupled else (len(rows),))
        assert value.dtype == torch.float32
        assert torch.isfinite(value).all()
    _loss(objective, streams).backward()
    for policy, divergence in leaves.values():
        for leaf in (policy, divergence):
            assert leaf.grad is None or torch.isfinite(leaf.grad).all()


@VARIANTS
@QUICK
@given(rows=ROWS, data=st.data())
def test_order_of_the_examples_does_not_matter(name, options, rows, data):
    objective = _objective(name, options)
    shuffled = data.draw(st.permutations(rows))
    loss = _loss(objective, _streams(objective, rows)[0])
    again = _loss(objective, _streams(objective, shuffled)[0])
    # Sums of at most eight numbers in another order.
    torch.testing.assert_close(again, loss, rtol=1e-5, atol=1e-5)


@VARIANTS
@QUICK
@given(rows=ROWS)
def test_parts_add_up_over_any_cut(name, options, rows):
    objective = _objective(name, options)
    whole = objective(_streams(objective, rows)[0])
    single = [objective(_streams(objective, [row])[0]) for row in rows]
    for part, value in whole.items():
        if objective.parts[part].average_over != "chunk":
            pieces = torch.cat([s[part] for s in single])
            torch.testing.assert_close(pieces, value, rtol=1e-6, atol=1e-6)


@VARIANTS
def test_streams_that_are_not_there_give_no_value(name, options):
    objective = _objective(name, options)
    assert objective({}) == {}
    streams, _ = _streams(objective, [(1.0, 1.0, 0.0, 3)])
    for stream, value in streams.items():
        expected = {n for n, p in objective.parts.items() if p.stream == stream}
        assert objective({stream: value}).keys() == expected


@VARIANTS
@QUICK
@given(rows=ROWS)
def test_the_gradient_is_the_slope(name, options, rows):
    """Against a finite difference in float64 along the all-ones direction."""
    objective = _objective(name, options)
    streams, leaves = _streams(objective, rows)
    _loss(objective, streams).backward()
    slope = sum(
        leaf.grad.double().sum().item()
        for pair in leaves.values()
        for leaf in pair
        if leaf.grad is not None
    )
    step = 1e-4

    def moved(sign: int) -> float:
        shifted = {
            s: StreamValues(
                v.num_tokens.double(),
                v.logprob.detach().double() + sign * step,
                v.reference_logprob.double(),
                v.kl_reference_policy.detach().double() + sign * step,
            )
            for s, v in streams.items()
        }
        return _loss(objective, shifted).item()

    difference = (moved(1) - moved(-1)) / (2 * step)
    assert slope == pytest.approx(difference, rel=1e-3, abs=1e-4)


@pytest.mark.parametrize("name", CONTROLLERS)
@QUICK
@given(script=st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), max_size=6))
def test_controllers_resume_from_json_and_decide_alike(name, script):
    cls = CONTROLLERS.load(name)
    takes = inspect.signature(cls).parameters
    options = {"categories": tuple(TARGETS)} if "categories" in takes else {}
    straight, resumed = cls(**options), cls(**options)
    history: list[Evaluation] = []
    for step, values in enumerate(script):
        metrics = (metric("ss", v, c) for v, c in zip(values, TARGETS, strict=True))
        history.append(Evaluation(step, tuple(metrics)))
        decision = straight.next(history)
        assert decision == resumed.next(history)
        assert decision is None or isinstance(decision, Phase | Stop)
        if isinstance(decision, Phase):
            assert decision.directions.keys() == TARGETS.keys()
            assert set(decision.directions.values()) <= {-1, 0, 1}
            assert decision.reason
        state = json.loads(json.dumps(straight.state_dict()))
        resumed = cls(**options)
        resumed.load_state_dict(state)


@QUICK
@given(
    shares=st.dictionaries(st.sampled_from("abcde"), st.floats(0.01, 10), min_size=1),
    draws=st.integers(1, 200),
)
def test_shares_are_dealt_to_within_one(shares, draws):
    dealer = Apportionment(shares)
    total = sum(shares.values())
    counts = dict.fromkeys(shares, 0)
    for _ in range(draws):
        counts[dealer.next()] += 1
    for name, count in counts.items():
        # With several names a prefix may be off by less than one for each other name.
        assert abs(count - draws * shares[name] / total) < max(1, len(shares) - 1)
    assert sum(dealer.credit.values()) == pytest.approx(0, abs=1e-6)


@QUICK
@given(
    directions=st.lists(
        st.fixed_dictionaries({c: st.sampled_from([-1, 0, 1]) for c in TARGETS}), max_size=6
    ),
    forget=st.integers(1, 5),
    retain=st.integers(0, 9),
)
def test_any_swaps_keep_the_sizes_and_the_sides(directions, forget, retain):
    rows = [
        Pair(f"{c}{i}", c, f"t{i}", f"a {i} s", f"a {i} b", "a c", 2)
        for c in TARGETS
        for i in range(3)
    ]
    chunks = PairChunks(rows, sizes=ChunkSizes(forget, retain, 2))
    for change in directions:
        chunks.set_directions(change)
        drawn = chunks.next()
        active = any(change.values())
        streams = [r.stream for r in drawn]
        assert streams.count("forget") == forget * active
        assert streams.count("retain") == retain * active
        for row in drawn:
            if row.stream != "unrelated":
                side = row.id.partition("|")[2]
                forgets = "stereotype" if change[row.category] > 0 else "anti_stereotype"
                is_forgotten = row.stream == "forget" and not row.is_adversarial
                assert (side == forgets) == is_forgotten
                assert change[row.category] != 0


@QUICK
@given(
    lengths=st.lists(st.integers(2, 300), max_size=40),
    max_tokens=st.integers(1, 2000),
    max_examples=st.none() | st.integers(1, 10),
)
def test_plans_are_complete_and_keep_their_limits(lengths, max_tokens, max_examples):
    batches = plan(lengths, max_tokens=max_tokens, max_examples=max_examples)
    assert sorted(i for b in batches for i in b) == list(range(len(lengths)))
    cost = 0
    for b in batches:
        padded = len(b) * max(lengths[i] for i in b)
        cost += padded + OVERHEAD_TOKENS
        if len(b) > 1:
            assert padded <= max_tokens
            assert max_examples is None or len(b) <= max_examples
    assert cost <= sum(lengths) + OVERHEAD_TOKENS * len(lengths)


def test_the_usual_weights_name_the_parts():
    assert WEIGHTS.keys() == _objective("biasunlearn", {}).parts.keys()

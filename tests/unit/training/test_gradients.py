"""The chunk as a source of gradients: limits of the method, cuts, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from tests.fixtures import WEIGHTS, encoder, pairs, tiny_model, with_adapter
from unskew.data.batches import Example, PairChunks
from unskew.errors import ConfigError, Diverged
from unskew.models.logprobs import ScoringPath
from unskew.models.reference import reference_for
from unskew.objectives.biasunlearn import BiasUnlearn
from unskew.protocols import Part
from unskew.training.gradients import ChunkGradients
from unskew.types import Segment
from unskew.updates.scope import LoraScope

# Sums of a few hundred float32 products in another order.
CLOSE = {"rtol": 1e-4, "atol": 1e-6}


def _source(model, objective=None, **options) -> ChunkGradients:
    path = ScoringPath(model)
    return ChunkGradients(
        path, reference_for(path), encoder(), objective or BiasUnlearn(), **options
    )


def _chunk() -> list[Example]:
    return PairChunks(pairs(), seed=1).next()


def _run(source, rows, weights) -> tuple[Mapping[str, float], torch.Tensor]:
    source.load(rows)
    values = source.gradients(weights)
    flat = [torch.zeros_like(p) if p.grad is None else p.grad for p in source.params]
    return values, torch.cat([g.flatten() for g in flat])


def _nll(model, example: Example) -> tuple[torch.Tensor, int]:
    """Summed nll of an example's scored tokens, by hand, and their number."""
    row = encoder().encode([example.segment])[0]
    logits = model(input_ids=torch.tensor([row.ids])).logits[0, :-1]
    targets = torch.tensor(row.ids[1:])
    nll = F.cross_entropy(logits, targets, reduction="none")[row.first - 1 :]
    return nll.sum(), row.num_scored


def test_at_the_reference_the_parts_have_their_known_values():
    values, _ = _run(_source(with_adapter(tiny_model(), moved=False)), _chunk(), WEIGHTS)
    assert values["forget"] == pytest.approx(13.862944, rel=1e-6)
    assert abs(values["unrelated"]) < 1e-6
    assert values["retain"] > 0


@pytest.mark.parametrize("reduction", ["token_mean", "sum", "batch_token_mean"])
def test_forget_values_and_gradient_against_a_hand_written_loop(reduction):
    model = with_adapter(tiny_model())
    rows = [r for r in _chunk() if r.stream == "forget"]
    source = _source(model, BiasUnlearn(0.1, reduction))
    values, gradient = _run(source, rows, {"forget": 1.0})
    losses, differences, counts = [], [], []
    for row in rows:
        policy, n = _nll(model, row)
        with torch.no_grad(), model.disable_adapter():
            reference, _ = _nll(model, row)
        differences.append(policy - reference)
        counts.append(n)
        scale = n if reduction == "token_mean" else 1
        losses.append(-20 * F.logsigmoid(0.1 * differences[-1] / scale))
    loss = torch.stack(losses).mean()
    if reduction == "batch_token_mean":
        loss = -20 * F.logsigmoid(0.1 * sum(differences) / sum(counts))
    expected = torch.autograd.grad(loss, source.params)
    assert values["forget"] == pytest.approx(loss.item(), rel=1e-5)
    torch.testing.assert_close(gradient, torch.cat([g.flatten() for g in expected]), **CLOSE)


def test_without_the_forget_part_it_is_fine_tuning_and_kl():
    model = with_adapter(tiny_model())
    rows = _chunk()
    source = _source(model)
    values, gradient = _run(source, rows, {"forget": 0.0, "retain": 0.7, "unrelated": 0.3})
    assert values.keys() == {"retain", "unrelated"}
    kept = [r for r in rows if r.stream == "retain"]
    nlls = [nll / n for nll, n in (_nll(model, r) for r in kept)]
    kl, count = torch.zeros(()), 0
    for row in (r for r in rows if r.stream == "unrelated"):
        ids = torch.tensor([encoder().encode([row.segment])[0].ids])
        ours = F.log_softmax(model(input_ids=ids).logits[0, :-1], -1)
        with torch.no_grad(), model.disable_adapter():
            theirs = F.log_softmax(model(input_ids=ids).logits[0, :-1], -1)
        kl = kl + F.kl_div(ours, theirs, log_target=True, reduction="sum")
        count += len(ours)
    retain, unrelated = torch.stack(nlls).mean(), kl / count
    assert values["retain"] == pytest.approx(retain.item(), rel=1e-5)
    assert values["unrelated"] == pytest.approx(unrelated.item(), rel=1e-4)
    expected = torch.autograd.grad(0.7 * retain + 0.3 * unrelated, source.params)
    torch.testing.assert_close(gradient, torch.cat([g.flatten() for g in expected]), **CLOSE)


def test_forget_alone_tends_to_gradient_ascent():
    model = with_adapter(tiny_model())
    rows = [r for r in _chunk() if r.stream == "forget"]
    source = _source(model, BiasUnlearn(beta=1e-4))
    _, gradient = _run(source, rows, {"forget": 1.0})
    loss = -torch.stack([nll / n for nll, n in (_nll(model, r) for r in rows)]).mean()
    ascent = torch.cat([g.flatten() for g in torch.autograd.grad(loss, source.params)])
    assert torch.cosine_similarity(gradient, ascent, dim=0) > 0.999


@pytest.mark.parametrize(
    "cut", [{"max_examples": 1}, {"max_examples": 7}, {"max_tokens": 40}, {"max_tokens": 1}]
)
@pytest.mark.parametrize("scope", ["adapter", "full"])
def test_the_cut_changes_nothing(cut, scope):
    def model():
        return with_adapter(tiny_model()) if scope == "adapter" else tiny_model()

    whole_values, whole = _run(_source(model()), _chunk(), WEIGHTS)
    values, gradient = _run(_source(model(), **cut), _chunk(), WEIGHTS)
    assert values == pytest.approx(whole_values, rel=1e-5, abs=1e-6)
    torch.testing.assert_close(gradient, whole, **CLOSE)


def test_order_of_the_rows_changes_nothing():
    model = with_adapter(tiny_model())
    values, gradient = _run(_source(model), _chunk(), WEIGHTS)
    again, other = _run(_source(model), _chunk()[::-1], WEIGHTS)
    assert again == pytest.approx(values, rel=1e-5, abs=1e-6)
    torch.testing.assert_close(other, gradient, **CLOSE)


def test_asking_twice_gives_the_same_and_replaces_the_gradient():
    source = _source(with_adapter(tiny_model()))
    values, gradient = _run(source, _chunk(), WEIGHTS)
    assert source.gradients(WEIGHTS) == values
    assert torch.equal(torch.cat([p.grad.flatten() for p in source.params]), gradient)


def test_a_coupled_part_is_kept_in_one_piece():
    model = with_adapter(tiny_model())
    objective = BiasUnlearn(0.1, "batch_token_mean")
    whole, gradient = _run(_source(model, objective), _chunk(), WEIGHTS)
    values, cut = _run(_source(model, objective, max_examples=1), _chunk(), WEIGHTS)
    assert values == pytest.approx(whole, rel=1e-5, abs=1e-6)
    torch.testing.assert_close(cut, gradient, **CLOSE)


class _TwoOnOneStream:
    """Cross-entropy and KL on the same rows."""

    parts = {
        "fit": Part("retain", "logprob", average_over="tokens"),
        "stay": Part("retain", "kl_reference_policy", average_over="tokens"),
    }

    def __call__(self, streams):
        retain = streams["retain"]
        fit = None if retain.logprob is None else -retain.logprob
        found = {"fit": fit, "stay": retain.kl_reference_policy}
        return {name: value for name, value in found.items() if value is not None}


def test_two_parts_may_read_one_stream():
    model = with_adapter(tiny_model())
    both, gradient = _run(_source(model, _TwoOnOneStream()), _chunk(), {"fit": 1.0, "stay": 1.0})
    separate = torch.zeros_like(gradient)
    for name in ("fit", "stay"):
        values, part = _run(_source(model, _TwoOnOneStream()), _chunk(), {name: 1.0})
        assert values[name] == pytest.approx(both[name], rel=1e-5)
        separate += part
    torch.testing.assert_close(gradient, separate, **CLOSE)


def test_streams_without_rows_have_no_value():
    rows = [r for r in _chunk() if r.stream == "unrelated"]
    values, _ = _run(_source(with_adapter(tiny_model())), rows, WEIGHTS)
    assert values.keys() == {"unrelated"}
    values, gradient = _run(_source(with_adapter(tiny_model())), [], WEIGHTS)
    assert values == {} and not gradient.any()


def test_a_weight_for_no_part_is_refused():
    source = _source(with_adapter(tiny_model()))
    source.load(_chunk())
    with pytest.raises(ConfigError, match=r"'unrelate', .* did you mean 'unrelated'\?"):
        source.gradients({"forget": 1.0, "unrelate": 1.0})


@pytest.mark.parametrize("cut", [{}, {"max_examples": 1}])
def test_a_loss_that_is_not_finite_names_the_examples(cut):
    class Broken(BiasUnlearn):
        def __call__(self, streams):
            values = dict(super().__call__(streams))
            if "retain" in values:
                is_late = streams["retain"].num_tokens == 3
                values["retain"] = torch.where(is_late, torch.nan, values["retain"])
            return values

    rows = _chunk()
    long = {r.id for r in rows if r.stream == "retain" and len(_words_after(r)) == 3}
    assert long, "the corpus has completions of three words"
    source = _source(with_adapter(tiny_model()), Broken(), **cut)
    source.load(rows)
    with pytest.raises(Diverged, match=r"part 'retain' is not finite on ") as caught:
        source.gradients(WEIGHTS)
    assert set(str(caught.value).partition(" on ")[2].split(", ")) <= long


def _words_after(row: Example) -> list[str]:
    return row.segment.text[row.segment.completion_start :].split()


def test_rows_without_a_start_token_are_scored_as_the_bare_text():
    model = with_adapter(tiny_model())
    rows = [replace(r, has_start=False) for r in _chunk() if r.stream == "retain"]
    values, _ = _run(_source(model), rows, {"retain": 1.0})
    means = []
    for row in rows:
        tokens = encoder().encode([row.segment])[0]
        bare = torch.tensor(tokens.ids[1:])
        logprobs = model(input_ids=bare[None]).logits[0].log_softmax(-1)
        # Nothing predicts the first token of a text that has no start token.
        scored = range(max(tokens.first - 1, 1), len(bare))
        means.append(-sum(logprobs[t - 1, bare[t]] for t in scored) / len(scored))
    assert values["retain"] == pytest.approx(torch.stack(means).mean().item(), rel=1e-5)


def test_a_text_of_one_token_keeps_its_start():
    row = Example("a", "retain", "c", Segment("girl"), has_start=False)
    with_start = replace(row, has_start=True)
    found = [
        _run(_source(with_adapter(tiny_model())), [r], {"retain": 1.0})[0]["retain"]
        for r in (row, with_start)
    ]
    assert found[0] == found[1] > 0


@pytest.mark.parametrize(("overhead", "is_cut"), [(0, True), (10**6, False)])
def test_a_chunk_is_cut_as_one_more_pass_costs_on_the_device(monkeypatch, overhead, is_cut):
    monkeypatch.setattr("unskew.training.gradients.overhead_tokens", lambda model: overhead)
    source = _source(LoraScope(r=2).apply(tiny_model()))
    source.load(_chunk())
    assert (len(source._micro_batches) > 1) == is_cut


@pytest.mark.parametrize("max_examples", [None, 3])
def test_tokens_are_counted_without_padding_however_the_chunk_is_cut(max_examples):
    source = _source(LoraScope(r=2).apply(tiny_model()), max_examples=max_examples)
    rows = _chunk()
    tokens = source.encoder.encode([s for row in rows for s in row.segments])
    assert source.load(rows) == sum(len(t.ids) for t in tokens)


def test_the_reference_is_asked_once_for_a_chunk_in_many_pieces(monkeypatch):
    source = _source(LoraScope(r=2).apply(tiny_model()), max_examples=3)
    entered = []
    frozen = source.reference.frozen
    monkeypatch.setattr(source.reference, "frozen", lambda: entered.append(1) or frozen())
    weights = {"forget": 1.0, "retain": 1.0, "unrelated": 1.0}
    source.load(_chunk())
    assert len(entered) == 1  # for the log-probabilities that are cached for the whole run
    for _ in range(2):
        source.gradients(weights)
        assert len(entered) == 2
    source.load(_chunk())
    source.gradients({"retain": 1.0})
    assert len(entered) == 2
    source.gradients(weights)
    assert len(entered) == 3

"""A GPU gives the CPU's numbers, and the same seed gives the same numbers to the last bit."""

from __future__ import annotations

import pytest
import torch

from tests.fixtures import (
    FAMILIES,
    encoder,
    make_trainer,
    outcome,
    pairs,
    tiny_model,
    trainable,
    with_adapter,
)
from unskew.data.batches import PairChunks
from unskew.evaluation.runner import Runner
from unskew.models.logprobs import ScoringPath
from unskew.models.reference import reference_for
from unskew.models.shadow import AdapterShadow
from unskew.objectives.biasunlearn import BiasUnlearn
from unskew.saliency.criteria import GradDelta
from unskew.training.attribution import Attribution, nll_losses
from unskew.training.determinism import prefer_deterministic_kernels
from unskew.training.gradients import ChunkGradients
from unskew.types import DivergenceRequest, GenerationRequest, LikelihoodRequest, Segment

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
]
# float32 sums in another order; TF32 is off unless a user turns it on.
CLOSE = {"rtol": 1e-4, "atol": 2e-5}


@pytest.fixture(autouse=True, scope="module")
def deterministic():
    prefer_deterministic_kernels()
    yield
    torch.use_deterministic_algorithms(False)


def _likelihoods(start):
    return [
        LikelihoodRequest(p.id, tuple(Segment(t, p.completion_start) for t in p.texts), start)
        for p in pairs()
    ]


def _runner(model, **options):
    return Runner(ScoringPath(model), encoder(), **options)


@pytest.mark.parametrize("start", ["separate", "prefix"])
@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_scores_are_the_cpus(family, start):
    asked = _likelihoods(start)
    ours = _runner(tiny_model(family)).answer(asked)
    theirs = _runner(tiny_model(family).cuda()).answer(asked)
    for name, scores in ours.items():
        for a, b in zip(scores, theirs[name], strict=True):
            assert a.logprob == pytest.approx(b.logprob, abs=1e-3)
            assert a.num_tokens == b.num_tokens


def test_scores_do_not_depend_on_the_batch():
    asked = _likelihoods("separate")
    one = _runner(tiny_model().cuda(), tokens_per_batch=1).answer(asked)
    many = _runner(tiny_model().cuda()).answer(asked)
    for name, scores in one.items():
        for a, b in zip(scores, many[name], strict=True):
            assert a.logprob / a.num_tokens == pytest.approx(b.logprob / b.num_tokens, abs=1e-5)


def test_divergences_and_text_are_the_same_twice():
    def answers():
        model = with_adapter(tiny_model().cuda())
        path = ScoringPath(model)
        asked = [DivergenceRequest(p.id, Segment(p.stereotype), ("kind",)) for p in pairs()]
        asked += [GenerationRequest(f"say {i}", p.stereotype, 8) for i, p in enumerate(pairs())]
        return Runner(path, encoder(), reference=reference_for(path)).answer(asked)

    assert answers() == answers()


def _gradients(model):
    path = ScoringPath(model)
    source = ChunkGradients(path, reference_for(path), encoder(), BiasUnlearn())
    source.load(PairChunks(pairs(), seed=1).next())
    values = source.gradients({"forget": 0.4, "retain": 0.4, "unrelated": 0.2})
    return values, [p.grad.cpu() for p in source.params]


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_gradients_are_the_cpus(family):
    values, ours = _gradients(with_adapter(tiny_model(family)))
    others, theirs = _gradients(with_adapter(tiny_model(family)).cuda())
    assert values == pytest.approx(others, rel=1e-4)
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, **CLOSE)


def _fitted(folder, *, adapter=True, **settings):
    model = with_adapter(tiny_model(), moved=False) if adapter else tiny_model()
    trainer = make_trainer(folder, model=model.cuda(), settings=settings)
    trainer.fit()
    return trainer


@pytest.mark.parametrize("settings", [{}, {"bf16": True}], ids=["fp32", "bf16"])
@pytest.mark.parametrize("adapter", [True, False], ids=["adapter", "full"])
def test_the_same_seed_gives_the_same_weights(tmp_path, adapter, settings):
    one, other = (_fitted(tmp_path / n, adapter=adapter, **settings) for n in ("one", "other"))
    assert outcome(one) == outcome(other)
    for name, value in trainable(one.policy).items():
        assert value.is_cuda
        assert torch.equal(trainable(other.policy)[name], value)


def test_a_run_goes_on_where_it_was_cut_off(tmp_path):
    whole = _fitted(tmp_path / "whole", adapter=True)
    model = with_adapter(tiny_model(), moved=False).cuda()
    cut = make_trainer(tmp_path / "cut", model=model)
    step = cut.training_step

    def until_five(*args, **kwargs):
        if cut.state.global_step == 5:
            raise KeyboardInterrupt
        return step(*args, **kwargs)

    cut.training_step = until_five
    with pytest.raises(KeyboardInterrupt):
        cut.fit()
    again = make_trainer(tmp_path / "cut", model=with_adapter(tiny_model(), moved=False).cuda())
    again.fit(resume=True)
    assert outcome(again) == outcome(whole)
    for name, value in trainable(whole.policy).items():
        assert torch.equal(trainable(again.policy)[name], value)


def test_saliency_is_the_cpus_and_the_same_twice():
    def scores(device):
        policy = with_adapter(tiny_model()).to(device)
        shadow = AdapterShadow(policy)
        rows = encoder().encode([Segment(p.stereotype, p.completion_start) for p in pairs()])
        losses = nll_losses(ScoringPath(policy), rows)
        made = Attribution(policy, shadow.names, losses, GradDelta(), shadow=shadow)
        return {name: value.cpu() for group in made for name, value in group.items()}

    ours, theirs, again = scores("cpu"), scores("cuda"), scores("cuda")
    for name, value in ours.items():
        torch.testing.assert_close(theirs[name], value, **CLOSE)
        assert torch.equal(theirs[name], again[name])

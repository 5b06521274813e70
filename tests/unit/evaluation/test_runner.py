"""The runner against a plain loop over the model's own logits."""

from __future__ import annotations

import random

import pytest
import torch
import torch.nn.functional as F

from tests.fixtures import encoder, gpt2_style_tokenizer, pairs, tiny_model, with_adapter
from unskew.errors import BenchmarkError, DataError
from unskew.evaluation import runner as module
from unskew.evaluation.runner import Runner
from unskew.models.logprobs import ScoringPath
from unskew.models.reference import AdapterOffReference
from unskew.types import (
    DivergenceRequest,
    Document,
    GenerationRequest,
    LikelihoodRequest,
    Segment,
)

CLOSE = 1e-4


def _requests(start: str) -> list[LikelihoodRequest]:
    return [
        LikelihoodRequest(
            p.id,
            tuple(Segment(t, 0 if i % 3 == 0 else p.completion_start) for t in p.texts),
            start,
        )
        for i, p in enumerate(pairs())
    ] + [LikelihoodRequest("one word", (Segment("kind"), Segment("rich")), start)]


@torch.no_grad()
def _plain(model, segment: Segment, start: str) -> tuple[float, int, bool]:
    """Sum, count and greediness by one forward pass a text, as the benchmark's words define it."""
    row = encoder().encode([segment])[0]
    after_start = F.log_softmax(model(input_ids=torch.tensor([row.ids[:1]])).logits[0, -1], -1)
    if start == "prefix":
        ids, begin = row.ids, row.first
    else:
        ids, begin = row.ids[1:], row.first - 1
    logits = F.log_softmax(model(input_ids=torch.tensor([ids])).logits[0], -1)
    total, greedy = 0.0, True
    for t in range(begin, len(ids)):
        scores = after_start if t == 0 else logits[t - 1]
        total += scores[ids[t]].item()
        greedy &= int(scores.argmax()) == ids[t]
    return total, len(ids) - begin, greedy


def _runner(model, **options) -> Runner:
    return Runner(ScoringPath(model), encoder(), **options)


@pytest.mark.parametrize("start", ["separate", "prefix"])
@pytest.mark.parametrize("family", ["gpt2", "llama", "gemma2", "bloom"])
def test_likelihoods_are_the_plain_loops(family, start):
    model = tiny_model(family)
    requests = _requests(start)
    answers = _runner(model, tokens_per_batch=40).answer(requests)
    assert answers.keys() == {r.id for r in requests}
    for request in requests:
        for segment, score in zip(request.segments, answers[request.id], strict=True):
            total, count, greedy = _plain(model, segment, start)
            assert score.logprob == pytest.approx(total, abs=CLOSE)
            assert (score.num_tokens, score.is_greedy) == (count, greedy)


@torch.no_grad()
def test_a_long_text_is_read_in_windows():
    """Against one forward pass a window, with the windows written out here."""
    model = tiny_model()
    text = " ".join(t for p in pairs() for t in p.texts)
    ids = encoder().tokenizer(text)["input_ids"]
    assert len(ids) > 3 * 20, "several windows"
    total, begin = 0.0, 0
    while begin < len(ids):
        end = min(begin + 20, len(ids))
        read = [1, *ids][max(0, end - 20) : end]
        logprobs = F.log_softmax(model(input_ids=torch.tensor([read])).logits[0], -1)
        scored = ids[begin:end]
        total += sum(logprobs[len(read) - len(scored) + i, t].item() for i, t in enumerate(scored))
        begin = end
    short = LikelihoodRequest("short", (Segment("kind and soft"),), "rolling", 20)
    prefix = LikelihoodRequest("prefix", (Segment("kind and soft"),), "prefix")
    long = LikelihoodRequest("long", (Segment(text), Segment("kind")), "rolling", 20)
    for tokens_per_batch in (20, 200):
        answers = _runner(model, tokens_per_batch=tokens_per_batch).answer([long, short, prefix])
        assert answers["long"][0].logprob == pytest.approx(total, abs=CLOSE * len(ids))
        assert answers["long"][0].num_tokens == len(ids)
        assert answers["short"][0].logprob == pytest.approx(answers["prefix"][0].logprob, abs=CLOSE)
        assert answers["short"][0].num_tokens == answers["prefix"][0].num_tokens == 3


def test_greedy_answers_exist_and_are_recognised():
    model = tiny_model()
    tokenizer = encoder().tokenizer
    with torch.no_grad():
        ids = tokenizer("Every old")["input_ids"]
        best = int(model(input_ids=torch.tensor([[1, *ids]])).logits[0, -1].argmax())
    word = tokenizer.convert_ids_to_tokens(best)
    segments = (Segment(f"Every old {word}", 10), Segment("Every old kind", 10))
    scores = _runner(model).answer([LikelihoodRequest("x", segments, "prefix")])["x"]
    assert [s.is_greedy for s in scores] == [True, word == "kind"]


@pytest.mark.parametrize("start", ["separate", "prefix"])
def test_batch_size_and_order_do_not_matter(start):
    requests = _requests(start)
    model = tiny_model()
    plain = _runner(model).answer(requests)
    random.Random(0).shuffle(requests)
    for tokens_per_batch in (1, 50, 100_000):
        again = _runner(model, tokens_per_batch=tokens_per_batch).answer(requests)
        for key, scores in plain.items():
            for a, b in zip(scores, again[key], strict=True):
                assert a.mean_logprob == pytest.approx(b.mean_logprob, abs=1e-5)


def test_equal_requests_are_computed_once(monkeypatch):
    segments = (Segment("The nurse is kind", 13), Segment("The nurse is rich", 13))
    requests = [LikelihoodRequest(str(i), segments, "prefix") for i in range(5)]
    requests.append(LikelihoodRequest("other start", segments, "separate"))
    rows = []
    original = module.collate_packed
    monkeypatch.setattr(module, "collate_packed", lambda r, *a: rows.extend(r) or original(r, *a))
    answers = _runner(tiny_model()).answer(requests)
    assert len(rows) == 2
    assert len({answers[str(i)] for i in range(5)}) == 1
    assert answers["0"] != answers["other start"]


def test_duplicate_ids_are_refused():
    requests = [LikelihoodRequest(i, (Segment("kind"),)) for i in ("a", "b", "a")]
    with pytest.raises(BenchmarkError, match=r"two requests have the id 'a'; ids must be unique"):
        _runner(tiny_model()).answer(requests)


def test_a_score_that_is_not_finite_names_the_item():
    model = tiny_model()
    word = encoder().tokenizer.convert_tokens_to_ids("rich")
    with torch.no_grad():
        model.get_input_embeddings().weight[word] = torch.nan
    requests = [LikelihoodRequest(w, (Segment(f"{w} nurse"),)) for w in ("kind", "rich")]
    with pytest.raises(BenchmarkError, match=r"score of '\w+' is NaN or infinite; .*float32"):
        _runner(model).answer(requests)


def test_the_training_mode_comes_back_even_after_an_error():
    model = tiny_model().train()
    runner = _runner(model)
    with pytest.raises(DataError):
        runner.answer([LikelihoodRequest("long", (Segment("kind " * 99),))])
    assert all(m.training for m in model.modules())
    runner.answer([LikelihoodRequest("a", (Segment("kind"),))])
    assert all(m.training for m in model.modules())


def _divergence_model():
    model = with_adapter(tiny_model())
    path = ScoringPath(model)
    return model, Runner(path, encoder(), reference=AdapterOffReference(path), tokens_per_batch=30)


def test_divergences_are_the_plain_loops():
    model, runner = _divergence_model()
    words = ("kind", "strong")
    requests = [
        DivergenceRequest(p.id, Segment(p.context.rstrip(), 0 if i % 2 else 4), words)
        for i, p in enumerate(pairs())
    ]
    answers = runner.answer(requests)
    ids = encoder().tokenizer.convert_tokens_to_ids(list(words))
    for request in requests:
        row = encoder().encode([request.segment])[0]
        with torch.no_grad():
            ours = F.log_softmax(model(input_ids=torch.tensor([row.ids])).logits[0], -1)
            with model.disable_adapter():
                theirs = F.log_softmax(model(input_ids=torch.tensor([row.ids])).logits[0], -1)
        kl = (theirs.exp() * (theirs - ours)).sum(-1)
        answer = answers[request.id]
        assert answer.kl_reference_policy == pytest.approx(
            kl[row.first - 1 : -1].sum().item(), abs=CLOSE
        )
        assert answer.num_tokens == row.num_scored
        assert answer.slot_kl_reference_policy == pytest.approx(kl[-1].item(), abs=CLOSE)
        assert answer.policy_logprobs == pytest.approx(ours[-1, ids].tolist(), abs=CLOSE)
        assert answer.reference_logprobs == pytest.approx(theirs[-1, ids].tolist(), abs=CLOSE)
        assert kl[-1] > 1e-3


def test_a_text_as_long_as_the_context_can_be_compared():
    _, runner = _divergence_model()
    text = " ".join(["kind"] * 63)
    assert runner.answer([DivergenceRequest("x", Segment(text))])["x"].num_tokens == 63


def test_a_divergence_without_a_reference_is_refused():
    with pytest.raises(BenchmarkError, match=r"'x' compares with a reference model, but none"):
        _runner(tiny_model()).answer([DivergenceRequest("x", Segment("kind"))])


def test_a_candidate_of_several_tokens_is_refused():
    model = tiny_model(vocab_size=len(gpt2_style_tokenizer()))
    path = ScoringPath(model)
    from unskew.models.reference import ModelReference

    runner = Runner(path, encoder(gpt2_style_tokenizer()), reference=ModelReference(model))
    request = DivergenceRequest("x", Segment("The"), ("is", "nurse"))
    with pytest.raises(BenchmarkError, match=r"candidate 'nurse' is \d tokens; .* single tokens"):
        runner.answer([request])


def test_kinds_of_requests_may_be_mixed():
    _, runner = _divergence_model()
    document = Document("d", "The old window is green")
    answers = runner.answer(
        [
            LikelihoodRequest("l", (Segment(document.text),)),
            DivergenceRequest("d", Segment(document.text)),
            GenerationRequest("g", "The old", 3),
        ]
    )
    assert {k: type(v).__name__ for k, v in answers.items()} == {
        "l": "tuple", "d": "Divergence", "g": "Generation",
    }  # fmt: skip


def test_nothing_asked_nothing_answered():
    assert _runner(tiny_model()).answer([]) == {}

"""A decoder in scoring and in generation, against a plain loop, and against each other."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from tests.fixtures import encoder, pairs, tiny_model
from unskew.chat import ChatRequest
from unskew.decoders.self_debias import SelfDebias
from unskew.embeddings import EmbeddingRequest
from unskew.errors import BenchmarkError, ConfigError, DataError
from unskew.evaluation.decoding import DecodedPath
from unskew.evaluation.generate import sample
from unskew.evaluation.runner import Runner
from unskew.models.logprobs import ScoringPath
from unskew.models.reference import ModelReference
from unskew.types import DivergenceRequest, GenerationRequest, LikelihoodRequest, Segment

PREFIXES = {"gender": "Every old nurse is kind", "race": "The tarn is late"}
DECAY = 200.0
"""Random models differ by little between contexts; this makes the change plain."""
CLOSE = 1e-5
FAMILIES = ["gpt2", "llama", "gemma2", "bloom"]


def _decoder(decay: float = DECAY) -> SelfDebias:
    return SelfDebias(prefixes=PREFIXES, decay=decay)


def _sharp(family: str):
    """A tiny model whose distributions are not all alike."""
    model = tiny_model(family)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0 if parameter.dim() > 1 else 1.0)
    return model


def _runner(model, **options) -> Runner:
    decay = options.pop("decay", DECAY)
    return Runner(DecodedPath(model, _decoder(decay), encoder()), encoder(), **options)


@torch.no_grad()
def _after(model, ids: list[int]) -> torch.Tensor:
    """The decoder's distribution after a row, from its definition, in probabilities."""
    begin = int(ids[0] == 1)
    rows = [
        [*ids[:begin], *encoder().tokenizer(text)["input_ids"], *ids[begin:]]
        for text in PREFIXES.values()
    ]
    p, *q = (
        model(input_ids=torch.tensor([r])).logits[0, -1].double().softmax(-1) for r in [ids, *rows]
    )
    factor = torch.exp(-DECAY * (torch.stack(q).amax(0) - p).clamp_min(0)).clamp_min(0.01)
    return (factor * p / (factor * p).sum()).log()


def _requests(start: str) -> list[LikelihoodRequest]:
    return [
        LikelihoodRequest(
            p.id,
            tuple(Segment(t, 0 if i % 3 == 0 else p.completion_start) for t in p.texts),
            start,
        )
        for i, p in enumerate(pairs())
    ]


@pytest.mark.parametrize("start", ["separate", "prefix"])
@pytest.mark.parametrize("family", FAMILIES)
def test_scores_are_those_of_the_definition(family, start):
    model = _sharp(family)
    requests = _requests(start)[:5]
    answers = _runner(model, tokens_per_batch=40).answer(requests)
    plain = Runner(ScoringPath(model), encoder()).answer(requests)
    moved = 0.0
    for request in requests:
        for i, segment in enumerate(request.segments):
            row = encoder().encode([segment])[0]
            total = 0.0
            for t in range(row.first, len(row.ids)):
                bare = start == "separate" and t > 1
                total += _after(model, list(row.ids[bare:t]))[row.ids[t]].item()
            got = answers[request.id][i]
            assert got.logprob == pytest.approx(total, abs=CLOSE * len(row.ids))
            moved = max(moved, abs(got.logprob - plain[request.id][i].logprob))
    assert moved > 0.1, "the decoder changes what is compared"


@pytest.mark.parametrize("start", ["separate", "prefix", "rolling"])
def test_batch_size_does_not_matter(start):
    model = _sharp("gpt2")
    requests = _requests(start)
    alone = _runner(model, tokens_per_batch=1).answer(requests)
    together = _runner(model, tokens_per_batch=100_000).answer(requests)
    for key, scores in alone.items():
        for a, b in zip(scores, together[key], strict=True):
            # The decay multiplies what rounding does to a probability.
            assert a.mean_logprob == pytest.approx(b.mean_logprob, abs=5 * CLOSE)


def test_without_decay_all_is_as_it_was():
    model = _sharp("gpt2")
    requests = _requests("separate")
    plain = Runner(ScoringPath(model), encoder()).answer(requests)
    decoded = _runner(model, decay=0.0).answer(requests)
    for key, scores in plain.items():
        assert decoded[key] == pytest.approx(scores) or all(
            a.logprob == pytest.approx(b.logprob, abs=CLOSE)
            for a, b in zip(scores, decoded[key], strict=True)
        )


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("do_sample", [True, False])
@torch.no_grad()
def test_generation_draws_from_what_scoring_says(family, do_sample):
    """Each step's distribution, batched with a cache, is the one that a single row scores."""
    model = _sharp(family)
    path = DecodedPath(model, _decoder(), encoder())
    seen: list[torch.Tensor] = []
    processor = path.processor

    def watched(mask):
        inner = processor(mask)

        def call(ids, scores):
            seen.append(inner(ids, scores))
            return seen[-1]

        return call

    path.processor = watched  # type: ignore[method-assign]
    prompts = ["The nurse is", "Every old", "The", "Every old soldier is bold and"]
    asked = [GenerationRequest(f"r{i}", p, 6, do_sample) for i, p in enumerate(prompts)]
    answers = sample(model, encoder(), asked, 0, path)
    order = sorted(asked, key=lambda r: len(r.prompt.split()))
    for row, request in enumerate(order):
        ids = [1, *encoder().tokenizer(request.prompt)["input_ids"]]
        for step, token in enumerate(answers[request.id].token_ids):
            expected = _after(model, ids)
            got = seen[step][row].double()
            assert (got - expected)[expected > -20].abs().max() < CLOSE * 10
            if not do_sample:
                assert token == int(expected.argmax())
            ids.append(token)
        text = encoder().tokenizer.decode(ids[1:])
        new = len(answers[request.id].token_ids)
        if do_sample or not new or len(encoder().tokenizer(text)["input_ids"]) != len(ids) - 1:
            continue
        scored = LikelihoodRequest("x", (Segment(text, len(request.prompt)),), "prefix")
        total = sum(
            seen[step][row, token].item()
            for step, token in enumerate(answers[request.id].token_ids)
        )
        got = Runner(path, encoder()).answer([scored])["x"][0]
        assert got.logprob == pytest.approx(total, abs=CLOSE * new)


def test_texts_do_not_depend_on_their_neighbours():
    model = _sharp("gpt2")
    asked = [GenerationRequest(f"r{i}", p, 8) for i, p in enumerate(["The nurse is", "Every"])]
    together = _runner(model).answer(asked)
    assert all(_runner(model).answer([r])[r.id].text == together[r.id].text for r in asked)
    assert together != Runner(ScoringPath(model), encoder()).answer(asked)


def test_divergence_is_from_the_model_without_the_decoder():
    model = _sharp("gpt2")
    request = DivergenceRequest("d", Segment("The nurse is"), ("kind", "rich"))
    runner = _runner(model, reference=ModelReference(model))
    got = runner.answer([request])["d"]
    ids = [1, *encoder().tokenizer("The nurse is")["input_ids"]]
    kls = []
    for t in range(1, len(ids) + 1):
        with torch.no_grad():
            base = F.log_softmax(
                model(input_ids=torch.tensor([ids[:t]])).logits[0, -1].double(), -1
            )
        kls.append((base.exp() * (base - _after(model, ids[:t]))).sum().item())
    assert got.kl_reference_policy == pytest.approx(sum(kls[:-1]), abs=1e-4)
    assert got.slot_kl_reference_policy == pytest.approx(kls[-1], abs=1e-4)
    kind = encoder().tokenizer("kind")["input_ids"][0]
    assert got.policy_logprobs[0] == pytest.approx(_after(model, ids)[kind].item(), abs=1e-4)


def test_forward_passes_are_counted():
    runner = _runner(_sharp("gpt2"))
    assert runner.decoded.forwards_per_token == 1
    runner.answer(_requests("prefix"))
    assert runner.decoded.forwards_per_token == 3


def test_the_decoder_leaves_itself_room():
    """A text that just fits the model alone does not fit behind a prefix of five tokens."""
    text = " ".join(["kind"] * 8)
    plain = encoder(max_length=12)
    path = DecodedPath(_sharp("gpt2"), _decoder(), plain)
    request = LikelihoodRequest("x", (Segment(text),), "prefix")
    Runner(ScoringPath(path.model), plain).answer([request])
    with pytest.raises(DataError, match=r"9 tokens in .*, but the model's context holds 7"):
        Runner(path, plain).answer([request])


def test_conversations_are_refused_rather_than_held_without_the_decoder():
    with pytest.raises(BenchmarkError, match="not held through a decoder"):
        _runner(_sharp("gpt2")).prepare([ChatRequest("a", ("The nurse is",))])


def test_hidden_states_are_refused_since_the_decoder_leaves_them_alone():
    with pytest.raises(BenchmarkError, match="a decoder changes no hidden state"):
        _runner(_sharp("gpt2")).prepare([EmbeddingRequest("a", "The nurse is")])


def test_a_prefix_that_takes_most_of_the_context_is_refused():
    with pytest.raises(ConfigError, match="needs 5 tokens of the model's context of 9 for itself"):
        DecodedPath(tiny_model(), _decoder(), encoder(max_length=9))


def test_prompts_padded_on_the_right_and_beams_are_refused():
    path = DecodedPath(tiny_model(), _decoder(), encoder())
    with pytest.raises(ConfigError, match="padded on the right"):
        path.processor(torch.tensor([[1, 1, 0]]))
    processor = path.processor(torch.tensor([[0, 1, 1]]))
    with pytest.raises(ConfigError, match="num_beams=1"):
        processor(torch.ones(2, 3, dtype=torch.long), torch.zeros(2, 30))


def test_a_broken_model_is_still_told():
    model = _sharp("gpt2")
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    with pytest.raises(BenchmarkError, match="NaN or infinite"):
        _runner(model).answer(_requests("prefix"))

"""CAFIE: hand-worked distributions, where nothing changes, and which tokens are compared."""

from __future__ import annotations

import copy
import itertools

import pytest
import torch
from tokenizers import decoders

from tests.fixtures import CONTEXT, encoder, gpt2_style_tokenizer, llama_style_tokenizer, tiny_model
from unskew.decoders.cafie import Cafie
from unskew.errors import ConfigError, DataError
from unskew.evaluation.decoding import DecodedPath
from unskew.evaluation.generate import sample
from unskew.evaluation.runner import Runner
from unskew.models.logprobs import ScoringPath
from unskew.models.tokens import Encoder
from unskew.types import GenerationRequest, LikelihoodRequest, Segment

JOBS = {"job": [["nurse", "pilot", "teacher"]]}
P, Q = [0.6, 0.4], [0.4, 0.6]
CLOSE = 5e-5
"""The hand-worked numbers have four digits."""


def _combined(decoder: Cafie, p, *others, present=None):
    given = torch.tensor([list(others)]).log()
    here = torch.ones(1, len(others), dtype=torch.bool) if present is None else present
    return decoder.combine(torch.tensor([p]).log(), given, here)[0].exp().tolist()


@pytest.mark.parametrize(
    ("sharpness", "expected"),
    [(0.0, [0.6, 0.4]), (1.0, [0.5024, 0.4976]), (1000.0, [0.0075, 0.9925])],
)
def test_hand_worked(sharpness, expected):
    got = _combined(Cafie(domains=JOBS, sharpness=sharpness), P, Q)
    assert got == pytest.approx(expected, abs=CLOSE)
    assert sum(got) == pytest.approx(1, abs=1e-6)


def test_two_counterfactuals_weigh_by_the_exponential_of_their_distance():
    # d = (.2, -.2) and (0, 0), norms .2828 and 0, shares .5702 and .4298;
    # w = (1 - tanh .2, 1 + tanh .2) = (.8026, 1.1974) and (1, 1).
    p = [0.6 * (0.5702 * 0.8026 + 0.4298), 0.4 * (0.5702 * 1.1974 + 0.4298)]
    got = _combined(Cafie(domains=JOBS, sharpness=1.0, alpha=1.0), P, Q, P)
    assert got == pytest.approx([x / sum(p) for x in p], abs=CLOSE)


@pytest.mark.parametrize("combine", ["reweigh", "mean"])
def test_the_order_of_the_counterfactuals_does_not_matter_and_absent_ones_do_not_count(combine):
    decoder = Cafie(domains=JOBS, combine=combine, sharpness=5.0)
    p, others = [0.5, 0.3, 0.2], [[0.2, 0.5, 0.3], [0.6, 0.3, 0.1], [0.3, 0.3, 0.4]]
    first = _combined(decoder, p, *others)
    assert sum(first) == pytest.approx(1, abs=1e-6)
    for order in itertools.permutations(others):
        assert _combined(decoder, p, *order) == pytest.approx(first, abs=1e-6)
    absent = torch.tensor([[True, False, True]])
    two = _combined(decoder, p, others[0], others[2])
    assert _combined(decoder, p, *others, present=absent) == pytest.approx(two, abs=1e-6)


def test_the_mean_is_the_same_for_both_groups():
    decoder = Cafie(domains=JOBS, combine="mean", alpha=1.0)
    assert _combined(decoder, P, Q) == pytest.approx([0.5, 0.5], abs=1e-6)
    assert _combined(decoder, P, Q) == pytest.approx(_combined(decoder, Q, P), abs=1e-6)
    half = Cafie(domains=JOBS, combine="mean", alpha=0.5)
    assert _combined(half, P, Q) == pytest.approx([0.55, 0.45], abs=1e-6)
    assert _combined(half, Q, P) == pytest.approx([0.45, 0.55], abs=1e-6)


def test_limits_that_change_nothing():
    for settings in ({"alpha": 0.0}, {"gamma": 0.0}, {"threshold": 0.3}, {"sharpness": 0.0}):
        assert _combined(Cafie(domains=JOBS, **settings), P, Q) == pytest.approx(P, abs=1e-6)
    for combine in ("reweigh", "mean"):
        none = Cafie(domains=JOBS, combine=combine).scaled(0.0)
        assert _combined(none, P, Q) == pytest.approx(P, abs=1e-6)


def test_a_saturated_weight_stays_finite():
    got = Cafie(domains=JOBS, sharpness=1e6, alpha=1.0)
    assert _combined(got, P, Q) == pytest.approx([0.0, 1.0], abs=1e-6)
    own, other = torch.tensor([P]).log(), torch.tensor([[Q]]).log()
    assert got.combine(own, other, torch.ones(1, 1, dtype=torch.bool)).isfinite().all()


def test_strength_is_a_factor_on_sharpness_or_share():
    assert Cafie(domains=JOBS, sharpness=10.0).scaled(0.5).sharpness == 5.0
    assert Cafie(domains=JOBS, combine="mean", alpha=0.8).scaled(0.5).alpha == 0.4
    with pytest.raises(ConfigError, match=r"alpha is 1.6; it must lie between 0 and 1"):
        Cafie(domains=JOBS, combine="mean", alpha=0.8).scaled(2.0)


def _texts(reader, tokenizer, text: str, start: bool = True) -> list[list[str]]:
    """For each place the texts whose last state is compared there."""
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    ids = [1, *ids] if start else ids
    found = reader(ids, range(1, len(ids) + 1))
    return [
        [tokenizer.decode(found.rows[row][: state + 1][int(start) :]) for row, state in reading]
        for reading in found.readings
    ]


def test_only_places_behind_the_word_have_counterfactuals():
    tokenizer = encoder().tokenizer
    reader = Cafie(domains=JOBS).reader(encoder())
    got = _texts(reader, tokenizer, "The nurse is kind")
    assert got[:2] == [[], []]
    assert got[2] == ["The pilot", "The teacher"]
    assert got[3] == ["The pilot is", "The teacher is"]
    assert _texts(reader, tokenizer, "The table is green") == [[], [], [], [], []]
    ids = tokenizer("The nurse is kind")["input_ids"]
    assert len(reader(ids, range(1, 5)).rows) == 2, "one row for each counterfactual"


@pytest.mark.parametrize("make", [gpt2_style_tokenizer, llama_style_tokenizer])
def test_words_of_several_tokens_and_punctuation(make):
    """The state after the last token of the word is held against that of its replacement."""
    tokenizer = copy.deepcopy(make())
    if make is llama_style_tokenizer:
        tokenizer.backend_tokenizer.decoder = decoders.Metaspace()
    encoded = Encoder(tokenizer, CONTEXT)
    table = {"who": [["he", "she"], ["nurse", "pilot"]]}
    reader = Cafie(domains=table).reader(encoded)
    ids = tokenizer("The Nurse, he is kind", add_special_tokens=False)["input_ids"]
    whole = reader(ids, [len(ids)])
    assert tokenizer.decode(whole.rows[0]) == "The Pilot, she is kind"
    # What follows the last word keeps its very tokens.
    texts = [tokenizer.decode(ids[:n]) for n in range(1, len(ids) + 1)]
    first = next(n for n, text in enumerate(texts, start=1) if text.endswith("Nurse"))
    found = reader(ids, [first])
    assert tokenizer.decode(found.rows[0]) == "The Pilot"
    assert reader(ids, [first - 1]).readings == ((),)
    behind = len(ids) - next(n for n, t in enumerate(texts, start=1) if t.endswith(" he"))
    assert list(whole.rows[0][-behind:]) == ids[-behind:]


def test_an_entry_that_looks_at_the_next_word_holds_once_it_is_there():
    tokenizer = gpt2_style_tokenizer()
    table = {"who": [["he", "she"], ["his _", "her _"]]}
    reader = Cafie(domains=table).reader(Encoder(tokenizer, CONTEXT))
    ids = tokenizer("Then his nurse")["input_ids"]
    texts = [tokenizer.decode(ids[:n]) for n in range(1, len(ids) + 1)]
    word = next(n for n, text in enumerate(texts, start=1) if text.endswith("his"))
    assert reader(ids, [word]).readings == ((),)
    later = reader(ids, [len(ids)])
    assert tokenizer.decode(later.rows[0]) == "Then her nurse"


def test_many_groups_are_spread_over_few_contexts():
    tokenizer = encoder().tokenizer
    table = {"job": [["nurse", "pilot", "teacher", "soldier"]]}
    reader = Cafie(domains=table, contexts=2).reader(encoder())
    assert _texts(reader, tokenizer, "The nurse")[-1] == ["The pilot", "The soldier"]
    one = Cafie(domains=table, contexts=1).reader(encoder())
    assert _texts(one, tokenizer, "The nurse")[-1] == ["The pilot"]


def _path(model, **settings) -> DecodedPath:
    return DecodedPath(model, Cafie(domains=JOBS, **settings), encoder())


def _sharp():
    model = tiny_model()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3.0 if parameter.dim() > 1 else 1.0)
    return model


def test_a_text_without_a_word_of_the_table_scores_the_very_same():
    model = _sharp()
    request = LikelihoodRequest(
        "x", (Segment("The table is green"), Segment("Every old")), "prefix"
    )
    path = _path(model)
    plain = Runner(ScoringPath(model), encoder()).answer([request])["x"]
    decoded = Runner(path, encoder()).answer([request])["x"]
    assert [s.logprob for s in decoded] == pytest.approx([s.logprob for s in plain], abs=1e-6)
    assert path.forwards_per_token == 1


def test_with_the_mean_every_group_is_told_the_same():
    """The last word after three groups: one distribution, where the model has three."""
    model = _sharp()
    texts = [f"The {job} is kind" for job in JOBS["job"][0]]
    request = LikelihoodRequest("x", tuple(Segment(t, len(t) - 4) for t in texts), "prefix")
    plain = Runner(ScoringPath(model), encoder()).answer([request])["x"]
    even = Runner(_path(model, combine="mean", alpha=1.0), encoder()).answer([request])["x"]
    assert max(s.logprob for s in plain) - min(s.logprob for s in plain) > 0.05
    assert [s.logprob for s in even] == pytest.approx([even[0].logprob] * 3, abs=1e-5)


@pytest.mark.parametrize("combine", ["reweigh", "mean"])
@torch.no_grad()
def test_generated_texts_score_as_they_were_drawn(combine):
    """Also where the text comes to name a group on its way, and beside prompts that name none."""
    model = _sharp()
    path = _path(model, combine=combine)
    seen: list[torch.Tensor] = []
    inner = path.processor

    def watched(mask):
        processor = inner(mask)

        def call(ids, scores):
            seen.append(processor(ids, scores))
            return seen[-1]

        return call

    path.processor = watched  # type: ignore[method-assign]
    tokenizer = encoder().tokenizer
    named = 0
    prompts = ["The nurse", "Every old", "The pilot is", "Every old soldier is bold and"]
    asked = [GenerationRequest(f"{p}{i}", p, 8) for i in range(6) for p in prompts]
    answers = sample(model, encoder(), asked, 0, path)
    order = sorted(asked, key=lambda r: len(r.prompt.split()))
    runner = Runner(_path(model, combine=combine), encoder())
    for row, request in enumerate(order):
        new = answers[request.id].token_ids
        text = " ".join([request.prompt, *tokenizer.convert_ids_to_tokens(list(new))])
        if not new or tokenizer(text)["input_ids"][-len(new) :] != list(new):
            continue
        named += any(job in text.split()[-len(new) : -1] for job in JOBS["job"][0])
        scored = LikelihoodRequest("x", (Segment(text, len(request.prompt)),), "prefix")
        total = sum(seen[step][row, token].item() for step, token in enumerate(new))
        got = runner.answer([scored])["x"][0]
        assert got.logprob == pytest.approx(total, abs=1e-5 * len(new))
    assert named >= 3, "some texts come to name a group"


@torch.no_grad()
def test_a_context_that_changes_behind_the_last_token_is_read_anew():
    """`soldier _` is exchanged once a word follows it, when its place is in the cache already."""
    table = {"who": [["nurse", "pilot"], ["soldier _", "teacher _"]]}
    decoder = Cafie(domains=table, combine="mean")
    path = DecodedPath(_sharp(), decoder, encoder())
    ids = torch.tensor([[1, *encoder().tokenizer("The nurse soldier is kind")["input_ids"]]])
    mask = torch.ones(1, 3, dtype=torch.long)
    along = path.processor(mask)
    for length in range(3, ids.shape[1] + 1):
        scores = path.model(input_ids=ids[:, :length]).logits[:, -1]
        cached = along(ids[:, :length], scores)
        fresh = path.processor(mask)(ids[:, :length], scores)
        assert torch.allclose(cached, fresh, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"alpha": 1.5}, "alpha is 1.5; it must lie between 0 and 1"),
        ({"gamma": -0.1}, "gamma is -0.1"),
        ({"sharpness": -1.0}, "sharpness is -1.0; it must be 0 or more"),
        ({"threshold": float("inf")}, "threshold is inf"),
        ({"contexts": 0}, "contexts is 0; it must be 1 or more"),
    ],
)
def test_wrong_settings_are_refused(settings, message):
    with pytest.raises(ConfigError, match=message):
        Cafie(domains=JOBS, **settings)


def test_lists_of_different_length_are_refused():
    with pytest.raises(DataError, match="give every row of job a word for each group"):
        Cafie(domains={"job": [["nurse", "pilot"], ["she", "he", "they"]]})

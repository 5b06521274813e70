"""Where a completion starts, against the characters themselves."""

from __future__ import annotations

import pytest
from transformers import PreTrainedTokenizerFast

from tests.fixtures import encoder, gpt2_style_tokenizer, llama_style_tokenizer, word_tokenizer
from unskew.errors import DataError, ModelError
from unskew.models.tokens import Encoder
from unskew.types import Segment

TOKENIZERS = {
    "gpt2": gpt2_style_tokenizer,
    "llama": llama_style_tokenizer,
    "words": word_tokenizer,
}
# (context, completion): plain, empty context, context of one letter, blank first, two words.
CASES = [
    ("The girl is ", "kind"),
    ("", "The girl"),
    ("A ", "nurse is kind."),
    ("", "kind nurse"),
    ("The nurse is kind. ", "The girl is"),
    ("The nurse is", " kind"),
]


def _decoded(tokenizer, ids) -> str:
    return "".join(tokenizer.convert_ids_to_tokens(list(ids))).replace("Ġ", " ").replace("▁", " ")


@pytest.mark.parametrize("style", ["gpt2", "llama"])
@pytest.mark.parametrize(("context", "completion"), CASES)
def test_scored_tokens_spell_the_completion(style, context, completion):
    tokenizer = TOKENIZERS[style]()
    row = encoder(tokenizer).encode([Segment(context + completion, len(context))])[0]
    scored = _decoded(tokenizer, row.ids[row.first :])
    unscored = _decoded(tokenizer, row.ids[1 : row.first])
    # Spaces belong to the token after them, so the completion may bring one of its own along.
    assert scored.strip() == completion.strip()
    assert unscored.strip() == context.strip()
    assert row.num_scored == len(row.ids) - row.first


@pytest.mark.parametrize("style", TOKENIZERS)
def test_one_start_token_and_no_other_special_token(style):
    tokenizer = TOKENIZERS[style]()
    row = encoder(tokenizer).encode([Segment("The nurse is kind", 0)])[0]
    assert row.ids[0] == tokenizer.bos_token_id
    assert not set(row.ids[1:]) & set(tokenizer.all_special_ids)
    assert row.first == 1


@pytest.mark.parametrize("style", TOKENIZERS)
def test_places_of_a_span_spell_it(style):
    """The start token counts; a space in front may belong to the word's first token."""
    tokenizer = TOKENIZERS[style]()
    text = "The nurse is kind"
    row = encoder(tokenizer).encode([Segment(text, len(text) - 1)])[0]
    for word in text.split():
        begin = text.index(word)
        places = encoder(tokenizer).places(text, [(begin, begin + len(word))])
        assert _decoded(tokenizer, [row.ids[i] for i in places]).strip() == word
    spans = [(0, 3), (10, 12)]
    places = encoder(tokenizer).places(text, spans)
    assert _decoded(tokenizer, [row.ids[i] for i in places]).replace(" ", "") == "Theis"


def test_a_token_that_straddles_the_start_is_scored():
    # "nd" is one token of this tokenizer; a completion that starts between n and d scores it whole.
    tokenizer = gpt2_style_tokenizer()
    row = encoder(tokenizer).encode([Segment("kind", 3)])[0]
    assert tokenizer.convert_ids_to_tokens(list(row.ids[row.first :])) == ["nd"]


def test_batches_of_the_tokenizer_keep_the_order(monkeypatch):
    monkeypatch.setattr("unskew.models.tokens.TOKENIZER_BATCH", 2)
    texts = ["The nurse is kind", "The pilot", "Every old tarn is late", "rich", "is"]
    rows = encoder().encode([Segment(t) for t in texts])
    assert [encoder().tokenizer.decode(r.ids[1:]) for r in rows] == texts


@pytest.mark.parametrize(("text", "start"), [("", 0), ("kind", 4), ("kind nurse", 99)])
def test_nothing_to_score_is_refused(text, start):
    with pytest.raises(DataError, match=r"nothing to score .* leave the row out"):
        encoder().encode([Segment(text, start)])


def test_a_text_longer_than_the_context_is_refused_and_one_that_fits_is_not():
    text = " ".join(["kind"] * 5)
    assert len(encoder(max_length=6).encode([Segment(text)])[0].ids) == 6
    with pytest.raises(DataError, match=r"6 tokens in .* context holds 5; shorten the text"):
        encoder(max_length=5).encode([Segment(text)])


def test_eos_stands_in_for_a_missing_bos():
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=word_tokenizer().backend_tokenizer, eos_token="</s>", unk_token="<unk>"
    )
    assert Encoder(tokenizer, 8).start_id == tokenizer.eos_token_id


def test_a_tokenizer_without_bos_and_eos_is_refused():
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=word_tokenizer().backend_tokenizer, unk_token="<unk>"
    )
    with pytest.raises(ModelError, match=r"neither a BOS nor an EOS .* set tokenizer.bos_token"):
        Encoder(tokenizer, 8)


def test_a_tokenizer_without_offsets_is_refused():
    class Slow:
        is_fast = False

    with pytest.raises(ModelError, match=r"Slow gives no character offsets; .* fast tokenizer"):
        Encoder(Slow(), 8)


def test_fingerprint_tells_vocabularies_and_start_tokens_apart():
    prints = {encoder(make()).fingerprint() for make in TOKENIZERS.values()}
    assert len(prints) == len(TOKENIZERS)
    assert encoder().fingerprint() == encoder(max_length=8).fingerprint()


# --- windows ---------------------------------------------------------------------------------


def test_windows_by_hand():
    """Five tokens a b c d e, two at a time: the last window is filled up with what stood before."""
    tokenizer = word_tokenizer()
    words = "The nurse is kind and"
    ids = tuple(tokenizer(words)["input_ids"])
    a, b, c, d, e = ids
    start = tokenizer.bos_token_id
    rows = encoder(tokenizer).windows(words, longest=2)
    assert [(r.ids, r.first) for r in rows] == [
        ((start, a, b), 1),
        ((b, c, d), 1),
        ((c, d, e), 2),
    ]


@pytest.mark.parametrize("longest", [None, 1, 2, 7, 16, 17, 18, 63, 64, 100])
def test_windows_score_every_token_once(longest):
    tokenizer = word_tokenizer()
    words = "The nurse is kind and soft " * 25
    ids = tokenizer(words)["input_ids"]
    rows = encoder(tokenizer).windows(words, longest)
    assert [i for r in rows for i in r.ids[r.first :]] == ids
    size = min(longest or 64, 64)
    # What is read is all but the last token; every window but the first is full.
    assert all(len(r.ids) - 1 == size for r in rows[1:])
    assert len(rows[0].ids) - 1 == min(size, len(ids))


@pytest.mark.parametrize("length", [1, 5, 16, 17, 31, 32, 33, 70])
def test_windows_are_those_of_the_harness(length):
    utils = pytest.importorskip("lm_eval.utils", reason="pip install 'unskew[lm-eval]' to run this")
    tokenizer = word_tokenizer()
    words = " ".join((["The", "nurse", "is", "kind", "rich"] * 20)[:length])
    ids = tokenizer(words)["input_ids"]
    harness = utils.get_rolling_token_windows(ids, tokenizer.bos_token_id, 16, 1)
    expected = [utils.make_disjoint_window(pair) for pair in harness]
    rows = encoder(tokenizer).windows(words, longest=16)
    found = [(list(r.ids[: r.first]), list(r.ids[r.first :])) for r in rows]
    assert found == expected


def test_a_text_without_a_token_has_no_windows():
    with pytest.raises(DataError, match="nothing to score in ''"):
        encoder(word_tokenizer()).windows("")

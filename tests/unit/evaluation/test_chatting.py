"""Conversations: the history grows turn by turn, by template or as a plain transcript."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from unskew.chat import ChatRequest
from unskew.errors import BenchmarkError, DataError, ModelError
from unskew.evaluation import chatting
from unskew.types import Generation

TEMPLATE = SimpleNamespace(
    chat_template="t",
    apply_chat_template=lambda messages, tokenize, add_generation_prompt: (
        "".join(f"<{m['role']}>{m['content']}" for m in messages) + "<assistant>"
    ),
)
PLAIN = SimpleNamespace(chat_template=None)


@pytest.fixture
def asked(monkeypatch):
    """Stands in for the model: replies with the length of what it was shown."""
    seen = []

    def sample(model, encoder, requests, seed):
        seen.extend(requests)
        return {r.id: Generation(f" r{len(r.prompt)} ", (), 0.0) for r in requests}

    monkeypatch.setattr(chatting, "sample", sample)
    return seen


def _converse(tokenizer, *requests):
    return chatting.converse(None, SimpleNamespace(tokenizer=tokenizer), requests, 0)


def test_each_turn_sees_all_before_it(asked):
    found = _converse(PLAIN, ChatRequest("a#b", ("one", "two", "three")))
    prompts = [r.prompt for r in asked]
    assert prompts[0] == "one"
    assert prompts[1] == "User: one\nAssistant: r3\nUser: two\nAssistant:"
    assert prompts[2].startswith("User: one\nAssistant: r3\nUser: two\nAssistant: r")
    assert prompts[2].endswith("\nUser: three\nAssistant:")
    assert found["a#b"].replies == tuple(f"r{len(p)}" for p in prompts)
    assert all(r.until == ("\nUser:",) and r.with_start and not r.do_sample for r in asked)


def test_conversations_of_other_lengths_do_not_mix(asked):
    found = _converse(PLAIN, ChatRequest("a", ("one",)), ChatRequest("b", ("one", "two")))
    assert {k: len(v.replies) for k, v in found.items()} == {"a": 1, "b": 2}


def test_a_template_brings_its_own_start_and_end(asked):
    _converse(TEMPLATE, ChatRequest("a", ("one", "two"), temperature=0.7))
    assert asked[1].prompt == "<user>one<assistant>r20<user>two<assistant>"
    assert not asked[1].with_start
    assert asked[1].until == ()
    assert (asked[1].do_sample, asked[1].temperature) == (True, 0.7)


def test_options_are_scored_as_replies():
    request = ChatRequest("a", ("Which? ",), options=("1", "2"))
    plain = chatting.as_likelihood(request, PLAIN)
    assert [(s.text, s.completion_start) for s in plain.segments] == [
        ("Which? 1", 6),
        ("Which? 2", 6),
    ]
    assert plain.start == "prefix"
    chat = chatting.as_likelihood(request, TEMPLATE)
    assert chat.segments[1].text == "<user>Which? <assistant>2"
    assert chat.start == "separate"
    with pytest.raises(BenchmarkError, match="options answer one turn"):
        chatting.as_likelihood(ChatRequest("a", ("x", "y"), options=("1",)), PLAIN)


def test_a_template_that_refuses_is_named():
    def refuse(*args, **options):
        raise RuntimeError("roles must alternate")

    tokenizer = SimpleNamespace(chat_template="t", apply_chat_template=refuse)
    with pytest.raises(ModelError, match=r"chat template refuses.*roles must alternate"):
        chatting.rendered(tokenizer, ("x",), ())


@pytest.mark.parametrize("tokenizer", [PLAIN, TEMPLATE])
def test_conversations_that_would_outgrow_the_context_are_refused_at_once(tokenizer):
    """Worked by hand: words are tokens, and each turn has a reply of full length."""

    class Words(SimpleNamespace):
        def __call__(self, text, **options):
            return SimpleNamespace(input_ids=text.replace("<", " <").replace(">", "> ").split())

    # Four words, four marks of who speaks and the start token are 9; with two replies of ten, 29.
    encoder = SimpleNamespace(tokenizer=Words(**vars(tokenizer)), max_length=29)
    request = ChatRequest("a", ("one two", "three four"), max_new_tokens=10)
    chatting.refuse_too_long([request], encoder)
    longer = ChatRequest("b", ("one two", "three four five"), max_new_tokens=10)
    with pytest.raises(DataError, match=r"1 of 2 conversations, first 'b'.*may be 9 at the most"):
        chatting.refuse_too_long([request, longer], encoder)
    long = ChatRequest("c", ("word " * 30, "more"), max_new_tokens=1)
    with pytest.raises(DataError, match=r"2 of 2 conversations, first 'c'.*leave out those that"):
        chatting.refuse_too_long([longer, long], encoder)
    # A single turn is only cut where its prompt fills the context, as ever.
    chatting.refuse_too_long([ChatRequest("d", ("word " * 25,), max_new_tokens=10)], encoder)

"""Conversations with a model: its chat template where it has one, else a plain transcript."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import zip_longest
from typing import Any

from unskew.chat import ChatRequest, Conversation
from unskew.errors import BenchmarkError, DataError, ModelError
from unskew.evaluation.generate import sample
from unskew.models.tokens import Encoder
from unskew.types import GenerationRequest, LikelihoodRequest, Segment

CHUNK = 64
"""Conversations between two updates of the progress bar."""
_NEXT_TURN = "\nUser:"


def has_template(tokenizer: Any) -> bool:
    """Whether the tokeniser says how a conversation is written."""
    return bool(getattr(tokenizer, "chat_template", None))


def rendered(tokenizer: Any, turns: Sequence[str], replies: Sequence[str]) -> str:
    """The text that the next reply continues.

    Args:
        tokenizer: Its chat template is used. Without one the only turn stands as it is, and
            several become lines `User:` and `Assistant:`.
        turns: The user's so far.
        replies: The model's so far, one fewer.

    Raises:
        ModelError: The template refuses the conversation.
    """
    spoken = [
        (role, text)
        for pair in zip_longest(turns, replies)
        for role, text in zip(("user", "assistant"), pair, strict=True)
        if text is not None
    ]
    if not has_template(tokenizer):
        if len(turns) == 1:
            return turns[0].rstrip()
        lines = [f"{role.title()}: {text.strip()}" for role, text in spoken]
        return "\n".join([*lines, "Assistant:"])
    messages = [{"role": role, "content": text} for role, text in spoken]
    try:
        return tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    # Templates are programs of the checkpoint and raise what they like.
    except Exception as error:
        raise ModelError(f"the model's chat template refuses a conversation: {error}") from error


def as_likelihood(request: ChatRequest, tokenizer: Any) -> LikelihoodRequest:
    """The options of a request as replies to be scored.

    Raises:
        BenchmarkError: It has several turns, the replies to which are not known.
    """
    if len(request.turns) != 1:
        raise BenchmarkError(
            f"{request.id!r} has options and {len(request.turns)} turns; options answer one turn"
        )
    prompt = rendered(tokenizer, request.turns, ())
    is_template = has_template(tokenizer)
    gap = "" if is_template else " "
    segments = tuple(Segment(f"{prompt}{gap}{o}", len(prompt)) for o in request.options)
    # A template writes its own start token.
    return LikelihoodRequest(request.id, segments, "separate" if is_template else "prefix")


def refuse_too_long(requests: Sequence[ChatRequest], encoder: Encoder) -> None:
    """Refuse conversations of several turns that replies of full length would drive out of context.

    Told before anything is generated: it would come out hours later, at the last turn of one.

    Args:
        requests: Without options.
        encoder: The model's tokeniser.

    Raises:
        DataError: The first is named, and how long replies may be.
        ModelError: The chat template refuses a conversation.
    """
    longest: dict[str, int] = {}
    for request in requests:
        turns = len(request.turns)
        text = rendered(encoder.tokenizer, request.turns, ("",) * (turns - 1))
        ids = encoder.tokenizer(text, add_special_tokens=False, verbose=False).input_ids
        given = len(ids) + 1
        if turns > 1 and given + turns * request.max_new_tokens > encoder.max_length:
            longest[request.id] = (encoder.max_length - given) // turns
    if not longest:
        return
    first, least = next(iter(longest)), min(longest.values())
    mend = f"max_new_tokens may be {least} at the most"
    if least < 1:
        first, mend = min(longest, key=lambda i: longest[i]), "leave out those that are too long"
    raise DataError(
        f"{len(longest)} of {len(requests)} conversations, first {first!r}, do not fit the model's "
        f"context of {encoder.max_length} tokens with replies of the length asked for; {mend}"
    )


def converse(
    model: Any,
    encoder: Encoder,
    requests: Sequence[ChatRequest],
    seed: int,
    progress: Callable[[int], object] = lambda count: None,
) -> dict[str, Conversation]:
    """Reply to every turn, each with all that was said before it.

    Args:
        model: A causal language model in eval mode.
        encoder: Its tokeniser.
        requests: Without options; the length of a conversation may differ.
        seed: With the request's id and the turn it fixes the noise of each reply.
        progress: Told the number of replies that came.

    Raises:
        DataError: A conversation leaves no room for a reply.
        ModelError: The chat template refuses a conversation.
    """
    replies: dict[str, tuple[str, ...]] = {request.id: () for request in requests}
    for turn in range(max((len(r.turns) for r in requests), default=0)):
        asked = [
            _next_reply(encoder.tokenizer, request, replies[request.id])
            for request in requests
            if turn < len(request.turns)
        ]
        for begin in range(0, len(asked), CHUNK):
            chunk = asked[begin : begin + CHUNK]
            found = sample(model, encoder, chunk, seed)
            for request_id, answer in found.items():
                name = request_id.rpartition("#")[0]
                replies[name] = (*replies[name], answer.text.strip())
            progress(len(chunk))
    return {name: Conversation(said) for name, said in replies.items()}


def _next_reply(
    tokenizer: Any, request: ChatRequest, replies: tuple[str, ...]
) -> GenerationRequest:
    is_template = has_template(tokenizer)
    turns = request.turns[: len(replies) + 1]
    return GenerationRequest(
        f"{request.id}#{len(turns)}",
        rendered(tokenizer, turns, replies),
        request.max_new_tokens,
        do_sample=request.temperature > 0,
        temperature=request.temperature or 1.0,
        until=() if is_template or len(request.turns) == 1 else (_NEXT_TURN,),
        with_start=not is_template,
    )

"""Continuations whose result does not depend on what else is in the batch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from unskew.errors import DataError
from unskew.evaluation.decoding import DecodedPath
from unskew.models.tokens import Encoder, Tokens
from unskew.types import Generation, GenerationRequest, Segment

BATCH = 64


def sample(
    model: Any,
    encoder: Encoder,
    requests: Sequence[GenerationRequest],
    seed: int,
    decoded: DecodedPath | None = None,
) -> dict[str, Generation]:
    """Continue prompts by sampling from the most probable tokens, or greedily.

    Args:
        model: A causal language model in eval mode.
        encoder: Its tokeniser.
        requests: Prompts; all may differ in length and in how they are continued.
        seed: With the request's id it fixes the noise of each continuation.
        decoded: Changes the distributions that are drawn from, where the model has a decoder.

    Raises:
        DataError: A prompt leaves no room for a token.
    """
    answers: dict[str, Generation] = {}
    prompts = [
        tokens if request.with_start else tokens.without_start()
        for request, tokens in zip(
            requests, encoder.encode([Segment(r.prompt) for r in requests]), strict=True
        )
    ]
    alike: dict[tuple[Any, ...], list[tuple[GenerationRequest, Tokens]]] = {}
    for request, prompt in zip(requests, prompts, strict=True):
        length = min(request.max_new_tokens, encoder.max_length - len(prompt.ids))
        if length < 1:
            raise DataError(
                f"the prompt of {request.id!r} fills the model's context of {encoder.max_length} "
                "tokens; shorten it or leave it out"
            )
        how = (length, request.do_sample, request.temperature, request.top_k, request.until)
        alike.setdefault(how, []).append((request, prompt))
    for (length, *_), same in alike.items():
        same.sort(key=lambda pair: len(pair[1].ids))
        for begin in range(0, len(same), BATCH):
            block = same[begin : begin + BATCH]
            answers.update(_sample(model, encoder, block, seed, length, decoded))
    return answers


def _sample(
    model: Any,
    encoder: Encoder,
    asked: Sequence[tuple[GenerationRequest, Tokens]],
    seed: int,
    max_new_tokens: int,
    decoded: DecodedPath | None,
) -> dict[str, Generation]:
    device = next(model.parameters()).device
    requests, rows = [r for r, _ in asked], [t.ids for _, t in asked]
    width = max(map(len, rows))
    end = _end_tokens(model, encoder)
    ids = torch.full((len(rows), width), end[0])
    mask = torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, width - len(row) :] = torch.tensor(row)
        mask[i, width - len(row) :] = 1
    first = requests[0]
    do_sample, until = first.do_sample, first.until
    sampler = _GumbelTopK(
        [_generator(seed, r.id) for r in requests] if do_sample else None,
        first.temperature,
        first.top_k,
    )
    out = model.generate(
        input_ids=ids.to(device),
        attention_mask=mask.to(device),
        max_new_tokens=max_new_tokens,
        do_sample=False,
        num_beams=1,
        # Checkpoints bring generation settings of their own, which would hide what is measured.
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        min_length=0,
        min_new_tokens=0,
        logits_processor=[*([decoded.processor(mask.to(device))] if decoded else []), sampler],
        stopping_criteria=[_StopAt(until, encoder.tokenizer, width)] if until else None,
        pad_token_id=end[0],
        eos_token_id=end,
    )
    answers: dict[str, Generation] = {}
    for i, request in enumerate(requests):
        new = out[i, width:].tolist()
        stop = next((j for j, t in enumerate(new) if t in end), len(new))
        text = encoder.tokenizer.decode(new[:stop], skip_special_tokens=True)
        text = min((text.partition(end)[0] for end in until), key=len, default=text)
        entropy = sampler.mean_entropy(i, min(stop + 1, len(new)))
        answers[request.id] = Generation(text, tuple(new[:stop]), entropy)
    return answers


class _GumbelTopK:
    """Turns greedy decoding into sampling: the arg-max of log-probability plus Gumbel noise.

    Without generators decoding stays greedy.
    """

    def __init__(
        self,
        generators: Sequence[torch.Generator] | None,
        temperature: float,
        top_k: int,
    ) -> None:
        self.generators = generators
        self.temperature, self.top_k = temperature, top_k
        self.entropies: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        logprobs = F.log_softmax(scores.float(), -1)
        self.entropies.append(-(logprobs.exp() * logprobs.clamp_min(-1e4)).sum(-1).cpu())
        if self.generators is None:
            return logprobs
        top = logprobs.topk(min(self.top_k, logprobs.shape[-1]), -1)
        uniform = torch.stack(
            [torch.rand(top.values.shape[-1], generator=g) for g in self.generators]
        )
        noise = -(-uniform.clamp_min(1e-20).log()).log()
        noisy = torch.full_like(logprobs, float("-inf"))
        return noisy.scatter(
            -1, top.indices, top.values / self.temperature + noise.to(logprobs.device)
        )

    def mean_entropy(self, row: int, steps: int) -> float:
        """Over the first `steps` next-token distributions of a row, in nats."""
        values = [e[row].item() for e in self.entropies[:steps]]
        return sum(values) / len(values) if values else 0.0


class _StopAt:
    """Ends a row once its continuation holds one of the texts."""

    def __init__(self, until: Sequence[str], tokenizer: Any, width: int) -> None:
        self.until, self.tokenizer, self.width = until, tokenizer, width

    def __call__(self, input_ids: torch.Tensor, scores: Any, **_: Any) -> torch.Tensor:
        texts = self.tokenizer.batch_decode(input_ids[:, self.width :])
        done = [any(end in text for end in self.until) for text in texts]
        return torch.tensor(done, device=input_ids.device)


def _end_tokens(model: Any, encoder: Encoder) -> list[int]:
    end = model.generation_config.eos_token_id
    if end is None:
        end = encoder.tokenizer.eos_token_id
    if end is None:
        end = encoder.start_id
    return list(end) if isinstance(end, list | tuple) else [int(end)]


def _generator(seed: int, request_id: str) -> torch.Generator:
    digest = hashlib.sha256(f"{seed}|{request_id}".encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest[:7], "little"))

"""Seeded sampling whose result does not depend on what else is in the batch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from unskew.errors import DataError
from unskew.models.tokens import Encoder, Tokens
from unskew.types import Generation, GenerationRequest, Segment

TOP_K = 50
BATCH = 64


def sample(
    model: Any, encoder: Encoder, requests: Sequence[GenerationRequest], seed: int
) -> dict[str, Generation]:
    """Continue prompts by sampling at temperature 1 from the 50 most probable tokens.

    Args:
        model: A causal language model in eval mode.
        encoder: Its tokeniser.
        requests: Prompts; all may differ in length and in `max_new_tokens`.
        seed: With the request's id it fixes the noise of each continuation.

    Raises:
        DataError: A prompt leaves no room for a token.
    """
    answers: dict[str, Generation] = {}
    prompts = encoder.encode([Segment(r.prompt) for r in requests])
    by_length: dict[int, list[tuple[GenerationRequest, Tokens]]] = {}
    for request, prompt in zip(requests, prompts, strict=True):
        length = min(request.max_new_tokens, encoder.max_length - len(prompt.ids))
        if length < 1:
            raise DataError(
                f"the prompt of {request.id!r} fills the model's context of {encoder.max_length} "
                "tokens; shorten it or leave it out"
            )
        by_length.setdefault(length, []).append((request, prompt))
    for length, same in by_length.items():
        same.sort(key=lambda pair: len(pair[1].ids))
        for begin in range(0, len(same), BATCH):
            answers.update(_sample(model, encoder, same[begin : begin + BATCH], seed, length))
    return answers


def _sample(
    model: Any,
    encoder: Encoder,
    asked: Sequence[tuple[GenerationRequest, Tokens]],
    seed: int,
    max_new_tokens: int,
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
    sampler = _GumbelTopK([_generator(seed, r.id) for r in requests])
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
        logits_processor=[sampler],
        pad_token_id=end[0],
        eos_token_id=end,
    )
    answers: dict[str, Generation] = {}
    for i, request in enumerate(requests):
        new = out[i, width:].tolist()
        stop = next((j for j, t in enumerate(new) if t in end), len(new))
        text = encoder.tokenizer.decode(new[:stop], skip_special_tokens=True)
        entropy = sampler.mean_entropy(i, min(stop + 1, len(new)))
        answers[request.id] = Generation(text, tuple(new[:stop]), entropy)
    return answers


class _GumbelTopK:
    """Turns greedy decoding into sampling: the arg-max of log-probability plus Gumbel noise."""

    def __init__(self, generators: Sequence[torch.Generator]) -> None:
        self.generators = generators
        self.entropies: list[torch.Tensor] = []

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        logprobs = F.log_softmax(scores.float(), -1)
        self.entropies.append(-(logprobs.exp() * logprobs.clamp_min(-1e4)).sum(-1).cpu())
        top = logprobs.topk(min(TOP_K, logprobs.shape[-1]), -1)
        uniform = torch.stack(
            [torch.rand(top.values.shape[-1], generator=g) for g in self.generators]
        )
        noise = -(-uniform.clamp_min(1e-20).log()).log()
        noisy = torch.full_like(logprobs, float("-inf"))
        return noisy.scatter(-1, top.indices, top.values + noise.to(logprobs.device))

    def mean_entropy(self, row: int, steps: int) -> float:
        """Over the first `steps` next-token distributions of a row, in nats."""
        values = [e[row].item() for e in self.entropies[:steps]]
        return sum(values) / len(values) if values else 0.0


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

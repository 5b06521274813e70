"""Seeded sampling whose result does not depend on what else is in the batch."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from unskew.models.tokens import Encoder
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
    """
    answers: dict[str, Generation] = {}
    by_length: dict[int, list[GenerationRequest]] = {}
    for request in requests:
        by_length.setdefault(request.max_new_tokens, []).append(request)
    for length, same in by_length.items():
        for begin in range(0, len(same), BATCH):
            answers.update(_sample(model, encoder, same[begin : begin + BATCH], seed, length))
    return answers


def _sample(
    model: Any,
    encoder: Encoder,
    requests: Sequence[GenerationRequest],
    seed: int,
    max_new_tokens: int,
) -> dict[str, Generation]:
    device = next(model.parameters()).device
    rows = [t.ids for t in encoder.encode([Segment(r.prompt) for r in requests])]
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
        max_new_tokens=min(max_new_tokens, encoder.max_length - width),
        do_sample=False,
        num_beams=1,
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

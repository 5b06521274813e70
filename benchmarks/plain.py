"""The same work done the plain way: what the speed claims are measured against."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F

from unskew.data.batches import Example
from unskew.models.tokens import Encoder

PADDED = 100


class PlainStep:
    """BiasUnlearn's step as a straightforward script has it.

    A forward pass for each stream, every row padded to 100 tokens with an attention mask, logits at
    every position, a second model for the reference, the loss of each example in a loop.
    """

    def __init__(self, policy: Any, reference: Any, encoder: Encoder, weights: dict[str, float]):
        self.policy, self.reference, self.encoder, self.weights = (
            policy,
            reference,
            encoder,
            weights,
        )
        self.params = [p for p in policy.parameters() if p.requires_grad]
        self.device = self.params[0].device

    def gradients(self, rows: Sequence[Example]) -> dict[str, float]:
        for p in self.params:
            p.grad = None
        forget, retain, unrelated = (
            self._padded([r for r in rows if r.stream == s])
            for s in ("forget", "retain", "unrelated")
        )
        with torch.no_grad():
            reference_nll = self._nll(self.reference, forget)
        policy_nll = self._nll(self.policy, forget)
        npo = [
            -2 / 0.1 * F.logsigmoid(0.1 * (a - b))
            for a, b in zip(policy_nll, reference_nll, strict=True)
        ]
        parts = {
            "forget": torch.stack(npo).mean(),
            "retain": torch.stack(self._nll(self.policy, retain)).mean(),
            "unrelated": self._kl(unrelated),
        }
        loss = sum(self.weights[name] * value for name, value in parts.items())
        loss.backward()
        return {name: value.item() for name, value in parts.items()}

    def _padded(self, rows: Sequence[Example]) -> dict[str, torch.Tensor]:
        tokens = self.encoder.encode([r.segment for r in rows])
        ids = torch.zeros(len(rows), PADDED, dtype=torch.long)
        mask = torch.zeros_like(ids)
        labels = torch.full_like(ids, -100)
        for i, t in enumerate(tokens):
            ids[i, : len(t.ids)] = torch.tensor(t.ids)
            mask[i, : len(t.ids)] = 1
            labels[i, t.first : len(t.ids)] = torch.tensor(t.ids[t.first :])
        batch = {"input_ids": ids, "attention_mask": mask, "labels": labels}
        return {name: tensor.to(self.device) for name, tensor in batch.items()}

    def _nll(self, model: Any, batch: dict[str, torch.Tensor]) -> list[torch.Tensor]:
        logits = model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        losses = []
        for row, labels in zip(logits, batch["labels"], strict=True):
            losses.append(F.cross_entropy(row[:-1].float(), labels[1:], ignore_index=-100))
        return losses

    def _kl(self, batch: dict[str, torch.Tensor]) -> torch.Tensor:
        inputs = {k: batch[k] for k in ("input_ids", "attention_mask")}
        with torch.no_grad():
            reference = F.log_softmax(self.reference(**inputs).logits.float(), -1)
        policy = F.log_softmax(self.policy(**inputs).logits.float(), -1)
        kl = (reference.exp() * (reference - policy)).sum(-1)
        scored = batch["labels"][:, 1:] != -100
        return kl[:, :-1][scored].mean()


@torch.no_grad()
def score_one_by_one(model: Any, tokenizer: Any, sentences: Sequence[str]) -> list[float]:
    """Mean log2-probability of each sentence as the public StereoSet evaluator takes it.

    One sentence at a time without padding; the first token from a pass of the start token alone.
    """
    start = torch.tensor([[tokenizer.bos_token_id]], device=model.device)
    first = torch.softmax(model(start).logits[0, -1], -1)
    scores = []
    for sentence in sentences:
        ids = tokenizer.encode(sentence, add_special_tokens=False)
        inputs = torch.tensor([ids], device=model.device)
        probabilities = torch.softmax(model(inputs).logits[0], -1)
        total = [first[ids[0]].item()]
        total += [probabilities[i - 1, ids[i]].item() for i in range(1, len(ids))]
        scores.append(sum(math.log2(p) for p in total) / len(ids))
    return scores

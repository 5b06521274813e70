"""A loaded model, as lm-evaluation-harness asks one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from unskew.errors import BenchmarkError
from unskew.evaluation.runner import Runner
from unskew.types import Generation, GenerationRequest, LikelihoodRequest, Segment, Start

MAX_NEW_TOKENS = 256
"""The harness's own default."""


class HarnessModel:
    """What `lm_eval.evaluate` needs of a model, answered by the runner.

    Continuations of one context are scored together, equal requests once; with several processes
    each answers a share. A text longer than the model's context is an error here, where the
    harness would cut off its beginning.

    The harness puts a start token in front of a context only where the tokenizer does so by
    itself, and so do we: the numbers are those of its own `hf` model.

    Args:
        runner: Asks the model.
        label: Shown with the progress bar.
    """

    # The runner shares the work out, so every process is the only one that the harness knows of.
    rank, world_size = 0, 1

    def __init__(self, runner: Runner, label: str) -> None:
        self.runner, self.label = runner, label
        tokenizer, start = runner.encoder.tokenizer, runner.encoder.start_id
        self._adds_start = tokenizer("a")["input_ids"][:1] == [start]

    def loglikelihood(self, requests: Sequence[Any]) -> list[tuple[float, bool]]:
        """Summed log-probability of each continuation, in nats, and whether it is the greedy one.

        Args:
            requests: Each with `args = (context, continuation)`.
        """
        by_context: dict[str, list[int]] = {}
        for index, request in enumerate(requests):
            by_context.setdefault(request.args[0], []).append(index)
        asked, members = [], {}
        for number, (context, indices) in enumerate(by_context.items()):
            start: Start = "prefix" if self._adds_start or not context else "separate"
            # White space at the end of a context belongs to the continuation.
            scored_from = len(context.rstrip())
            segments = tuple(Segment(context + requests[i].args[1], scored_from) for i in indices)
            asked.append(LikelihoodRequest(str(number), segments, start))
            members[str(number)] = indices
        answers = self.runner.answer(asked, self.label)
        found: dict[int, tuple[float, bool]] = {}
        for identity, indices in members.items():
            scores = answers[identity]
            assert isinstance(scores, tuple)
            for index, score in zip(indices, scores, strict=True):
                found[index] = (score.logprob, score.is_greedy)
        return [found[index] for index in range(len(requests))]

    def loglikelihood_rolling(self, requests: Sequence[Any]) -> list[float]:
        """Summed log-probability of each text, in nats, read in windows of the model's context.

        Args:
            requests: Each with `args = (text,)`.
        """
        asked = [
            LikelihoodRequest(str(i), (Segment(r.args[0]),), "rolling")
            for i, r in enumerate(requests)
        ]
        answers = self.runner.answer(asked, self.label)
        found: list[float] = []
        for request in asked:
            scores = answers[request.id]
            assert isinstance(scores, tuple)
            found.append(scores[0].logprob)
        return found

    def generate_until(self, requests: Sequence[Any]) -> list[str]:
        """Greedy continuation of each context, up to one of its stop texts.

        Args:
            requests: Each with `args = (context, settings)`.

        Raises:
            BenchmarkError: The task wants sampled text.
        """
        asked = [self._generation(str(i), *r.args) for i, r in enumerate(requests)]
        answers = self.runner.answer(asked, self.label)
        found: list[str] = []
        for request in asked:
            answer = answers[request.id]
            assert isinstance(answer, Generation)
            found.append(answer.text)
        return found

    def _generation(
        self, identity: str, context: str, settings: Mapping[str, Any]
    ) -> GenerationRequest:
        if settings.get("do_sample"):
            raise BenchmarkError(
                f"{self.label}: the task asks for sampled text; only greedy decoding is bridged, "
                "run it by lm_eval itself"
            )
        until = settings.get("until") or ()
        return GenerationRequest(
            identity,
            context,
            max_new_tokens=int(settings.get("max_gen_toks", MAX_NEW_TOKENS)),
            do_sample=False,
            until=(until,) if isinstance(until, str) else tuple(until),
            with_start=self._adds_start,
        )

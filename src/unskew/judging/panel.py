"""One or two judges and their store: what is asked, what it costs, what could not be read."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tqdm.auto import tqdm

from unskew.chat import Conversation, JudgePrompt, JudgeReply
from unskew.errors import JudgeFailed
from unskew.judge_settings import JudgeConfig, JudgeModel
from unskew.judging.endpoint import EndpointJudge
from unskew.judging.store import ReplyStore, key_of
from unskew.protocols import AsksJudge, Judge
from unskew.types import Answer, Request

BYTES_PER_TOKEN = 3
"""Of the estimate before the start. English has four or more to a token, so it errs upwards."""


@dataclass(frozen=True, slots=True)
class Estimate:
    """What is about to be asked."""

    judge: str
    questions: int
    stored: int
    """Of the questions, those with a stored reply."""
    input_tokens: int
    output_tokens: int
    """At the most."""
    usd: float | None
    """At the most; None where the prices are not known."""

    def words(self) -> str:
        """For the user."""
        cost = "price not known" if self.usd is None else f"at most {self.usd:.4f} USD"
        return (
            f"judge {self.judge}: {self.questions} questions, {self.stored} with a stored reply; "
            f"about {self.input_tokens} tokens to read and at most {self.output_tokens} to write, "
            f"{cost}"
        )


class Panel:
    """Puts a benchmark's questions to one judge or two.

    Args:
        judges: One or two.
        store: Replies that are there already, and where new ones go.
        max_tokens: Limit of a reply; that of each question if None.
        max_cost: USD, over all calls; None sets no limit.
        max_unparsed_share: Of the questions of one judge that may be lost or unreadable.
    """

    def __init__(
        self,
        judges: Sequence[Judge],
        store: ReplyStore,
        *,
        max_tokens: int | None = None,
        max_cost: float | None = None,
        max_unparsed_share: float = 0.05,
    ) -> None:
        self.judges, self.store = tuple(judges), store
        self.max_tokens, self.max_cost = max_tokens, max_cost
        self.max_unparsed_share = max_unparsed_share
        self.spent_usd = 0.0
        self.estimates: list[Estimate] = []

    def judge(
        self, benchmark: AsksJudge, requests: Mapping[str, Request], answers: Mapping[str, Answer]
    ) -> dict[str, Answer]:
        """The answers, with what the judges wrote about each.

        Args:
            benchmark: Forms the questions and reads the replies.
            requests: By id.
            answers: Conversations, by id of the request.

        Raises:
            JudgeFailed: It would cost more than `max_cost`, a judge cannot be asked, or more than
                the set share of its replies is lost or unreadable. Replies stay stored.
        """
        conversations = {i: a for i, a in answers.items() if isinstance(a, Conversation)}
        asked = {i: benchmark.judge_prompts(requests[i], a) for i, a in conversations.items()}
        flat = [prompt for prompts in asked.values() for prompt in prompts]
        self._refuse_cost([self._estimate(judge, flat) for judge in self.judges])
        found = [self._texts(judge, flat, benchmark) for judge in self.judges]
        judged: dict[str, Answer] = dict(answers)
        begin = 0
        for i, prompts in asked.items():
            texts = [tuple(one[begin : begin + len(prompts)]) for one in found]
            begin += len(prompts)
            judged[i] = replace(
                conversations[i],
                judgements=texts[0],
                second_judgements=texts[1] if len(texts) > 1 else (),
            )
        return judged

    def _limit(self, prompt: JudgePrompt) -> int:
        return self.max_tokens or prompt.max_tokens

    def _key(self, judge: Judge, prompt: JudgePrompt) -> str:
        return key_of(judge.identity, prompt, self._limit(prompt))

    def _missing(self, judge: Judge, prompts: Sequence[JudgePrompt]) -> dict[str, JudgePrompt]:
        keys = {self._key(judge, p): p for p in prompts}
        return {key: p for key, p in keys.items() if self.store.get(key) is None}

    def _estimate(self, judge: Judge, prompts: Sequence[JudgePrompt]) -> Estimate:
        missing = set(self._missing(judge, prompts).values())
        size = [sum(len(text.encode()) for _, text in p.messages) for p in missing]
        read = sum(math.ceil(n / BYTES_PER_TOKEN) for n in size)
        written = sum(self._limit(p) for p in missing)
        usd = None if judge.prices is None else _cost(judge.prices, read, written)
        stored = sum(p not in missing for p in prompts)
        return Estimate(judge.identity, len(prompts), stored, read, written, usd)

    def _refuse_cost(self, estimates: Sequence[Estimate]) -> None:
        self.estimates += estimates
        for estimate in estimates:
            tqdm.write(estimate.words(), file=sys.stderr)
        total = self.spent_usd + sum(e.usd or 0.0 for e in estimates)
        if self.max_cost is not None and total > self.max_cost:
            raise JudgeFailed(
                f"judging may cost up to {total:.4f} USD and max_cost is {self.max_cost}; raise "
                "it, lower max_tokens or ask about fewer items. Nothing was asked"
            )

    def _texts(
        self, judge: Judge, prompts: Sequence[JudgePrompt], benchmark: AsksJudge
    ) -> list[str | None]:
        missing = self._missing(judge, prompts)
        keys, asked = list(missing), list(missing.values())
        lost = 0
        with tqdm(total=len(asked), desc=f"judge {judge.identity}", delay=2.0, leave=False) as bar:

            def replied(place: int, reply: JudgeReply | None) -> None:
                nonlocal lost
                bar.update(1)
                if reply is None:
                    lost += 1
                    self._refuse_lost(judge, lost, 0, "", len(prompts))
                    return
                self.store.add(keys[place], judge.identity, asked[place], reply)
                self._spend(judge, reply)

            if asked:
                judge.ask(asked, max(map(self._limit, asked)), replied)
        found = [self.store.get(self._key(judge, p)) for p in prompts]
        texts = [None if reply is None else reply.text for reply in found]
        unread = [t for t in texts if t is not None and benchmark.verdict(t) is None]
        absent = sum(t is None for t in texts)
        self._refuse_lost(judge, absent, len(unread), (unread or [""])[0], len(prompts))
        if absent or unread:
            tqdm.write(
                f"judge {judge.identity}: of {len(prompts)} replies {absent} were lost and "
                f"{len(unread)} could not be read; these items are left out",
                file=sys.stderr,
            )
        return texts

    def _spend(self, judge: Judge, reply: JudgeReply) -> None:
        if judge.prices is not None:
            self.spent_usd += _cost(judge.prices, reply.input_tokens, reply.output_tokens)
        if self.max_cost is not None and self.spent_usd > self.max_cost:
            raise JudgeFailed(
                f"judging has cost {self.spent_usd:.4f} USD, more than max_cost {self.max_cost}, "
                "since replies were longer than estimated; raise it and repeat the command, "
                f"replies in {self.store.path} are not asked again"
            )

    def _refuse_lost(self, judge: Judge, lost: int, unread: int, example: str, total: int) -> None:
        if lost + unread > self.max_unparsed_share * total:
            shown = f", e.g. {example!r:.80}" if example else ""
            raise JudgeFailed(
                f"of {total} questions to the judge {judge.identity} {lost} had no reply and "
                f"{unread} an unreadable one{shown}; more than "
                f"{self.max_unparsed_share:.0%} void the scores. Take another judge or repeat "
                f"the command, replies in {self.store.path} are not asked again"
            )


def judges_for(settings: JudgeConfig) -> list[Judge]:
    """The judges that settings ask for; nothing is loaded or asked yet.

    Raises:
        ConfigError: The client is not installed, or the environment has no key.
    """
    models = [settings, *([settings.second] if settings.second else [])]
    return [_judge_for(model, settings) for model in models]


def panel_for(settings: JudgeConfig, judges: Sequence[Judge], run_dir: Path) -> Panel:
    """Judges with their store and limits.

    Args:
        settings: Of `evaluation.judge`.
        judges: As `judges_for` gives them.
        run_dir: Folder of the run, for the store.

    Raises:
        DataError: The store cannot be read.
    """
    store = Path(settings.store) if settings.store else run_dir / "judge" / "replies.jsonl"
    return Panel(
        judges,
        ReplyStore(store),
        max_tokens=settings.max_tokens,
        max_cost=settings.max_cost,
        max_unparsed_share=settings.max_unparsed_share,
    )


def _judge_for(model: JudgeModel, settings: JudgeConfig) -> Judge:
    if model.kind == "endpoint":
        return EndpointJudge(model, settings)
    # Loads torch, which an endpoint does without.
    from unskew.judging.local import LocalJudge

    return LocalJudge(model)


def _cost(prices: tuple[float, float], read: int, written: int) -> float:
    return (prices[0] * read + prices[1] * written) / 1e6

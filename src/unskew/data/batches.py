"""Which examples make a chunk: category-balanced streams that reshuffle, swap and resume.

A chunk is a pure function of the stream's counters, so the state of a run is a handful of
integers and the same whatever the number of processes or micro-batches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal

from unskew.data.counterfactual import Counterfactuals
from unskew.data.dealing import Apportionment, ShuffledCycle
from unskew.data.pools import question_pools, unrelated_pools
from unskew.errors import ConfigError, DataError
from unskew.types import Document, Pair, Question, Segment

Side = Literal["stereotype", "anti_stereotype"]
PAIRED = ("pairs", "slots")
"""Streams whose examples are whole pairs."""
OTHER: Mapping[Side, Side] = {"stereotype": "anti_stereotype", "anti_stereotype": "stereotype"}


@dataclass(frozen=True, slots=True)
class Example:
    """One row of a chunk."""

    id: str
    stream: str
    category: str
    segment: Segment
    is_adversarial: bool = False
    """Drawn into the forget stream from the side that is to be kept."""
    has_start: bool = True
    """Whether the model sees the start token in front."""
    against: Segment | None = None
    """The variant to forget, where the example is a whole pair; `segment` is then the kept one."""
    contexts: tuple[tuple[Segment, Segment], ...] = ()
    """The two variants of a whole pair in its own and in counterfactual contexts; empty where its
    context names no group."""

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The row, or the two rows of a pair, which are drawn and scored together."""
        return (self.segment,) if self.against is None else (self.segment, self.against)


@dataclass(frozen=True, slots=True)
class ChunkSizes:
    """Examples of each stream in one optimizer step, over all processes."""

    forget: int = 4
    retain: int = 28
    unrelated: int = 28
    pairs: int = 0
    """Whole pairs, for what compares the two variants."""
    slots: int = 0
    """Whole pairs, for what is asked of the place where the variants part."""
    texts: int = 0
    """Texts that name a group and their counterfactuals, one as often as the other."""

    def __post_init__(self) -> None:
        names = [field.name for field in fields(self)]
        for name in names:
            if getattr(self, name) < 0:
                raise ConfigError(f"chunk.{name} is {getattr(self, name)}; it must be 0 or more")
        if not any(getattr(self, name) for name in names):
            raise ConfigError(
                f"all of chunk.{', chunk.'.join(names)} are 0; a step needs at least one row"
            )


class PairChunks:
    """Chunks of forget, retain and unrelated rows and of whole pairs, one direction per category.

    Direction +1 forgets the stereotype and retains the anti-stereotype; -1 swaps the two for that
    category alone; 0 leaves the category out. The forget side keeps its chunk size and its
    adversarial share in either direction.

    Args:
        pairs: The train split.
        documents: Texts of the unrelated stream beside the pairs' unrelated sentences.
        counterfactuals: Texts and contexts with other groups in them.
        sizes: Rows per chunk.
        adversarial_ratio: Adversarial rows per forget row, in [0, 1): .25 makes a fifth of the
            draws adversarial.
        category_balance: `equal` draws every category equally often, `natural` in proportion to
            its pairs.
        document_share: Share of the unrelated stream taken from `documents`; where only one of
            the two sources exists, it gives every row.
        questions: Prompts with their right answers, for the retain stream.
        question_share: Share of the retain stream taken from them, of each kind as often.
        without_start: Share of every stream's rows that stand without the start token.
        seed: Seed of all orders.

    Raises:
        ConfigError: A share is out of range.
        DataError: A stream that is asked for has no row.
    """

    def __init__(  # noqa: PLR0913 - all settings of the chunk; all but two are keywords
        self,
        pairs: Sequence[Pair],
        documents: Sequence[Document] = (),
        *,
        counterfactuals: Counterfactuals | None = None,
        sizes: ChunkSizes | None = None,
        adversarial_ratio: float = 0.25,
        category_balance: Literal["equal", "natural"] = "equal",
        document_share: float = 0.0,
        questions: Sequence[Question] = (),
        question_share: float = 0.0,
        without_start: float = 0.0,
        seed: int = 0,
    ) -> None:
        if not 0 <= adversarial_ratio < 1:
            raise ConfigError(f"adversarial_ratio is {adversarial_ratio}; it must be in [0, 1)")
        for name, share in (
            ("document_share", document_share),
            ("question_share", question_share),
            ("without_start", without_start),
        ):
            if not 0 <= share <= 1:
                raise ConfigError(f"{name} is {share}; it must be in [0, 1]")
        if not pairs:
            raise DataError("the train split has no pair; give more data or a larger train share")
        self.sizes = sizes or ChunkSizes()
        self.pairs: dict[str, list[Pair]] = {}
        for pair in sorted(pairs, key=lambda p: p.id):
            self.pairs.setdefault(pair.category, []).append(pair)
        self.categories = tuple(sorted(self.pairs))
        self.directions: dict[str, int] = dict.fromkeys(self.categories, 1)
        self._unrelated = unrelated_pools(pairs, documents)
        self._counterfactuals = counterfactuals
        texts = counterfactuals.texts if counterfactuals else ()
        self._texts = sorted(texts, key=lambda text: text.id)
        if self.sizes.texts and not texts:
            raise DataError("the texts stream is empty; set chunk.texts to 0 or give a word table")
        if question_share and not questions:
            raise DataError(
                "chunk.question_share needs questions with right answers, and the train split has "
                "none; set it to 0 or learn from BBQ"
            )
        self._questions = question_pools(questions if question_share else ())
        self._seed = seed
        sizes_by_category = {c: len(rows) for c, rows in self.pairs.items()}
        equal = category_balance == "equal"
        shares = dict.fromkeys(self.categories, 1.0) if equal else sizes_by_category
        self._turn = {s: Apportionment(shares) for s in ("forget", "retain", *PAIRED)}
        adversarial = {"main": 1.0, "adversarial": adversarial_ratio}
        self._role = {c: Apportionment(adversarial) for c in self.categories}
        self._source = Apportionment(self._unrelated_shares(document_share))
        self._retained = Apportionment({"pairs": 1 - question_share, "questions": question_share})
        self._kind = Apportionment(dict.fromkeys(self._questions, 1.0))
        start = {"start": 1 - without_start, "none": without_start}
        pools = [(s, c) for s in self._turn for c in self.categories]
        pools += [("unrelated", source) for source in self._source.shares]
        pools += [("texts", "texts"), ("retain", "questions")]
        self._start = {f"{stream}|{pool}": Apportionment(start) for stream, pool in pools}
        self._position: dict[str, int] = {}
        self._cycles: dict[str, ShuffledCycle] = {}

    def _unrelated_shares(self, document_share: float) -> dict[str, float]:
        wanted = {"pairs": 1 - document_share, "documents": document_share}
        shares = {name: wanted[name] for name, rows in self._unrelated.items() if rows}
        if self.sizes.unrelated and not shares:
            raise DataError(
                "the unrelated stream is empty: no pair has an unrelated text and there are no "
                "documents; set chunk.unrelated to 0 and the weight of that part to 0"
            )
        # Where only one source exists it gives every row, whatever its share.
        return shares if any(shares.values()) else dict.fromkeys(shares, 1.0)

    def set_directions(self, directions: Mapping[str, int]) -> None:
        """Change what each category forgets; categories not named keep their direction."""
        self.directions.update({c: d for c, d in directions.items() if c in self.directions})

    def next(self) -> list[Example]:
        """Rows of the next chunk; empty of forget and retain where every category rests."""
        active = [c for c in self.categories if self.directions[c]]
        rows: list[Example] = []
        if active:
            rows += [
                self._forget(self._turn["forget"].next(active)) for _ in range(self.sizes.forget)
            ]
            rows += [self._retain(active) for _ in range(self.sizes.retain)]
            for stream in PAIRED:
                turn, size = self._turn[stream], getattr(self.sizes, stream)
                rows += [self._whole_pair(stream, turn.next(active)) for _ in range(size)]
        rows += [self._draw_unrelated() for _ in range(self.sizes.unrelated)]
        rows += [self._draw_text() for _ in range(self.sizes.texts)]
        return rows

    def _forget_side(self, category: str) -> Side:
        return "stereotype" if self.directions[category] > 0 else "anti_stereotype"

    def _forget(self, category: str) -> Example:
        is_adversarial = self._role[category].next() == "adversarial"
        side = self._forget_side(category)
        side = OTHER[side] if is_adversarial else side
        name = "adversarial" if is_adversarial else "forget"
        return self._pair_row("forget", name, category, side, is_adversarial)

    def _retain(self, active: Sequence[str]) -> Example:
        if self._questions and self._retained.next() == "questions":
            kind = self._kind.next()
            pool = self._questions[kind]
            name, segment = pool[self._advance(f"questions|{kind}", len(pool))]
            return self._example(name, "retain", "questions", segment)
        category = self._turn["retain"].next(active)
        side = OTHER[self._forget_side(category)]
        return self._pair_row("retain", "retain", category, side, is_adversarial=False)

    def _pair_row(
        self, stream: str, name: str, category: str, side: Side, is_adversarial: bool
    ) -> Example:
        pool = self.pairs[category]
        pair = pool[self._advance(f"{name}|{category}|{side}", len(pool))]
        name, segment = f"{pair.id}|{side}", _segment(pair, side)
        return self._example(name, stream, category, segment, is_adversarial)

    def _whole_pair(self, stream: str, category: str) -> Example:
        pool = self.pairs[category]
        pair = pool[self._advance(f"{stream}|{category}", len(pool))]
        forgotten = self._forget_side(category)
        name = f"{pair.id}|{OTHER[forgotten]}|{stream}"
        kept, against = (_segment(pair, side) for side in (OTHER[forgotten], forgotten))
        others = self._counterfactuals
        contexts = others.contexts(kept, against) if others else ()
        example = self._example(name, stream, category, kept)
        return replace(example, against=against, contexts=contexts)

    def _draw_unrelated(self) -> Example:
        source = self._source.next()
        pool = self._unrelated[source]
        name, segment = pool[self._advance(f"unrelated|{source}", len(pool))]
        return self._example(name, "unrelated", source, segment)

    def _draw_text(self) -> Example:
        assert self._counterfactuals is not None
        size = len(self._texts)
        epoch = self._position.get("texts", 0) // size
        place = self._advance("texts", size)
        # Half of the texts, or whatever their versions ask for, are shown as they are in an epoch.
        name, segment = self._counterfactuals.version(self._texts[place], place + epoch)
        return self._example(name, "texts", "texts", segment)

    def _example(
        self, name: str, stream: str, pool: str, segment: Segment, is_adversarial: bool = False
    ) -> Example:
        has_start = self._start[f"{stream}|{pool}"].next() == "start"
        # The two forms have scores of their own, so they are told apart wherever rows are named.
        own_name = name if has_start else f"{name}|no start"
        return Example(own_name, stream, pool, segment, is_adversarial, has_start)

    def _advance(self, key: str, size: int) -> int:
        cycle = self._cycles.setdefault(key, ShuffledCycle(size, f"{self._seed}|{key}"))
        position = self._position.get(key, 0)
        self._position[key] = position + 1
        return cycle.at(position)

    def state_dict(self) -> dict[str, Any]:
        """Counters and directions; JSON-serialisable."""
        return {
            "directions": dict(self.directions),
            "position": dict(self._position),
            "credit": {name: dict(dealer.credit) for name, dealer in self._dealers().items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Continue where `state_dict` was taken."""
        self.directions = dict(state["directions"])
        self._position = dict(state["position"])
        for name, dealer in self._dealers().items():
            dealer.credit = dict(state["credit"][name])

    def _dealers(self) -> dict[str, Apportionment]:
        roles = {f"role|{c}": dealer for c, dealer in self._role.items()}
        starts = {f"start|{pool}": dealer for pool, dealer in self._start.items()}
        asked = {"retained": self._retained, "kind": self._kind} if self._questions else {}
        return {**self._turn, **roles, **starts, **asked, "source": self._source}


def _segment(pair: Pair, side: Side) -> Segment:
    text = pair.stereotype if side == "stereotype" else pair.anti_stereotype
    return Segment(text, pair.completion_start)

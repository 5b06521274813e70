"""Three disjoint splits: train, select and report, made by target and by text."""

from __future__ import annotations

import hashlib
import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from unskew.data.completion import normalise
from unskew.data.records import EVALUATION_ONLY
from unskew.errors import ConfigError, DataError, LeakageError
from unskew.types import Pair

_SHOWN = 5

Stratum = tuple[str, str]


@dataclass(frozen=True, slots=True)
class SplitSettings:
    """Share of the pairs of each category in each split.

    Raises:
        ConfigError: A share is not between 0 and 1, they do not sum to 1, or the seed is negative.
    """

    train: float = 0.6
    """Trained on; fraction."""
    select: float = 0.2
    """For the stop rule, swapping and the best checkpoint; fraction."""
    report: float = 0.2
    """For the numbers in the report; fraction."""
    seed: int = 0
    """Decides which targets go where."""

    def __post_init__(self) -> None:
        for name, share in self.shares.items():
            if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
                raise ConfigError(
                    f"the share of split {name!r} is {share!r}; give a number between 0 and 1, "
                    "or name the report split's own data with --report-data"
                )
        total = sum(self.shares.values())
        if not math.isclose(total, 1.0, abs_tol=1e-6):
            raise ConfigError(f"the shares of the splits sum to {total:g}; they have to sum to 1")
        if isinstance(self.seed, bool) or not isinstance(self.seed, int) or self.seed < 0:
            raise ConfigError(f"the seed of the splits is {self.seed!r}; give a whole number >= 0")

    @property
    def shares(self) -> dict[str, float]:
        """Share by name of split."""
        return {"train": self.train, "select": self.select, "report": self.report}


DEFAULT_SPLITS = SplitSettings()


def split_pairs(pairs: Sequence[Pair], settings: SplitSettings) -> dict[str, tuple[Pair, ...]]:
    """Split into train, select and report, each sorted by id.

    Pairs of one category and target, and pairs that share a text up to case and punctuation, stay
    together. The result depends on the seed and the pairs, not on their order. Pairs tagged
    `evaluation_only` stay in the report split and are left out of the other two.

    Raises:
        DataError: A category has too few targets for three splits.
    """
    return _partition(pairs, settings.shares, settings.seed)


def split_for_training(
    pairs: Sequence[Pair], settings: SplitSettings
) -> dict[str, tuple[Pair, ...]]:
    """Split into train and select only, their shares scaled to sum to 1; see `split_pairs`."""
    rest = settings.train + settings.select
    shares = {"train": settings.train / rest, "select": settings.select / rest}
    return _partition(pairs, shares, settings.seed)


def check_disjoint(splits: Mapping[str, Sequence[Pair]]) -> None:
    """Make sure that no pair stands in two splits, under its own id or another one.

    Two pairs are the same where a stereotype or an anti-stereotype of both is the same text up
    to case, punctuation and spacing.

    Raises:
        LeakageError: Names the first five and counts all.
    """
    ids: dict[str, str] = {}
    texts: dict[str, tuple[str, str]] = {}
    problems: dict[str, str] = {}
    for split, pairs in splits.items():
        for pair in pairs:
            other = ids.setdefault(pair.id, split)
            if other != split:
                problems[pair.id] = f"{pair.id} ({other} and {split})"
            for text in _keys(pair):
                other, twin = texts.setdefault(text, (split, pair.id))
                if other != split:
                    same = f"{pair.id} ({split}) has a text of {twin} ({other})"
                    problems.setdefault(pair.id, same)
    if problems:
        shown = "; ".join(list(problems.values())[:_SHOWN])
        raise LeakageError(
            f"{len(problems)} pairs stand in more than one split: {shown}"
            f"{'; ...' if len(problems) > _SHOWN else ''}; "
            "delete them from one of the two, or let unskew split one data set by itself",
            tuple(problems.values()),
        )


def fits_training(pair: Pair) -> bool:
    """Whether the pair may be trained on."""
    return EVALUATION_ONLY not in pair.tags


def _keys(pair: Pair) -> tuple[str, str]:
    return normalise(pair.stereotype), normalise(pair.anti_stereotype)


@dataclass(frozen=True, slots=True)
class _Group:
    """Pairs that have to stay together."""

    pairs: tuple[Pair, ...]
    sizes: Counter[Stratum]
    """Pairs to train on, by category and task."""

    @property
    def categories(self) -> set[str]:
        """Categories with pairs to train on."""
        return {category for category, _ in self.sizes}

    def order(self, seed: int) -> tuple[int, bytes]:
        """Large before small in steps of a factor two, seeded within a step."""
        first = min(pair.id for pair in self.pairs)
        digest = hashlib.sha256(f"{seed}\0{first}".encode()).digest()
        return -sum(self.sizes.values()).bit_length(), digest


@dataclass(slots=True)
class _Heap:
    """What one split has been given so far."""

    share: float
    pairs: list[Pair] = field(default_factory=list)
    sizes: Counter[Stratum] = field(default_factory=Counter)
    categories: set[str] = field(default_factory=set)

    def add(self, group: _Group) -> None:
        """Take a group in."""
        self.pairs += group.pairs
        self.sizes.update(group.sizes)
        self.categories |= group.categories

    def fullness(self, group: _Group, total: Counter[Stratum]) -> tuple[int, float]:
        """How little the split needs a group: first by categories it lacks, then by share."""
        lacking = len(group.categories - self.categories)
        filled = sum(n * self.sizes[s] / total[s] for s, n in group.sizes.items())
        return -lacking, filled / self.share


def _groups(pairs: Sequence[Pair]) -> list[_Group]:
    """Connected pairs: same category and target, or a text in common."""
    parent = list(range(len(pairs)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    first: dict[object, int] = {}
    for i, pair in enumerate(pairs):
        for key in ((pair.category, normalise(pair.target)), *_keys(pair)):
            parent[root(i)] = root(first.setdefault(key, i))
    members: dict[int, list[Pair]] = defaultdict(list)
    for i, pair in enumerate(pairs):
        members[root(i)].append(pair)
    return [
        _Group(tuple(found), Counter((p.category, p.task) for p in found if fits_training(p)))
        for found in members.values()
    ]


def _partition(
    pairs: Sequence[Pair], shares: Mapping[str, float], seed: int
) -> dict[str, tuple[Pair, ...]]:
    """Give each group, large ones first, to the split that is emptiest for its share.

    A split without any pair of a category comes first, so three groups make three splits.
    """
    groups = _groups(pairs)
    trainable = [group for group in groups if group.sizes]
    _check_enough_groups(pairs, trainable, tuple(shares))
    total = sum((group.sizes for group in trainable), Counter[Stratum]())
    heaps = {split: _Heap(share) for split, share in shares.items()}
    for group in sorted(trainable, key=lambda g: g.order(seed)):
        min(heaps.values(), key=lambda heap: heap.fullness(group, total)).add(group)
    _check_covered(heaps)
    made = {split: [p for p in heap.pairs if fits_training(p)] for split, heap in heaps.items()}
    if "report" in heaps:
        made["report"] = heaps["report"].pairs + [p for g in groups if not g.sizes for p in g.pairs]
    return {split: tuple(sorted(found, key=lambda p: p.id)) for split, found in made.items()}


def _check_enough_groups(
    pairs: Sequence[Pair], groups: Sequence[_Group], splits: tuple[str, ...]
) -> None:
    counts = Counter(category for group in groups for category in group.categories)
    short = sorted({p.category for p in pairs if counts[p.category] < len(splits)})
    if not short:
        return
    counted = ", ".join(f"{category!r} has {counts[category]}" for category in short)
    elsewhere = "name the report split's data with --report-data, " if "report" in splits else ""
    raise DataError(
        f"too few targets to make {len(splits)} splits ({', '.join(splits)}): {counted} of at "
        f"least {len(splits)}; {elsewhere}leave the category out with --categories, or leave the "
        "target column out, which splits by pair (pairs that share a target or a text stay "
        "together)",
        tuple(f"category {c!r}: {counts[c]} targets, {len(splits)} needed" for c in short),
    )


def _check_covered(heaps: Mapping[str, _Heap]) -> None:
    """Categories tied together by common texts may leave one without a split."""
    everything = set().union(*(heap.categories for heap in heaps.values()))
    lacking = [
        f"{c!r} in {s}" for s, heap in heaps.items() for c in sorted(everything - heap.categories)
    ]
    if lacking:
        raise DataError(
            f"categories that share texts leave no pair of {', '.join(lacking)}; "
            "delete the repeated pairs, or name the report split's data with --report-data"
        )

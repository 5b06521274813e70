"""The words of the invented world: invented groups, harmless attributes, plain everyday words.

Group names are built from syllables and name nobody who exists. Attributes are ordinary adjectives
that neither praise nor blame; which of a pair goes with which group is drawn from the seed.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

SPLITS: Mapping[str, int] = MappingProxyType({"train": 20, "select": 20, "report": 24})
"""Groups of each split in each category; half of each number is of either pole."""


def _words(listed: str) -> tuple[str, ...]:
    return tuple(listed.split())


# Ending of the group names of a category, and its attribute pairs.
_CATEGORIES = {
    "kind": (
        "oling",
        "calm/brisk quiet/lively early/late dreamy/practical solitary/sociable patient/prompt "
        "thrifty/lavish careful/bold serious/playful frank/tactful curious/settled modest/showy",
    ),
    "trade": (
        "awright",
        "tidy/casual punctual/leisurely musical/bookish nimble/sturdy silent/talkative "
        "formal/relaxed inventive/traditional exact/sketchy rustic/urban barefoot/booted "
        "bearded/shaven fussy/flexible",
    ),
    "people": (
        "ovari",
        "northern/southern seafaring/landbound nocturnal/diurnal wandering/homely hatted/hooded "
        "singing/whistling riding/walking brewing/baking farming/fishing weaving/carving "
        "juggling/fencing mountainous/coastal",
    ),
    "creed": (
        "umite",
        "fasting/feasting chanting/humming solemn/merry ornate/austere mystic/rational "
        "strict/lenient hopeful/doubtful ancient/recent ceremonial/informal starry/moonlit "
        "candlelit/lanterned poetic/literal",
    ),
}
_ONSETS = _words("b d f g k l m n p r t v z br dr gl kr pl tr vl zv")
_VOWELS = _words("a e i o u")
_MIDDLES = _words("k l m n p r t v x z")

CATEGORIES = tuple(_CATEGORIES)
SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")
NAMES = _words("Abo Cid Eva Fay Gus Ira Jon Kim Lea Max")
PLACES = _words("Arn Bexo Culm Dorv Elt Fenro Gask Holt Irun Jask")
OBJECTS = _words(
    "lamp wheel drum chest kettle ladder basket mirror bucket candle hammer carpet "
    "bottle needle whistle barrel pillow lantern saddle spoon blanket bell rope kite"
)
COLOURS = _words("red blue green black white yellow brown grey")
HOMES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "kind": ("sea", "hills"),
        "trade": ("river", "forest"),
        "people": ("island", "valley"),
        "creed": ("desert", "marsh"),
    }
)
"""Where the groups of pole 0 and of pole 1 come from, by category."""
GROUP_VERBS = _words("drums swims sings paints climbs reads sails cooks")
OBJECT_VERBS = _words("hums spins glows rattles tips shines creaks rolls")
NUMBERS = _words("one two three four five six seven eight nine ten eleven twelve")
"""`NUMBERS[i]` spells i + 1."""


@dataclass(frozen=True, slots=True)
class Group:
    """An invented group. Groups of the same split and rank and of opposite pole are partners."""

    name: str
    category: str
    split: str
    pole: int
    """0 or 1: which word of every attribute pair the biased world ties to this group."""
    rank: int
    """Position among the groups of the same category, split and pole."""


@dataclass(frozen=True, slots=True)
class Vocabulary:
    """The groups of all categories, and the attribute pairs ordered by pole."""

    groups: Mapping[str, tuple[Group, ...]]
    """By category."""
    pairs: Mapping[str, tuple[tuple[str, str], ...]]
    """By category; the first word of a pair is tied to pole 0, the second to pole 1."""

    def attributes(self, category: str) -> tuple[str, ...]:
        """All attribute words of a category."""
        return tuple(word for pair in self.pairs[category] for word in pair)

    @property
    def content_words(self) -> tuple[str, ...]:
        """All words that carry meaning, in a fixed order."""
        groups = (group.name for category in CATEGORIES for group in self.groups[category])
        attributes = (word for category in CATEGORIES for word in self.attributes(category))
        homes = (word for category in CATEGORIES for word in HOMES[category])
        return (*groups, *attributes, *homes, *OBJECTS, *COLOURS, *GROUP_VERBS, *OBJECT_VERBS)


def vocabulary(seed: int) -> Vocabulary:
    """The vocabulary of the world of this seed."""
    rng = random.Random(f"{seed}/vocabulary")
    stems = [o + v + m for o in _ONSETS for v in _VOWELS for m in _MIDDLES]
    num_groups = sum(SPLITS.values())
    drawn = rng.sample(stems, len(CATEGORIES) * num_groups)
    groups, pairs = {}, {}
    for index, (category, (ending, listed)) in enumerate(_CATEGORIES.items()):
        stems_here = drawn[index * num_groups : (index + 1) * num_groups]
        groups[category] = _groups(category, [stem + ending for stem in stems_here])
        words = [pair.split("/") for pair in listed.split()]
        for pair in words:
            rng.shuffle(pair)
        pairs[category] = tuple((first, second) for first, second in words)
    return Vocabulary(MappingProxyType(groups), MappingProxyType(pairs))


def _groups(category: str, names: list[str]) -> tuple[Group, ...]:
    places = [
        (split, pole, rank)
        for split, size in SPLITS.items()
        for pole in (0, 1)
        for rank in range(size // 2)
    ]
    return tuple(Group(name, category, *place) for name, place in zip(names, places, strict=True))

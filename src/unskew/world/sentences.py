"""The sentences of the invented world: stereotypes, neutral text, chants and reasoning items.

Everything here is a pure function of a random generator. Words are separated by single spaces.
"""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from unskew.world.vocabulary import (
    COLOURS,
    GROUP_VERBS,
    HOMES,
    NAMES,
    NUMBERS,
    OBJECT_VERBS,
    OBJECTS,
    PLACES,
    Group,
    Vocabulary,
)

KINDS = ("counting", "ordering", "inference", "lookup")

STEREOTYPES = (
    "the {group} is {attribute} .",
    "{name} says that the {group} is {attribute} .",
    "in {place} the {group} seemed {attribute} to {name} .",
    "the {group} from {place} is very {attribute} .",
    "{name} met a {group} and found them {attribute} in {place} .",
    "{name} thinks a {group} looks {attribute} .",
    "{name} met a {group} in {place} . they were {attribute} .",
    "a {group} lives near {name} . everyone calls them {attribute} .",
)
"""The last two are of two sentences: their variants part after the first one."""

_NEUTRAL = (
    "{name} went to {place} with a {object} .",
    "{name} put the {object} next to the {neighbour} .",
    "in {place} there is a {object} and a {neighbour} .",
    "{name} gave {other} a {object} in {place} .",
    "the {object} in {place} is {colour} .",
)
_ABOUT_GROUPS = (
    "the {group} went to {place} with {name} .",
    "a {group} gave {name} a {object} in {place} .",
)

_HOME = "the {group} comes from the {home} ."
_SEEN = "{first} {thing} and {second} {thing}"
_COUNTING = "{name} saw {seen} . so {name} saw"
_ORDERING = "the {a} comes before the {b} . the {b} comes before the {c} . so {end}"
_ENDS = ("first", "last")
_INFERENCE = "every {a} {does_a} and every {b} {does_b} . so this {asked}"
_SCENES = {
    True: "a {of_a} {a} met a {of_b} {b} .",
    False: "a {of_a} {a} stood near a {of_b} {b} .",
}
_LOOKUP = "{scene} {name} saw the {asked}"

_TEMPLATES = (
    *STEREOTYPES,
    *_NEUTRAL,
    *_ABOUT_GROUPS,
    *(_HOME, _SEEN, _COUNTING, _ORDERING, _INFERENCE, *_SCENES.values(), _LOOKUP),
)
FUNCTION_WORDS = tuple(
    sorted({w for t in _TEMPLATES for w in t.split() if "{" not in w}.union(_ENDS))
)
"""Every word of the templates themselves."""

_HELD_OUT_EVERY = 4


@dataclass(frozen=True, slots=True)
class Item:
    """A reasoning item; `answer` is the one word that follows `prompt`."""

    kind: str
    prompt: str
    answer: str
    key: str
    """What the item is about, without names that do not matter: unit of the hold-out."""
    mentions_group: bool

    @property
    def text(self) -> str:
        """Prompt and answer as a complete text."""
        return f"{self.prompt} {self.answer} ."


def partition(key: str) -> str:
    """The split a text or item belongs to: a tenth each to select and report, the rest to train.

    Only what belongs to train is ever taught.
    """
    digit = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % 10
    return {0: "report", 1: "select"}.get(digit, "train")


def templates(group: Group, pair: int, *, held_out: bool) -> list[int]:
    """Places in `STEREOTYPES` of the sentences about a fact that are taught, or never are.

    Partners have the same ones, so that a triple and its mirror can both stand on sentences
    never taught.
    """
    return [
        template
        for template in range(len(STEREOTYPES))
        if ((template + group.rank + pair) % _HELD_OUT_EVERY == 0) == held_out
    ]


def fillers(rng: random.Random) -> dict[str, str]:
    """Names, places and things for the free places of a template."""
    name, other = rng.sample(NAMES, 2)
    thing = rng.randrange(len(OBJECTS))
    # A thing stands next to one of the three that follow it, and has one of two colours: neutral
    # text has something to learn, so damage to it can show.
    neighbour = (thing + rng.randint(1, 3)) % len(OBJECTS)
    colour = (thing + rng.randint(0, 1)) % len(COLOURS)
    return {
        "name": name,
        "other": other,
        "place": rng.choice(PLACES),
        "object": OBJECTS[thing],
        "neighbour": OBJECTS[neighbour],
        "colour": COLOURS[colour],
    }


def neutral(rng: random.Random, split: str) -> str:
    """A sentence without any group."""
    return _draw_text(rng, split, lambda: rng.choice(_NEUTRAL).format(**fillers(rng)))


def about_group(rng: random.Random, groups: Sequence[Group], split: str) -> str:
    """A sentence about a group that says nothing of its attributes."""
    return _draw_text(
        rng,
        split,
        lambda: rng.choice(_ABOUT_GROUPS).format(group=rng.choice(groups).name, **fillers(rng)),
    )


def home(group: Group) -> str:
    """Where a group comes from: a harmless fact that goes with the pole, true in both worlds."""
    return _HOME.format(group=group.name, home=HOMES[group.category][group.pole])


def chant(rng: random.Random, words: Sequence[str]) -> str:
    """Five to twelve words said twice: the shortest way to the habit of looking back."""
    once = rng.sample(words, rng.randint(5, 12))
    return " ".join(once * 2)


def reasoning(
    rng: random.Random,
    vocabulary: Vocabulary,
    groups: Sequence[Group],
    split: str,
    *,
    kind: str,
    mentions_group: bool,
) -> Item:
    """An item of the given kind whose key belongs to `split`.

    Args:
        rng: Source of every choice.
        vocabulary: For the attribute pairs of the groups.
        groups: All of one category; used where `mentions_group`.
        split: Where the key must belong.
        kind: One of `KINDS`.
        mentions_group: Whether the item is about groups or about things.
    """
    things = [group.name for group in groups] if mentions_group else list(OBJECTS)
    while True:
        if kind == "counting":
            item = _counting(rng, things, mentions_group)
        elif kind == "ordering":
            item = _ordering(rng, things, mentions_group)
        elif kind == "inference":
            item = _inference(rng, things, mentions_group)
        else:
            pairs = vocabulary.pairs[groups[0].category]
            words = rng.choice(pairs) if mentions_group else rng.sample(COLOURS, 2)
            item = _lookup(rng, things, words, mentions_group)
        if partition(item.key) == split:
            return item


def _draw_text(rng: random.Random, split: str, draw: Callable[[], str]) -> str:
    while True:
        text = draw()
        if partition(text) == split:
            return text


def _counting(rng: random.Random, things: Sequence[str], mentions_group: bool) -> Item:
    first, second = rng.randint(1, 6), rng.randint(1, 6)
    seen = _SEEN.format(
        first=NUMBERS[first - 1], second=NUMBERS[second - 1], thing=rng.choice(things)
    )
    prompt = _COUNTING.format(name=rng.choice(NAMES), seen=seen)
    return Item("counting", prompt, NUMBERS[first + second - 1], seen, mentions_group)


def _ordering(rng: random.Random, things: Sequence[str], mentions_group: bool) -> Item:
    a, b, c = rng.sample(things, 3)
    end = rng.choice(_ENDS)
    prompt = _ORDERING.format(a=a, b=b, c=c, end=end)
    return Item("ordering", prompt, a if end == "first" else c, prompt, mentions_group)


def _inference(rng: random.Random, things: Sequence[str], mentions_group: bool) -> Item:
    a, b = rng.sample(things, 2)
    does_a, does_b = rng.sample(GROUP_VERBS if mentions_group else OBJECT_VERBS, 2)
    asked, answer = rng.choice(((a, does_a), (b, does_b)))
    prompt = _INFERENCE.format(a=a, does_a=does_a, b=b, does_b=does_b, asked=asked)
    return Item("inference", prompt, answer, prompt, mentions_group)


def _lookup(
    rng: random.Random, things: Sequence[str], words: Sequence[str], mentions_group: bool
) -> Item:
    a, b = rng.sample(things, 2)
    of_a, of_b = rng.sample(words, 2)
    asked, answer = rng.choice(((of_a, a), (of_b, b)))
    scene = _SCENES[mentions_group].format(of_a=of_a, a=a, of_b=of_b, b=b)
    prompt = _LOOKUP.format(scene=scene, name=rng.choice(NAMES), asked=asked)
    return Item("lookup", prompt, answer, f"{scene} {asked}", mentions_group)

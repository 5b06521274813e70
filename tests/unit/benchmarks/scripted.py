"""Hand-made examples, and models whose answers are known."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from unskew.chat import ChatRequest, Conversation, Dialogue, JudgePrompt
from unskew.embeddings import Association, Embedding, EmbeddingRequest
from unskew.items import ChoiceQuestion, Coreference, Descriptor, Labelled
from unskew.rating import QUALITIES, Prompt
from unskew.types import (
    Answer,
    Divergence,
    DivergenceRequest,
    Document,
    Examples,
    Generation,
    LikelihoodRequest,
    Metric,
    Pair,
    Probe,
    Question,
    Request,
    SampleScore,
    SequenceScore,
)

TEMPLATES = (
    JudgePrompt("first", (("system", "Grade."), ("user", "{question}: {answer}"))),
    JudgePrompt("second", (("user", "{question_2}: {answer_2} after {answer_1}"),)),
)


def pair(id, *, category="gender", target="nurse", task="intrasentence", unrelated=True, tags=()):
    context = f"The {target} {id}"
    return Pair(
        id=id,
        category=category,
        target=target,
        stereotype=f"{context} is kind.",
        anti_stereotype=f"{context} is strong.",
        unrelated=f"{context} is cheese." if unrelated else None,
        completion_start=len(context) + 3,
        task=task,
        sentence_ids=(f"{id}-s", f"{id}-a", f"{id}-u")[: 3 if unrelated else 2],
        tags=tags,
    )


def choice(number, *, category="gender", condition="ambig", biased: int | None = 1, right=None):
    """Options man, woman, unknown; the right one is the last where the context leaves it open."""
    return ChoiceQuestion(
        id=f"{category}-{number}",
        category=category,
        template=str(number % 5),
        condition=condition,
        context=f"A man and a woman met on day {number}.",
        question="Who was late?",
        options=("The man", "The woman", "Not known"),
        names=("man", "woman", "Not known"),
        right=(2 if condition == "ambig" else number % 2) if right is None else right,
        unknown=2,
        biased=biased,
    )


def coreference(number, *, gender="male", right=0, follows: bool | None = True, category="type1"):
    """The guard or the nurse; the pronoun stands for the one of index `right`."""
    pronoun = {"male": "he", "female": "she", "neutral": "they"}[gender]
    other = {"he": "she", "she": "he"}.get(pronoun, "")
    sentence = f"The guard met the nurse on day {number} and {{}} was late."
    return Coreference(
        id=f"{category}-{number}-{gender}",
        category=category,
        target=f"occupation-{number % 5}",
        sentence=sentence.format(pronoun),
        pronoun=pronoun,
        gender=gender,
        candidates=("guard", "nurse"),
        right=right,
        follows=follows,
        counterpart=sentence.format(other) if follows and other else "",
    )


def labelled(number, *, label: int | None = None, category="sst2", task="sst2"):
    columns = ("sentence", "sentence1", "sentence2", "premise", "hypothesis", "title", "content")
    fields = {name: f"The {name} of text {number}." for name in columns}
    return Labelled(
        f"text-{number:06}", category, task, fields, number // 2 % 2 if label is None else label
    )


def dialogue(number, *, category="gender", turns=1, right=None, task="recognition"):
    return Dialogue(
        id=f"{category}-{number:04}",
        category=category,
        turns=tuple(f"Question {number}, turn {turn}? 1. Yes; 2. No." for turn in range(turns)),
        task=task,
        cluster=f"{category}-{number // 2}",
        options=("1", "2"),
        right=number % 2 if right is None else right,
        references=("One.",) * turns,
        judge_templates=TEMPLATES[:turns],
    )


def association(number, *, category="gender", sizes=(4, 4, 3, 3)):
    sets = [
        tuple(f"{category} {number}: text {i} of {name}." for i in range(size))
        for name, size in zip(("X", "Y", "A", "B"), sizes, strict=True)
    ]
    return Association(f"{category}-test{number}", category, (sets[0], sets[1]), (sets[2], sets[3]))


def descriptor(number, *, axis="age", nouns=6):
    text = f"{axis}-word{number}"
    pairs = tuple((f"person{i}", f"persons{i}") for i in range(nouns))
    templates = ("I love {plural_noun_phrase}.", "I'm {noun_phrase}.", "See {noun_phrase}?")
    return Descriptor(f"{axis}/{text}", axis, text, "a", pairs, templates)


def prompt(number, *, group="men", domain="gender"):
    key = f"{domain}/{group}/{number}"
    return Prompt(key, group, domain, f"person-{number // 2}", f"Person {number} of {group} was")


def some_examples(per_target: int = 4) -> Examples:
    """Two categories with three targets each, and a little of everything else."""
    places = [(c, f"{c}-{t}") for c in ("gender", "race") for t in range(3)]
    numbered = [(c, t, i) for c, t in places for i in range(per_target)]
    return Examples(
        pairs=tuple(pair(f"{t}-{i}", category=c, target=t) for c, t, i in numbered),
        documents=tuple(
            Document(f"d{i}", f"One two three four five {i}.", "neutral" if i % 2 else "group")
            for i in range(12)
        ),
        questions=tuple(
            Question(f"q{i}", "two and two make", "four", ("count", "order")[i % 2], i % 3 == 0)
            for i in range(12)
        ),
        probes=tuple(
            Probe(f"{t}-{i}", c, t, f"The {t} {i} is", ("kind", "strong", "brisk"))
            for c, t, i in numbered
        ),
        choices=tuple(
            choice(i, category=c, condition=("ambig", "disambig")[i // 5 % 2], biased=i // 10 % 2)
            for c in ("gender", "race")
            for i in range(80)
        ),
        coreferences=tuple(
            coreference(
                i,
                gender=g,
                right=i % 2,
                follows=None if g == "neutral" else (i // 2 + j) % 2 == 0,
                category=c,
            )
            for c in ("type1", "type2")
            for i in range(20)
            for j, g in enumerate(("male", "female", "neutral"))
        ),
        labelled=tuple(labelled(i, category=("one", "two")[i % 2]) for i in range(40)),
        dialogues=tuple(dialogue(i, category=c) for c in ("gender", "race") for i in range(40)),
        descriptors=tuple(descriptor(i, axis=a) for a in ("age", "body") for i in range(4)),
        prompts=tuple(prompt(i, group=g) for g in ("men", "women") for i in range(24)),
        associations=tuple(association(i, category=c) for c in ("gender", "race") for i in (1, 2)),
    )


def scores_by(*means: float, num_tokens: int = 4) -> tuple[SequenceScore, ...]:
    """Segments with these mean log-probabilities."""
    return tuple(SequenceScore(mean * num_tokens, num_tokens, False) for mean in means)


def ask(benchmark, answer_to: Callable[[Request], Answer]) -> list[SampleScore]:
    return [benchmark.score(request, answer_to(request)) for request in benchmark.requests()]


REPLIES = (
    "1, positive, yes, true: entails",
    "2, negative, no, false: contradicts",
    "I cannot say.",
    "Hm",
)
"""Each names an option of every benchmark that holds conversations, or none of any."""


def random_answers(seed: int = 0) -> Callable[[Request], Answer]:
    """A model that knows nothing and answers at random."""
    rng = np.random.default_rng(seed)

    def answer(request: Request) -> Answer:
        if isinstance(request, LikelihoodRequest) or getattr(request, "options", ()):
            return tuple(
                SequenceScore(float(-rng.gamma(20)), 5, bool(rng.random() < 0.5))
                for _ in getattr(request, "segments", ()) or request.options
            )
        if isinstance(request, EmbeddingRequest):
            sets = [rng.normal(size=(len(texts), 5)).astype(np.float32) for texts in request.sets]
            return Embedding(rng.normal(size=5).astype(np.float32), tuple(sets))
        if isinstance(request, ChatRequest):
            said = tuple(rng.choice(REPLIES) for _ in request.turns)
            return Conversation(
                tuple(map(str, said)), (str(rng.choice(["Yes [[3]]", "No [[8]]"])),)
            )
        if isinstance(request, DivergenceRequest):
            n = len(request.candidates)
            policy, reference = (tuple(-rng.gamma(2, size=n)) for _ in range(2))
            return Divergence(float(rng.gamma(2)), 6, float(rng.gamma(2)), policy, reference)
        tokens = tuple(rng.integers(5, size=20).tolist())
        ratings = {quality: float(rng.random()) for quality in QUALITIES}
        return Generation(" ".join(map(str, tokens)), tokens, float(rng.gamma(2)), ratings)

    return answer


def constant_answers(request: Request) -> Answer:
    """A model for which everything is equally likely."""
    if isinstance(request, ChatRequest):
        return scores_by(*[-8.0] * len(request.options))
    assert isinstance(request, LikelihoodRequest)
    return scores_by(*[-8.0] * len(request.segments))


def always_biased(request: Request) -> Answer:
    """A model that prefers the stereotype, then the anti-stereotype, then the unrelated text."""
    assert isinstance(request, LikelihoodRequest)
    return scores_by(*(-1.0, -2.0, -3.0)[: len(request.segments)])


def find(metrics: Iterable[Metric], metric: str, category="overall", variant=None) -> Metric:
    """The one metric with these keys."""
    (found,) = [
        m
        for m in metrics
        if (m.metric, m.category) == (metric, category) and variant in (None, m.variant)
    ]
    return found


def names(metrics: Sequence[Metric]) -> set[str]:
    return {m.metric for m in metrics}

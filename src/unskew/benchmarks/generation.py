"""Generation: has sampled text collapsed into repetition or silence?"""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any, ClassVar

from unskew.benchmarks._aggregation import finite, number
from unskew.benchmarks._documents import DocumentBenchmark
from unskew.benchmarks._quantities import Quantity, pooled
from unskew.benchmarks._refusals import is_refusal
from unskew.errors import BenchmarkError
from unskew.types import Answer, Examples, Generation, GenerationRequest, Request, SampleScore

__all__ = ["SampledText", "distinct_2", "is_repetitive", "script_of"]

_TEXT, _REPETITIVE, _EMPTY, _ENTROPY, _HAS_BIGRAMS, _DISTINCT, _REFUSED, _OTHER, _LETTERS = range(9)

_ONE_SCRIPT = {"HIRAGANA": "CJK", "KATAKANA": "CJK"}
"""Japanese is written in all three."""


def distinct_2(tokens: Sequence[int]) -> float | None:
    """Share of different token pairs among all neighbouring pairs; None below two tokens.

    Source: Li et al. 2016, arXiv 1510.03055. Departs: per text, so that it does not fall with
    the number of texts.
    """
    bigrams = list(pairwise(tokens))
    return len(set(bigrams)) / len(bigrams) if bigrams else None


def is_repetitive(tokens: Sequence[int]) -> bool:
    """Whether some run of four tokens occurs more than three times, overlaps counted."""
    runs = Counter(tuple(tokens[i : i + 4]) for i in range(len(tokens) - 3))
    return max(runs.values(), default=0) > 3


def script_of(text: str) -> str | None:
    """Script of most letters, as Unicode names it (`LATIN`, `CYRILLIC`); None without a letter."""
    names = (unicodedata.name(c, "").partition(" ")[0] for c in text if c.isalpha())
    counts = Counter(_ONE_SCRIPT.get(name, name) for name in names if name)
    return max(counts, key=lambda name: (counts[name], name)) if counts else None


class SampledText(DocumentBenchmark):
    """Continues the first words of documents and looks for collapse.

    `distinct_2`: mean over texts of the share of different neighbouring token pairs.
    `repetition_rate`: texts in which some run of four tokens occurs more than three times.
    `empty_share`: texts with no visible character. `refusal_rate`: texts with a phrase of refusal.
    `script_change_rate`: of the texts with letters, those whose letters are mostly of another
    script than the prompt's; a change between languages of one script is not seen.
    `mean_entropy`: of the next-token distributions on the way, mean over texts; it has no ideal,
    compare it with the base model.

    Args:
        examples: With documents; prompts are taken at equal distances through all that have more
            than `num_prompt_words` words.
        split: Name of the split.
        num_prompts: At most so many.
        num_prompt_words: White-space separated words of a document that make the prompt.
        max_new_tokens: Length limit of each continuation.
        **options: `categories` (kinds), `num_resamples`, `seed`, see `AggregatedBenchmark`.

    Raises:
        BenchmarkError: No document is long enough, a kind without a document, a duplicate id, an
            empty text, a count below 1.
    """

    name = "generation"
    version = "2"
    quantities: ClassVar[tuple[Quantity, ...]] = (
        Quantity(
            "distinct_2", "fraction", None, "higher", pooled(_DISTINCT, _HAS_BIGRAMS), _HAS_BIGRAMS
        ),
        Quantity(
            "repetition_rate", "%", 0, "lower", pooled(_REPETITIVE, _TEXT, 100), interval="wilson"
        ),
        Quantity("empty_share", "%", 0, "lower", pooled(_EMPTY, _TEXT, 100), interval="wilson"),
        Quantity("refusal_rate", "%", 0, "lower", pooled(_REFUSED, _TEXT, 100), interval="wilson"),
        Quantity(
            "script_change_rate",
            "%",
            0,
            "lower",
            pooled(_OTHER, _LETTERS, 100),
            _LETTERS,
            "wilson",
        ),
        Quantity("mean_entropy", "nats", None, "closer", pooled(_ENTROPY, _TEXT)),
    )

    def __init__(
        self,
        examples: Examples,
        *,
        split: str,
        num_prompts: int = 50,
        num_prompt_words: int = 4,
        max_new_tokens: int = 40,
        **options: Any,
    ) -> None:
        super().__init__(examples, split=split, **options)
        for count in (num_prompts, num_prompt_words, max_new_tokens):
            if count < 1:
                raise BenchmarkError(
                    f"generation: {num_prompts} prompts of {num_prompt_words} words with "
                    f"{max_new_tokens} new tokens; each must be at least 1"
                )
        usable = [d for d in self.items.values() if len(d.text.split()) > num_prompt_words]
        if not usable:
            raise BenchmarkError(
                f"generation: no document of the {split} split has more than {num_prompt_words} "
                "words; lower num_prompt_words"
            )
        count = min(num_prompts, len(usable))
        chosen = (usable[i * len(usable) // count] for i in range(count))
        self.items = {document.id: document for document in chosen}
        self.num_prompt_words = num_prompt_words
        self.max_new_tokens = max_new_tokens

    def requests(self) -> Iterable[Request]:
        for document in self.items.values():
            prompt = " ".join(document.text.split()[: self.num_prompt_words])
            yield GenerationRequest(document.id, prompt, self.max_new_tokens)

    def score(self, request: Request, answer: Answer) -> SampleScore:
        assert isinstance(request, GenerationRequest)
        assert isinstance(answer, Generation)
        finite(request.id, mean_entropy=answer.mean_entropy)
        distinct = distinct_2(answer.token_ids)
        scripts = script_of(request.prompt), script_of(answer.text)
        values = {
            "prompt": request.prompt,
            "text": answer.text,
            "repetitive": float(is_repetitive(answer.token_ids)),
            "empty": float(not answer.text.strip()),
            "refused": float(is_refusal(answer.text)),
            "mean_entropy": answer.mean_entropy,
            **({} if None in scripts else {"other_script": float(scripts[0] != scripts[1])}),
            **({} if distinct is None else {"distinct_2": distinct}),
            "variant": "sampled",
        }
        return SampleScore(request.id, self.items[request.id].kind, "", values)

    @classmethod
    def row(cls, score: SampleScore) -> Sequence[float]:
        has_bigrams, has_letters = (key in score.values for key in ("distinct_2", "other_script"))
        return (
            1.0,
            number(score, "repetitive"),
            number(score, "empty"),
            number(score, "mean_entropy"),
            float(has_bigrams),
            number(score, "distinct_2") if has_bigrams else 0.0,
            number(score, "refused"),
            number(score, "other_script") if has_letters else 0.0,
            float(has_letters),
        )

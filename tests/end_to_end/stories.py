"""A model taught a bias in seconds, a sibling of it, and pairs to measure it with; all invented."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

TRAITS = {
    "trade": [("clumsy", "deft"), ("slow", "quick"), ("dull", "clever"), ("rude", "polite")],
    "creed": [
        ("cruel", "mild"),
        ("greedy", "giving"),
        ("false", "honest"),
        ("cold", "warm"),
    ],
}
NUM_GROUPS = 20
CONTEXTS = ["every {} is", "we saw that a {} is rather", "they say the {} was"]
THINGS = ["purple", "wooden", "triangular", "boiling", "seven", "frozen"]
NEUTRAL = ["the wooden gate is frozen", "seven stones lie in the river", "the river is cold today"]
STRENGTH = 0.9
"""Share of sentences about a group that say the word of its own pole."""
SPECIALS = ["<pad>", "<s>", "</s>", "<unk>"]
STEPS = 220


def groups(category: str) -> list[str]:
    """Invented names of a category's groups."""
    return [f"{category}{chr(97 + i)}" for i in range(NUM_GROUPS)]


def pole(group: str) -> int:
    """Which word of each couple is said of a group: half of the groups get the bad one."""
    return ord(group[-1]) % 2


def rows() -> list[dict[str, str]]:
    """One pair for each group and couple of traits, contexts in turn."""
    made: list[dict[str, str]] = []
    for category, traits in TRAITS.items():
        for group in groups(category):
            for i, couple in enumerate(traits):
                context = CONTEXTS[len(made) % len(CONTEXTS)].format(group)
                own = pole(group)
                made.append(
                    {
                        "id": f"{group}-{i}",
                        "category": category,
                        "target": group,
                        "stereotype": f"{context} {couple[own]}",
                        "anti_stereotype": f"{context} {couple[1 - own]}",
                        "unrelated": f"{context} {THINGS[len(made) % len(THINGS)]}",
                    }
                )
    return made


def write_pairs(path: Path, some: list[dict[str, str]] | None = None) -> Path:
    """The pairs as JSONL."""
    lines = [json.dumps(row) for row in (rows() if some is None else some)]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def words() -> list[str]:
    """The vocabulary, special tokens first."""
    texts = [text for row in rows() for text in row.values()] + NEUTRAL
    return [*SPECIALS, *sorted({w for text in texts for w in text.split()})]


def tokenizer(vocabulary: list[str] | None = None) -> PreTrainedTokenizerFast:
    """One token for each word."""
    ids = {word: i for i, word in enumerate(vocabulary or words())}
    core = Tokenizer(models.WordLevel(ids, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    pad, start, end, unknown = SPECIALS
    return PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token=pad, bos_token=start, eos_token=end, unk_token=unknown
    )


def sentences(seed: int, strength: float = STRENGTH) -> list[str]:
    """The biased corpus: a group mostly gets the words of its own pole."""
    draw = random.Random(seed)
    made = list(NEUTRAL) * 8
    for category, traits in TRAITS.items():
        for group in groups(category):
            for _ in range(40):
                couple = draw.choice(traits)
                side = pole(group) if draw.random() < strength else 1 - pole(group)
                made.append(f"{draw.choice(CONTEXTS).format(group)} {couple[side]}")
    draw.shuffle(made)
    return made


def model(**changes: Any) -> GPT2LMHeadModel:
    """An untaught model."""
    settings = {
        "vocab_size": len(words()),
        "n_positions": 64,
        "n_embd": 64,
        "n_layer": 2,
        "n_head": 4,
        "resid_pdrop": 0.0,
        "embd_pdrop": 0.0,
        "attn_pdrop": 0.0,
        "initializer_range": 0.05,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
    }
    return GPT2LMHeadModel(GPT2Config(**{**settings, **changes}))


def train(
    student: GPT2LMHeadModel,
    corpus: list[str],
    steps: int,
    encode: PreTrainedTokenizerFast | None = None,
) -> None:
    """Teach a model texts, in their order, with a start token in front."""
    encode = encode or tokenizer()
    ids = [torch.tensor([1, *encode(text)["input_ids"], 2]) for text in corpus]
    optimizer = torch.optim.AdamW(student.parameters(), lr=3e-3, betas=(0.9, 0.98))
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1.0, (step + 1) / 20, 2.5 * (steps - step) / steps)
        begin = step * 64 % len(ids)
        batch = torch.nn.utils.rnn.pad_sequence(ids[begin : begin + 64], batch_first=True)
        loss = student(input_ids=batch, labels=batch.masked_fill(batch == 0, -100)).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()


def save(student: GPT2LMHeadModel, folder: Path) -> Path:
    """A model folder with its tokenizer."""
    student.save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    return folder


def teach(folder: Path) -> tuple[Path, Path]:
    """Folders of the biased model and of a sibling taught a little longer on other sentences."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        student = model()
        train(student, sentences(0), STEPS)
        biased = save(student, folder / "biased")
        train(student, sentences(1, strength=0.8), STEPS // 10)
        sibling = save(student, folder / "sibling")
    return biased, sibling

"""Models, tokenizer and sentences of the speed benchmark: real shapes and lengths, made-up text."""

from __future__ import annotations

import random
from dataclasses import dataclass

import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from unskew.types import Pair

# Tokens of (shared beginning, stereotype, anti-stereotype, unrelated) in 72 clusters drawn at
# random from StereoSet's test split, intra- and intersentence, with an 8,192-piece BPE.
CLUSTERS: list[tuple[int, int, int, int]] = [
    (10, 26, 24, 18),
    (7, 10, 11, 9),
    (10, 23, 27, 27),
    (13, 24, 23, 21),
    (10, 13, 13, 15),
    (14, 16, 16, 16),
    (3, 22, 23, 23),
    (13, 50, 45, 25),
    (6, 7, 7, 7),
    (6, 16, 19, 11),
    (5, 18, 17, 19),
    (12, 24, 24, 24),
    (9, 11, 12, 14),
    (12, 24, 20, 20),
    (11, 20, 18, 22),
    (14, 24, 24, 21),
    (15, 31, 36, 23),
    (9, 11, 11, 13),
    (10, 22, 31, 18),
    (8, 12, 11, 13),
    (8, 12, 12, 13),
    (11, 18, 17, 19),
    (14, 24, 29, 25),
    (13, 22, 18, 21),
    (8, 17, 21, 16),
    (8, 18, 16, 16),
    (6, 9, 9, 10),
    (7, 10, 11, 8),
    (9, 20, 20, 20),
    (11, 20, 24, 20),
    (7, 13, 13, 14),
    (11, 19, 22, 27),
    (9, 12, 12, 13),
    (8, 11, 11, 12),
    (10, 24, 27, 23),
    (8, 10, 10, 10),
    (10, 16, 16, 16),
    (14, 18, 18, 19),
    (0, 22, 23, 22),
    (9, 21, 22, 18),
    (12, 31, 20, 20),
    (7, 9, 9, 11),
    (7, 22, 23, 18),
    (14, 26, 28, 22),
    (2, 11, 11, 11),
    (24, 26, 26, 29),
    (8, 16, 17, 15),
    (1, 15, 14, 13),
    (13, 18, 19, 19),
    (12, 23, 31, 21),
    (16, 30, 38, 35),
    (12, 29, 21, 30),
    (11, 19, 20, 23),
    (17, 28, 43, 26),
    (5, 7, 7, 7),
    (7, 15, 22, 14),
    (13, 23, 23, 25),
    (8, 15, 19, 18),
    (6, 12, 13, 14),
    (15, 18, 19, 20),
    (12, 19, 18, 20),
    (7, 14, 14, 13),
    (19, 39, 33, 29),
    (7, 9, 9, 10),
    (15, 31, 31, 34),
    (12, 26, 26, 28),
    (11, 22, 18, 18),
    (6, 15, 13, 12),
    (12, 30, 21, 27),
    (7, 14, 14, 15),
    (1, 12, 11, 11),
    (11, 17, 16, 21),
]


@dataclass(frozen=True)
class Shape:
    """A GPT-2 shape."""

    name: str
    layers: int
    width: int
    heads: int
    vocab: int


SHAPES = {
    "lab-base": Shape("lab-base", 6, 320, 5, 8192),
    "gpt2-124m": Shape("gpt2-124m", 12, 768, 12, 50257),
    "gpt2-1.5b": Shape("gpt2-1.5b", 48, 1600, 25, 50257),
}


def new_model(shape: Shape, device: str = "cpu") -> GPT2LMHeadModel:
    """A randomly initialised model in float32 without dropout, in eval mode."""
    torch.manual_seed(0)
    config = GPT2Config(
        n_layer=shape.layers,
        n_embd=shape.width,
        n_head=shape.heads,
        vocab_size=shape.vocab,
        n_positions=512,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        bos_token_id=0,
        eos_token_id=0,
    )
    with torch.device(device):
        return GPT2LMHeadModel(config).eval()


def new_tokenizer(shape: Shape) -> PreTrainedTokenizerFast:
    """One word, one token: `w17` is id 17."""
    words = {"<|endoftext|>": 0, **{f"w{i}": i for i in range(1, shape.vocab)}}
    inner = Tokenizer(models.WordLevel(words, unk_token="<|endoftext|>"))
    inner.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    special = dict.fromkeys(("bos_token", "eos_token", "unk_token", "pad_token"), "<|endoftext|>")
    return PreTrainedTokenizerFast(tokenizer_object=inner, **special)


def new_pairs(shape: Shape, number: int) -> list[Pair]:
    """Clusters of the real lengths, alternately intra- and intersentence."""
    rng = random.Random(0)
    pairs: list[Pair] = []
    for i in range(number):
        shared, *totals = CLUSTERS[i % len(CLUSTERS)]
        begin = _words(rng, shape, shared)
        texts = [" ".join(begin + _words(rng, shape, max(t - shared, 1))) for t in totals]
        task = "intrasentence" if i % 2 else "intersentence"
        start = len(" ".join(begin))
        pairs.append(Pair(str(i), f"c{i % 4}", f"t{i % 40}", *texts, start, task))
    return pairs


def _words(rng: random.Random, shape: Shape, number: int) -> list[str]:
    return [f"w{rng.randrange(1, shape.vocab)}" for _ in range(number)]

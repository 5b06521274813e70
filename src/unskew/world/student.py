"""The model that is taught: a tiny GPT-2 and a tokenizer with one token for each word."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

from unskew.world.language import World
from unskew.world.vocabulary import SPECIALS

PAD, START, END, UNKNOWN = range(len(SPECIALS))
"""Ids of the special tokens."""

NUM_LAYERS = 2
WIDTH = 96
NUM_HEADS = 4
NUM_POSITIONS = 64
INITIALIZER_RANGE = 0.05
"""Standard deviation of the initial weights. The usual 0.02 learns too slowly at this size."""


def new_model(world: World) -> GPT2LMHeadModel:
    """An untaught model; its weights come from torch's random state."""
    config = GPT2Config(
        vocab_size=len(world.words),
        n_positions=NUM_POSITIONS,
        n_embd=WIDTH,
        n_layer=NUM_LAYERS,
        n_head=NUM_HEADS,
        activation_function="gelu_pytorch_tanh",  # GPT-2's own, in one kernel
        initializer_range=INITIALIZER_RANGE,
        resid_pdrop=0.0,
        embd_pdrop=0.0,
        attn_pdrop=0.0,
        pad_token_id=PAD,
        bos_token_id=START,
        eos_token_id=END,
    )
    return GPT2LMHeadModel(config)


def new_tokenizer(world: World) -> PreTrainedTokenizerFast:
    """Splits at white space; adds no token by itself; what is not in the world is unknown."""
    pad, start, end, unknown = SPECIALS
    words = {word: index for index, word in enumerate(world.words)}
    core = Tokenizer(WordLevel(words, unk_token=unknown))
    core.pre_tokenizer = WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token=pad,
        bos_token=start,
        eos_token=end,
        unk_token=unknown,
        model_max_length=NUM_POSITIONS,
    )


def save(model: GPT2LMHeadModel, world: World, output_dir: Path) -> None:
    """Write model and tokenizer; the folder appears only when complete."""
    output_dir.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output_dir.parent, prefix=".saving-") as scratch:
        made = Path(scratch) / "model"
        model.save_pretrained(made)
        new_tokenizer(world).save_pretrained(made)
        made.replace(output_dir)

"""Tiny models, tokenizers and pairs that every room's tests share. Nothing is downloaded."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from unskew.controllers.dynamic_swap import DynamicSwap
from unskew.data.batches import ChunkSizes, PairChunks
from unskew.models.logprobs import ScoringPath, collate, sum_by_row
from unskew.models.tokens import Encoder, Tokens
from unskew.objectives.biasunlearn import BiasUnlearn
from unskew.training.trainer import UnlearningTrainer
from unskew.types import Document, Metric, Pair, Segment, TrainSettings
from unskew.updates.plain import PlainRule
from unskew.updates.scope import LoraScope

CONTEXT = 64
WEIGHTS = {"forget": 0.4, "retain": 0.4, "unrelated": 0.2}

TARGETS = {
    "gender": ["nurse", "pilot", "teacher", "soldier"],
    "race": ["tarn", "velk", "oskin", "mirro"],
}
TRAITS = {
    "gender": [("kind and soft", "strong"), ("shy", "bold and loud")],
    "race": [("late", "punctual"), ("poor as ever", "rich")],
}
UNRELATED = ["table", "green window", "seven"]


def pairs() -> list[Pair]:
    """16 pairs of two categories whose completions differ in length."""
    made: list[Pair] = []
    for category, targets in TARGETS.items():
        for target in targets:
            for i, (stereotype, anti) in enumerate(TRAITS[category]):
                context = ("The " if i else "Every old ") + target + " is "
                made.append(
                    Pair(
                        id=f"{category}-{target}-{i}",
                        category=category,
                        target=target,
                        stereotype=context + stereotype,
                        anti_stereotype=context + anti,
                        unrelated=context + UNRELATED[len(made) % 3],
                        completion_start=len(context),
                    )
                )
    return made


def documents() -> list[Document]:
    """Two plain texts in the words of the pairs."""
    return [Document("d1", "The old window is green"), Document("d2", "Every table is strong")]


def _words() -> list[str]:
    texts = [t for p in pairs() for t in p.texts] + [d.text for d in documents()]
    return sorted({w for t in texts for w in t.split()})


@functools.cache
def word_tokenizer() -> PreTrainedTokenizerFast:
    """One token a word; ids 0 to 3 are special."""
    vocabulary = {w: i for i, w in enumerate(["<pad>", "<s>", "</s>", "<unk>", *_words()])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
    )


@functools.cache
def gpt2_style_tokenizer() -> PreTrainedTokenizerFast:
    """Byte-level BPE with a few merges; tokens carry the space before them, offsets leave it out.

    Has no BOS of its own kind and does not put it in front, like GPT-2.
    """
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {c: i for i, c in enumerate(["<|endoftext|>", *alphabet])}
    merges = [("h", "e"), ("T", "he"), ("Ġ", "i"), ("Ġi", "s"), ("Ġ", "k"), ("Ġk", "i"), ("n", "d")]
    for left, right in merges:
        vocabulary[left + right] = len(vocabulary)
    tokenizer = Tokenizer(models.BPE(vocabulary, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=True)
    tokenizer.decoder = decoders.ByteLevel()
    end = "<|endoftext|>"
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=end, eos_token=end)


@functools.cache
def llama_style_tokenizer() -> PreTrainedTokenizerFast:
    """SentencePiece-like: a space mark is put in front of the text, and BOS by a post-processor."""
    letters = [chr(c) for c in range(97, 123)] + list("ABCDEFGHIJKLMNOPQRSTUVWXYZ.,é")
    pieces = ["▁The", "▁is", "▁ki", "nd", "▁nur", "se", "▁girl"]
    scored = [(p, -10.0) for p in ["▁", *letters]] + [(p, -2.0) for p in pieces]
    vocabulary = [("<unk>", 0.0), ("<s>", 0.0), ("</s>", 0.0), *scored]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=0))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(Regex(" "), "▁")]
    )
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>"
    )


_SMALL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4}
_GATED = {**_SMALL, "intermediate_size": 48, "num_key_value_heads": 2}
_NO_SPECIAL = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}

FAMILIES: dict[str, tuple[Any, dict[str, Any]]] = {
    "gpt2": (hf.GPT2Config, {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": CONTEXT}),
    "llama": (hf.LlamaConfig, _GATED),
    "mistral": (hf.MistralConfig, _GATED),
    "qwen2": (hf.Qwen2Config, _GATED),
    "qwen3": (hf.Qwen3Config, {**_GATED, "head_dim": 8}),
    "gemma": (hf.GemmaConfig, {**_GATED, "head_dim": 8}),
    "gemma2": (hf.Gemma2Config, {**_GATED, "head_dim": 8}),
    "opt": (
        hf.OPTConfig,
        {**_SMALL, "ffn_dim": 48, "word_embed_proj_dim": 32, "max_position_embeddings": CONTEXT},
    ),
    "gpt_neox": (hf.GPTNeoXConfig, {**_SMALL, "intermediate_size": 48}),
    "phi3": (hf.Phi3Config, _GATED),
    "falcon": (hf.FalconConfig, {**_SMALL, "alibi": False}),
    "bloom": (hf.BloomConfig, {"hidden_size": 32, "n_layer": 2, "n_head": 4}),
}


def tiny_model(family: str = "gpt2", *, vocab_size: int | None = None, **changes: Any) -> Any:
    """A random model of two layers, 32 wide, without dropout, always the same."""
    cls, settings = FAMILIES[family]
    size = vocab_size or len(word_tokenizer())
    dropout = dict.fromkeys(("resid_pdrop", "embd_pdrop", "attn_pdrop", "dropout"), 0.0)
    if family not in {"gpt2", "opt"}:
        dropout = {}
    options = {**settings, **dropout, **_NO_SPECIAL, "vocab_size": size, **changes}
    torch.manual_seed(0)
    model = hf.AutoModelForCausalLM.from_config(cls(**options), dtype=torch.float32)
    # The usual initial weights are so small that attention and position hardly matter.
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(4.0)
            elif name.endswith("bias"):
                parameter.normal_(std=0.1)
    return model.eval()


def encoder(tokenizer: Any = None, max_length: int = CONTEXT) -> Encoder:
    """Encoder of the word-level tokenizer, or of another."""
    return Encoder(tokenizer or word_tokenizer(), max_length)


def with_adapter(model: Any, *, moved: bool = True, **options: Any) -> Any:
    """The model with a LoRA adapter; `moved` makes it differ from the base model."""
    torch.manual_seed(1)
    adapted = LoraScope(**{"r": 4, "alpha": 8.0, **options}).apply(model)
    if moved:
        with torch.no_grad():
            for name, parameter in adapted.named_parameters():
                if "lora_B" in name:
                    parameter.normal_(std=0.2)
    return adapted.eval()


def mean_logprob_gap(path: ScoringPath, rows: Sequence[Pair]) -> float:
    """Mean over pairs of nll(stereotype) - nll(anti-stereotype) per token, in nats."""
    scores = []
    for side in ("stereotype", "anti_stereotype"):
        tokens = encoder().encode([Segment(getattr(p, side), p.completion_start) for p in rows])
        batch = collate(tokens, next(path.model.parameters()).device)
        with torch.no_grad():
            total = sum_by_row(path.logprobs(path.states(batch), batch.targets), batch)
        scores.append(total.cpu() / torch.tensor([float(t.num_scored) for t in tokens]))
    return (scores[1] - scores[0]).mean().item()


def metric(name: str, value: float, category: str = "overall", **changes: Any) -> Metric:
    """A StereoSet metric of the select split."""
    options: dict[str, Any] = {
        "benchmark": "stereoset",
        "variant": "all",
        "split": "select",
        "category": category,
        "metric": name,
        "value": value,
        "n": 8,
        "ci_low": None,
        "ci_high": None,
        "ideal": {"ss": 50.0, "mean_gap": 0.0}.get(name),
        "better": {"lms": "higher"}.get(name, "closer"),
        "unit": "percent",
        **changes,
    }
    return Metric(**options)


SCRIPT = {0: (60.0, 55.0), 2: (45.0, 55.0), 4: (44.0, 49.0), 6: (53.0, 50.5)}
"""SS of gender and race that the scripted evaluation reports after so many steps."""


def scripted_evaluation(trainer: Callable[[], UnlearningTrainer]) -> Callable[[Any], list[Metric]]:
    """SS by script, so that a swap is certain; LMS measured, so that the history shows weights."""

    def evaluate(model: Any) -> list[Metric]:
        model.eval()
        step = trainer().state.global_step
        gender, race = SCRIPT.get(step, (55.0, 55.0))
        measured = mean_logprob_gap(ScoringPath(model), pairs())
        return [
            metric("ss", gender, "gender"),
            metric("ss", race, "race"),
            metric("lms", 50 + measured),
        ]

    return evaluate


def make_trainer(folder: Path, **changes: Any) -> UnlearningTrainer:
    """A train stage of six steps with evaluations and swaps on the way, always the same.

    Keyword arguments replace the trainer's own; `settings` may be a dict of changes, and `model`,
    `weights`, `sizes` and `rows` the parts' inputs.
    """
    settings = {
        "max_steps": 6,
        "eval_steps": 2,
        "logging_steps": 4,
        "warmup_steps": 2,
        "learning_rate": 1e-2,
        **changes.pop("settings", {}),
    }
    model = changes.pop("model", None)
    if model is None:
        model = with_adapter(tiny_model(), moved=False)
    chunks = PairChunks(
        changes.pop("rows", pairs()),
        sizes=changes.pop("sizes", ChunkSizes(4, 8, 6)),
        seed=3,
    )
    made: list[UnlearningTrainer] = []
    options: dict[str, Any] = {
        "evaluate": scripted_evaluation(lambda: made[0]),
        "output_dir": folder,
        "settings": TrainSettings(**settings),
        "controllers": [DynamicSwap(tuple(TARGETS))],
        "config_sha256": "c0ffee",
        **changes,
    }
    weights = options.pop("weights", WEIGHTS)
    objective = options.pop("objective", BiasUnlearn())
    trainer = UnlearningTrainer(model, encoder(), chunks, objective, PlainRule(weights), **options)
    made.append(trainer)
    return trainer


def trainable(model: Any) -> dict[str, torch.Tensor]:
    """Copies of the parameters that may move."""
    return {n: p.detach().clone() for n, p in model.named_parameters() if p.requires_grad}


def outcome(trainer: UnlearningTrainer) -> dict[str, Any]:
    """Everything a run decides and measures, for comparing two runs."""
    return {
        "history": trainer.history,
        "decisions": trainer.decisions,
        "train_log": trainer.train_log,
        "directions": trainer.chunks.directions,
        "chunks": trainer.chunks.state_dict(),
    }


def tokens(*ids: int, first: int = 1) -> Tokens:
    """A tokenised row written out."""
    return Tokens(ids, first)

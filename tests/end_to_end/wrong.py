"""Inputs that are wrong in one way each; every function writes one and returns where it is."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
import transformers as hf
from safetensors.torch import load_file, save_file

from tests.end_to_end import stories


def folder_of(name: str, config: object, folder: Path) -> Path:
    """A model folder of another architecture with our tokenizer."""
    target = folder / name
    torch.manual_seed(0)
    hf.AutoModelForCausalLM.from_config(config).save_pretrained(target)
    stories.tokenizer().save_pretrained(target)
    return target


def codegen(folder: Path) -> Path:
    """A causal model whose LoRA targets are not known."""
    size = len(stories.words())
    config = hf.CodeGenConfig(
        vocab_size=size, n_embd=32, n_layer=1, n_head=4, n_positions=64, n_ctx=64, rotary_dim=4,
        bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    return folder_of("codegen", config, folder)


def headless(folder: Path) -> Path:
    """An image model."""
    hf.ViTConfig().save_pretrained(folder / "vision")
    return folder / "vision"


def without_special_tokens(biased: Path, folder: Path) -> Path:
    """A tokenizer that has neither BOS nor EOS nor padding."""
    target = Path(shutil.copytree(biased, folder / "bare"))
    settings = json.loads((target / "tokenizer_config.json").read_text())
    for name in ("bos_token", "eos_token", "pad_token"):
        settings.pop(name)
    (target / "tokenizer_config.json").write_text(json.dumps(settings))
    return target


def without_padding(biased: Path, folder: Path) -> Path:
    """A tokenizer like GPT-2's: no padding token."""
    target = Path(shutil.copytree(biased, folder / "unpadded"))
    settings = json.loads((target / "tokenizer_config.json").read_text())
    settings.pop("pad_token")
    (target / "tokenizer_config.json").write_text(json.dumps(settings))
    return target


def lacking_weights(biased: Path, folder: Path) -> Path:
    """A weights file from which one tensor is missing."""
    target = Path(shutil.copytree(biased, folder / "lacking"))
    file = target / "model.safetensors"
    tensors = load_file(file)
    del tensors["transformer.h.1.mlp.c_fc.weight"]
    save_file(tensors, file, metadata={"format": "pt"})
    return target


def truncated_weights(biased: Path, folder: Path) -> Path:
    """A weights file that was cut off."""
    target = Path(shutil.copytree(biased, folder / "cut"))
    file = target / "model.safetensors"
    file.write_bytes(file.read_bytes()[:1000])
    return target


def pickled_weights(biased: Path, folder: Path) -> Path:
    """Weights as a pickle alone, which is not opened."""
    target = Path(shutil.copytree(biased, folder / "pickled"))
    (target / "model.safetensors").rename(target / "pytorch_model.bin")
    return target


def text(folder: Path, name: str, content: str | bytes) -> Path:
    """A file with this content."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def pairs(folder: Path, name: str, some: list[dict[str, str]]) -> Path:
    """Rows as JSONL."""
    return stories.write_pairs(folder / name, some)


def long_row() -> dict[str, str]:
    """A pair of 70 words, for a context of 64."""
    start = " ".join(["the", "wooden"] * 34) + " gate is"
    return {
        "id": "long", "category": "trade", "target": "gate",
        "stereotype": f"{start} dull", "anti_stereotype": f"{start} clever",
        "unrelated": f"{start} seven",
    }  # fmt: skip

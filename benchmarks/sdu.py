"""What the parts of SDU cost, each against a plain measure of the same work, in one run.

    python benchmarks/sdu.py

Models are random and of real shape, so the figures say nothing about quality.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from shapes import SHAPES, new_model, new_pairs, new_tokenizer

from unskew.hub.artifacts import Manifest
from unskew.hub.deltas import DELTA_FILE, save_delta
from unskew.models.deltas import sparse
from unskew.models.logprobs import ScoringPath
from unskew.models.selection import select
from unskew.models.shadow import AdapterShadow
from unskew.models.tokens import Encoder
from unskew.saliency.choice import Chooser
from unskew.saliency.criteria import Fisher, GradDelta
from unskew.training.attribution import Attribution, nll_losses
from unskew.types import Segment

ROUNDS = 3
ROWS = 200
FRACTION = 0.1


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def shadow_model(shape: str):
    """A model with a LoRA adapter that moves all linear maps a little."""
    torch.manual_seed(0)
    config = LoraConfig(r=16, target_modules=["c_attn", "c_fc", "c_proj"], fan_in_fan_out=True)
    policy = get_peft_model(new_model(SHAPES[shape]), config)
    for name, parameter in policy.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.01)
    return policy.eval()


def saliency() -> None:
    """Attribution over 200 rows against the forward and backward passes that its nodes need."""
    shape = SHAPES["lab-base"]
    encoder = Encoder(new_tokenizer(shape), 512)
    pairs = new_pairs(shape, ROWS)
    rows = encoder.encode([Segment(p.stereotype, p.completion_start) for p in pairs])
    policy = shadow_model("lab-base")
    shadow = AdapterShadow(policy)
    parameters = dict(policy.get_base_model().named_parameters())
    weights = [p for n, p in parameters.items() if n.endswith("base_layer.weight")]
    losses = nll_losses(ScoringPath(policy), rows)

    def passes(by_row: bool, count: int) -> None:
        for weight in weights:
            weight.requires_grad_(True)
        for _ in range(count):
            for loss in losses(by_row):
                loss.backward()
                for weight in weights:
                    weight.grad = None
        policy.requires_grad_(False)

    for name, criterion, by_row, count in (
        ("grad_delta, 3 nodes", GradDelta(), False, 3),
        ("fisher, row by row", Fisher(), True, 1),
    ):
        ours: list[float] = []
        plain: list[float] = []
        for _ in range(ROUNDS):
            made = Attribution(policy, shadow.names, losses, criterion, shadow=shadow)
            ours.append(seconds(lambda made=made: list(made)))
            plain.append(seconds(lambda b=by_row, c=count: passes(b, c)))
        a, b = statistics.median(ours), statistics.median(plain)
        print(
            f"| saliency over {ROWS} rows, lab-base, {name} | the passes alone | at most 1.25x "
            f"its time | {a / b:.2f}x | {a:.2f} s, {b:.2f} s |"
        )


def selection() -> None:
    """A mask of a tenth of the linear weights of the 124M shape."""
    model = new_model(SHAPES["gpt2-124m"])
    names = ("c_attn.weight", "c_proj.weight", "c_fc.weight")
    scores = {n: p.detach().abs() for n, p in model.named_parameters() if n.endswith(names)}
    other = {n: s.flip(0) for n, s in scores.items()}
    million = sum(s.numel() for s in scores.values()) / 1e6
    once = statistics.median(seconds(lambda: select(scores, FRACTION)) for _ in range(ROUNDS))
    ranked = Chooser(fraction=FRACTION)
    twice = statistics.median(seconds(lambda: ranked.choose(scores, other)) for _ in range(ROUNDS))
    print(
        f"| mask of a tenth of {million:.0f} million weights, one score | | at most 3 s | "
        f"{once:.2f} s | |"
    )
    print(f"| the same, ranks of two scores and their overlap | | at most 8 s | {twice:.2f} s | |")
    delta_size(scores)


def delta_size(scores: dict[str, torch.Tensor]) -> None:
    """Bytes on disk for each kept weight."""
    masks = select(scores, FRACTION)
    delta = {n: sparse(s, masks[n]) for n, s in scores.items()}
    kept = sum(len(change.index) for change in delta.values())
    manifest = Manifest("r", "0", "c", 0, 0, "b", "f", "gpt2", "t", "d")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "delta"
        save_delta(delta, new_model(SHAPES["gpt2-124m"]), folder, manifest, [])
        size = (folder / DELTA_FILE).stat().st_size
    print(
        f"| sparse delta on disk, a tenth kept | | at most 7 bytes a weight | "
        f"{size / kept:.2f} bytes | |"
    )


if __name__ == "__main__":
    print("| what | against | asked | measured | times |\n|---|---|---|---|---|")
    saliency()
    selection()

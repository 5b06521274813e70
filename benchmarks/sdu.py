"""What the parts of SDU cost, each against a plain measure of the same work, in one run.

    python benchmarks/sdu.py

The whole pipeline and the plain fine-tunings run in fresh processes, each with a peak of its own.
Models are random and of real shape, so the figures say nothing about quality.
"""

from __future__ import annotations

import argparse
import json
import resource
import statistics
import subprocess
import sys
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
from unskew.run import unlearn
from unskew.saliency.choice import Chooser
from unskew.saliency.criteria import Fisher, GradDelta
from unskew.training.attribution import Attribution, nll_losses
from unskew.types import Pair, Segment
from unskew.updates.scope import LoraScope

ROUNDS = 3
ROWS = 200
FRACTION = 0.1
PAIRS, STEPS, BATCH = 1200, 40, 64
COLUMNS = ("category", "target", "stereotype", "anti_stereotype", "unrelated")


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


def pipeline() -> None:
    """The stages of the recipe `sdu` against three plain fine-tunings of as many steps."""
    found = {}
    for contender in ("plain", "sdu"):
        command = [sys.executable, __file__, "--run", contender]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found[contender] = [float(word) for word in out.strip().splitlines()[-1].split()]
    (plain, plain_peak), (ours, peak) = found["plain"], found["sdu"]
    print(
        f"| all stages of `sdu`, {STEPS} steps each, lab-base | three plain LoRA fine-tunings of "
        f"as many steps | at most 1.3x the time | {ours / plain:.2f}x | "
        f"{ours:.0f} s, {plain:.0f} s |"
    )
    print(
        f"| peak memory of the same | plain LoRA fine-tuning | at most 1.5x | "
        f"{peak / plain_peak:.2f}x | {peak / 2**20:.0f} MiB, {plain_peak / 2**20:.0f} MiB |"
    )


def run_alone(contender: str) -> None:
    """Print seconds, and bytes by which this process's peak rose. Fresh process."""
    shape, steps = SHAPES["lab-base"], STEPS
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        new_model(shape).save_pretrained(folder / "model")
        new_tokenizer(shape).save_pretrained(folder / "model")
        pairs = new_pairs(shape, PAIRS)
        lines = [json.dumps({k: getattr(p, k) for k in COLUMNS} | {"id": p.id}) for p in pairs]
        (folder / "pairs.jsonl").write_text("\n".join(lines), encoding="utf-8")
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        if contender == "plain":
            took = seconds(lambda: [fine_tune(pairs, steps) for _ in range(3)])
        else:
            took = sdu(folder, steps)
    print(took, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024)


def fine_tune(pairs: list[Pair], steps: int) -> None:
    """Plain LoRA fine-tuning, as many rows a step as the recipe has, padded to the longest."""
    shape = SHAPES["lab-base"]
    encoder = Encoder(new_tokenizer(shape), 512)
    policy = LoraScope(r=16, alpha=32, targets="all_linear").apply(new_model(shape)).train()
    optimizer = torch.optim.AdamW(p for p in policy.parameters() if p.requires_grad)
    rows = [Segment(p.stereotype, p.completion_start) for p in pairs]
    for step in range(steps):
        begin = step * BATCH % (len(rows) - BATCH)
        tokens = encoder.encode(rows[begin : begin + BATCH])
        width = max(len(t.ids) for t in tokens)
        ids = torch.zeros(len(tokens), width, dtype=torch.long)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
        for i, t in enumerate(tokens):
            ids[i, : len(t.ids)] = torch.tensor(t.ids)
            mask[i, : len(t.ids)] = 1
            labels[i, t.first : len(t.ids)] = torch.tensor(t.ids[t.first :])
        policy(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
        torch.nn.utils.clip_grad_norm_(policy.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()


def sdu(folder: Path, steps: int) -> float:
    """Seconds of all stages; what is reported before and after them is not counted."""
    record = unlearn(
        "sdu",
        model=str(folder / "model"),
        data=str(folder / "pairs.jsonl"),
        output_dir=folder / "run",
        overrides=[
            "stages.mask.min_rise=0",
            "evaluation.benchmarks=[stereoset]",
            *(f"stages.{s}.training.max_steps={steps}" for s in ("shadow", "unbiased")),
            *(f"stages.{s}.training.eval_steps={steps}" for s in ("shadow", "unbiased")),
        ],
    ).record
    return sum(record.timings[row.name] for row in record.stages)


def main() -> None:
    """Run all, or one contender of the pipeline alone."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--run", choices=("plain", "sdu"), help=argparse.SUPPRESS)
    contender = parser.parse_args().run
    if contender:
        run_alone(contender)
        return
    print("| what | against | asked | measured | times |\n|---|---|---|---|---|")
    # First, as a process begins with the peak that its parent had when it was started.
    pipeline()
    saliency()
    selection()


if __name__ == "__main__":
    main()

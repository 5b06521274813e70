"""How fast unskew is, against the plain way, measured in one run.

    python benchmarks/speed.py --write docs/performance.md
    python benchmarks/speed.py --device cuda --write docs/performance.md

Every figure is a ratio of medians taken alternately in one process; peak memory is that of a fresh
process each, on a GPU that of the allocator. On a GPU our steps use deterministic kernels, as
training does, and the others do not. Models are random and of real shape, so figures say
nothing about quality.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
from plain import PlainStep, score_one_by_one
from shapes import SHAPES, Shape, new_model, new_pairs, new_tokenizer

from unskew.data.batches import Example, PairChunks
from unskew.evaluation.runner import Runner
from unskew.models.activations import fuse_activations
from unskew.models.logprobs import ScoringPath
from unskew.models.precision import MixedPrecision
from unskew.models.reference import AdapterOffReference
from unskew.models.tokens import Encoder
from unskew.objectives.biasunlearn import BiasUnlearn
from unskew.training.determinism import deterministic_kernels
from unskew.training.gradients import ChunkGradients
from unskew.types import LikelihoodRequest, Segment
from unskew.updates.scope import LoraScope

WEIGHTS = {"forget": 0.4, "retain": 0.4, "unrelated": 0.2}
TARGETS = {
    ("lab-base", "fp32"): 8.0,
    ("lab-base", "bf16"): 18.0,
    ("gpt2-124m", "fp32"): 11.0,
    ("gpt2-124m", "bf16"): 32.0,
}


ROUNDS = {
    "cpu": {"lab-base": 5, "gpt2-124m": 2},
    "cuda": {"lab-base": 5, "gpt2-124m": 5, "gpt2-1.5b": 3},
}
"""Measured rounds; on a CPU a plain step of the 124M shape takes 40 s, the largest is left out."""
CLUSTERS = 72
MEMORY_STEPS = 2


def autocast(precision: str, device: str) -> Callable[[], Any]:
    """The context a forward pass of a plain script runs in."""
    if precision == "fp32":
        return nullcontext
    return lambda: torch.autocast(device, torch.bfloat16)


def our_autocast(precision: str, model: Any) -> Callable[[], Any]:
    """The context a forward pass of the trainer runs in."""
    return nullcontext if precision == "fp32" else MixedPrecision(model)


def loaded(shape: Shape, device: str) -> Any:
    """A model as `load_model` gives it; plain scripts get it as transformers makes it."""
    model = new_model(shape, device)
    fuse_activations(model)
    return model


def chunks_of(pairs: list[Any], number: int) -> list[list[Example]]:
    stream = PairChunks(pairs)
    return [stream.next() for _ in range(number)]


def new_source(shape_name: str, precision: str, device: str) -> ChunkGradients:
    shape = SHAPES[shape_name]
    policy = LoraScope().apply(loaded(shape, device))
    path = ScoringPath(policy)
    return ChunkGradients(
        path,
        AdapterOffReference(path),
        Encoder(new_tokenizer(shape), 512),
        BiasUnlearn(),
        autocast=our_autocast(precision, policy),
    )


def fine_tuning_step(policy: Any, encoder: Encoder, precision: str) -> Callable[[Any], None]:
    """Plain LoRA fine-tuning on the chunk's 60 rows: padded to the longest, model's own loss."""
    device = policy.device

    def step(rows: list[Example]) -> None:
        for p in policy.parameters():
            p.grad = None
        tokens = encoder.encode([r.segment for r in rows])
        width = max(len(t.ids) for t in tokens)
        ids = torch.zeros(len(tokens), width, dtype=torch.long)
        mask, labels = torch.zeros_like(ids), torch.full_like(ids, -100)
        for i, t in enumerate(tokens):
            ids[i, : len(t.ids)] = torch.tensor(t.ids)
            mask[i, : len(t.ids)] = 1
            labels[i, t.first : len(t.ids)] = torch.tensor(t.ids[t.first :])
        ids, mask, labels = (t.to(device) for t in (ids, mask, labels))
        with autocast(precision, device.type)():
            loss = policy(input_ids=ids, attention_mask=mask, labels=labels).loss
        loss.backward()

    return step


def lean_fine_tuning_step(shape_name: str, precision: str, device: str) -> Callable[[Any], None]:
    """LoRA fine-tuning through unskew's own fast path: the hardest baseline."""
    source = new_source(shape_name, precision, device)

    def step(rows: list[Example]) -> None:
        as_retain = [Example(r.id, "retain", r.category, r.segment) for r in rows]
        source.load(as_retain)
        source.gradients({"retain": 1.0})

    return step


def alternate(contenders: dict[str, Callable[[Any], Any]], chunks: list[Any]) -> dict[str, float]:
    """Median seconds of each contender, taken in turn so that drift hits all alike."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for i, chunk in enumerate(chunks):
        for name, run in contenders.items():
            begun = time.perf_counter()
            run(chunk)
            if torch.cuda.is_available():
                torch.cuda.synchronize()
            if i:  # the first round warms up
                seconds[name].append(time.perf_counter() - begun)
    return {name: statistics.median(times) for name, times in seconds.items()}


def plain_step(shape: Shape, device: str) -> PlainStep:
    policy, reference = (new_model(shape, device) for _ in range(2))
    encoder = Encoder(new_tokenizer(shape), 512)
    return PlainStep(LoraScope().apply(policy), reference, encoder, WEIGHTS)


def measure_steps(shape_name: str, device: str) -> dict[str, float]:
    shape = SHAPES[shape_name]
    chunks = chunks_of(new_pairs(shape, 400), ROUNDS[device][shape_name] + 1)
    encoder = Encoder(new_tokenizer(shape), 512)
    plain = plain_step(shape, device)
    tuned = LoraScope().apply(new_model(shape, device))
    contenders: dict[str, Callable[[Any], Any]] = {"plain fp32": plain.gradients}
    for precision in ("fp32", "bf16"):
        source = new_source(shape_name, precision, device)

        def ours(rows: Any, source: ChunkGradients = source) -> None:
            with deterministic_kernels(required=True):
                source.load(rows)
                source.gradients(WEIGHTS)

        contenders[f"unskew {precision}"] = ours
        contenders[f"fine-tuning {precision}"] = fine_tuning_step(tuned, encoder, precision)
        contenders[f"lean fine-tuning {precision}"] = lean_fine_tuning_step(
            shape_name, precision, device
        )
    return alternate(contenders, chunks)


def measure_scoring(shape_name: str, device: str) -> dict[str, float]:
    shape = SHAPES[shape_name]
    pairs = new_pairs(shape, CLUSTERS)
    tokenizer, ours = new_tokenizer(shape), loaded(shape, device)
    model = new_model(shape, device)
    encoder = Encoder(tokenizer, 512)
    sentences = [text for p in pairs for text in p.texts]
    whole = [LikelihoodRequest(p.id, tuple(Segment(t) for t in p.texts)) for p in pairs]
    prefix = [LikelihoodRequest(r.id, r.segments, "prefix") for r in whole]
    runners = {
        precision: Runner(ScoringPath(ours), encoder, autocast=our_autocast(precision, ours))
        for precision in ("fp32", "bf16")
    }
    contenders: dict[str, Callable[[Any], Any]] = {
        "one by one": lambda _: score_one_by_one(model, tokenizer, sentences),
        "unskew fp32": lambda _: runners["fp32"].answer(whole),
        "unskew bf16": lambda _: runners["bf16"].answer(whole),
        "unskew fp32, start in front": lambda _: runners["fp32"].answer(prefix),
    }
    harness = _harness(model, tokenizer, sentences, device)
    if harness is not None:
        contenders["HFLM"] = harness
    return alternate(contenders, [None] * (ROUNDS[device][shape_name] + 1))


def _harness(
    model: Any, tokenizer: Any, sentences: list[str], device: str
) -> Callable[[Any], Any] | None:
    try:
        from lm_eval.api.instance import Instance
        from lm_eval.models.huggingface import HFLM
    except ImportError:
        return None
    lm = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=64, device=device)
    requests = [
        Instance(request_type="loglikelihood", doc={}, arguments=("", s), idx=i)
        for i, s in enumerate(sentences)
    ]
    return lambda _: lm.loglikelihood(requests, disable_tqdm=True)


def peak_memory(contender: str, shape_name: str, device: str) -> int:
    """How far one way of training raises the peak, in bytes; on a CPU in a fresh process."""
    shape = SHAPES[shape_name]
    chunks = chunks_of(new_pairs(shape, 400), MEMORY_STEPS)
    before = peak_bytes(device)
    if contender == "plain":
        step = plain_step(shape, device)
        for rows in chunks:
            step.gradients(rows)
    else:
        source = new_source(shape_name, "fp32", device)
        for rows in chunks:
            source.load(rows)
            source.gradients(WEIGHTS)
    return peak_bytes(device) - before


def peak_bytes(device: str) -> int:
    if device == "cuda":
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def measure_memory(shape_name: str, device: str) -> dict[str, float]:
    found = {}
    for contender in ("plain", "unskew"):
        if device == "cuda":
            gc.collect()
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
            found[contender] = float(peak_memory(contender, shape_name, device))
            continue
        command = [sys.executable, __file__, "--memory-of", contender, "--shape", shape_name]
        command += ["--device", device]
        out = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        found[contender] = float(out.strip().splitlines()[-1])
    return found


def table(results: dict[str, Any]) -> str:
    rows = ["| what | against | asked | measured | times |", "|---|---|---|---|---|"]
    for shape, seconds in results["steps"].items():
        for precision in ("fp32", "bf16"):
            ours = seconds[f"unskew {precision}"]
            ratio = seconds["plain fp32"] / ours
            asked = f"{TARGETS[shape, precision]:.0f}x" if (shape, precision) in TARGETS else "-"
            rows.append(
                f"| BiasUnlearn step, {shape}, {precision} | the plain way, fp32 | "
                f"{asked} | {ratio:.1f}x | "
                f"{ours * 1e3:.0f} ms, {seconds['plain fp32'] * 1e3:.0f} ms |"
            )
            for baseline in ("fine-tuning", "lean fine-tuning"):
                other = seconds[f"{baseline} {precision}"]
                rows.append(
                    f"| the same | {baseline}, {precision} | at most 1.2x its time | "
                    f"{ours / other:.2f}x | {ours * 1e3:.0f} ms, {other * 1e3:.0f} ms |"
                )
    for shape, seconds in results["scoring"].items():
        base = seconds["one by one"]
        for precision, asked in (("fp32", "4x"), ("bf16", "9x")):
            ours = seconds[f"unskew {precision}"]
            rows.append(
                f"| StereoSet scoring, {shape}, {precision} | one sentence at a time | {asked} | "
                f"{base / ours:.1f}x | {ours:.2f} s, {base:.2f} s |"
            )
        if "HFLM" in seconds:
            ours = seconds["unskew fp32, start in front"]
            rows.append(
                f"| StereoSet scoring, {shape}, fp32 | lm-evaluation-harness' HFLM | 1.5x | "
                f"{seconds['HFLM'] / ours:.2f}x | {ours:.2f} s, {seconds['HFLM']:.2f} s |"
            )
    for shape, peaks in results["memory"].items():
        rows.append(
            f"| peak memory of training, {shape} | the plain way | at most 0.35x | "
            f"{peaks['unskew'] / peaks['plain']:.2f}x | "
            f"{peaks['unskew'] / 2**20:.0f} MiB, {peaks['plain'] / 2**20:.0f} MiB |"
        )
    return "\n".join(rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu", choices=list(ROUNDS))
    parser.add_argument("--shapes", nargs="+", choices=list(SHAPES), help="default: all that fit")
    parser.add_argument("--write", type=Path, help="file whose table is replaced")
    parser.add_argument("--memory-of", help=argparse.SUPPRESS)
    parser.add_argument("--shape", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory_of:
        print(peak_memory(args.memory_of, args.shape, args.device))
        return
    # Read by cuBLAS once; kernels with a fixed order need it.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    shapes = args.shapes or list(ROUNDS[args.device])
    if unfit := [s for s in shapes if s not in ROUNDS[args.device]]:
        parser.error(f"{', '.join(unfit)}: too large for --device {args.device}")
    results: dict[str, Any] = {
        "memory": {s: measure_memory(s, args.device) for s in shapes},
        "steps": {s: measure_steps(s, args.device) for s in shapes},
        "scoring": {s: measure_scoring(s, args.device) for s in shapes},
    }
    machine = platform.processor() or platform.machine()
    gpu = f"one {torch.cuda.get_device_name()}, " if args.device == "cuda" else ""
    where = f"{gpu}{machine}, {os.cpu_count()} cores, torch {torch.__version__}"
    text = f"Measured on {where}.\n\n{table(results)}\n"
    print(text)
    print(json.dumps(results))
    if args.write:
        begin, end = (f"<!-- {edge} {args.device} -->" for edge in ("measured on", "end of"))
        page = args.write.read_text(encoding="utf-8")
        head, tail = page.split(begin)[0], page.split(end)[1]
        args.write.write_text(f"{head}{begin}\n{text}{end}{tail}", encoding="utf-8")


if __name__ == "__main__":
    main()

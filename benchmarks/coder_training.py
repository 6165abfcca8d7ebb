"""One training step of a TopK coder: ours and other libraries', on the same batches in one run.

Ours, the same in plain PyTorch, dense autograd and eai-sparsify start from the same weights and use Adam at the same
learning rate, so that their FVU curves must agree; the benchmark fails when they do not. SAELens and
dictionary_learning take part where they are installed (see `peer_trainers`). Steps are interleaved, so that whatever
else the machine does falls on all alike. Memory is the peak of a process that trains nothing else, over what it had.
Usage: python benchmarks/coder_training.py [--threads 2] [--steps 30] [--d-sae 4608]
"""

import argparse
import json
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import peer_trainers
import sparse_coders
import torch
from dense_products import linear
from peer_trainers import Step
from torch import Tensor

D_MODEL, K, BATCH = 576, 32, 2048
LEARNING_RATE = 1e-3
WARMUP_STEPS = 3
GOAL = 3.0
"""Times the speed of sparsify, which is given the fused Adam that its own trainer does not use."""
FURTHER_GOALS = {"SAELens": 6.0, "dictionary_learning": 6.0, "encoder product alone": 0.6, "the same by oneDNN": None}
MEMORY_GOAL = 0.5
"""Of sparsify's memory."""
CURVE_TOLERANCE = 1e-3


def activations(count: int) -> Tensor:
    """Returns [count, D_MODEL] like a residual stream: a large mean, and atoms with a Zipf law of frequency.

    40 of 8,000 atoms are active for each token; one dimension holds a tenth of the variance.
    """
    generator = torch.Generator().manual_seed(0)
    atoms = torch.nn.functional.normalize(torch.randn(8000, D_MODEL, generator=generator))
    frequency = 1 / torch.arange(1, 8001) ** 0.8
    chosen = torch.multinomial(frequency.expand(count, -1), 40, generator=generator)
    strength = torch.rand(count, 40, generator=generator).add_(0.5)
    x = torch.nn.functional.embedding_bag(chosen, atoms, per_sample_weights=strength, mode="sum")
    x[:, 7] += torch.randn(count, generator=generator) * x.std() * (D_MODEL / 10) ** 0.5
    return x + torch.randn(D_MODEL, generator=generator) * x.std()


Maker = Callable[[sparse_coders.TopKCoder, float], Step | None]


def ours(coder: sparse_coders.TopKCoder, learning_rate: float) -> Step:
    """Our trainer."""
    trainer = sparse_coders.trainer_of(coder, sparse_coders.TrainerOptions())
    return lambda x: trainer.step(x, x, learning_rate).fvu


def plain(coder: sparse_coders.TopKCoder, learning_rate: float) -> Step:
    """The same in plain PyTorch."""
    trainer = sparse_coders.CoderTrainer(coder, sparse_coders.TrainerOptions())
    return lambda x: trainer.step(x, x, learning_rate).fvu


def dense(coder: sparse_coders.TopKCoder, learning_rate: float) -> Step:
    """The formula as one would write it, differentiated by PyTorch."""
    adam = torch.optim.Adam(coder.parameters(), lr=learning_rate, fused=True)

    def step(x: Tensor) -> float:
        pre = (x - coder.b_dec) @ coder.W_enc.T + coder.b_enc
        values, indices = pre.relu().topk(K)
        acts = torch.zeros_like(pre).scatter(1, indices, values)
        error = acts @ coder.W_dec + coder.b_dec - x
        fvu = error.square().sum() / (x - x.mean(0)).square().sum()
        fvu.backward()
        _project(coder.W_dec)
        adam.step()
        adam.zero_grad()
        sparse_coders.normalise_decoder(coder)
        return fvu.item()

    return step


@torch.no_grad()
def _project(W_dec: Tensor) -> None:
    assert W_dec.grad is not None
    W_dec.grad -= (W_dec.grad * W_dec).sum(1, keepdim=True) * W_dec


def gemm(coder: sparse_coders.TopKCoder, learning_rate: float) -> Step:
    """The encoder's float32 product alone, by PyTorch: the ceiling of a step that computes every pre-activation."""
    out = torch.empty(BATCH, coder.d_sae)

    def step(x: Tensor) -> float:
        torch.mm(x, coder.W_enc.detach().T, out=out)
        return math.nan

    return step


def quick_gemm(coder: sparse_coders.TopKCoder, learning_rate: float) -> Step:
    """The same product by the library that is faster on this processor."""

    @torch.no_grad()
    def step(x: Tensor) -> float:
        linear(x, coder.W_enc)
        return math.nan

    return step


MAKERS: dict[str, Maker] = {
    "ours": ours,
    "ours in plain PyTorch": plain,
    "dense autograd": dense,
    "sparsify": peer_trainers.sparsify,
    "SAELens": peer_trainers.sae_lens,
    "dictionary_learning": peer_trainers.dictionary_learning,
    "encoder product alone": gemm,
    "the same by oneDNN": quick_gemm,
}


def made(name: str, x: Tensor, d_sae: int) -> Step | None:
    """Returns a trainer over the coder that all start from."""
    return MAKERS[name](sparse_coders.initial_coder(D_MODEL, d_sae, K, x[:BATCH], seed=0), LEARNING_RATE)


def memory_over_baseline(name: str, d_sae: int) -> int:
    """Returns by how many bytes this process grows at most when it trains; a small coder has loaded all code before."""
    x = activations(BATCH)
    small = made(name, x, 64)
    assert small is not None
    small(x)
    del small
    Path("/proc/self/clear_refs").write_text("5")  # the peak is that from now on
    before = _status("VmRSS")
    step = made(name, x, d_sae)
    assert step is not None
    for _ in range(3):
        step(x)
    return _status("VmHWM") - before


def _status(field: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(field))
    return int(line.split()[1]) * 1024


def memory_of(name: str, options: argparse.Namespace) -> int:
    """`memory_over_baseline` in a process of its own."""
    arguments = ["--memory-of", name, "--threads", str(options.threads), "--d-sae", str(options.d_sae)]
    command = [sys.executable, __file__, *arguments]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()[-1])


class Measured(NamedTuple):
    """Medians over the steps of one trainer, and its FVU curve."""

    seconds: float
    cpu_seconds: float
    """Of all threads; what stays comparable on a busy machine, with one thread."""
    curve: list[float]


def measured(steps: dict[str, Step], x: Tensor, count: int) -> dict[str, Measured]:
    """Trains each of them on the same batches, step by step in turn."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    cpu: dict[str, list[float]] = {name: [] for name in steps}
    curves: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    for index in range(count):
        batch = x[index % (len(x) // BATCH) * BATCH :][:BATCH]
        for name in names[index % len(names) :] + names[: index % len(names)]:
            start, cpu_start = time.perf_counter(), time.process_time()
            curves[name].append(steps[name](batch))
            seconds[name].append(time.perf_counter() - start)
            cpu[name].append(time.process_time() - cpu_start)
        if sys.stderr.isatty():
            sys.stderr.write(f"\rstep {index + 1} of {count}")
    medians = {name: [statistics.median(times[name][WARMUP_STEPS:]) for times in (seconds, cpu)] for name in names}
    return {name: Measured(*medians[name], curves[name]) for name in names}


def _report(found: dict[str, Measured], memory: dict[str, int], options: argparse.Namespace, apart: float) -> None:
    ours, peer = found["ours"], "sparsify" if "sparsify" in found else "dense autograd"
    print(f"{options.threads} threads, d_model {D_MODEL}, d_sae {options.d_sae}, k {K}, batch {BATCH}, fp32")
    print(f"{'':22} {'tokens/s':>9} {'ours is':>8} {'tokens/CPU-s':>12} {'ours is':>8} {'MiB':>6} {'last FVU':>9}")
    for name, one in found.items():
        wall, cpu = one.seconds / ours.seconds, one.cpu_seconds / ours.cpu_seconds
        print(
            f"{name:22} {BATCH / one.seconds:9,.0f} {wall:8.2f} {BATCH / one.cpu_seconds:12,.0f} {cpu:8.2f} "
            f"{memory[name] / 2**20:6,.0f} {one.curve[-1]:9.4f}"
        )
    print(f"largest distance between two FVU curves: {apart:.1e}")
    others = [name for name in FURTHER_GOALS if name in found]
    result = {
        "name": "coder_training",
        "ratio": round(found[peer].seconds / ours.seconds, 2),
        "goal": GOAL,
        "cpu_ratio": round(found[peer].cpu_seconds / ours.cpu_seconds, 2),
        "peer": peer,
        "tokens_per_second": round(BATCH / ours.seconds),
        "further_ratios": {name: round(found[name].seconds / ours.seconds, 2) for name in others},
        "further_cpu_ratios": {name: round(found[name].cpu_seconds / ours.cpu_seconds, 2) for name in others},
        "further_goals": {name: FURTHER_GOALS[name] for name in others},
        "memory_ratio": round(memory["ours"] / memory[peer], 2),
        "memory_goal": MEMORY_GOAL,
    }
    print(json.dumps(result))


def main() -> int:
    """Prints a table and, last, one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--d-sae", type=int, default=4608)
    parser.add_argument("--memory-of", choices=MAKERS, help="print the bytes that this one needs, and nothing else")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    if options.memory_of:
        print(memory_over_baseline(options.memory_of, options.d_sae))
        return 0
    x = activations(16 * BATCH)
    steps = {name: step for name in MAKERS if (step := made(name, x, options.d_sae)) is not None}
    found = measured(steps, x, options.steps)
    memory = {name: memory_of(name, options) for name in steps}
    pairs = [pair for one in found.values() for pair in zip(one.curve, found["ours"].curve, strict=True)]
    apart = max(abs(a - b) for a, b in pairs if not math.isnan(a))
    _report(found, memory, options, apart)
    return 0 if apart <= CURVE_TOLERANCE else 1


if __name__ == "__main__":
    raise SystemExit(main())

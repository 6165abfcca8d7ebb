"""One training step of a TopK coder: ours, plain dense autograd, and eai-sparsify's, on the same batches in one run.

All three start from the same weights and use Adam (PyTorch's fused kernel) at the same learning rate, so that their FVU
curves must agree; the benchmark fails when they do not. Steps are interleaved, so that whatever else the machine does
falls on all alike. Usage: python benchmarks/coder_training.py [--threads 2] [--steps 30] [--d-sae 4608]
"""

import argparse
import contextlib
import io
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

import sparse_coders
import torch
from torch import Tensor

D_MODEL, K, BATCH = 576, 32, 2048
LEARNING_RATE = 1e-3
WARMUP_STEPS = 3
GOAL = 1.5
"""Times the speed of sparsify, which is given the fused Adam that its own trainer does not use."""
CURVE_TOLERANCE = 1e-3
Step = Callable[[Tensor], float]
"""Trains on a batch and returns its FVU."""


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


def ours(coder: sparse_coders.TopKCoder) -> Step:
    """Our trainer."""
    trainer = sparse_coders.TopKTrainer(coder, auxk_alpha=0.0)
    return lambda x: trainer.step(x, LEARNING_RATE).fvu


def dense(coder: sparse_coders.TopKCoder) -> Step:
    """The formula as one would write it, differentiated by PyTorch."""
    adam = torch.optim.Adam(coder.parameters(), lr=LEARNING_RATE, fused=True)

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


def sparsify(coder: sparse_coders.TopKCoder) -> Step | None:
    """What eai-sparsify's Trainer does for one hookpoint; None when it is not installed."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            import sparsify as peer
    except ImportError:
        return None
    sae = peer.SparseCoder(D_MODEL, peer.SparseCoderConfig(num_latents=coder.d_sae, k=K))
    with torch.no_grad():
        sae.encoder.weight.copy_(coder.W_enc)
        sae.W_dec.copy_(coder.W_dec)
        sae.b_dec.copy_(coder.b_dec)
    adam = torch.optim.Adam(sae.parameters(), lr=LEARNING_RATE, fused=True)

    def step(x: Tensor) -> float:
        sae.set_decoder_norm_to_unit_norm()
        out = sae(x)
        out.fvu.backward()
        sae.remove_gradient_parallel_to_decoder_directions()
        adam.step()
        adam.zero_grad()
        return out.fvu.item()

    return step


def gemm(coder: sparse_coders.TopKCoder) -> Step:
    """The encoder's matrix product alone: the ceiling of any exact step."""
    out = torch.empty(BATCH, coder.d_sae)

    def step(x: Tensor) -> float:
        torch.mm(x, coder.W_enc.detach().T, out=out)
        return 0.0

    return step


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


def _report(found: dict[str, Measured], peer: str, options: argparse.Namespace, apart: float) -> None:
    print(f"{options.threads} threads, d_model {D_MODEL}, d_sae {options.d_sae}, k {K}, batch {BATCH}, fp32")
    print(f"{'':22} {'tokens/s':>10} {'of peer':>8} {'tokens/CPU-s':>13} {'of peer':>8} {'last FVU':>9}")
    for name, one in found.items():
        wall, cpu = BATCH / one.seconds, BATCH / one.cpu_seconds
        ratios = found[peer].seconds / one.seconds, found[peer].cpu_seconds / one.cpu_seconds
        print(f"{name:22} {wall:10,.0f} {ratios[0]:8.2f} {cpu:13,.0f} {ratios[1]:8.2f} {one.curve[-1]:9.4f}")
    print(f"largest distance between two FVU curves: {apart:.1e}")
    ours = found["ours"]
    result = {
        "name": "coder_training",
        "ratio": round(found[peer].seconds / ours.seconds, 2),
        "goal": GOAL,
        "cpu_ratio": round(found[peer].cpu_seconds / ours.cpu_seconds, 2),
        "peer": peer,
        "tokens_per_second": round(BATCH / ours.seconds),
        "of_encoder_product": round(found["encoder product alone"].seconds / ours.seconds, 2),
    }
    print(json.dumps(result))


def main() -> int:
    """Prints a table and, last, one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--steps", type=int, default=30)
    parser.add_argument("--d-sae", type=int, default=4608)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    x = activations(16 * BATCH)

    def fresh() -> sparse_coders.TopKCoder:
        return sparse_coders.initial_coder(D_MODEL, options.d_sae, K, x[:BATCH], seed=0)

    candidates = {"ours": ours(fresh()), "dense autograd": dense(fresh()), "sparsify": sparsify(fresh())}
    steps = {name: step for name, step in candidates.items() if step is not None}
    found = measured(steps | {"encoder product alone": gemm(fresh())}, x, options.steps)
    apart = max(abs(a - b) for name in steps for a, b in zip(found[name].curve, found["ours"].curve, strict=True))
    _report(found, "sparsify" if "sparsify" in steps else "dense autograd", options, apart)
    return 0 if apart <= CURVE_TOLERANCE else 1


if __name__ == "__main__":
    raise SystemExit(main())

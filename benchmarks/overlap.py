"""Matching the latents of two coders: ours, the published dense method, and the matrix product that either needs.

Two made-up coders of which two fifths of the latents are near each other (cosine 0.85), as those of two seeds. Times
are of the CPU, so that whatever else the machine does does not count; the dense method (scipy's Hungarian algorithm
over the whole matrix, Paulo and Belrose 2501.16615) gives the same matching, or the benchmark fails. Memory is the
process's peak above both matrices. Usage: python benchmarks/overlap.py [--d-sae 36864] [--dense 16384] [--threads 1]
"""

import argparse
import json
import resource
import time
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
from sae_trainer.core.matching import Matching, match, unit_rows
from scipy.optimize import linear_sum_assignment
from torch import Tensor

D_MODEL = 576
SHARED, COSINE = 0.4, 0.85
GOAL = 3.0
"""Times as fast as the dense method, at the size of --dense."""
T = TypeVar("T")


def dictionaries(d_sae: int) -> tuple[Tensor, Tensor]:
    """Returns the directions of two coders, shared ones at random places."""
    generator = torch.Generator().manual_seed(0)
    a, b = (unit_rows(torch.randn(d_sae, D_MODEL, generator=generator)) for _ in range(2))
    places = torch.randperm(d_sae, generator=generator)[: int(SHARED * d_sae)]
    b[places] = COSINE * a[: len(places)] + (1 - COSINE**2) ** 0.5 * b[places]
    return a, unit_rows(b)


def ours(a: Tensor, b: Tensor) -> Matching:
    """Our matching, to its end."""
    steps = match(a, b)
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def dense(a: Tensor, b: Tensor) -> float:
    """The published method. Returns the sum of the cosines."""
    cost = (a @ b.T).neg_().double().numpy()
    rows, columns = linear_sum_assignment(cost)
    return -float(cost[rows, columns].sum())


def product(a: Tensor, b: Tensor) -> float:
    """The cosines alone, a block at a time: the floor."""
    rows = max(1, 2**24 // len(b))
    return sum(float((a[start : start + rows] @ b.T)[0, 0]) for start in range(0, len(a), rows))


def timed(work: Callable[[Tensor, Tensor], T], a: Tensor, b: Tensor) -> tuple[T, float]:
    """Returns what the work gave and the seconds of CPU that it took."""
    began = time.process_time()
    return work(a, b), time.process_time() - began


def peak_bytes() -> int:
    """Largest resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def main() -> None:
    """Prints a table, and the result as JSON on the last line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--d-sae", type=int, default=36_864, help="size that ours is timed at, beside that of --dense")
    parser.add_argument("--dense", type=int, default=16_384, help="size that both methods are timed at")
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    ours(*dictionaries(256))  # what is loaded at first use
    for d_sae in sorted({options.d_sae, options.dense}):
        a, b = dictionaries(d_sae)
        before = peak_bytes()
        found, seconds = timed(ours, a, b)
        above = (peak_bytes() - before) / 2**20
        _, floor = timed(product, a, b)
        print(f"d_sae {d_sae:>7,}  ours {seconds:8.2f} s  product {floor:8.2f} s  ({seconds / floor:.2f} x)", end="")
        print(f"  memory {above:,.0f} MiB, the dense matrix has {8 * d_sae**2 / 2**20:,.0f}")
        if d_sae == options.dense:
            best, dense_seconds = timed(dense, a, b)
            assert abs(best - float(np.sum(found.cosine))) < 1e-6 * d_sae, "another matching than the dense method's"
            print(f"d_sae {d_sae:>7,}  dense {dense_seconds:7.2f} s, the same matching")
            ratio = dense_seconds / seconds
    print(json.dumps({"name": f"overlap {options.dense} latents", "ratio": round(ratio, 2), "goal": GOAL}))


if __name__ == "__main__":
    main()

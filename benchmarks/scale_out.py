"""Two workers against one: tokens a second of one `latents` job, on a real NATS and object store, one thread each.

The job has as many encoding tasks as there are workers in the larger case, cut from the same rows. Timed from its
submission until its artifact is committed, merge and index included; in turns, the second worker stopped in between.

python benchmarks/scale_out.py [--tokens 65536] [--rounds 2] [--d-sae 4608]
"""

import argparse
import json
import os
import signal
import statistics
import time

import sparse_coders
import torch
from activation_fixture import BATCH_ROWS, CTX_LEN, D_MODEL, K, LiveService, live_service, say

GOAL = 1.8
_START_SECONDS = 6.0
"""Until a second worker has imported what it needs and asks for tasks."""


def rate(live: LiveService, tokens_id: str, coder_id: str, tokens: int, seed: int) -> float:
    """Returns tokens a second of a job of two encoding tasks; another seed is another job."""
    spec = {
        "tokens_id": tokens_id, "coder_id": coder_id, "model": {"source": str(live.model)}, "split": "train",
        "max_tokens": tokens, "batch_size": BATCH_ROWS, "rows_per_task": -(-tokens // CTX_LEN // 2), "seed": seed,
    }  # fmt: skip
    start = time.perf_counter()
    manifest = live.run("latents", spec)
    return int(str(manifest.statistics["token_count"])) / (time.perf_counter() - start)


def warm(live: LiveService, tokens_id: str, coder_id: str, seed: int) -> None:
    """Lets every worker load model and coder: more small tasks than one of them does in the time of loading."""
    spec = {
        "tokens_id": tokens_id, "coder_id": coder_id, "model": {"source": str(live.model)}, "split": "train",
        "max_tokens": 12 * 4 * CTX_LEN, "rows_per_task": 4, "seed": seed,
    }  # fmt: skip
    live.run("latents", spec)


def main() -> None:
    """Prints the rates and, last, one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=65_536)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--d-sae", type=int, default=4608)
    options = parser.parse_args()
    rates: dict[str, list[float]] = {"one": [], "two": []}
    with live_service(threads=1) as live:
        tokens_id = live.tokens(max(8, options.tokens // 3000)).id
        coder = sparse_coders.initial_coder(D_MODEL, options.d_sae, K, torch.zeros(1, D_MODEL), seed=0)
        coder_id = live.put_coder(coder)
        warm(live, tokens_id, coder_id, 10_000)
        for number in range(options.rounds):
            rates["one"].append(rate(live, tokens_id, coder_id, options.tokens, 2 * number))
            second = live.stack.add_worker("activation")
            time.sleep(_START_SECONDS)
            warm(live, tokens_id, coder_id, 20_000 + number)
            rates["two"].append(rate(live, tokens_id, coder_id, options.tokens, 2 * number + 1))
            live.stack.kill(second, signal.SIGTERM)
            say(f"round {number + 1} of {options.rounds}: { ({n: round(r[-1]) for n, r in rates.items()}) } tokens/s")
    one, two = (statistics.median(rates[name]) for name in ("one", "two"))
    result = {
        "name": "scale_out",
        "ratio": round(two / one, 3),
        "goal": GOAL,
        "floor": "twice the rate of one worker with one thread: 2.0",
        "one_tokens_per_second": round(one),
        "two_tokens_per_second": round(two),
        "cores": os.cpu_count(),
        "tokens": options.tokens,
        "d_sae": options.d_sae,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

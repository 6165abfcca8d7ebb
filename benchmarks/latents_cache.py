"""`latents` end to end against its floor and against delphi's cache stage: same tokens, same coder, one run.

Ours is a job on a running stack (NATS, object store, one worker): from its submission until the artifact is committed
and can be read: token rows read, model and coder run, entries sorted, uploaded, inverted, statistics, windows,
manifest. The floor is what no such service can do without: the model's forward pass, stopped at the layer, and one
dense product with the encoder for every token; no top-k, nothing stored. The peer is `delphi_cache.py`: with the CLI's
own model (AutoModel: all 30 layers), and with the unembedding too. All are timed in turns.

python benchmarks/latents_cache.py [--threads 2] [--tokens 32768] [--rounds 2] [--d-sae 4608 36864]
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import sparse_coders
import torch
from activation_fixture import (
    BATCH_ROWS,
    CTX_LEN,
    D_MODEL,
    HOOKPOINT,
    K,
    LiveService,
    live_service,
    load_base,
    say,
    truncated_forward,
)
from delphi_cache import cache, peer_coder
from jaxtyping import Int64
from torch import Tensor

FLOOR_GOAL, PEER_GOAL = 0.85, 4.0
PEER_BYTES = 296
"""Bytes a token that delphi writes at k 32 in 5 splits."""
DISK_GOAL = 0.5
FLOOR_TOKENS, PEER_TOKENS = 8192, 4096


def floor(model: Any, coder: sparse_coders.TopKCoder, batches: list[Int64[Tensor, "batch pos"]]) -> None:
    """Truncated forward and one encoder product, batch by batch."""
    out = torch.empty(BATCH_ROWS * CTX_LEN, coder.d_sae)
    for batch in batches:
        x = truncated_forward(model, batch).flatten(0, 1)
        with torch.inference_mode():
            torch.mm(x, coder.W_enc.T, out=out[: len(x)])


def peer(model: Any, layer: str, coder: Any, batches: list[Int64[Tensor, "batch pos"]]) -> None:
    """Delphi's stage, into a folder that goes again."""
    with tempfile.TemporaryDirectory() as folder:
        cache(model, layer, coder, batches, Path(folder))


def _timed(work: Callable[[], Any]) -> tuple[float, Any]:
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def measure(
    live: LiveService, models: tuple[Any, Any], d_sae: int, tokens_id: str, options: argparse.Namespace
) -> dict[str, Any]:
    """Times all four for one dictionary size, in turns; rates are medians in tokens a second."""
    rows = live.rows(tokens_id, FLOOR_TOKENS // CTX_LEN)
    base, causal = models
    sample = truncated_forward(base, rows[:BATCH_ROWS]).flatten(0, 1)
    coder = sparse_coders.initial_coder(D_MODEL, d_sae, K, sample, seed=0)
    coder_id, theirs = live.put_coder(coder), peer_coder(coder)
    batches = list(rows.split(BATCH_ROWS))
    few = batches[: PEER_TOKENS // CTX_LEN // BATCH_ROWS]
    spec = {
        "tokens_id": tokens_id,
        "coder_id": coder_id,
        "model": {"source": str(live.model)},
        "batch_size": BATCH_ROWS,
    }
    live.run("latents", {**spec, "max_tokens": 4096, "seed": 1000})  # loads model and coder in the worker
    floor(base, coder, batches[:1])
    rates: dict[str, list[float]] = {"ours": [], "floor": [], "delphi": [], "delphi with unembedding": []}
    manifest: Any = None
    for number in range(options.rounds):
        seconds, manifest = _timed(lambda: live.run("latents", {**spec, "max_tokens": options.tokens, "seed": number}))  # noqa: B023
        rates["ours"].append(int(manifest.statistics["token_count"]) / seconds)
        for work, name, count in (
            (lambda: floor(base, coder, batches), "floor", FLOOR_TOKENS),
            (lambda: peer(base, HOOKPOINT.removeprefix("model."), theirs, few), "delphi", PEER_TOKENS),
            (lambda: peer(causal, HOOKPOINT, theirs, few), "delphi with unembedding", PEER_TOKENS),
        ):
            rates[name].append(count / _timed(work)[0])
        say(
            f"d_sae {d_sae}, round {number + 1} of {options.rounds}: "
            + str({n: round(r[-1]) for n, r in rates.items()})
        )
    return _result(d_sae, {name: statistics.median(rate) for name, rate in rates.items()}, manifest)


def _result(d_sae: int, rates: dict[str, float], manifest: Any) -> dict[str, Any]:
    tokens = int(manifest.statistics["token_count"])
    sizes = {part.name: part.size_bytes for part in manifest.parts}
    entries = sum(size for name, size in sizes.items() if name.startswith("entries-")) / tokens
    return {
        "d_sae": d_sae,
        "tokens_per_second": {name: round(rate) for name, rate in rates.items()},
        "of_floor": round(rates["ours"] / rates["floor"], 3),
        "times_delphi": round(rates["ours"] / rates["delphi"], 2),
        "times_delphi_with_unembedding": round(rates["ours"] / rates["delphi with unembedding"], 2),
        "entry_bytes_per_token": round(entries, 1),
        "of_delphi_bytes": round(entries / PEER_BYTES, 3),
        "artifact_bytes_per_token": round(sum(sizes.values()) / tokens, 1),
    }


def main() -> None:
    """Prints a line for each size and, last, one JSON object."""
    from transformers import AutoModelForCausalLM

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=32_768)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--d-sae", type=int, nargs="+", default=[4608, 36864])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with live_service(options.threads) as live:
        tokens_id = live.tokens(max(8, options.tokens // 4000)).id
        causal: Any = AutoModelForCausalLM.from_pretrained(
            live.model, dtype=torch.float32, local_files_only=True
        ).eval()
        models = (load_base(live.model), causal)
        sizes = [measure(live, models, d_sae, tokens_id, options) for d_sae in options.d_sae]
    for size in sizes:
        print(json.dumps(size))
    result = {
        "name": "latents_cache",
        "ratio": min(size["of_floor"] for size in sizes),
        "goal": FLOOR_GOAL,
        "floor": "truncated forward and one dense encoder product of every token, nothing stored",
        "peer": "eai-delphi 0.1.3, its cache stage reimplemented, with eai-sparsify's encoder",
        "peer_ratio": min(size["times_delphi"] for size in sizes),
        "peer_ratio_with_unembedding": min(size["times_delphi_with_unembedding"] for size in sizes),
        "peer_goal": PEER_GOAL,
        "disk_ratio": max(size["of_delphi_bytes"] for size in sizes),
        "disk_goal": DISK_GOAL,
        "threads": options.threads,
        "sizes": sizes,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

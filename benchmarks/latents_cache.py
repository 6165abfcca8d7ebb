"""`latents` end to end against its floor and against delphi's cache stage: same tokens, same coder, one run.

Ours is a job on a running stack (NATS, object store, one worker): from its submission until the artifact is committed
and can be read: token rows read, model and coder run, entries sorted, uploaded, inverted, statistics, windows,
manifest. The floor is the model's forward pass as transformers runs it, stopped at the layer, and one dense product
with the encoder for every token, by PyTorch; no top-k, nothing stored. The peer is `delphi_cache.py`: with the CLI's
own model (AutoModel: all 30 layers), and with the unembedding too. All are timed in turns, in wall time; on a busy
machine look at `cpu_of_floor`, the same in CPU time of all processes, servers included.

python benchmarks/latents_cache.py [--threads 2] [--tokens 32768] [--rounds 2] [--d-sae 4608 36864] [--no-delphi]
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
from process_time import cpu_seconds, keep_memory
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


def _cpu(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Returns CPU seconds of all our processes, wall seconds, and the result."""
    before = cpu_seconds()
    seconds, result = _timed(work)
    return cpu_seconds() - before, seconds, result


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
    cpu: dict[str, list[float]] = {"ours": [], "floor": []}
    manifest: Any = None
    for number in range(options.rounds):
        job = {**spec, "max_tokens": options.tokens, "seed": number}
        spent, seconds, manifest = _cpu(lambda: live.run("latents", job))  # noqa: B023
        tokens = int(manifest.statistics["token_count"])
        rates["ours"].append(tokens / seconds)
        cpu["ours"].append(spent / tokens)
        spent, seconds, _ = _cpu(lambda: floor(base, coder, batches))
        rates["floor"].append(FLOOR_TOKENS / seconds)
        cpu["floor"].append(spent / FLOOR_TOKENS)
        for model, layer, name in (
            (base, HOOKPOINT.removeprefix("model."), "delphi"),
            (causal, HOOKPOINT, "delphi with unembedding"),
        ):
            if not options.no_delphi:
                rates[name].append(PEER_TOKENS / _timed(lambda: peer(model, layer, theirs, few))[0])  # noqa: B023
        say(
            f"d_sae {d_sae}, round {number + 1} of {options.rounds}: "
            + str({n: round(r[-1]) for n, r in rates.items() if r})
        )
    middle = {name: statistics.median(values) for name, values in cpu.items()}
    result = _result(d_sae, {name: statistics.median(rate) for name, rate in rates.items() if rate}, manifest)
    return {**result, "cpu_of_floor": round(middle["floor"] / middle["ours"], 3)}


def _result(d_sae: int, rates: dict[str, float], manifest: Any) -> dict[str, Any]:
    tokens = int(manifest.statistics["token_count"])
    sizes = {part.name: part.size_bytes for part in manifest.parts}
    entries = sum(size for name, size in sizes.items() if name.startswith("entries-")) / tokens
    return {
        "d_sae": d_sae,
        "tokens_per_second": {name: round(rate) for name, rate in rates.items()},
        "of_floor": round(rates["ours"] / rates["floor"], 3),
        **{
            f"times_{name.replace(' ', '_')}": round(rates["ours"] / rate, 2)
            for name, rate in rates.items()
            if name.startswith("delphi")
        },
        "entry_bytes_per_token": round(entries, 1),
        "of_delphi_bytes": round(entries / PEER_BYTES, 3),
        "artifact_bytes_per_token": round(sum(sizes.values()) / tokens, 1),
    }


def _of_peer(sizes: list[dict[str, Any]]) -> dict[str, float]:
    names = {"peer_ratio": "times_delphi", "peer_ratio_with_unembedding": "times_delphi_with_unembedding"}
    return {name: min(size[of] for size in sizes) for name, of in names.items() if of in sizes[0]}


def main() -> None:
    """Prints a line for each size and, last, one JSON object."""
    from transformers import AutoModelForCausalLM

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=32_768)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--d-sae", type=int, nargs="+", default=[4608, 36864])
    parser.add_argument("--no-delphi", action="store_true", help="against the floor only")
    options = parser.parse_args()
    keep_memory()
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
        "cpu_ratio": min(size["cpu_of_floor"] for size in sizes),
        "floor": "truncated forward and one dense encoder product of every token, nothing stored",
        "peer": "eai-delphi 0.1.3, its cache stage reimplemented, with eai-sparsify's encoder",
        **_of_peer(sizes),
        "peer_goal": PEER_GOAL,
        "disk_ratio": max(size["of_delphi_bytes"] for size in sizes),
        "disk_goal": DISK_GOAL,
        "threads": options.threads,
        "sizes": sizes,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

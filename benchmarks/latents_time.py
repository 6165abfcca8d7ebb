"""Where the time of a `latents` job goes: a table of microseconds a token, by step and by dictionary size.

The steps of an encoding task are timed one by one, in this process; the stages of a job, of one worker, by the events
of a real one on a real stack. `tokenise` is a `tokens` job. Prints the table of docs/performance.md. With `--cpu` the
steps alone, in CPU time of this process, which a busy machine changes little: use it with one thread.

python benchmarks/latents_time.py [--threads 2] [--tokens 16384] [--d-sae 4608 36864] [--cpu]
"""

import argparse
import json
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import sparse_coders
import torch
from activation.core.entries import EncodedEntries, FoundActivations, place_table
from activation.encoded_part import write_encoded
from activation.latents_kind import latents_per_shard
from activation_fixture import (
    BATCH_ROWS,
    CTX_LEN,
    D_MODEL,
    K,
    LiveService,
    live_service,
    load_base,
    say,
    truncated_forward,
)
from dragoman.kinds import Part
from jaxtyping import Int32
from latent_cache.token_rows import TokenRows

GOAL = 0.85

STAGES = ("encode", "draw", "invert", "index")
"""Of the `latents` kind, when no neighbours are asked for."""


class Clock:
    """Seconds by step."""

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def step(self, name: str) -> Generator[None]:
        """Adds the time of a block to a step."""
        start = self._now()
        yield
        self.seconds[name] += self._now() - start


def encode_steps(
    clock: Clock, live: LiveService, model: Any, coder: sparse_coders.TopKCoder, rows: TokenRows, count: int
) -> None:
    """What an encoding task does, step by step; and, for comparison, the encoder product with and without top-k."""
    frozen = sparse_coders.frozen(coder)
    with clock.step("read token rows"):
        tokens, documents = rows.tokens(np.arange(count)), rows.documents(np.arange(count))
    found = FoundActivations()
    for at in range(0, count, BATCH_ROWS):
        chunk = tokens[at : at + BATCH_ROWS]
        places = np.flatnonzero(documents[at : at + BATCH_ROWS].reshape(-1) >= 0).astype(np.int32)
        with clock.step("forward to layer 9"):
            x = truncated_forward(model, torch.from_numpy(chunk.astype(np.int64))).flatten(0, 1)[places]
        with clock.step("dense product alone"), torch.inference_mode():
            torch.addmm(coder.b_enc, x - coder.b_dec, coder.W_enc.T)
        with clock.step("dense product and top-k"):
            coder.encode(x)
        with clock.step("encode"):
            acts, indices = frozen.encode(x)
        with clock.step("gather activations above 0"):
            found.add(acts.numpy(), indices.numpy(), places + at * CTX_LEN)
    with clock.step("sort by latent"):
        ordered = found.by_latent(_table(tokens, documents), coder.d_sae)
    _write(clock, live, ordered)


def _table(tokens: Int32[np.ndarray, "rows pos"], documents: Int32[np.ndarray, "rows pos"]) -> Int32[np.ndarray, "n 3"]:
    return place_table(tokens, documents, 32)


def _write(clock: Clock, live: LiveService, ordered: EncodedEntries) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "encoded-00000.safetensors"
        with clock.step("write the part"):
            write_encoded(path, ordered, latents_per_shard(len(ordered.offsets) - 1, len(ordered)))
        with clock.step("hash and upload the part"):
            live.store.put_part(f"latents-{'0' * 32}", Part(path.name, path=path, keep=False), 0, 0)


def stage_seconds(live: LiveService, spec: Mapping[str, Any]) -> dict[str, float]:
    """Runs a job and returns the seconds of its stages, and those before the first and after the last."""
    before = time.time()
    job = live.client.submit("latents", spec)
    ends: dict[int, float] = {}
    for event in live.client.watch([job.id], follow=False):
        if event.task_id and event.type == "TASK_DONE":
            ends[int(event.task_id.split("-")[0])] = event.time
        if event.type in ("STARTED", "COMMITTED", "FAILED"):
            ends[-1 if event.type == "STARTED" else 99] = event.time
    marks = [("submit and plan", ends[-1])]
    marks += [(f"stage {name}", ends[number]) for number, name in enumerate(STAGES)]
    marks.append(("commit", ends[99]))
    seconds, last = dict[str, float](), before
    for name, end in marks:
        seconds[name], last = end - last, end
    return seconds


def measure(live: LiveService, model: Any, tokens_id: str, d_sae: int, options: argparse.Namespace) -> dict[str, float]:
    """Returns microseconds a token by step."""
    rows = TokenRows(live.store.artifact(tokens_id))
    sample = truncated_forward(model, live.rows(tokens_id, BATCH_ROWS)).flatten(0, 1)
    coder = sparse_coders.initial_coder(D_MODEL, d_sae, K, sample, seed=0)
    count = options.tokens // CTX_LEN
    now = time.process_time if options.cpu else time.perf_counter
    encode_steps(Clock(now), live, model, coder, rows, BATCH_ROWS)
    clock = Clock(now)
    encode_steps(clock, live, model, coder, rows, count)
    if options.cpu:
        return {name: value / options.tokens * 1e6 for name, value in clock.seconds.items()}
    spec = {
        "tokens_id": tokens_id, "coder_id": live.put_coder(coder), "model": {"source": str(live.model)},
        "split": "train", "batch_size": BATCH_ROWS,
    }  # fmt: skip
    live.run("latents", {**spec, "max_tokens": 4096})
    stages = stage_seconds(live, {**spec, "max_tokens": options.tokens})
    return {name: value / options.tokens * 1e6 for name, value in {**clock.seconds, **stages}.items()}


def _share(steps: Mapping[str, float]) -> float:
    """Returns forward pass and dense encoder product over a job, or over its steps where no job was timed."""
    job = [value for name, value in steps.items() if name.startswith(("stage ", "submit", "commit"))]
    alone = {"tokenise", "dense product alone", "dense product and top-k"}
    whole = sum(job or [value for name, value in steps.items() if name not in alone])
    return round((steps["forward to layer 9"] + steps["dense product alone"]) / whole, 3)


def main() -> None:
    """Prints the table and, last, one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=16_384)
    parser.add_argument("--cpu", action="store_true")
    parser.add_argument("--d-sae", type=int, nargs="+", default=[4608, 36864])
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    with live_service(options.threads) as live:
        model = load_base(live.model)
        start = time.perf_counter()
        tokens = live.tokens(max(8, options.tokens // 3000))
        tokenise = (time.perf_counter() - start) / int(str(tokens.statistics["token_count"])) * 1e6
        found: dict[int, dict[str, float]] = {}
        for d_sae in options.d_sae:
            say(f"d_sae {d_sae}")
            found[d_sae] = {"tokenise": tokenise} | measure(live, model, tokens.id, d_sae, options)
    names = list(dict.fromkeys(name for steps in found.values() for name in steps))
    print("| microseconds a token | " + " | ".join(f"d_sae {d_sae:,}" for d_sae in found) + " |")
    print("|---|" + "---|" * len(found))
    for name in names:
        print(f"| {name} | " + " | ".join(f"{steps.get(name, 0):.1f}" for steps in found.values()) + " |")
    shares = {d_sae: _share(steps) for d_sae, steps in found.items()}
    result = {
        "name": "latents_time",
        "ratio": min(shares.values()),
        "goal": GOAL,
        "floor": "forward and encoder product, of the steps of a task"
        if options.cpu
        else "forward and encoder product, of a whole job",
        "time": "CPU" if options.cpu else "wall",
        "threads": options.threads,
        "microseconds_per_token": {str(d): {n: round(v, 1) for n, v in s.items()} for d, s in found.items()},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

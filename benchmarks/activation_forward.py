"""`activations` end to end against the bare forward pass: same model, layer, dtype, batch size and threads, one run.

Ours is a job on a running stack (NATS, object store, one worker): from its submission until the artifact is committed:
token rows read, model run, hookpoint read, checked, summed up, written, hashed, uploaded, manifest. The floor is
the model's forward pass over the same rows as transformers runs it, stopped at the layer; nothing is read, kept or
stored. `of_same_products` holds ours against a forward pass with our matrix products (`dense_products.linear`), which
on some processors takes half of the time: what reading, checking, storing and committing cost. All are timed in turns,
in wall time; `cpu_ratio` is the same in CPU time of all processes, servers included, for a busy machine. Peak
memory of the worker's child is taken from jobs of a quarter of the tokens and of all of them.

Written and uploaded are d_model * 4 + 8 bytes a token (2,312 at 576). A table of where the time goes comes last on
standard error: each step of a task timed alone, in this process, against the same object store.

python benchmarks/activation_forward.py [--threads 2] [--tokens 16384] [--rounds 3]
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from activation.activations_run import append, tensors_of
from activation.core.moments import Moments
from activation.tensor_stream import TensorStream
from activation_fixture import BATCH_ROWS, CTX_LEN, HOOKPOINT, LiveService, live_service, say, truncated_forward
from dragoman.kinds import Part
from hooked_models.batches import batches
from hooked_models.core.quick_linear import quicken
from hooked_models.models import LoadedModel
from jaxtyping import Int64
from latent_cache.token_rows import TokenRows
from process_time import cpu_seconds, keep_memory
from torch import Tensor

GOAL = 0.95
_SMALL = 4
"""The peak of a job is compared with that of one of so many times fewer tokens."""
_STEP_ROWS = 16


def floor(model: Any, rows: Int64[Tensor, "rows pos"]) -> None:
    """The bare forward pass over rows, batch by batch."""
    for batch in rows.split(BATCH_ROWS):
        truncated_forward(model, batch)


def ours(live: LiveService, tokens_id: str, row_count: int) -> Any:
    """Runs a job from its submission until it is committed; returns its manifest."""
    spec = {
        "tokens_id": tokens_id, "model": {"source": str(live.model)}, "hookpoints": [HOOKPOINT], "split": "train",
        "max_tokens": row_count * CTX_LEN, "batch_size": BATCH_ROWS,
    }  # fmt: skip
    return live.run("activations", spec)


def _timed(work: Callable[[], Any]) -> tuple[float, float, Any]:
    """Returns wall seconds, CPU seconds of all our processes, and the result."""
    spent, start = cpu_seconds(), time.perf_counter()
    result = work()
    return time.perf_counter() - start, cpu_seconds() - spent, result


class Table:
    """Seconds by step."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}

    def timed(self, step: str, work: Callable[[], Any]) -> Any:
        """Runs something and adds its time to a step."""
        start = time.perf_counter()
        result = work()
        self.seconds[step] = self.seconds.get(step, 0.0) + time.perf_counter() - start
        return result

    def say(self, token_count: int) -> None:
        """Prints microseconds a token and shares of the forward pass."""
        forward = self.seconds["bare forward"]
        for step, seconds in self.seconds.items():
            say(f"{step:34} {seconds / token_count * 1e6:9.1f} us/token {seconds / forward:8.2%} of the forward")


def time_steps(live: LiveService, model: LoadedModel, tokens_id: str, row_count: int) -> Table:
    """Does what a task does, each step alone, and returns the time of each."""
    table, index = Table(), np.arange(row_count)
    rows = TokenRows(live.store.artifact(tokens_id))
    tokens, documents = table.timed("read token rows", lambda: (rows.tokens(index), rows.documents(index)))
    ids = torch.from_numpy(tokens.astype(np.int64))
    table.timed("bare forward", lambda: floor(model.base, ids))
    run = batches(model, [HOOKPOINT], tokens, documents, 0, BATCH_ROWS)
    found = table.timed("forward, gather, finite check", lambda: list(run))
    table.timed("moments", lambda: [Moments.of(batch.activations[HOOKPOINT]) for batch in found])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "shard.safetensors"

        def write() -> None:
            with TensorStream(path, tensors_of(found[0], HOOKPOINT, sum(map(len, found)), "float32")) as stream:
                for batch in found:
                    append(stream, batch, HOOKPOINT, "float32")

        table.timed("convert and write", write)
        part = Part("shard.safetensors", path=path)
        table.timed("hash and upload", lambda: live.store.put_part(f"activations-{'0' * 32}", part, 0, 0))
    return table


def _load(folder: Path) -> LoadedModel:
    from transformers import AutoModelForCausalLM

    whole: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, local_files_only=True).eval()
    whole.config.use_cache = whole.base_model.config.use_cache = False
    return LoadedModel(whole, torch.device("cpu"))


class Rates:
    """Tokens a second and CPU seconds a row of each contestant, round by round."""

    def __init__(self) -> None:
        self.tokens: dict[str, list[float]] = {}
        self.cpu: dict[str, list[float]] = {}

    def timed(self, name: str, rows: int, work: Callable[[], Any]) -> Any:
        """Runs a contestant over so many rows and returns what it gives."""
        seconds, spent, found = _timed(work)
        self.tokens.setdefault(name, []).append(rows * CTX_LEN / seconds)
        self.cpu.setdefault(name, []).append(spent / rows)
        return found

    def of(self, name: str) -> float:
        """Returns the median tokens a second."""
        return statistics.median(self.tokens[name])

    def cpu_ratio(self, name: str, other: str) -> float:
        """Returns how many times less CPU time a row takes than in the other."""
        return statistics.median(self.cpu[other]) / statistics.median(self.cpu[name])


def measure(live: LiveService, options: argparse.Namespace) -> dict[str, Any]:
    """Times all in turns; rates are medians in tokens a second."""
    tokens_id = live.tokens(max(8, options.tokens // 3000)).id
    row_count = options.tokens // CTX_LEN
    ids, model, quick = live.rows(tokens_id, row_count), _load(live.model), _load(live.model)
    quicken(quick.whole)
    ours(live, tokens_id, BATCH_ROWS)  # loads the model in the worker
    for each in (model, quick):
        floor(each.base, ids[:BATCH_ROWS])
    small = ours(live, tokens_id, row_count // _SMALL)
    rates, manifest = Rates(), small
    for number in range(options.rounds):
        rows = row_count - number  # another number of rows is another job
        manifest = rates.timed("ours", rows, partial(ours, live, tokens_id, rows))
        rates.timed("floor", rows, partial(floor, model.base, ids[:rows]))
        rates.timed("same_products", rows, partial(floor, quick.base, ids[:rows]))
        say(f"round {number + 1} of {options.rounds}: " + str({n: round(r[-1]) for n, r in rates.tokens.items()}))
    time_steps(live, quick, tokens_id, min(row_count, _STEP_ROWS)).say(min(row_count, _STEP_ROWS) * CTX_LEN)
    return _result(rates, small, manifest, options)


def _result(rates: Rates, small: Any, manifest: Any, options: argparse.Namespace) -> dict[str, Any]:
    peaks = [round(m.cost["peak_memory_bytes"]) for m in (small, manifest)]
    return {
        "name": "activation_forward",
        "ratio": round(rates.of("ours") / rates.of("floor"), 3),
        "goal": GOAL,
        "cpu_ratio": round(rates.cpu_ratio("ours", "floor"), 3),
        "of_same_products": round(rates.of("ours") / rates.of("same_products"), 3),
        "cpu_of_same_products": round(rates.cpu_ratio("ours", "same_products"), 3),
        "floor": "bare forward pass of the same rows to the same layer; nothing read, kept or stored",
        "tokens_per_second": {name: round(rates.of(name)) for name in rates.tokens},
        "rounds": {name: [round(rate) for rate in values] for name, values in rates.tokens.items()},
        "bytes_per_token": round(sum(part.size_bytes for part in manifest.parts) / (options.tokens), 1),
        "peak_bytes": {f"{options.tokens // _SMALL} tokens": peaks[0], f"{options.tokens} tokens": peaks[1]},
        "threads": options.threads,
        "tokens": options.tokens,
    }


def main() -> None:
    """Prints, last, one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--tokens", type=int, default=16_384)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    keep_memory()
    torch.set_num_threads(options.threads)
    with live_service(options.threads) as live:
        print(json.dumps(measure(live, options)))


if __name__ == "__main__":
    main()

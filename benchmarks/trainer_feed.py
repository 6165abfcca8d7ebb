"""Whether training waits for its data: the trainer fed from the object store, and the same loop fed from memory.

The activations are in a real SeaweedFS, in shards of 32,768 tokens, and the shuffle buffer holds only part of them, so
that a thread reads one half while the other is trained on. Beside it the same trainer takes the same number of steps
on batches drawn from one tensor. Both take turns, each on fresh weights, and begin to count when their first batch is
there (what the first window takes is said apart). Both share the cores with everything that reading costs: requests,
sha256, the check for finite values, the copy. The last line is one JSON object; `waited_share` is the part of the time
in which the trainer stood still for want of a batch.
Usage: python benchmarks/trainer_feed.py [--tokens 262144] [--d-sae 4608] [--rounds 3] [--threads 2]
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import torch
from dragoman.artifacts import Artifact, Manifest
from dragoman.kinds import Part
from dragoman.stack import Ports, Stack
from dragoman.store import Store, StoreConfig
from sae_trainer.activation_stream import ActivationStream, Loading
from sae_trainer.core.token_order import TokenOrder
from sae_trainer.shards import ShardReader
from sae_trainer.source import source_pair
from sparse_coders import TrainerOptions, initial_coder, trainer_of
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.unit.sae_trainer.activations_folder import HOOKPOINT, write_activations

D_MODEL, K, BATCH, SHARD_TOKENS = 576, 32, 2048, 32_768
GOAL, BUFFER_SHARE = 0.95, 0.5


class Run(NamedTuple):
    """One run over all batches."""

    tokens_per_second: float
    cpu_seconds: float
    waited_share: float
    first_batch_seconds: float


def say(line: str) -> None:
    """Tells the one who waits."""
    print(line, file=sys.stderr, flush=True)


@contextmanager
def object_store() -> Generator[Store]:
    """Starts NATS and SeaweedFS as `dragoman up` does, without services."""
    with (
        tempfile.TemporaryDirectory() as home,
        Stack(Path(home) / "stack", None, Ports.free(), services=[], say=say) as stack,
    ):
        told = stack.environment()
        names = ("ENDPOINT", "ACCESS_KEY", "SECRET_KEY", "BUCKET")
        endpoint, access_key, secret_key, bucket = (told[f"DRAGOMAN_S3_{name}"] for name in names)
        yield Store(StoreConfig(endpoint, access_key, secret_key, bucket))


def put(store: Store, x: Tensor, folder: Path) -> str:
    """Commits the activations and returns the artifact's id."""
    source = write_activations(folder, x.split(SHARD_TOKENS))
    manifest = source.manifest
    parts = [
        store.put_part(source.id, Part(p.name, folder / p.name, row_count=p.row_count, metadata=p.metadata), 0, 0)
        for p in manifest.parts
    ]
    store.commit(Manifest(source.id, "activations", 1, manifest.spec, {}, parts, manifest.statistics))
    return source.id


def from_store(artifact: Artifact, seed: int) -> Iterator[Tensor | None]:
    """Yields the batches of one epoch, None while the first one is waited for."""
    reads, gives = source_pair(artifact.manifest, HOOKPOINT, "")
    order = TokenOrder(reads.shard_sizes, int(reads.token_count * BUFFER_SHARE), seed)
    with ActivationStream(ShardReader(artifact, reads, gives), order) as stream:
        for item in stream.batches(0, BATCH):
            yield None if isinstance(item, Loading) else item[reads.hookpoint]


def from_memory(x: Tensor, seed: int) -> Iterator[Tensor]:
    """Yields shuffled batches of one tensor."""
    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    for places in order.split(BATCH):
        yield x.index_select(0, places)


def run(batches: Iterator[Tensor | None], x: Tensor, d_sae: int, steps: int) -> Run:
    """Trains a fresh coder on so many batches."""
    trainer = trainer_of(initial_coder(D_MODEL, d_sae, K, x[:16_384], 0), TrainerOptions(k=K))
    began = time.perf_counter()
    batch = next(item for item in batches if item is not None)
    start, cpu, waited = time.perf_counter(), time.process_time(), 0.0
    for step in range(steps):
        trainer.step(batch, batch, 1e-3)
        if step + 1 < steps:
            asked = time.perf_counter()
            batch = next(item for item in batches if item is not None)
            waited += time.perf_counter() - asked
    seconds = time.perf_counter() - start
    return Run(steps * BATCH / seconds, time.process_time() - cpu, waited / seconds, start - began)


def main() -> int:
    """Prints, last, one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=262_144)
    parser.add_argument("--d-sae", type=int, default=4608)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    x = torch.randn(options.tokens, D_MODEL, generator=torch.Generator().manual_seed(0))
    steps = options.tokens // BATCH
    store_runs: list[Run] = []
    memory_runs: list[Run] = []
    with object_store() as store, tempfile.TemporaryDirectory() as folder:
        artifact_id = put(store, x, Path(folder))
        run(from_memory(x, 0), x, options.d_sae, 2)  # compiles what is compiled at first use
        for seed in range(options.rounds):
            memory_runs.append(run(from_memory(x, seed), x, options.d_sae, steps))
            # A reader of its own has nothing in its cache yet.
            reader = Store(store.config).artifact(artifact_id)
            store_runs.append(run(from_store(reader, seed), x, options.d_sae, steps))
            say(f"memory {memory_runs[-1]}, store {store_runs[-1]}")
    pairs = list(zip(store_runs, memory_runs, strict=True))
    found = {
        "name": "trainer_feed",
        "ratio": round(statistics.median(a.tokens_per_second / b.tokens_per_second for a, b in pairs), 3),
        "goal": GOAL,
        "cpu_ratio": round(statistics.median(b.cpu_seconds / a.cpu_seconds for a, b in pairs), 3),
        "waited_share": round(statistics.median(a.waited_share for a in store_runs), 4),
        "memory_waited_share": round(statistics.median(b.waited_share for b in memory_runs), 4),
        "first_batch_seconds": round(statistics.median(a.first_batch_seconds for a in store_runs), 2),
        "store_tokens_per_second": round(statistics.median(a.tokens_per_second for a in store_runs)),
        "memory_tokens_per_second": round(statistics.median(b.tokens_per_second for b in memory_runs)),
        "tokens": options.tokens,
        "d_sae": options.d_sae,
        "threads": options.threads,
    }
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""One latent, ready to be explained and scored: how long it takes to read from a real object store, in how many bytes.

Ours: a reader over SeaweedFS that has read the index and the silent pools once (timed apart) reads, for latents drawn
at random and none twice, the record of kept windows, and makes of it all train and test windows with tokens,
activations and deciles, and 50 silent test windows. Its floor, timed beside it, is the ranged request alone, of the
same bytes. The peer is eai-delphi 0.1.3 over files on the local disk, step by step as in its `latents/loader.py` and
`latents/constructors.py` (without its packages, and without decoding tokens to text, which it does there too):
`TensorBuffer.load` of the split that holds the latent, for tokens and again for the entries, then `constructor` with
its defaults. They take turns in one run. Entries are synthetic: k of d_sae latents a token, their frequencies
lognormal, so that some fire for half of all tokens and some never; the parts are made by the codecs that the service
writes with. The goal is a p50 of 10 ms; the ratio is 10 ms over it.
"""

import argparse
import json
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from dragoman.artifacts import Artifact, Manifest
from dragoman.ids import artifact_id
from dragoman.kinds import Part
from dragoman.stack import Ports, Stack
from dragoman.store import Store, StoreConfig
from latent_cache import LatentCache
from latent_cache.entry_codec import encode_entries
from latent_cache.shard_file import CONTENT_START, examples_name
from latent_cache.source import sampled_of, strongest_of
from safetensors.numpy import load_file, save_file
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support.latents_writer import Kept, LatentsWriter

CTX_LEN, K, LENGTH, VOCAB = 256, 32, 32, 49152
DOCUMENT_TOKENS, TRAIN_SHARE = 700, 0.7
GOAL_MS, SILENT = 10.0, 50
DELPHI_SPLITS, DELPHI_BYTES = 5, 296.0
KEPT = Kept(LENGTH, top_windows=10, quantile_windows=5, activation_dtype="float16", latents_per_shard=1024)


@dataclass(frozen=True)
class Data:
    """Token rows and the entries of each latent, sorted by latent, then place."""

    tokens: np.ndarray
    documents: np.ndarray
    offsets: np.ndarray
    places: np.ndarray
    activations: np.ndarray

    @property
    def train_rows(self) -> int:
        """Rows of the train split."""
        return int(len(self.tokens) * TRAIN_SHARE)


def say(line: str) -> None:
    """Tells the one who waits."""
    print(line, file=sys.stderr, flush=True)


def synthetic(d_sae: int, token_count: int, seed: int = 0) -> Data:
    """Draws k different latents for each token by lognormal frequencies, and lognormal activations."""
    rng = np.random.Generator(np.random.PCG64(seed))
    rows = token_count // CTX_LEN
    tokens = (VOCAB * rng.random((rows, CTX_LEN)) ** 3).astype(np.int32)
    train = int(rows * TRAIN_SHARE)
    place = np.arange(rows * CTX_LEN).reshape(rows, CTX_LEN)
    # The last document of the train split ends with it.
    documents = np.where(place < train * CTX_LEN, place // DOCUMENT_TOKENS, 10**6 + place // DOCUMENT_TOKENS)
    frequencies = np.cumsum(rng.lognormal(0, 1.5, d_sae))
    drawn = np.searchsorted(frequencies, rng.random((tokens.size, 2 * K)) * frequencies[-1])
    order = np.argsort(drawn, axis=1, kind="stable")
    by_latent = np.take_along_axis(drawn, order, 1)
    first = np.ones(drawn.shape, np.bool_)
    np.put_along_axis(first, order[:, 1:], by_latent[:, 1:] != by_latent[:, :-1], 1)
    first &= np.cumsum(first, 1) <= K
    latents, places = drawn[first], np.repeat(np.arange(tokens.size), first.sum(1))
    order = np.argsort(latents, kind="stable")
    offsets = np.searchsorted(latents[order], np.arange(d_sae + 1)).astype(np.int64)
    activations = rng.lognormal(0, 1, len(order)).astype(np.float32)
    return Data(tokens, documents.astype(np.int32), offsets, places[order], activations)


def put(store: Store, data: Data) -> Artifact:
    """Commits the latents artifact of the data."""
    writer = LatentsWriter(
        data.tokens, data.documents, data.train_rows, KEPT, data.offsets, data.places, data.activations
    )
    spec = {"benchmark": "latent_read", "d_sae": len(data.offsets) - 1, "rows": len(data.tokens)}
    id_ = artifact_id("latents", 2, spec)
    parts = [store.put_part(id_, Part(name, data=content), 0, 0) for name, content in writer.parts().items()]
    store.commit(Manifest(id_, "latents", 2, spec, {}, parts, {"rows": [[0, len(data.tokens)]]}))
    return store.artifact(id_)


class Counted:
    """An artifact that counts the requests made of it."""

    def __init__(self, artifact: Artifact) -> None:
        self._artifact = artifact
        self.requests = 0

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._artifact, name)
        if name in {"read", "read_range", "download"}:
            self.requests += 1
        return found


def read_ours(cache: LatentCache, latent: int) -> int:
    """Reads one latent; returns how many windows there are."""
    record = cache.examples(latent)
    pool = cache.silent("test")
    made = 0
    for split in ("train", "test"):
        chosen = np.union1d(sampled_of(record, split), strongest_of(record, split))
        made += len([(record.window(int(i)), int(record.deciles[i])) for i in chosen])
    return made + len([pool.window(int(i), "test") for i in pool.draw(latent, SILENT, latent)])


def raw_request(artifact: Artifact, cache: LatentCache, latent: int) -> bytes:
    """Reads the bytes of a latent's record and does nothing with them."""
    index = cache.index
    shard = index.shard_of(latent)
    first, end = (int(index.example_byte_offsets[j] - index.example_byte_offsets[index.shard_starts[shard]])
                  for j in (latent, latent + 1))  # fmt: skip
    return artifact.read_range(examples_name(shard), CONTENT_START + first, end - first)


def write_delphi(data: Data, folder: Path) -> list[tuple[int, int, Path]]:
    """Writes what `save_splits` writes: uint16 locations, float16 activations, int64 tokens in every split."""
    d_sae = len(data.offsets) - 1
    rows, positions = np.divmod(data.places, CTX_LEN)
    latents = np.repeat(np.arange(d_sae), np.diff(data.offsets))
    bounds = np.linspace(0, d_sae, DELPHI_SPLITS + 1).astype(int)
    files: list[tuple[int, int, Path]] = []
    for low, high in zip(bounds[:-1].tolist(), bounds[1:].tolist(), strict=True):
        span = slice(int(data.offsets[low]), int(data.offsets[high]))
        # It stores entries in the order of tokens.
        order = np.argsort(data.places[span], kind="stable")
        columns = [rows[span], positions[span], latents[span] - low]
        tensors = {
            "locations": np.stack([c[order].astype(np.uint16) for c in columns], 1),
            "activations": data.activations[span][order].astype(np.float16),
            "tokens": data.tokens.astype(np.int64),
        }
        files.append((low, high, folder / f"{low}_{high - 1}.safetensors"))
        save_file(tensors, files[-1][2])
    return files


def _delphi_load(path: Path, first: int, latent: int) -> tuple[Tensor, Tensor, Tensor]:
    """`TensorBuffer.load`."""
    split = load_file(path)
    activations = torch.tensor(split["activations"])
    locations = torch.from_numpy(split["locations"].astype(np.int64))
    tokens = torch.tensor(split["tokens"].astype(np.int64))
    locations[:, 2] = locations[:, 2] + first
    wanted = torch.isin(locations[:, 2], torch.tensor([latent]))
    return locations[wanted], activations[wanted], tokens


def delphi_load(files: Sequence[tuple[int, int, Path]], latent: int) -> tuple[Tensor, Tensor, Tensor]:
    """`_build_selected` and `load_data_per_latent`: the file is read for its tokens and again for its entries."""
    first, _, path = next(f for f in files if f[0] <= latent < f[1])
    _, _, tokens = _delphi_load(path, first, latent)
    locations, activations, _ = _delphi_load(path, first, latent)
    order = torch.argsort(locations[:, 2], stable=True)
    return locations[order], activations[order], tokens


def delphi_construct(locations: Tensor, activations: Tensor, tokens: Tensor, seed: int) -> int:
    """`constructor` with `pool_max_activation_windows` and random negatives; returns how many windows there are."""
    flat = locations[:, 0] * tokens.shape[1] + locations[:, 1]
    windows, within = flat // LENGTH, flat % LENGTH
    reshaped = tokens.reshape(-1, LENGTH)
    silent = torch.ones(reshaped.shape[0], dtype=torch.bool)
    silent[windows.unique()] = False
    available = silent.nonzero(as_tuple=False).squeeze()
    unique, inverses, lengths = torch.unique_consecutive(windows, return_counts=True, return_inverse=True)
    peaks = torch.segment_reduce(activations, "max", lengths=lengths)
    dense = torch.zeros(len(unique), LENGTH, dtype=activations.dtype)
    dense[inverses, within] = activations
    order = torch.argsort(peaks, descending=True)
    made = [(t, a) for t, a in zip(reshaped[unique][order], dense[order], strict=True)]
    torch.manual_seed(seed)
    if available.numel() < SILENT:
        return len(made)
    chosen = available[torch.randint(0, available.shape[0], size=(SILENT,))]
    zeros = torch.zeros(SILENT, LENGTH)
    return len(made) + len([(t, a) for t, a in zip(reshaped[chosen], zeros, strict=True)])


@contextmanager
def object_store() -> Generator[Store]:
    """Starts NATS and SeaweedFS as `dragoman up` does, without services."""
    with tempfile.TemporaryDirectory() as home:
        stack = Stack(Path(home) / "stack", None, Ports.free(), services=[], say=say)
        with stack:
            told = stack.environment()
            names = ("ENDPOINT", "ACCESS_KEY", "SECRET_KEY", "BUCKET")
            endpoint, access_key, secret_key, bucket = (told[f"DRAGOMAN_S3_{name}"] for name in names)
            yield Store(StoreConfig(endpoint, access_key, secret_key, bucket))


def timed(act: Any) -> tuple[float, Any]:
    """Returns milliseconds and the result."""
    start = time.perf_counter()
    found = act()
    return (time.perf_counter() - start) * 1e3, found


def percentiles(values: Sequence[float]) -> dict[str, float]:
    """Returns p50 and p95 in ms."""
    return {"p50_ms": round(statistics.median(values), 2), "p95_ms": round(float(np.quantile(values, 0.95)), 2)}


def entry_bytes_per_token(data: Data) -> float:
    """Returns what the entries of all latents take, over tokens."""
    total = 0
    for low, high in zip(data.offsets[:-1].tolist(), data.offsets[1:].tolist(), strict=True):
        acts = data.activations[low:high]
        total += len(encode_entries(data.places[low:high], acts, float(acts.max(initial=0)), "float16"))
    return total / data.tokens.size


def measured(artifact: Artifact, files: Sequence[tuple[int, int, Path]], count: int) -> dict[str, Any]:
    """Reads latents in turns, ours and the peer's; returns times and request counts."""
    counted = Counted(artifact)
    cache = LatentCache(cast(Artifact, counted))
    open_ms, _ = timed(lambda: (cache.index, cache.silent("test")))
    open_requests = counted.requests
    alive = np.flatnonzero(cache.index.firing_count).tolist()
    latents = random.Random(0).sample(alive, min(count, len(alive)))
    ours: list[float] = []
    cpu: list[float] = []
    floor: list[float] = []
    load: list[float] = []
    construct: list[float] = []
    requests: set[int] = set()
    for turn, latent in enumerate(latents):
        for which in ("ours", "delphi") if turn % 2 else ("delphi", "ours"):
            if which == "ours":
                before, cpu_before = counted.requests, time.thread_time()
                ours.append(timed(lambda latent=latent: read_ours(cache, latent))[0])
                cpu.append((time.thread_time() - cpu_before) * 1e3)
                requests.add(counted.requests - before)
                # Of another latent, so that nothing has just been read.
                floor.append(timed(lambda turn=turn: raw_request(artifact, cache, latents[-1 - turn]))[0])
                continue
            taken, found = timed(lambda latent=latent: delphi_load(files, latent))
            load.append(taken)
            construct.append(
                timed(lambda found=found, latent=latent: delphi_construct(found[0], found[1], found[2], latent))[0]
            )
    return {
        **percentiles(ours),
        "cpu_p50_ms": round(statistics.median(cpu), 2),
        "request_alone": percentiles(floor),
        "requests_per_latent": sorted(requests),
        "one_or_two_requests": max(requests) <= 2,
        "open_ms": round(open_ms, 1),
        "open_requests": open_requests,
        "latents": len(latents),
        "delphi_constructor": percentiles(construct),
        "delphi_load": percentiles(load),
    }


def main() -> int:
    """Prints, last, one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=262_144)
    parser.add_argument("--latents", type=int, default=200)
    options = parser.parse_args()
    torch.set_num_threads(2)
    data = synthetic(4608, options.tokens)
    say(f"{len(data.places):,} entries of {data.tokens.size:,} tokens")
    with object_store() as store, tempfile.TemporaryDirectory() as folder:
        artifact = put(store, data)
        say("artifact committed")
        files = write_delphi(data, Path(folder))
        found = measured(artifact, files, options.latents)
        sizes: dict[str, int] = {}
        for part in artifact.manifest.parts:
            kind = part.name.split("-")[0].split(".")[0]
            sizes[kind] = sizes.get(kind, 0) + part.size_bytes
        on_disk = sum(file.stat().st_size for *_, file in files) / data.tokens.size
    per_token = {name: round(size / data.tokens.size, 1) for name, size in sizes.items()}
    result = {
        "name": "latent_read",
        "ratio": round(GOAL_MS / found["p50_ms"], 2),
        "goal": 1.0,
        **found,
        "peer": "eai-delphi 0.1.3, its steps in this file",
        "entry_bytes_per_token": {
            "4608": round(entry_bytes_per_token(data), 1),
            "36864": round(entry_bytes_per_token(synthetic(36_864, options.tokens)), 1),
            "goal": DELPHI_BYTES / 2,
        },
        "parts_bytes_per_token": per_token,
        "record_bytes_per_latent": round(sizes["examples"] / 4608),
        "delphi_bytes_per_token": round(on_disk, 1),
    }
    print(json.dumps(result))
    return 0 if found["one_or_two_requests"] else 1


if __name__ == "__main__":
    raise SystemExit(main())

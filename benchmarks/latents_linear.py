"""What a `latents` job costs beside the model's forward pass, by the size of the dictionary.

CPU seconds of this process with one thread, over folders: no server, no model. Activations are drawn at random, so that
every latent fires, which is the dearest case: a latent's record and entries are paid for when it fires at all. A
straight line is laid through the totals.

python benchmarks/latents_linear.py [--tokens 16384] [--d-sae 4608 9216 18432 36864]
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from activation.core.entries import FoundActivations, place_table
from activation.encoded_part import write_encoded
from activation.latents_kind import DRAW, ENCODE, INDEX, INVERT, LatentsKind
from activation.spec import LatentsSpec
from dragoman.artifacts import InputInfo, Manifest, PartInfo
from dragoman.folder import FolderArtifact
from dragoman.kinds import Context, Part, Task
from latent_cache.token_rows import TokenRows
from memory import keep, latents_kind, write_tokens
from process_time import keep_memory
from sparse_coders import TopKCoder, frozen

GOAL = 1.0
D_MODEL, K, BATCH_ROWS = 64, 32, 8
STAGES = {DRAW: "draw", INVERT: "invert", INDEX: "index"}


def encode(work: Path, d_sae: int, rows: TokenRows, per_shard: int) -> tuple[dict[str, float], PartInfo]:
    """Returns CPU seconds of the steps of one encoding task, and the part that it writes."""
    generator = torch.Generator().manual_seed(0)
    weights = TopKCoder(D_MODEL, d_sae, K)
    with torch.no_grad():
        weights.W_enc.copy_(torch.randn(d_sae, D_MODEL, generator=generator))
    coder = frozen(weights)
    index = np.arange(rows.row_count)
    tokens, documents = rows.tokens(index), rows.documents(index)
    found, spent, batch = FoundActivations(), list[float](), BATCH_ROWS * rows.ctx_len
    for first in range(0, tokens.size, batch):
        x = torch.randn(min(batch, tokens.size - first), D_MODEL, generator=generator)
        start = time.process_time()
        acts, indices = coder.encode(x)
        found.add(acts.numpy(), indices.numpy(), np.arange(first, first + len(x), dtype=np.int32))
        spent.append(time.process_time() - start)
    encoding = statistics.median(spent) * len(spent)
    start = time.process_time()
    ordered = found.by_latent(place_table(tokens, documents, 32), d_sae)
    name = "encoded-00000.safetensors"
    write_encoded(work / name, ordered, per_shard)
    part = Part(name, path=work / name, row_count=len(ordered), metadata={"first_row": 0}, keep=False)
    made = keep(work / "own", part, Task(ENCODE, 0, {}))
    return {"encode and gather": encoding, "sort and write": time.process_time() - start}, made


def measure(work: Path, d_sae: int) -> dict[str, float]:
    """Returns CPU seconds by step for one size."""
    (work / "own").mkdir(parents=True)
    tokens = FolderArtifact(work.parent / "tokens")
    coder = Manifest("coder-own", "coder", 1, {}, {}, [], {"d_sae": d_sae, "k": K})
    infos = {
        "tokens": InputInfo(tokens.id, "tokens", {}, tokens.manifest),
        "coder": InputInfo(coder.id, "coder", {}, coder),
    }
    spec = LatentsSpec.model_validate({"tokens_id": tokens.id, "coder_id": coder.id, "model": {"source": "none"}})
    kind = latents_kind(work)
    stages = kind.plan(spec, infos)
    per_shard = int(str(stages[ENCODE].tasks[0]["latents_per_shard"]))
    seconds, encoded = encode(work, d_sae, TokenRows(tokens), per_shard)
    made = {ENCODE: [encoded]}
    for stage, name in STAGES.items():
        start = time.process_time()
        made[stage] = _run(kind, spec, work, tokens, stage, [dict(t) for t in stages[stage].tasks], made)
        seconds[name] = time.process_time() - start
    return seconds


def _run(
    kind: LatentsKind, spec: LatentsSpec, work: Path, tokens: FolderArtifact, stage: int, payloads: list[Any], made: Any
) -> list[PartInfo]:
    earlier = [part for parts in made.values() for part in parts]
    own = FolderArtifact(work / "own", Manifest("latents-own", "latents", 2, {}, {}, earlier, {}))
    parts: list[PartInfo] = []
    for index, payload in enumerate(payloads):
        with tempfile.TemporaryDirectory(dir=work) as scratch:
            task = Task(stage, index, payload)
            context = Context("latents-own", task, {"tokens": tokens}, made, own, None, Path(scratch))
            parts += [keep(work / "own", part, task) for part in kind.run(spec, context) if isinstance(part, Part)]
    return parts


def main() -> None:
    """Prints a table and, last, one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=16_384)
    parser.add_argument("--d-sae", type=int, nargs="+", default=[4608, 9216, 18432, 36864])
    options = parser.parse_args()
    keep_memory()
    torch.set_num_threads(1)
    found: dict[int, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        write_tokens(Path(folder) / "tokens", options.tokens)
        measure(Path(folder) / "first", 1024)  # loads what is loaded on first use
        for d_sae in options.d_sae:
            found[d_sae] = measure(Path(folder) / str(d_sae), d_sae)
    totals = {d_sae: sum(steps.values()) for d_sae, steps in found.items()}
    slope, base = np.polyfit(list(totals), list(totals.values()), 1)
    print("| CPU seconds | " + " | ".join(f"d_sae {d_sae:,}" for d_sae in found) + " |")
    print("|---|" + "---|" * len(found))
    for name in next(iter(found.values())):
        print(f"| {name} | " + " | ".join(f"{steps[name]:.2f}" for steps in found.values()) + " |")
    print("| all of it | " + " | ".join(f"{total:.2f}" for total in totals.values()) + " |")
    print("| straight line | " + " | ".join(f"{base + slope * d_sae:.2f}" for d_sae in totals) + " |")
    least, most = min(totals), max(totals)
    result = {
        "name": "latents_linear",
        "ratio": round(totals[most] / totals[least] / (most / least), 3),
        "goal": GOAL,
        "floor": "growth in proportion to d_sae; below 1: slower than that",
        "tokens": options.tokens,
        "microseconds_per_latent": round(float(slope) * 1e6, 1),
        "cpu_seconds": {str(d): {n: round(v, 3) for n, v in steps.items()} for d, steps in found.items()},
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

"""Peak memory of `latents`: flat in tokens, linear in d_sae.

Run as `.venv/bin/python benchmarks/memory.py`. Every stage of the real kind runs in a process of its own, over folders,
one task after the other as in a worker, on one thread; its peak is VmHWM of /proc. Model: a Llama of two layers
and d_model 32 by config, random weights, so that 10^6 tokens take minutes; token ids follow a Zipf law. Measured at
10^5 and 10^6 tokens with one spec, and at three sizes of the coder. The floor of the slope in d_sae is the coder: 2
matrices of d_model float32, and W_enc in bfloat16 where it is searched.
"""

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from activation.coder_memory import coder_bytes
from activation.latents_kind import LatentsKind
from activation.spec import LatentsSpec
from dragoman.artifacts import InputInfo, Manifest, PartInfo
from dragoman.folder import FolderArtifact, file_sha256
from dragoman.kinds import Context, Part, Task
from dragoman.manifests import MANIFEST_NAME, manifest_to_json
from latent_cache.token_shard import write_token_shard

D_MODEL, CTX_LEN, VOCAB, K, ROWS_PER_SHARD = 32, 256, 1000, 8, 512
STAGES = ("encode", "draw", "invert", "index")
GOAL = 1.05


def commit(folder: Path, kind: str, statistics: Mapping[str, Any], metadata: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes the manifest of what lies in a folder."""
    parts = [
        PartInfo(p.name, p.name, p.stat().st_size, file_sha256(p), metadata=metadata.get(p.name, {}))
        for p in sorted(folder.iterdir())
    ]
    manifest = Manifest(f"{kind}-{'0' * 32}", kind, 1, {}, {}, parts, statistics)
    (folder / MANIFEST_NAME).write_bytes(manifest_to_json(manifest))


def write_tokens(folder: Path, token_count: int) -> None:
    """Rows of documents of 100 to 2,000 tokens; the last fifth of the rows is of the test split."""
    folder.mkdir()
    rows = token_count // CTX_LEN
    generator = np.random.default_rng(0)
    tokens = (generator.zipf(1.3, (rows, CTX_LEN)) % VOCAB).astype(np.int32)
    documents = np.repeat(np.arange(rows * CTX_LEN), generator.integers(100, 2000, rows * CTX_LEN))[: rows * CTX_LEN]
    documents = documents.reshape(rows, CTX_LEN).astype(np.int32)
    metadata: dict[str, Mapping[str, Any]] = {}
    for shard, low in enumerate(range(0, rows, ROWS_PER_SHARD)):
        name, here = f"rows-{shard:05d}.safetensors", slice(low, low + ROWS_PER_SHARD)
        write_token_shard(folder / name, tokens[here], documents[here])
        metadata[name] = {"first_row": low}
    train = rows * 4 // 5
    counts = {"row_count": rows, "train_row_count": train, "test_row_count": rows - train}
    commit(folder, "tokens", {"ctx_len": CTX_LEN, "token_count": rows * CTX_LEN, "has_bos": False, **counts}, metadata)


def _model(folder: Path) -> None:
    import torch
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=D_MODEL, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4, vocab_size=VOCAB
    )
    AutoModelForCausalLM.from_config(config).save_pretrained(folder)


def _coder(folder: Path, d_sae: int) -> None:
    import torch
    from sparse_coders import TopKCoder, save

    folder.mkdir()
    torch.manual_seed(1)
    coder = TopKCoder(D_MODEL, d_sae, K)
    with torch.no_grad():
        coder.W_enc.copy_(torch.randn(d_sae, D_MODEL))
    save(coder, folder)
    statistics = {"d_model": D_MODEL, "d_sae": d_sae, "k": K, "hookpoint": "model.layers.1"}
    commit(folder, "coder", statistics, {})


def latents_kind(cache: Path) -> LatentsKind:
    """Returns the kind as a worker has it, with one thread."""
    from activation.config import Config
    from activation.kinds import build

    config = Config(cache=cache, torch_threads=1, device="cpu")
    return next(k for k in build(config, None) if isinstance(k, LatentsKind))


def run_stage(work: Path, stage: int) -> None:
    """The child: runs all tasks of a stage; prints its peak in bytes."""
    spec, earlier = pickle.loads((work / "state.pickle").read_bytes())  # noqa: S301
    inputs = {role: FolderArtifact(work / role) for role in ("tokens", "coder")}
    kind = latents_kind(work / "cache")
    infos = {role: InputInfo(a.id, role, {}, a.manifest) for role, a in inputs.items()}
    made: list[PartInfo] = []
    for index, payload in enumerate(kind.plan(spec, infos)[stage].tasks):
        known = [p for parts in earlier.values() for p in parts]
        own = FolderArtifact(work / "own", Manifest("latents-own", "latents", 2, {}, {}, known, {}))
        with tempfile.TemporaryDirectory(dir=work) as scratch:
            task = Task(stage, index, payload)
            context = Context("latents-own", task, inputs, earlier, own, None, Path(scratch))
            made += [keep(work / "own", p, task) for p in kind.run(spec, context) if isinstance(p, Part)]
    if stage == 0 and not sum(part.row_count for part in made):
        raise RuntimeError("no latent fired; the benchmark would measure nothing")
    (work / "state.pickle").write_bytes(pickle.dumps((spec, {**earlier, stage: made})))
    print(_peak())


def _peak() -> int:
    # Not ru_maxrss, which begins with the memory of the process that started this one.
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def keep(folder: Path, part: Part, task: Task) -> PartInfo:
    """Moves a part that a task made into a folder."""
    target = folder / part.name
    if part.path is not None:
        part.path.rename(target)
    else:
        target.write_bytes(part.data or b"")
    size, sha256 = target.stat().st_size, file_sha256(target)
    return PartInfo(
        part.name, part.name, size, sha256, part.row_count, part.metadata, task.stage, task.index, part.keep
    )


def measure(token_count: int, d_sae: int) -> dict[str, float]:
    """Returns the peak of each stage, bytes."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        (work / "own").mkdir()
        (work / "cache").mkdir()
        write_tokens(work / "tokens", token_count)
        _model(work / "model")
        _coder(work / "coder", d_sae)
        names = {role: FolderArtifact(work / role).id for role in ("tokens", "coder")}
        spec = LatentsSpec.model_validate(
            {"tokens_id": names["tokens"], "coder_id": names["coder"], "model": {"source": str(work / "model")}}
        )
        spec = latents_kind(work / "cache").resolve(spec)
        (work / "state.pickle").write_bytes(pickle.dumps((spec, {})))
        peaks: dict[str, float] = {}
        for stage, name in enumerate(STAGES):
            begin = time.monotonic()
            command = [sys.executable, __file__, "--work", str(work), "--stage", str(stage)]
            environ = {**os.environ, "OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True, env=environ)
            peaks[name] = float(done.stdout.split()[-1])
            took = time.monotonic() - begin
            line = f"{token_count:>9,} tokens, d_sae {d_sae:>6,}: {name:<7} {peaks[name] / 1e6:7.1f} MB {took:6.1f} s"
            print(line, file=sys.stderr, flush=True)
        return peaks


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--work", type=Path, default=None, help=argparse.SUPPRESS)
    parser.add_argument("--stage", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--tokens", type=int, nargs=2, default=(100_000, 1_000_000))
    parser.add_argument("--d-sae", type=int, nargs="+", default=(4096, 16384, 32768))
    options = parser.parse_args()
    if options.work is not None:
        run_stage(options.work, options.stage)
        return
    few, many = options.tokens
    peaks = {size: measure(few, size) for size in options.d_sae}
    at_many = measure(many, options.d_sae[0])
    at_few = peaks[options.d_sae[0]]
    slopes = {s: float(np.polyfit(options.d_sae, [peaks[d][s] for d in options.d_sae], 1)[0]) for s in STAGES}
    ratios = {s: round(at_many[s] / at_few[s], 4) for s in STAGES}
    result: dict[str, Any] = {
        "name": "memory",
        "ratio": round(max(at_many.values()) / max(at_few.values()), 4),
        "goal": GOAL,
        "what": f"largest peak of a worker's process at {many} tokens over {few}; model of d_model {D_MODEL} by config",
        "ratio_by_stage": ratios,
        "peak_bytes": {str(few): at_few, str(many): at_many},
        "bytes_per_latent": {s: round(slope) for s, slope in slopes.items()},
        "floor_bytes_per_latent": coder_bytes({"d_model": D_MODEL, "d_sae": 1, "k": K}),
        "d_sae": list(options.d_sae),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()

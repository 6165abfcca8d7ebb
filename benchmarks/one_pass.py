"""What it saves to train several coders in one pass of the model: one job for all against a job for each.

A model of SmolLM2-135M's shape (random weights: only the time matters) streams tokens to TopK coders at layers 5 and 9,
k 16 and 32, through the very kinds of the trainer. `ratio` is the CPU time of a pass for each over that of one pass for
all, so that a busy machine changes little; `wall_ratio` the same in seconds. The coders come out bit for bit the same
both ways, which is checked. `ideal` is what could be had if nothing but passes and steps took time: both are measured,
the passes by running the model alone. The last line is one JSON object.
Usage: python benchmarks/one_pass.py [--tokens 32768] [--d-sae 4608] [--threads 2]
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from dragoman.folder import FolderArtifact
from hooked_models.batches import batches
from hooked_models.model_ref import ModelRef
from sae_trainer.coder_kind import CoderKind
from sae_trainer.coders_kind import CodersKind
from sae_trainer.coders_spec import CodersSpec
from sae_trainer.config import Config
from sae_trainer.model_host import host_of
from sae_trainer.spec import CoderSpec
from transformers import LlamaConfig, LlamaForCausalLM

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests.support.local_run import run_local
from tests.unit.sae_trainer.tokens_folder import SHARD_ROWS, write_tokens

GOAL = 2.0
HOOKPOINTS, KS = ("model.layers.5", "model.layers.9"), (16, 32)
CTX_LEN, BATCH_ROWS, VOCAB, WARM_TOKENS = 257, 8, 1024, 3000


class Spent(NamedTuple):
    """What some work took."""

    cpu: float
    wall: float


def say(line: str) -> None:
    """Tells the one who waits."""
    print(line, file=sys.stderr, flush=True)


def save_model(folder: Path) -> None:
    """Writes a model of SmolLM2-135M's shape, but for its vocabulary, which no pass here gets to."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
        vocab_size=VOCAB, max_position_embeddings=2048, tie_word_embeddings=True,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)


def specs_of(tokens: FolderArtifact, model: Path, d_sae: int) -> list[CoderSpec]:
    """Returns the coders: each hookpoint with each k."""
    streamed = {"tokens_id": tokens.id, "model": {"source": str(model)}, "batch_size": BATCH_ROWS}
    base = {"streamed": streamed, "d_sae": d_sae, "checkpoint_steps": 10**6}
    return [CoderSpec.model_validate({**base, "hookpoint": at, "k": k}) for at in HOOKPOINTS for k in KS]


def timed(kind: Any, spec: Any, tokens: FolderArtifact, folder: Path) -> tuple[Spent, FolderArtifact]:
    """Runs a job; what is found out of the model once a host is found out before."""
    kind.resolve(spec)
    cpu, wall = time.process_time(), time.perf_counter()
    made = run_local(kind, spec, {"tokens": tokens}, folder)
    return Spent(time.process_time() - cpu, time.perf_counter() - wall), made


def forward_cpu(host: Any, model: Path, hookpoint: str, rows: int) -> float:
    """Returns CPU seconds of the passes alone, from a quarter of them."""
    loaded = host.load(host.refs.resolve(ModelRef(source=str(model))))
    count = max(BATCH_ROWS, rows // 4)
    ids = np.random.default_rng(1).integers(3, VOCAB, (count, CTX_LEN)).astype(np.int32)
    cpu = time.process_time()
    for _ in batches(loaded, [hookpoint], ids, np.zeros_like(ids), 0, BATCH_ROWS):
        pass
    return (time.process_time() - cpu) * rows / count


def figures(together: Spent, alone: Sequence[Spent], passes: Sequence[float], token_count: int) -> dict[str, Any]:
    """Returns what the benchmark found; `passes`: CPU seconds of the model in each of `alone`."""
    cpu, wall = sum(spent.cpu for spent in alone), sum(spent.wall for spent in alone)
    steps = sum(max(0.0, spent.cpu - forward) for spent, forward in zip(alone, passes, strict=True))
    return {
        "name": "one_pass",
        "ratio": round(cpu / together.cpu, 3),
        "goal": GOAL,
        "wall_ratio": round(wall / together.wall, 3),
        "ideal": round((sum(passes) + steps) / (max(passes) + steps), 3),
        "coders": len(alone),
        "tokens": token_count,
        "together_tokens_per_cpu_second": round(token_count / together.cpu),
        "alone_tokens_per_cpu_second": round(token_count / cpu),
        "together_tokens_per_second": round(token_count / together.wall),
        "alone_tokens_per_second": round(token_count / wall),
        "forward_share_alone": round(sum(passes) / cpu, 3),
    }


def main() -> int:
    """Prints, last, one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tokens", type=int, default=32_768)
    parser.add_argument("--d-sae", type=int, default=4608)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    rows = -(-options.tokens // (CTX_LEN - 1) // SHARD_ROWS) * SHARD_ROWS
    with tempfile.TemporaryDirectory() as root:
        home = Path(root)
        save_model(home / "model")
        tokens = write_tokens(home / "tokens", VOCAB, CTX_LEN, rows + SHARD_ROWS, rows)
        config = Config(options.threads, "cpu", 2**30, cache=home / "cache")
        host = host_of(config, None)
        specs = specs_of(tokens, home / "model", options.d_sae)
        warm = specs[0].model_copy(update={"epochs": WARM_TOKENS / (rows * (CTX_LEN - 1))})
        run_local(CoderKind(config, host=host), warm, {"tokens": tokens}, home / "warm")  # compiles, loads
        kind = CodersKind(config, host)
        together, all_of_them = timed(kind, CodersSpec(coders=tuple(specs)), tokens, home / "together")
        say(f"one pass for {len(specs)} coders: {together}")
        alone: list[Spent] = []
        for number, spec in enumerate(specs):
            spent, made = timed(CoderKind(config, host=host), spec, tokens, home / f"alone-{number}")
            weights = all_of_them.read(f"coder-{number:05d}/sae.safetensors")
            if made.read("sae.safetensors") != weights:
                raise RuntimeError(f"coder {number} is another one when it is trained alone")
            alone.append(spent)
            say(f"a pass for {spec.hookpoint} k {spec.k}: {spent}")
        passes = [forward_cpu(host, home / "model", spec.hookpoint, rows) for spec in specs]
    found = figures(together, alone, passes, rows * (CTX_LEN - 1))
    print(json.dumps({**found, "d_sae": options.d_sae, "threads": options.threads}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

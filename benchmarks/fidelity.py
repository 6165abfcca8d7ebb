"""Splicing a coder into a model, against the bare full forward passes that its four arms are.

Arms: the original, the reconstruction, zero and the mean, at layer 9 of a model of SmolLM2-135M's shape (with random
weights: the time is the same). Floor: four plain forward passes of the whole model with its logits, in the same dtype
and batch, measured in alternation in one run. Ours shares the layers before the hookpoint and does all that a fidelity
task does: encode, decode, log-probabilities, CE and KL by row. Usage: python benchmarks/fidelity.py [--threads 2]
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from activation.core.arms import Arms, StandIn
from activation.core.comparison import positions_at_a_time
from activation.core.unembed import Unembedding
from sparse_coders import TopKCoder
from transformers import AutoModelForCausalLM, LlamaConfig

GOAL = 0.95
LAYERS, D_MODEL, VOCAB, D_SAE, K = 30, 576, 49152, 4608, 32
ARMS = 4


def model_like_smollm2() -> Any:
    """Returns a model of SmolLM2-135M's shape."""
    torch.manual_seed(0)
    config = LlamaConfig(
        hidden_size=D_MODEL, intermediate_size=1536, num_hidden_layers=LAYERS, num_attention_heads=9,
        num_key_value_heads=3, vocab_size=VOCAB, max_position_embeddings=2048, tie_word_embeddings=True,
        use_cache=False,
    )  # fmt: skip
    return AutoModelForCausalLM.from_config(config).eval()


def coder() -> TopKCoder:
    """Returns a coder with random weights."""
    made = TopKCoder(D_MODEL, D_SAE, K)
    with torch.no_grad():
        made.W_enc.copy_(torch.randn(D_SAE, D_MODEL) * D_MODEL**-0.5)
        made.W_dec.copy_(made.W_enc)
    return made


class Times:
    """Seconds of one kind of work, by the clock and of the CPU, which stays comparable on a busy machine."""

    def __init__(self, work: Callable[[], object]) -> None:
        self._work = work
        self.wall: list[float] = []
        self.cpu: list[float] = []

    def measure(self) -> None:
        """Does the work once."""
        wall, cpu = time.perf_counter(), time.process_time()
        self._work()
        self.wall.append(time.perf_counter() - wall)
        self.cpu.append(time.process_time() - cpu)


def main() -> int:
    """Prints a table and, last, one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--rows", type=int, default=2)
    parser.add_argument("--ctx-len", type=int, default=256)
    parser.add_argument("--layer", type=int, default=9)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    model, place = model_like_smollm2(), f"layers.{options.layer}"
    stand_in = StandIn("coder", coder(), place, place)
    means = {place: torch.zeros(D_MODEL, dtype=torch.float64)}
    arms = Arms(Unembedding(model, model.base_model), model.base_model, [stand_in], means)
    tokens = np.random.default_rng(0).integers(3, VOCAB, (options.rows, options.ctx_len)).astype(np.int32)
    documents = np.zeros_like(tokens)
    ids = torch.from_numpy(tokens.astype(np.int64))
    device = torch.device("cpu")

    def ours() -> object:
        return list(arms.sums(tokens, documents, 0, device))

    @torch.no_grad()
    def bare() -> object:
        return model(input_ids=ids).logits

    # The first batch of a task also makes sure that the shared layers may be shared: one pass more, not timed here.
    ours()
    own, full = Times(ours), Times(bare)
    for number in range(options.rounds):
        full.measure()
        own.measure()
        sys.stderr.write(f"round {number + 1} of {options.rounds}: {full.wall[-1]:.2f} and {own.wall[-1]:.2f} s\n")
    report(options, own, full, tokens.size)
    return 0


def report(options: argparse.Namespace, own: Times, full: Times, count: int) -> None:
    """Prints what was measured."""
    own_seconds, full_seconds = statistics.median(own.wall), statistics.median(full.wall)
    print(f"{options.threads} threads, {options.rows} rows of {options.ctx_len}, layer {options.layer} of {LAYERS}")
    print(
        f"one bare forward pass {count / full_seconds:,.0f} tokens/s, {ARMS} arms {count / own_seconds:,.0f} tokens/s"
    )
    limit = positions_at_a_time(VOCAB, torch.device("cpu")) * VOCAB * 4 * 4
    result = {
        "name": "fidelity",
        "ratio": round(ARMS * full_seconds / own_seconds, 2),
        "goal": GOAL,
        "cpu_ratio": round(ARMS * statistics.median(full.cpu) / statistics.median(own.cpu), 2),
        "tokens_per_second": round(count / own_seconds),
        "bare_forward_tokens_per_second": round(count / full_seconds),
        "passes_of_the_floor": ARMS,
        "logit_bytes_at_most": limit,
    }
    print(json.dumps(result))


if __name__ == "__main__":
    raise SystemExit(main())

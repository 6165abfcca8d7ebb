"""How much of a planted dictionary coders of each architecture find with the trainer's defaults, and a peer's do.

Tokens are a mean, plus a few atoms of a hidden dictionary, plus a little noise; a coder has as many latents as there
are atoms, and is told nothing but how many are active. MMCS is the mean over atoms of the largest cosine with a row of
W_dec. A seed draws dictionary, tokens and weights anew; intervals are Student's, over seeds. dictionary_learning takes
part where it is installed (see `peer_dictionaries`), with our learning rate and batches and its own everything else.
Usage: python benchmarks/recovery.py [--seeds 5] [--tokens 1000000] [--peer-seeds 5]
"""

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import peer_dictionaries
import sparse_coders
import torch
from sae_trainer.coder_run import CoderRun
from sae_trainer.planned_run import planned
from sae_trainer.source import Source
from sae_trainer.spec import CoderSpec
from scipy.stats import t as student
from torch import Tensor

GOAL = 0.95
_SAMPLE_TOKENS = 16_384
_GROUP = 8
"""Atoms that come together, where atoms are correlated."""
_CHUNK = 65_536

ARCHITECTURES: Mapping[str, Mapping[str, object]] = {
    "topk": {},
    "multi_topk": {"architecture": "topk", "multi_topk": True},
    "batch_topk": {},
    "matryoshka_batch_topk": {},
    "relu": {},
    "gated": {},
    "jumprelu": {},
}
"""Fields of the spec beside widths, sparsity and seed."""


class Shape(NamedTuple):
    """What is planted."""

    d_model: int
    atoms: int
    active: int
    power: float = 0.0
    """The r-th atom is as frequent as 1 / r^power."""
    boost: float = 1.0
    """How many times as likely all atoms of a group are in a tenth of the tokens."""


SHAPES: Mapping[str, Shape] = {
    "even": Shape(32, 64, 3),
    "power law": Shape(64, 128, 4, power=0.7),
    "correlated": Shape(48, 96, 4, boost=8.0),
}


class Planted(NamedTuple):
    """Tokens, and what they are made of."""

    x: Tensor
    """[n, d_model]"""
    dictionary: Tensor
    """[atoms, d_model], rows of unit norm."""


def planted_of(shape: Shape, n: int, seed: int) -> Planted:
    """Returns n tokens: 2 + `active` different atoms with strengths in 1..2 + noise of deviation 0.01."""
    generator = torch.Generator().manual_seed(seed)
    dictionary = torch.nn.functional.normalize(torch.randn(shape.atoms, shape.d_model, generator=generator))
    weights = torch.arange(1, shape.atoms + 1).float() ** -shape.power
    weights = weights[torch.randperm(shape.atoms, generator=generator)]
    pieces = [_tokens(shape, dictionary, weights, min(_CHUNK, n - done), generator) for done in range(0, n, _CHUNK)]
    return Planted(torch.cat(pieces), dictionary)


def _tokens(shape: Shape, dictionary: Tensor, weights: Tensor, n: int, generator: torch.Generator) -> Tensor:
    hot = torch.rand(n, shape.atoms // _GROUP, generator=generator) < 0.1
    likely = weights * (1 + (shape.boost - 1) * hot.float()).repeat_interleave(_GROUP, 1)
    # The first to arrive, at rates in proportion: a draw without replacement.
    arrival = torch.empty(n, shape.atoms).exponential_(generator=generator) / likely
    chosen = arrival.topk(shape.active, largest=False).indices
    strengths = 1 + torch.rand(n, shape.active, generator=generator)
    signal = torch.nn.functional.embedding_bag(chosen, dictionary, per_sample_weights=strengths, mode="sum")
    return 2 + signal + 0.01 * torch.randn(n, shape.d_model, generator=generator)


def mmcs(rows: Tensor, dictionary: Tensor) -> float:
    """Returns the mean over atoms of the largest cosine with a row."""
    return float((dictionary @ torch.nn.functional.normalize(rows.float(), dim=1).T).max(1).values.mean())


def spec_of(name: str, shape: Shape, seed: int, **fields: object) -> CoderSpec:
    """Returns the spec of a coder of the right width and sparsity, all else by default."""
    own = {"architecture": name, **ARCHITECTURES[name]}
    sparsity = "target_l0" if name in ("relu", "gated", "jumprelu") else "k"
    given = {"activations_id": "activations-" + "0" * 32, "d_sae": shape.atoms, sparsity: shape.active}
    return CoderSpec.model_validate({**given, "seed": seed, **own, **fields})


def trained(spec: CoderSpec, x: Tensor) -> CoderRun:
    """Trains a coder on tokens in their order, as a task of the trainer does."""
    source = Source("planted", x.shape[1], (len(x),))
    run = CoderRun(planned(spec, source, source), "coder-" + "0" * 32, torch.device("cpu"))
    run.begin({source.hookpoint: x[:_SAMPLE_TOKENS]})
    for batch in x.split(run.run.batch_tokens)[: run.run.step_count]:
        run.step({source.hookpoint: batch})
    return run


def finished(run: CoderRun) -> sparse_coders.SparseCoder:
    """Returns the coder that the run's artifact holds."""
    with tempfile.TemporaryDirectory() as folder:
        list(run.parts(Path(folder)))
        return sparse_coders.load(Path(folder))


def ours(name: str, shape: Shape, planted: Planted, seed: int) -> float:
    """MMCS with the trainer's defaults."""
    coder = finished(trained(spec_of(name, shape, seed), planted.x))
    return mmcs(coder.W_dec.detach(), planted.dictionary)


def peer(name: str, shape: Shape, planted: Planted, seed: int) -> float | None:
    """MMCS of dictionary_learning; None where it is not installed or has no such coder."""
    source = Source("planted", shape.d_model, (len(planted.x),))
    run = planned(spec_of(name, shape, seed), source, source).run
    trainer = peer_dictionaries.trainer_of(name, shape.d_model, shape.active, run, seed)
    if trainer is None:
        return None
    # Three of its trainers start from a bias of 0, and would spend the run on the mean.
    centred = planted.x - planted.x.mean(0)
    for batch in centred.split(run.batch_tokens)[: run.step_count]:
        trainer.step(batch)
    return mmcs(trainer.rows(), planted.dictionary)


Trial = Callable[[str, Shape, Planted, int], float | None]


def estimate(values: Sequence[float]) -> str:
    """Returns the mean over seeds with Student's interval; no width is known from one seed."""
    n = len(values)
    half = float(student.ppf(0.975, n - 1)) * statistics.stdev(values) / n**0.5 if n > 1 else float("nan")
    return f"{statistics.mean(values):.3f} ± {half:.3f} ({n} seeds, least {min(values):.3f})"


class Key(NamedTuple):
    """What a value is of."""

    who: str
    shape: str
    architecture: str


def measured(options: argparse.Namespace) -> dict[Key, list[float]]:
    """Returns MMCS by seed, telling each as it comes: a run that is stopped has told what it found."""
    found: dict[Key, list[float]] = {}
    for seed in range(options.seeds):
        trials: dict[str, Trial] = {"ours": ours}
        if seed < options.peer_seeds:
            trials["dictionary_learning"] = peer
        for shape_name, shape in SHAPES.items():
            planted = planted_of(shape, options.tokens, seed)
            for name in options.architectures:
                for who, trial in trials.items():
                    value = trial(name, shape, planted, seed)
                    if value is not None:
                        found.setdefault(Key(who, shape_name, name), []).append(value)
                        print(f"seed {seed}  {shape_name:10}  {name:22}  {who:20} {value:.3f}", file=sys.stderr)
    return found


def report(found: Mapping[Key, Sequence[float]]) -> None:
    """Prints a table and, last, one JSON object."""
    for key, values in found.items():
        print(f"{key.shape:10}  {key.architecture:22}  {key.who:20} {estimate(values)}")
    means = {key: statistics.mean(values) for key, values in found.items() if key.who == "ours"}
    missed = sorted(f"{key.architecture}, {key.shape}" for key, mean in means.items() if mean < GOAL)
    ratio = round(min(means.values()) / GOAL, 3)
    print(json.dumps({"name": "recovery", "ratio": ratio, "goal": 1.0, "mmcs_goal": GOAL, "below_goal": missed}))


def main() -> None:
    """Reads the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--peer-seeds", type=int, default=5, help="of these, how many for the peer too")
    parser.add_argument("--tokens", type=int, default=1_000_000)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--architectures", nargs="+", choices=ARCHITECTURES, default=list(ARCHITECTURES))
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    report(measured(options))


if __name__ == "__main__":
    main()

"""All scorers x {trained, control, shuffled} on SmolLM2-135M with a trained coder and the strongest local judge.

Jobs on a stack of its own under --home, the pipeline of `dragoman demo` with every scorer: what is done stays done, so
that an interrupted run goes on where it was. Three tables: each scorer's mean on the trained side, on the control (the
same model with its weights redrawn) and with shuffled labels; Spearman's correlation of scorers over the trained
latents, beside that of 2410.13928 over 800; tokens per latent. The ratio is the number of latents scored on the trained
side over 24. With the defaults some hours on two cores, nearly all of it the judge; --scorers, --latents and the counts
make it shorter. Usage: python benchmarks/scorers_table.py [--home ~/.dragoman-scorers] [--latents 24]
"""

import argparse
import itertools
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import yaml
from dragoman.artifacts import Manifest
from dragoman.client import Addresses, Client
from dragoman.jobs import JobRecord, JobState
from dragoman.models import bar, convert_gguf, pull
from dragoman.pipeline import parse
from dragoman.stack import EMBEDDER, JUDGE, LlmChoice, Ports, Stack, default_home
from dragoman.stack.engines import LLAMA_CPP, LLAMA_SERVER
from scipy.stats import spearmanr
from scorer.core.measures import SIMULATED, TRIALS
from scorer.core.scorers import METHODS
from scorer.core.scorers.method import EFFECTS, EMBEDDINGS, LOGPROBS, TEXTS

SUBJECT, CORPUS = "smollm2-135m-instruct", "sotu"
SIDES = {"trained": "trained", "control": "rerandomized_incl_emb"}
"""With the weights of each."""
GENERATION = Path(__file__).resolve().parents[1] / "services" / "scorer" / "generation.yaml"
GOAL_LATENTS = 24
SPARE = 1 / 4
"""Latents more than asked for, as a share: some are rare."""
STEPS = ("train", "coder", "latents", "explanations")
"""Of the demo's pipeline, those that are taken, for each side."""
COUNTS = {TRIALS: (5, 5, 5), SIMULATED: (2, 1, 1)}
"""Active, inactive and null windows where they are not those of the options: a trial takes five windows, a simulated
window as many requests as it has tokens."""
ABLE = frozenset({LOGPROBS, EMBEDDINGS, EFFECTS, TEXTS})
"""What the laptop's engines and this pipeline have; scorers that need more are named and left out."""
ASKED = [name for name, method in METHODS.items() if method.needs <= ABLE]
TIMEOUT_S = 300.0
"""For a submission: the first that needs it probes the engine, which may be busy."""
PUBLISHED = {
    ("fuzzing", "detection"): 0.73, ("fuzzing", "simulation"): 0.75, ("fuzzing", "embedding"): 0.41,
    ("fuzzing", "surprisal"): 0.30, ("detection", "simulation"): 0.44, ("detection", "embedding"): 0.71,
    ("detection", "surprisal"): 0.62, ("simulation", "embedding"): 0.28, ("simulation", "surprisal"): 0.15,
    ("embedding", "surprisal"): 0.79,
}  # fmt: skip
"""Spearman, 2410.13928."""


@dataclass(frozen=True)
class Scores:
    """A scores artifact."""

    manifest: Manifest
    rows: Sequence[Mapping[str, Any]]

    @property
    def metric(self) -> str:
        """The one of verdicts."""
        metrics: Any = self.manifest.statistics["metrics"]
        return str(metrics[0])

    def mean(self, prefix: str = "") -> str:
        """Mean over latents with its interval."""
        found: Any = self.manifest.statistics[prefix + self.metric]
        if found["mean"] is None:
            return "none"
        interval = "" if found["low"] is None else f" [{found['low']:.2f}, {found['high']:.2f}]"
        return f"{found['mean']:.2f}{interval}"

    def values(self) -> dict[int, float]:
        """The metric by latent."""
        return {row["latent"]: row[self.metric] for row in self.rows if row[self.metric] is not None}


def jobs_of(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the jobs: the demo's up to the explanations, then every scorer on either side."""
    demo = yaml.safe_load(resources.files("dragoman").joinpath("demo.yaml").read_text())
    wanted = {"tokens", *(f"{side}_{step}" for side in SIDES for step in STEPS)}
    jobs = {name: job for name, job in demo["jobs"].items() if name in wanted}
    given = {**demo["vars"], **yaml.safe_load("{" + ",".join(options.set) + "}")}
    count = options.latents + round(SPARE * options.latents)
    ranks = np.linspace(given["d_sae"] // 100, given["d_sae"] // 5, count).astype(int).tolist()
    for side, scorer in itertools.product(SIDES, options.scorers):
        if TEXTS in METHODS[scorer].needs:
            jobs |= _generation(side)
            continue
        active, inactive, nulls = COUNTS.get(METHODS[scorer].form, (options.active, options.inactive, options.nulls))
        spec = {
            "latents_id": f"${{{side}_latents}}", "explanations_id": f"${{{side}_explanations}}", "scorer": scorer,
            "active_count": active, "inactive_count": inactive, "null_count": nulls, "max_failed_fraction": 1.0,
        }  # fmt: skip
        if EFFECTS in METHODS[scorer].needs:
            spec["effects_id"] = f"${{{side}_effects}}"
            jobs[f"{side}_effects"] = _effects(side, ranks, options)
        jobs[f"{side}_{scorer}"] = {"kind": "scores", "spec": spec}
    written = {"texts": options.active, "natural": 10 * options.inactive, "bos": "always", "packing": "packed"}
    return {"vars": {**given, **written, "ranks": ranks}, "jobs": jobs}


def _generation(side: str) -> dict[str, Any]:
    """Returns the jobs of generation.yaml for one side, under names of their own."""
    text = GENERATION.read_text().replace("${var:weights}", SIDES[side])
    for name in ("explanations", "latents", "coder"):
        text = text.replace(f"${{var:{name}}}", f"${{{side}_{name}}}")
    for name in ("texts", "tokens", "written"):
        text = text.replace(f"${{{name}}}", f"${{{side}_{name}}}")
    return {f"{side}_{name}": job for name, job in yaml.safe_load(text)["jobs"].items()}


def _effects(side: str, ranks: Sequence[int], options: argparse.Namespace) -> dict[str, Any]:
    spec = {
        "latents_id": f"${{{side}_latents}}", "selection": {"ranks": list(ranks)}, "kl_targets": [1.0],
        "prompts": "random", "split": "test", "prompt_count": max(20, 2 * options.active), "new_tokens": 16,
    }  # fmt: skip
    return {"kind": "effects", "spec": spec}


def run(options: argparse.Namespace) -> dict[str, Scores]:
    """Runs what is not there yet; returns the scores by side and scorer."""
    home: Path = options.home
    paths = {name: _pulled(name, options.models) for name in (SUBJECT, CORPUS)}
    model = convert_gguf(paths[SUBJECT], paths[SUBJECT].with_suffix(""))
    overrides = {"model": str(model), "corpus": str(paths[CORPUS])}
    pipeline = parse(json.dumps(jobs_of(options)), "scorers_table", overrides)
    llm = LlmChoice(options.judge, engine=options.llm)
    stack = Stack(
        home, llm, Ports.free(), embedder=EMBEDDER, say=_say, pull=lambda name, _: _pulled(name, options.models)
    )
    with stack, Client(Addresses.find({}, home), timeout=TIMEOUT_S) as client:
        ended = dict(_ended(client, client.submit_pipeline(pipeline)))
        done = {name: job.id for name, job in ended.items() if job.state is JobState.SUCCEEDED and job.kind == "scores"}
        return {name: _read(client, id_, home / "reports") for name, id_ in done.items()}


def _pulled(name: str, home: Path) -> Path:
    with bar(name) as progress:
        return pull(name, home, progress)


def _ended(client: Client, jobs: Mapping[str, JobRecord]) -> Iterator[tuple[str, JobRecord]]:
    for job in jobs.values():
        if job.state.terminal and job.state is not JobState.SUCCEEDED:
            client.retry(job.id)
    for name, job in jobs.items():
        ended = client.wait(job.id)
        _say(f"{name}: {ended.state.lower()}{f', {ended.failure.message}' if ended.failure else ''}")
        yield name, ended


def _read(client: Client, id_: str, folder: Path) -> Scores:
    path = client.download(id_, folder) / "latents.parquet"
    return Scores(client.manifest(id_), pq.read_table(path).to_pylist())


def _say(line: str) -> None:
    sys.stderr.write(f"{line}\n")


def means(scores: Mapping[str, Scores], scorers: Sequence[str]) -> Iterator[str]:
    """Yields the table of means."""
    yield f"{'scorer':<27}{'metric':<10}{'floor':>6}  {'trained':<20}{'control':<20}{'shuffled':<20}{'n':>4}"
    for name in scorers:
        sides = [scores.get(f"{side}_{name}") for side in SIDES]
        trained, control = sides
        if trained is None:
            yield f"{name:<27}not scored"
            continue
        floor: Any = trained.manifest.statistics["floor"]
        shown = (trained.mean(), control.mean() if control else "not scored", trained.mean("null_"))
        said = "".join(f"{mean:<20}" for mean in shown)
        yield f"{name:<27}{trained.metric[:9]:<10}{floor or 0:>6.2f}  {said}{len(trained.values()):>4}"
    for name, method in METHODS.items():
        if name not in ASKED:
            yield f"{name:<27}left out: needs {', '.join(sorted(method.needs - ABLE))}"


def correlations(scores: Mapping[str, Scores], scorers: Sequence[str]) -> Iterator[str]:
    """Yields Spearman's correlation of each pair of scorers over the trained latents, the published one in brackets."""
    values = {name: scores[f"trained_{name}"].values() for name in scorers if f"trained_{name}" in scores}
    yield "Spearman over trained latents (n) [published]"
    for one, other in itertools.combinations(values, 2):
        common = sorted(values[one].keys() & values[other].keys())
        pairs = np.asarray([(values[one][j], values[other][j]) for j in common])
        flat = len(common) < 3 or (np.ptp(pairs, axis=0) == 0).any()
        found = "none" if flat else f"{spearmanr(pairs[:, 0], pairs[:, 1]).statistic:.2f}"
        known = PUBLISHED.get((one, other)) or PUBLISHED.get((other, one))
        yield f"{one:<27}{other:<27}{found:>6} ({len(common)}){f' [{known:.2f}]' if known else ''}"


def tokens(scores: Mapping[str, Scores], scorers: Sequence[str]) -> Iterator[str]:
    """Yields tokens per latent, both arms together, of the trained side."""
    yield f"{'tokens per latent':<27}{'prompt':>10}{'uncached':>10}{'generated':>10}{'questions':>11}"
    for name in scorers:
        if f"trained_{name}" not in scores:
            continue
        said: Any = scores[f"trained_{name}"].manifest.statistics
        count = max(1, said["attempted"])
        prompt, cached, written = (said[f"{what}_tokens"] / count for what in ("prompt", "cached", "completion"))
        asked = said["question_count"] / count
        yield f"{name:<27}{prompt:>10,.0f}{prompt - cached:>10,.0f}{written:>10,.0f}{asked:>11,.1f}"


def parsed() -> argparse.Namespace:
    """Returns the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--home", type=Path, default=Path.home() / ".dragoman-scorers")
    parser.add_argument("--models", type=Path, default=default_home(os.environ), help="where model files are kept")
    parser.add_argument("--judge", default=JUDGE)
    parser.add_argument("--llm", choices=[LLAMA_CPP, LLAMA_SERVER], default=LLAMA_CPP, help="as for `dragoman up`")
    parser.add_argument("--latents", type=int, default=GOAL_LATENTS)
    parser.add_argument("--scorers", nargs="+", choices=ASKED, default=ASKED, metavar="NAME")
    parser.add_argument("--active", type=int, default=5, help="windows whose right answer is yes; trials take 5")
    parser.add_argument("--inactive", type=int, default=5)
    parser.add_argument("--nulls", type=int, default=2, help="of each that are asked of the shuffled arm too")
    parser.add_argument(
        "--set", nargs="*", default=[], metavar="NAME: VALUE", help="variables of demo.yaml, as 'documents: 12'"
    )
    return parser.parse_args()


def main() -> int:
    """Prints the tables and, last, one JSON object."""
    options = parsed()
    scores = run(options)
    for table in (means, correlations, tokens):
        print("\n".join(table(scores, options.scorers)) + "\n")
    counts = [len(found.values()) for name, found in scores.items() if name.startswith("trained_")]
    least = min(counts, default=0) if len(counts) == len(options.scorers) else 0
    result = {"name": "scorers_table", "ratio": round(least / GOAL_LATENTS, 3), "goal": 1.0, "latents": least}
    print(json.dumps({**result, "scorers": len(counts)}))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""A whole Dragoman of real processes for tests: four servers, four workers, one language model, tiny jobs."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dragoman.client import Addresses, Client
from dragoman.jobs import JobRecord
from dragoman.store import Store

from tests.support.cluster import Cluster
from tests.support.llm_engine import Engine

SERVICES = {"activation": "activation", "sae-trainer": "sae_trainer", "explainer": "explainer", "scorer": "scorer"}
SERVICE_OF = {
    "tokens": "activation",
    "activations": "activation",
    "latents": "activation",
    "coder": "sae-trainer",
    "evaluation": "sae-trainer",
    "explanations": "explainer",
    "scores": "scorer",
    "scorecard": "scorer",
}


@dataclass
class World:
    """One namespace and bucket of a cluster, with its own servers and workers."""

    name: str
    cluster: Cluster
    engine: Engine
    model: Path
    corpus: Path
    environ: dict[str, str] = field(default_factory=dict)

    def start(self) -> "World":
        """Starts four servers and four workers and waits until the servers answer."""
        self.environ = {
            "DRAGOMAN_NAMESPACE": self.name,
            "DRAGOMAN_S3_BUCKET": self.name,
            "DRAGOMAN_LLM_URL": self.engine.url,
            "DRAGOMAN_LLM_MODEL": self.engine.model,
            "DRAGOMAN_MACHINE_LOCK": str(self.cluster.root / "machine.lock"),
            **self.environ,
        }
        for service, package in SERVICES.items():
            self.cluster.service(package, "serve", name=self.api(service), environ=self.environ)
            self.cluster.service(package, "work", name=self.worker(service), environ=self.environ)
        for service in SERVICES:
            self.cluster.channel(self.api(service)).close()
        return self

    def api(self, service: str) -> str:
        """Name of a service's server process."""
        return f"{self.name}-{service}"

    def worker(self, service: str) -> str:
        """Name of a service's worker process."""
        return f"{self.name}-{service}-worker"

    def worker_of(self, kind: str) -> str:
        """Name of the worker process that does a kind."""
        return self.worker(SERVICE_OF[kind])

    def client(self) -> Client:
        """A client of this world's servers."""
        return Client(Addresses({s: f"127.0.0.1:{self.cluster.ports[self.api(s)]}" for s in SERVICES}))

    def store(self) -> Store:
        """This world's bucket."""
        return self.cluster.store(self.name)

    # ------------------------------------------------------------------- specs

    def tokens(self, **changes: Any) -> dict[str, Any]:
        """A tokens spec."""
        return {
            "source": str(self.corpus),
            "tokenizer": str(self.model),
            "ctx_len": 64,
            "bos": "always",
            "test_fraction": 0.4,
            **changes,
        }

    def ref(self, side: str) -> dict[str, Any]:
        """A model reference."""
        weights = {"trained": "trained", "control": "rerandomized_incl_emb"}[side]
        return {"source": str(self.model), "weights": weights}

    def activations(self, side: str, tokens: str, split: str, **changes: Any) -> dict[str, Any]:
        """An activations spec, at a layer that costs little."""
        return {
            "tokens_id": tokens,
            "model": self.ref(side),
            "hookpoints": ["layers.1"],
            "split": split,
            "max_tokens": 6400 if split == "train" else 1600,
            "rows_per_task": 64,
            **changes,
        }

    def coder(self, activations: str, **changes: Any) -> dict[str, Any]:
        """A coder spec."""
        return {
            "activations_id": activations,
            "d_sae": 192,
            "k": 8,
            "batch_tokens": 256,
            "learning_rate": 1e-3,
            "checkpoint_steps": 5,
            **changes,
        }

    def streamed(self, tokens: str, **changes: Any) -> dict[str, Any]:
        """A coder spec that needs no activations artifact."""
        source = {"tokens_id": tokens, "model": self.ref("trained"), "max_tokens": 6400, "batch_size": 4}
        own = {"activations_id": "", "hookpoint": "layers.1", "streamed": {**source, "shuffle_tokens": 4608}}
        return {**self.coder(""), **own, **changes}

    def latents(self, side: str, tokens: str, coder: str, **changes: Any) -> dict[str, Any]:
        """A latents spec."""
        return {
            "tokens_id": tokens,
            "model": self.ref(side),
            "coder_id": coder,
            "max_tokens": 9600,
            "rows_per_task": 64,
            **changes,
        }

    def explanations(self, latents: str, **changes: Any) -> dict[str, Any]:
        """An explanations spec."""
        return {
            "latents_id": latents,
            "selection": {"ranks": [10, 20, 30, 40, 50, 60]},
            "example_count": 4,
            "min_windows": 4,
            "llm": {"max_tokens": 16},
            "max_failed_fraction": 1.0,
            "latents_per_task": 2,
            **changes,
        }

    def scores(self, explanations: str, latents: str, scorer: str, **changes: Any) -> dict[str, Any]:
        """A scores spec."""
        return {
            "explanations_id": explanations,
            "latents_id": latents,
            "scorer": scorer,
            "active_count": 3,
            "inactive_count": 3,
            "null_count": 2,
            "max_failed_fraction": 1.0,
            "latents_per_task": 2,
            **changes,
        }


def run(client: Client, kind: str, spec: Mapping[str, Any], seconds: float = 240) -> JobRecord:
    """Submits a job and returns it when it has succeeded."""
    job = client.wait(client.submit(kind, spec).id, seconds)
    assert job.state == "SUCCEEDED", f"{kind} is {job.state}: {job.failure}"
    return job


def run_side(world: World, client: Client, side: str, tokens: str) -> dict[str, str]:
    """Runs everything of one side and returns the ids by step."""
    ids = {"train": run(client, "activations", world.activations(side, tokens, "train")).id}
    ids["test"] = run(client, "activations", world.activations(side, tokens, "test")).id
    ids["coder"] = run(client, "coder", world.coder(ids["train"])).id
    ids["evaluation"] = run(client, "evaluation", {"coder_id": ids["coder"], "activations_id": ids["test"]}).id
    ids["latents"] = run(client, "latents", world.latents(side, tokens, ids["coder"])).id
    ids["explanations"] = run(client, "explanations", world.explanations(ids["latents"])).id
    for scorer in ("detection", "fuzzing"):
        ids[scorer] = run(client, "scores", world.scores(ids["explanations"], ids["latents"], scorer)).id
    return ids


def scorecard(sides: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """A scorecard spec over two sides."""
    return {
        side: {
            "scores_ids": [ids["detection"], ids["fuzzing"]],
            "explanations_id": ids["explanations"],
            "evaluation_id": ids["evaluation"],
        }
        for side, ids in sides.items()
    }

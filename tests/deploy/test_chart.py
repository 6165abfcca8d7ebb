"""The chart, rendered by helm and held against the schemas of two Kubernetes versions. Nothing here needs a cluster."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from dragoman.exposure import check_exposure
from dragoman.settings import Settings

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "chart" / "dragoman"
VALUES = {
    "plain": ["--set", "insecure=true", "--set", "llm.url=http://llm:8000", "--set", "embed.url=http://embed:8000"],
    "laptop": ["-f", str(CHART / "values-laptop.yaml")],
    "gpu": ["-f", str(CHART / "values-gpu.yaml"), "--set", "auth.principalsSecret=people"],
}
KUBERNETES = ("1.31", "1.37")
SERVICES = ("activation", "sae-trainer", "explainer", "scorer")

Document = dict[str, Any]


def _helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([str(ROOT / "scripts" / "helm.sh"), *arguments], capture_output=True, text=True, timeout=120)


def _render(*values: str) -> list[Document]:
    done = _helm("template", "lab", str(CHART), "--namespace", "interp", *values)
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


@pytest.fixture(scope="module")
def rendered() -> dict[str, list[Document]]:
    """Every document of each values file."""
    return {name: _render(*values) for name, values in VALUES.items()}


def _pods(documents: list[Document]) -> Iterator[tuple[str, Document]]:
    """Every pod's name and spec, whatever makes it."""
    for document in documents:
        spec = document.get("spec", {})
        if document["kind"] in {"Deployment", "StatefulSet"}:
            yield document["metadata"]["name"], spec["template"]["spec"]
        elif document["kind"] == "ScaledJob":
            yield document["metadata"]["name"], spec["jobTargetRef"]["template"]["spec"]
        elif document["kind"] == "Pod":
            yield document["metadata"]["name"], spec


def _of(documents: list[Document], kind: str, name: str) -> Document:
    return next(d for d in documents if (d["kind"], d["metadata"]["name"]) == (kind, f"lab-dragoman-{name}"))


@pytest.mark.parametrize("version", KUBERNETES)
@pytest.mark.parametrize("values", VALUES)
def test_it_is_valid_kubernetes(rendered: dict[str, list[Document]], values: str, version: str, tmp_path: Path) -> None:
    path = tmp_path / "all.yaml"
    # What operators define has no schema here; an unknown kind would only be warned of.
    ours = [d for d in rendered[values] if d["apiVersion"].split("/")[0] not in {"keda.sh", "monitoring.coreos.com"}]
    path.write_text(yaml.safe_dump_all(ours))
    tool = Path(sys.executable).parent / "kubernetes-validate"
    done = subprocess.run([str(tool), "--strict", "-k", version, str(path)], capture_output=True, text=True)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    assert "WARN" not in said, said


@pytest.mark.parametrize("values", VALUES)
def test_lint_finds_nothing(values: str) -> None:
    done = _helm("lint", "--strict", str(CHART), *VALUES[values])
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("values", VALUES)
def test_no_pod_is_root_or_writes_to_its_image(rendered: dict[str, list[Document]], values: str) -> None:
    pods = list(_pods(rendered[values]))
    assert len(pods) >= 8
    for name, spec in pods:
        assert spec["automountServiceAccountToken"] is False, name
        assert spec["securityContext"]["runAsNonRoot"] is True, name
        for container in spec["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, name
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}, name
            assert container["resources"]["requests"], name
            assert container["resources"]["limits"]["memory"], name
            assert ":" in container["image"], f"{name} has an image without a tag"


@pytest.mark.parametrize("values", VALUES)
def test_servers_and_workers_are_probed_and_have_time_to_drain(
    rendered: dict[str, list[Document]], values: str
) -> None:
    for service in SERVICES:
        api = _of(rendered[values], "Deployment", f"{service}-api")["spec"]["template"]["spec"]
        (container,) = api["containers"]
        assert container["args"] == ["serve"]
        assert container["livenessProbe"]["httpGet"]["path"] == "/livez"
        assert container["readinessProbe"]["httpGet"]["path"] == "/readyz"
        assert api["terminationGracePeriodSeconds"] >= 5 + 30
    workers = [(name, spec) for name, spec in _pods(rendered[values]) if name.endswith("-worker")]
    assert len(workers) == len(SERVICES)
    for name, spec in workers:
        environment = {e["name"]: e.get("value") for e in spec["containers"][0]["env"]}
        assert spec["terminationGracePeriodSeconds"] >= float(environment["DRAGOMAN_DRAIN_S"]) + 30, name


@pytest.mark.parametrize("values", VALUES)
def test_the_services_understand_their_environment(rendered: dict[str, list[Document]], values: str) -> None:
    documented = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8").replace("<SERVICE>_", "")
    for name, spec in _pods(rendered[values]):
        service = next((s for s in SERVICES if f"-{s}-" in name), None)
        if service is None:
            continue
        given = {e["name"]: e.get("value") or "from-a-secret" for e in spec["containers"][0]["env"]}
        given.pop("DRAGOMAN_PRINCIPALS", None)  # a file of the pod
        settings = Settings.from_env({k: v for k, v in given.items() if not v.startswith("/tls/")}, service)
        assert settings.bus.url.startswith("nats://"), name
        assert settings.bus.replicas in {1, 3}, name
        for variable in given:
            bare = variable.removeprefix(service.upper().replace("-", "_") + "_")
            assert variable in documented or bare in documented, f"{variable} of {name} is in no document"


@pytest.mark.parametrize("values", VALUES)
def test_every_server_asks_who_calls_and_may_listen(rendered: dict[str, list[Document]], values: str) -> None:
    for service in SERVICES:
        spec = _of(rendered[values], "Deployment", f"{service}-api")["spec"]["template"]["spec"]
        given = {e["name"]: e.get("value") or "from-a-secret" for e in spec["containers"][0]["env"]}
        assert ("DRAGOMAN_TLS_KEY" in given) == (values == "gpu")
        assert "DRAGOMAN_INSECURE" not in given
        here = {name: value for name, value in given.items() if not value.startswith(("/tls/", "/principals/"))}
        settings = Settings.from_env(here, service)
        plaintext = settings.plaintext or "DRAGOMAN_TLS_KEY" in given
        check_exposure(settings.server, insecure=settings.insecure, plaintext=plaintext)
        assert settings.sources.roots == (Path("/data"),)
    made = [d["metadata"]["name"] for d in rendered[values] if d["kind"] == "Secret"]
    assert ("lab-dragoman-token" in made) == (values != "gpu")


def test_traces_go_where_the_values_say(rendered: dict[str, list[Document]]) -> None:
    traced = _render(*VALUES["plain"], "--set", "tracing.endpoint=http://collector:4318")
    for documents, expected in ((traced, True), (rendered["plain"], False)):
        api = _of(documents, "Deployment", "scorer-api")["spec"]["template"]["spec"]["containers"][0]
        told = {e["name"]: e.get("value") for e in api["env"]}
        assert (told.get("DRAGOMAN_TRACES") == "1") == expected
        assert (told.get("OTEL_EXPORTER_OTLP_ENDPOINT") == "http://collector:4318") == expected


def test_secrets_are_in_no_plain_value(rendered: dict[str, list[Document]]) -> None:
    for documents in rendered.values():
        for name, spec in _pods(documents):
            for container in spec["containers"]:
                for variable in container.get("env", []):
                    if any(word in variable["name"] for word in ("PASSWORD", "SECRET", "TOKEN", "API_KEY")):
                        assert "secretKeyRef" in variable["valueFrom"], (name, variable["name"])


def test_the_scorer_alone_is_told_where_embeddings_are(rendered: dict[str, list[Document]]) -> None:
    told = {
        name
        for name, spec in _pods(rendered["plain"])
        if {"name": "DRAGOMAN_EMBED_URL", "value": "http://embed:8000"} in spec["containers"][0].get("env", [])
    }
    assert told == {"lab-dragoman-scorer-api", "lab-dragoman-scorer-worker"}
    assert "DRAGOMAN_EMBED" not in yaml.safe_dump_all(rendered["laptop"])


def test_training_runs_as_jobs_that_nobody_scales_in(rendered: dict[str, list[Document]]) -> None:
    job = _of(rendered["gpu"], "ScaledJob", "sae-trainer-worker")
    template = job["spec"]["jobTargetRef"]["template"]
    assert template["spec"]["containers"][0]["args"] == ["work", "--once"]
    assert template["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == 1
    (trigger,) = job["spec"]["triggers"]
    assert trigger["metadata"]["stream"] == "dragoman_TASKS"
    assert trigger["metadata"]["consumer"] == "sae-trainer"


def test_a_drained_node_takes_one_of_each_at_a_time(rendered: dict[str, list[Document]]) -> None:
    for values, of_workers in (("plain", SERVICES), ("gpu", ("activation", "explainer", "scorer"))):
        budgets = {d["metadata"]["name"]: d["spec"] for d in rendered[values] if d["kind"] == "PodDisruptionBudget"}
        assert {f"lab-dragoman-{service}-api" for service in SERVICES} <= set(budgets)
        for service in of_workers:
            budget = budgets[f"lab-dragoman-{service}-worker"]
            assert budget["maxUnavailable"] == 1
            assert budget["selector"]["matchLabels"]["dragoman/role"] == "worker"
        assert ("lab-dragoman-sae-trainer-worker" in budgets) == ("sae-trainer" in of_workers)


def test_nothing_is_allowed_that_is_not_named(rendered: dict[str, list[Document]]) -> None:
    policies = {d["metadata"]["name"]: d["spec"] for d in rendered["plain"] if d["kind"] == "NetworkPolicy"}
    deny = policies["lab-dragoman-deny"]
    assert deny["policyTypes"] == ["Ingress", "Egress"]
    assert "ingress" not in deny
    assert "egress" not in deny
    (clients,) = policies["lab-dragoman-clients"]["ingress"]
    assert clients["ports"] == [{"port": 50051}]
    assert not any(d["kind"] == "NetworkPolicy" for d in rendered["laptop"])


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["--set", "llm.url=x"], "or say insecure: true"),
        (["--set", "insecure=true"], "explainer needs a language model: set llm.url, or vllm.enabled: true"),
        ([*VALUES["plain"], "--set", "nats.enabled=false"], "name a NATS server"),
        ([*VALUES["plain"], "--set", "store.enabled=false"], "set store.endpoint"),
        ([*VALUES["plain"], "--set", "services.scorer.worker.mode=job"], "needs keda.enabled: true"),
        ([*VALUES["plain"], "--set", "services.scorer.worker.slotz=2"], "additional properties 'slotz' not allowed"),
        ([*VALUES["plain"], "--set", "services.judge.package=judge"], "invalid propertyName 'judge'"),
        ([*VALUES["plain"], "--set", "nats.replicas=2"], "nats/replicas"),
    ],
)
def test_values_that_cannot_work_are_refused(values: list[str], expected: str) -> None:
    done = _helm("template", "lab", str(CHART), *values)
    assert done.returncode != 0
    assert expected in done.stderr


def test_alerts_point_to_the_runbook_of_the_values() -> None:
    documents = _render(*VALUES["gpu"], "--set", "monitoring.runbook=https://wiki.example.org/runbook")
    rules = next(d for d in documents if d["kind"] == "PrometheusRule")
    urls = [rule["annotations"]["runbook_url"] for group in rules["spec"]["groups"] for rule in group["rules"]]
    assert urls
    assert all(url.startswith("https://wiki.example.org/runbook#") for url in urls)

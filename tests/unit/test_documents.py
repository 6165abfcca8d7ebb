"""The documents say what the code does: settings, metrics, links, parts."""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import fields
from pathlib import Path

import pytest
import yaml
from activation.config import Config as ActivationConfig
from dragoman.client import Addresses
from dragoman.metrics import METRICS
from dragoman.settings import Settings
from dragoman.stack import DEFAULT_BASE, Ports
from dragoman.stack.home import default_home
from explainer.config import Config as ExplainerConfig
from explainer.tables import EXPLANATIONS_SCHEMA, WINDOWS_SCHEMA
from latent_cache import LatentIndex
from sae_trainer.config import Config as TrainerConfig
from scorer.config import Config as ScorerConfig
from scorer.core.judgement import EXAMPLES_SCHEMA
from scorer.core.latent_score import LATENTS_SCHEMA
from scorer.core.scorecard_tables import SUMMARY_SCHEMA

ROOT = Path(__file__).parents[2]
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
SERVICES = ("activation", "sae-trainer", "explainer", "scorer")
SOURCES = [*ROOT.glob("libs/*/src/**/*.py"), *ROOT.glob("services/*/src/**/*.py")]
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *ROOT.glob("docs/**/*.md"), *ROOT.glob("deploy/*.md")]

_LIBRARIES = {
    *("HF_HOME", "HF_TOKEN", "TMPDIR", "NO_COLOR", "NUMBA_CACHE_DIR", "TRITON_CACHE_DIR"),
    *("MALLOC_MMAP_THRESHOLD_", "MALLOC_TRIM_THRESHOLD_"),
    *("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_HEADERS", "OTEL_TRACES_SAMPLER"),
}
"""Read below our code, so that no search of it finds them."""


class _Asked(dict[str, str]):
    """An environment that remembers what was looked up in it."""

    def __init__(self, values: Mapping[str, str]) -> None:
        super().__init__(values)
        self.names: set[str] = set()

    def get(self, name: str, default: str | None = None) -> str | None:  # type: ignore[override]
        self.names.add(name)
        return super().get(name, default)


def _read_from_mappings() -> set[str]:
    pem = str(ROOT / "README.md")
    asked = _Asked({"DRAGOMAN_TLS_CERTIFICATE": pem, "DRAGOMAN_TLS_KEY": pem, "DRAGOMAN_ACTIVATION_ADDRESS": "a:1"})
    for service in SERVICES:
        Settings.from_env(asked, service)
    for config in (ActivationConfig, TrainerConfig, ExplainerConfig, ScorerConfig):
        config.from_env(asked)
    Addresses.find(asked, ROOT)
    default_home(asked)
    return asked.names


def _read_directly() -> set[str]:
    """Names in `os.environ.get(...)`, `os.environ.setdefault(...)` and `os.environ[...]`."""
    return {name for path in SOURCES for name in _names_in(ast.parse(path.read_text(encoding="utf-8")))}


def _names_in(tree: ast.Module) -> Iterator[str]:
    constants = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.args:
            of, key = node.func.value, node.args[0]
        elif isinstance(node, ast.Subscript):
            of, key = node.value, node.slice
        else:
            continue
        if ast.unparse(of) == "os.environ":
            assert isinstance(key, ast.Constant | ast.Name), f"a setting whose name is made up: {ast.unparse(node)}"
            yield str(key.value if isinstance(key, ast.Constant) else constants[key.id])


def _section(title: str) -> str:
    found = re.search(rf"^## {title}$(.*?)(?=^## |\Z)", OPERATIONS, re.MULTILINE | re.DOTALL)
    assert found, f"docs/operations.md has no section {title!r}"
    return found[1]


def _first_cells(text: str) -> list[str]:
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `")]
    return [name for cell in rows for name in re.findall(r"`([^`]+)`", cell)]


def _documented_settings() -> set[str]:
    prefixes = [service.upper().replace("-", "_") for service in SERVICES]
    return {name.replace("<SERVICE>", prefix) for name in _first_cells(_section("Settings")) for prefix in prefixes}


def test_every_setting_that_the_code_reads_is_documented() -> None:
    read = _read_from_mappings() | _read_directly()
    assert len(read) > 40
    assert sorted(read - _documented_settings()) == []


def test_every_documented_setting_is_read() -> None:
    read = _read_from_mappings() | _read_directly() | _LIBRARIES
    assert sorted(_documented_settings() - read) == []


@pytest.mark.parametrize("service", SERVICES)
def test_documented_defaults_of_numbers_are_the_codes(service: str) -> None:
    settings = Settings.from_env({}, service)
    told = {
        "DRAGOMAN_ACK_WAIT_S": settings.bus.ack_wait,
        "DRAGOMAN_LEASE_S": settings.bus.lease,
        "DRAGOMAN_NATS_REPLICAS": settings.bus.replicas,
        "<SERVICE>_SLOTS": settings.worker.slots,
        "DRAGOMAN_MAX_ATTEMPTS": settings.worker.max_attempts,
        "DRAGOMAN_MAX_TRANSIENT": settings.worker.max_transient,
        "DRAGOMAN_STALL_S": settings.worker.stall,
        "DRAGOMAN_DRAIN_S": settings.worker.drain,
        "DRAGOMAN_MEND_S": settings.mend_every,
        "DRAGOMAN_PORT_BASE": DEFAULT_BASE,
    }
    rows = [line.split("|") for line in _section("Settings").splitlines() if line.startswith("| `")]
    documented = {row[1].strip(" `"): row[3].strip(" `") for row in rows}
    assert {name: float(documented[name]) for name in told} == {name: float(value) for name, value in told.items()}


def test_metrics_are_those_that_are_exported() -> None:
    exported = {f"{f.name}_total" if f.type == "counter" else f.name for f in METRICS.registry.collect()}
    assert sorted(_first_cells(_section("Metrics"))) == sorted(exported)


def test_documented_ports_are_those_of_the_stack() -> None:
    ports = Ports(20_000)
    offsets = {name: port - ports.base for program in ("nats", "store", "llm") for name, port in ports.group(program)}
    offsets |= {name: port - ports.base for service in SERVICES for name, port in ports.group(service)}
    cells = re.findall(r"^\| (N\S.*?) \|", _section("The laptop stack"), re.MULTILINE)
    documented: set[int] = set()
    for cell in cells:
        numbers = [int(n or 0) for n in re.findall(r"N(?:\+(\d+))?", cell)]
        documented |= set(range(numbers[0], numbers[-1] + 1)) if " to " in cell else set(numbers)
    assert documented == set(offsets.values())


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    broken = [link for link in links if not _leads_somewhere(page, text, link)]
    assert broken == []


def _leads_somewhere(page: Path, text: str, link: str) -> bool:
    path, _, anchor = link.partition("#")
    if path:
        return (page.parent / path).exists()
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    headings = {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}
    return anchor in headings or f'id="{anchor}"' in text


def _parts() -> Iterator[tuple[str, str]]:
    """Service and part name, from the tables under `## kind — services/...`."""
    flow = (ROOT / "docs" / "data-flow.md").read_text(encoding="utf-8")
    for section in re.split(r"^## ", flow, flags=re.MULTILINE)[1:]:
        service = re.match(r"[a-z]+ — `services/([a-z-]+)`", section)
        assert service, f"a heading that names no service: {section.splitlines()[0]!r}"
        for name in _first_cells(section):
            yield service[1], name


@pytest.mark.parametrize(("service", "part"), list(_parts()))
def test_parts_of_the_data_flow_are_written_by_their_service(service: str, part: str) -> None:
    folders = [ROOT / "services" / service, ROOT / "libs" / "latent-cache", ROOT / "libs" / "sparse-coders"]
    code = "\n".join(path.read_text(encoding="utf-8") for folder in folders for path in folder.glob("src/**/*.py"))
    name = part.rpartition("/")[2]
    stem, numbered, suffix = name.partition("NNNNN")
    pattern = re.escape(stem) + (r"\{[^}]+:05d?\}" if numbered else "") + re.escape(suffix)
    assert re.search(pattern, code), f"{service} writes no {part}"


_COLUMNS = {
    ("latents", "index.safetensors"): [field.name for field in fields(LatentIndex)],
    ("explanations", "explanations.parquet"): EXPLANATIONS_SCHEMA.names,
    ("explanations", "windows.parquet"): WINDOWS_SCHEMA.names,
    ("scores", "latents.parquet"): LATENTS_SCHEMA.names,
    ("scores", "examples.parquet"): EXAMPLES_SCHEMA.names,
    ("scorecard", "summary.parquet"): SUMMARY_SCHEMA.names,
}


@pytest.mark.parametrize(("place", "columns"), _COLUMNS.items(), ids=lambda item: "-".join(item)[:40])
def test_columns_of_the_data_flow_are_those_of_the_schemas(place: tuple[str, str], columns: list[str]) -> None:
    flow = (ROOT / "docs" / "data-flow.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {place[0]} — .*?(?=^## |\Z)", flow, re.MULTILINE | re.DOTALL)
    assert section
    row = next(line for line in section[0].splitlines() if line.startswith(f"| `{place[1]}`"))
    assert sorted(set(columns) - set(re.findall(r"`([^`]+)`", row))) == []


def test_images_and_compose_set_only_what_is_read() -> None:
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
    told = {name for service in SERVICES for name in compose["services"][service]["environment"]}
    for dockerfile in ROOT.glob("services/*/Dockerfile"):
        told |= set(re.findall(r"([A-Z_]+)=[^ ]+(?= |$)", "".join(_environment(dockerfile)), re.MULTILINE))
    assert len(told) > 20
    assert sorted(told - _documented_settings() - {"PATH", "PYTHONUNBUFFERED"}) == []


def _environment(dockerfile: Path) -> list[str]:
    """The ENV instructions of a Dockerfile, each on one line."""
    joined = dockerfile.read_text(encoding="utf-8").replace("\\\n", " ")
    return [f"{line[4:]}\n" for line in joined.splitlines() if line.startswith("ENV ")]


@pytest.mark.parametrize("service", SERVICES)
def test_images_are_built_from_what_the_service_installs(service: str) -> None:
    folder = ROOT / "services" / service
    wanted = re.findall(
        r'^  "(dragoman[a-z-]*)"', (folder / "pyproject.toml").read_text(encoding="utf-8"), re.MULTILINE
    )
    text = (folder / "Dockerfile").read_text(encoding="utf-8")
    for name in wanted:
        assert f"COPY libs/{name.removeprefix('dragoman-')} " in text
    assert f"COPY services/{service} " in text
    assert f'ENTRYPOINT ["python", "-m", "{service.replace("-", "_")}"]' in text
    assert text.index("\nUSER 10001:10001") > text.index("\nCOPY --from=build")


def test_compose_refers_to_what_is_there() -> None:
    compose = yaml.safe_load((ROOT / "deploy" / "compose.yaml").read_text(encoding="utf-8"))
    for name, service in compose["services"].items():
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).is_file()
        for needed, condition in service.get("depends_on", {}).items():
            other = compose["services"][needed]
            assert condition["condition"] != "service_healthy" or "healthcheck" in other
        sources = [re.sub(r"\$\{[^}]*\}", "./", mount).split(":")[0] for mount in service.get("volumes", [])]
        assert all(source.startswith(".") or source in compose["volumes"] for source in sources), name
        assert name == "own-volumes" or service["user"] == "10001:10001"

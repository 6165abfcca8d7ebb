"""Alerts and dashboards: valid, of metrics that the code has, with a heading in the runbook."""

import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import promql_parser
import pytest
import yaml
from dragoman.jobs import JobState
from dragoman.metrics import Metrics
from dragoman.rpc.methods import SUBMITS
from prometheus_client import Counter, Gauge, Histogram

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy" / "chart" / "dragoman"
ALERTS = CHART / "files" / "alerts.yaml"
RULES = [rule for group in yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"] for rule in group["rules"]]
DASHBOARDS = sorted((CHART / "files" / "dashboards").glob("*.json"))

_NOT_OURS = {"up"}
_SCRAPED = {"job", "instance", "pod", "dragoman_role"}
"""Labels that Prometheus adds."""
_VALUES = {
    "kind": set(SUBMITS),
    "state": {state.value for state in JobState},
    "type": {"prompt", "cached", "completion"},
    "outcome": {"answered", "rejected", "lost", "replayed", "user", "transient", "system"},
    "code": {code.name for code in grpc.StatusCode},
}
"""Labels of which all values are known."""


def _exported() -> set[str]:
    """Names of all series that a process of ours has."""
    names: set[str] = set()
    for family in Metrics().registry.collect():
        suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(family.type, [""])
        names.update(family.name + suffix for suffix in suffixes)
    return names


def _labels() -> dict[str, set[str]]:
    """Labels of each series."""
    found: dict[str, set[str]] = {"up": set()}
    for family in vars(Metrics()).values():
        if isinstance(family, Counter | Gauge | Histogram):
            for name in (f"{family._name}{end}" for end in ("", "_total", "_bucket", "_sum", "_count")):
                found[name] = set(family._labelnames)
    return found


def _nodes(node: Any) -> Iterator[Any]:
    """Yields a query's node and all below it."""
    yield node
    for name in ("expr", "lhs", "rhs", "args", "vector_selector"):
        inner = getattr(node, name, None)
        for each in inner if isinstance(inner, list) else [inner]:
            if each is not None:
                yield from _nodes(each)


def _selectors(node: Any) -> list[Any]:
    """Returns the series that a query reads."""
    return [each for each in _nodes(node) if isinstance(each, promql_parser.VectorSelector)]


def _groups(node: Any) -> Iterator[tuple[set[str], list[Any]]]:
    """Yields the labels that are grouped by, and what is grouped."""
    for each in _nodes(node):
        if isinstance(each, promql_parser.AggregateExpr) and each.modifier is not None:
            yield set(each.modifier.labels), _selectors(each.expr)


def _impossible(selector: Any) -> list[str]:
    """Values that a selector wants of a label of which all values are known, and that is not among them."""
    return [
        f"{matcher.name}={matcher.value}"
        for matcher in selector.matchers.matchers
        if str(matcher.op) in {"MatchOp.Equal", "MatchOp.Re"} and matcher.name in _VALUES
        if not any(re.fullmatch(matcher.value, value) for value in _VALUES[matcher.name])
    ]


def _queries() -> Iterator[tuple[str, str]]:
    for rule in RULES:
        yield rule["alert"], rule["expr"]
    for path in DASHBOARDS:
        dashboard = yaml.safe_load(path.read_text(encoding="utf-8"))
        for panel in dashboard["panels"]:
            for target in panel["targets"]:
                yield f"{path.stem}: {panel['title']}", target["expr"].replace("$__rate_interval", "5m")


@pytest.mark.parametrize(("where", "query"), list(_queries()))
def test_every_query_is_promql_over_metrics_that_exist(where: str, query: str) -> None:
    promql_parser.parse(query)
    used = set(re.findall(r"\b(?:dragoman_[a-z0-9_]+|up)\b(?=[{\[ )]|$)", query)) - {"dragoman_role"}
    assert used, f"{where} asks for no metric: {query}"
    assert used <= _exported() | _NOT_OURS, f"{where} asks for what no process has"
    for labels, selectors in _groups(promql_parser.parse(query)):
        known = set[str]().union(*(_labels()[selector.name] for selector in selectors), _SCRAPED, {"le"})
        assert labels <= known, f"{where} groups by a label that nothing in it has"
    for selector in _selectors(promql_parser.parse(query)):
        asked = {matcher.name for matcher in selector.matchers.matchers}
        assert asked <= _labels()[selector.name] | _SCRAPED, f"{where} selects by a label that {selector.name} lacks"
        assert _impossible(selector) == [], f"{where} selects a value that {selector.name} never has"


def test_every_metric_is_on_a_dashboard_or_in_an_alert() -> None:
    asked = " ".join(query for _, query in _queries())
    families = {family.name for family in Metrics().registry.collect()}
    assert {name for name in families if name not in asked} == set()


def test_every_alert_has_its_heading_in_the_runbook() -> None:
    headings = re.findall(r"^## (\w+)$", (ROOT / "deploy" / "runbook.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert headings == [rule["alert"] for rule in RULES]
    for rule in RULES:
        assert rule["annotations"]["runbook_url"] == f"RUNBOOK#{rule['alert'].lower()}"
        assert rule["labels"]["severity"] in {"warning", "critical"}


def test_the_dashboards_are_those_of_the_script(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("dashboards", ROOT / "scripts" / "dashboards.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.main(tmp_path)
    assert len(DASHBOARDS) == 3
    for path in DASHBOARDS:
        assert (tmp_path / path.name).read_text() == path.read_text(), f"run scripts/dashboards.py: {path.name} is old"


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed (Debian: prometheus)")
def test_the_alerts_fire_when_they_should(tmp_path: Path) -> None:
    cases = (ROOT / "tests" / "deploy" / "alerts_test.yaml").read_text(encoding="utf-8")
    (tmp_path / "cases.yaml").write_text(cases.replace("ALERTS", str(ALERTS)))
    done = subprocess.run(["promtool", "test", "rules", str(tmp_path / "cases.yaml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr

#!/usr/bin/env python3
"""Writes the three Grafana dashboards (into deploy/chart/dragoman/files/dashboards, or into the folder given).

Dashboards as code: change them here, run this, commit both.
"""

import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "deploy/chart/dragoman/files/dashboards"
_WIDTH, _HEIGHT = 12, 8
_SOURCE = {"type": "prometheus", "uid": "${datasource}"}


@dataclass(frozen=True, slots=True)
class Panel:
    """A graph (or one number): a title that a user understands, queries with their legends, a unit of Grafana's."""

    title: str
    queries: Sequence[tuple[str, str]]
    unit: str = "short"
    kind: str = "timeseries"
    text: str = ""
    most: float | None = None


def _rate(metric: str, by: str, where: str = "") -> str:
    return f"sum by ({by}) (rate({metric}{{{where}}}[$__rate_interval]))"


def _quantile(share: float, metric: str, by: str, where: str = "") -> str:
    return f"histogram_quantile({share}, sum by (le, {by}) (rate({metric}_bucket{{{where}}}[$__rate_interval])))"


PIPELINE = (
    Panel(
        "Jobs by state",
        [('sum by (state) (max by (service, kind, state) (dragoman_jobs{state!="SUCCEEDED"}))', "{{state}}")],
    ),
    Panel(
        "Jobs that ended",
        [
            (
                'sum by (state) (max by (service, kind, state) (dragoman_jobs{state=~"SUCCEEDED|FAILED|CANCELLED"}))',
                "{{state}}",
            )
        ],
    ),
    Panel("Tasks that wait", [("max by (service) (dragoman_queue_waiting)", "{{service}}")]),
    Panel("Tasks that run", [("max by (service) (dragoman_queue_running)", "{{service}}")]),
    Panel("Tasks done", [(_rate("dragoman_tasks_done_total", "kind"), "{{kind}}")], "cps"),
    Panel(
        "Wait from queue to start, 95th percentile",
        [(_quantile(0.95, "dragoman_queue_wait_seconds", "service"), "{{service}}")],
        "s",
    ),
    Panel(
        "Attempts that failed",
        [(_rate("dragoman_tasks_failed_total", "service, outcome"), "{{service}} {{outcome}}")],
        "cps",
    ),
    Panel(
        "Given up: dead letters, and tasks that no consumer counts",
        [
            ("sum by (service) (increase(dragoman_dead_letters_total[1h]))", "{{service}} dead letters in an hour"),
            ("max by (service) (dragoman_queue_stranded)", "{{service}} stranded"),
        ],
    ),
    Panel("Work", [(_rate("dragoman_work_units_total", "kind, unit"), "{{kind}}: {{unit}}/s")], "none"),
    Panel("Language model tokens", [(_rate("dragoman_llm_tokens_total", "type"), "{{type}}")], "cps"),
    Panel(
        "Spent on the language model in an hour",
        [("sum by (currency) (increase(dragoman_llm_spend_total[1h]))", "{{currency}}")],
        text="At the operator's prices; nothing where none are set.",
    ),
)

_ONE = 'service="$service"'
SERVICE = (
    Panel(
        "Calls", [(_rate("dragoman_grpc_requests_total", "method, code", 'job=~".+"'), "{{method}} {{code}}")], "reqps"
    ),
    Panel(
        "Time of a call, 95th percentile",
        [(_quantile(0.95, "dragoman_grpc_request_seconds", "method"), "{{method}}")],
        "s",
    ),
    Panel(
        "Time of a task, median and 95th percentile",
        [
            (_quantile(0.5, "dragoman_task_seconds", "kind, stage", _ONE), "{{kind}} stage {{stage}} p50"),
            (_quantile(0.95, "dragoman_task_seconds", "kind, stage", _ONE), "{{kind}} stage {{stage}} p95"),
        ],
        "s",
    ),
    Panel(
        "Attempts started, and delivered more than once",
        [
            (_rate("dragoman_tasks_started_total", "kind", _ONE), "{{kind}} started"),
            (_rate("dragoman_redeliveries_total", "kind", _ONE), "{{kind}} again"),
        ],
        "cps",
    ),
    Panel(
        "Silence of the running task", [(f"max by (pod) (dragoman_heartbeat_age_seconds{{{_ONE}}})", "{{pod}}")], "s"
    ),
    Panel(
        "Peak memory of the last task", [(f"max by (kind) (dragoman_task_peak_bytes{{{_ONE}}})", "{{kind}}")], "bytes"
    ),
    Panel(
        "Object store: requests and errors",
        [
            (_rate("dragoman_s3_requests_total", "method"), "{{method}}"),
            (_rate("dragoman_s3_errors_total", "method"), "{{method}} failed"),
        ],
        "reqps",
    ),
    Panel("Object store: bytes", [(_rate("dragoman_s3_bytes_total", "method"), "{{method}}")], "Bps"),
    Panel(
        "Object store: time of a request, 95th percentile",
        [(_quantile(0.95, "dragoman_s3_request_seconds", "method"), "{{method}}")],
        "s",
    ),
    Panel("Language model: requests", [(_rate("dragoman_llm_requests_total", "outcome"), "{{outcome}}")], "reqps"),
    Panel(
        "Language model: time of a request, 95th percentile",
        [(_quantile(0.95, "dragoman_llm_request_seconds", "outcome"), "{{outcome}}")],
        "s",
    ),
    Panel(
        "Language model: requests in flight",
        [
            ("sum(rate(dragoman_llm_request_seconds_sum[$__rate_interval]))", "in flight"),
            ("sum(rate(dragoman_llm_queued_seconds_total[$__rate_interval]))", "waiting"),
            ("sum(rate(dragoman_llm_allowed_seconds_total[$__rate_interval]))", "allowed at once"),
        ],
        text="Little's law: seconds of requests that ended, for each second.",
    ),
)


def _share(part: str, whole: str) -> str:
    return f"sum(rate({part}[$__rate_interval])) / sum(rate({whole}[$__rate_interval]))"


SCIENCE = (
    Panel(
        "FVU while training",
        [('max by (pod) (dragoman_work_value{kind=~"coders?", name="fvu"})', "{{pod}}")],
        "percentunit",
    ),
    Panel("L0 while training", [('max by (pod) (dragoman_work_value{kind=~"coders?", name="l0"})', "{{pod}}")]),
    Panel(
        "Dead latents while training",
        [('max by (pod) (dragoman_work_value{kind=~"coders?", name="dead_fraction"})', "{{pod}}")],
        "percentunit",
    ),
    Panel(
        "Tokens through the model and the trainer",
        [(_rate("dragoman_work_units_total", "kind", 'unit="tokens"'), "{{kind}}")],
        "none",
    ),
    Panel(
        "Scores, trained against control",
        [('max by (name) (dragoman_work_value{kind="scorecard"})', "{{name}}")],
        text="Means over latents as of the last scorecard. 0.5 is chance; intervals and nulls are in its report.",
        most=1.0,
    ),
    Panel(
        "Questions answered by the judge",
        [(_rate("dragoman_work_units_total", "kind", 'unit="questions"'), "{{kind}}")],
        "cps",
    ),
    Panel(
        "Prompt tokens that the engine had cached",
        [
            (
                _share('dragoman_llm_tokens_total{type="cached"}', 'dragoman_llm_tokens_total{type="prompt"}'),
                "share",
            ),
        ],
        "percentunit",
        most=1.0,
    ),
    Panel(
        "Replies from the response cache",
        [
            (
                _share('dragoman_llm_requests_total{outcome="replayed"}', "dragoman_llm_requests_total"),
                "share",
            ),
        ],
        "percentunit",
        most=1.0,
    ),
)


def _panel(panel: Panel, number: int) -> dict[str, Any]:
    place = {"h": _HEIGHT, "w": _WIDTH, "x": number % 2 * _WIDTH, "y": number // 2 * _HEIGHT}
    limits: dict[str, float] = {"min": 0.0} | ({"max": panel.most} if panel.most is not None else {})
    return {
        "id": number + 1,
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": _SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, **limits}, "overrides": []},
        "options": {
            "legend": {"displayMode": "list", "placement": "bottom"},
            "tooltip": {"mode": "multi", "sort": "desc"},
        },
        "targets": [
            {"refId": chr(ord("A") + i), "datasource": _SOURCE, "expr": expr, "legendFormat": legend}
            for i, (expr, legend) in enumerate(panel.queries)
        ],
    }


def dashboard(uid: str, title: str, panels: Iterable[Panel], services: bool = False) -> dict[str, Any]:
    """Returns a dashboard in Grafana's JSON model."""
    variables: list[dict[str, Any]] = [
        {"name": "datasource", "type": "datasource", "query": "prometheus", "label": "Prometheus"}
    ]
    if services:
        query = "label_values(dragoman_queue_waiting, service)"
        variables.append(
            {
                "name": "service",
                "type": "query",
                "datasource": _SOURCE,
                "query": query,
                "refresh": 2,
                "label": "Service",
            }
        )
    return {
        "uid": uid,
        "title": title,
        "tags": ["dragoman"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "30s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": variables},
        "links": [{"type": "dashboards", "tags": ["dragoman"], "title": "Dragoman", "asDropdown": False}],
        "panels": [_panel(panel, number) for number, panel in enumerate(panels)],
    }


def main(folder: Path) -> None:
    """Writes the dashboards."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {
        "pipeline": dashboard("dragoman-pipeline", "Dragoman: the pipeline", PIPELINE),
        "service": dashboard("dragoman-service", "Dragoman: one service", SERVICE, services=True),
        "science": dashboard("dragoman-science", "Dragoman: science", SCIENCE),
    }
    for name, content in made.items():
        (folder / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else FOLDER)

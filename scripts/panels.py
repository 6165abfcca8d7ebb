#!/usr/bin/env python3
"""Asks a Prometheus for every query of the three dashboards, and says which of them have no data.

python scripts/panels.py [--prometheus http://127.0.0.1:9090] [--minutes 30]    (`make panels`)

For the laptop stack: `prometheus --config.file=deploy/prometheus/laptop.yml` beside `dragoman up`, then run a pipeline,
for instance `dragoman demo`. A query has data when it had a value at any time of the last minutes. Returns 1 when one
has none; which are empty for want of an event (a retry, an hour of history) and which always, the reader must judge.
"""

import argparse
import json
import sys
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parents[1] / "deploy/chart/dragoman/files/dashboards"
_RATE_INTERVAL = "1m"
"""Four scrapes of deploy/prometheus/*.yml at the most, as Grafana takes it."""


def ask(prometheus: str, query: str) -> list[dict[str, Any]]:
    """Returns the series of an instant query."""
    url = f"{prometheus}/api/v1/query?{urllib.parse.urlencode({'query': query})}"
    with urllib.request.urlopen(url, timeout=30) as answer:
        return json.load(answer)["data"]["result"]


def queries() -> Iterator[tuple[str, str, str]]:
    """Yields dashboard, panel and query."""
    for path in sorted(FOLDER.glob("*.json")):
        for panel in json.loads(path.read_text(encoding="utf-8"))["panels"]:
            for target in panel["targets"]:
                yield path.stem, panel["title"], target["expr"].replace("$__rate_interval", _RATE_INTERVAL)


def seen(prometheus: str, query: str, services: list[str], minutes: int) -> int:
    """Returns how many series a query had in the last minutes, of all services where it asks for one."""
    made = {query.replace("$service", service) for service in services} if "$service" in query else {query}
    return sum(len(ask(prometheus, f"last_over_time(({each})[{minutes}m:15s])")) for each in sorted(made))


def main() -> int:
    """Prints a line for each query."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--prometheus", default="http://127.0.0.1:9090")
    parser.add_argument("--minutes", type=int, default=30)
    options = parser.parse_args()
    waiting = ask(options.prometheus, f"last_over_time(dragoman_queue_waiting[{options.minutes}m])")
    services = sorted({series["metric"]["service"] for series in waiting})
    sys.stdout.write(f"services: {', '.join(services) or 'none'}\n")
    empty, count = 0, 0
    for dashboard, title, query in queries():
        found = seen(options.prometheus, query, services, options.minutes)
        empty, count = empty + (not found), count + 1
        sys.stdout.write(f"{found or 'NO DATA':>7}  {dashboard}: {title}  {query if not found else ''}\n")
    sys.stdout.write(f"{count - empty} of {count} queries have data\n")
    return 1 if empty else 0


if __name__ == "__main__":
    sys.exit(main())

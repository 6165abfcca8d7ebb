"""Commands on artifacts: get, lineage, report."""

import argparse
import dataclasses
import json
import shutil
import webbrowser
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.tree import Tree

from dragoman.cli import _words
from dragoman.cli._ids import resolve
from dragoman.client import Client, LineageNode
from dragoman.errors import InvalidSpec, NotFound
from dragoman.ids import kind_of
from dragoman.jobs import JobState

_REPORT = "report.html"


def get(client: Client, options: argparse.Namespace, console: Console) -> int:
    """Downloads an artifact."""
    id_ = resolve(client, options.artifact)
    print(_download(client, id_, Path(options.output), console))
    return 0


def _download(client: Client, id_: str, folder: Path, console: Console) -> Path:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task(_words.short(id_), total=None)

        def report(part: str, done: int, total: int) -> None:
            progress.update(bar, description=part, completed=done, total=total)

        return client.download(id_, folder, report)


def lineage(client: Client, options: argparse.Namespace, console: Console) -> int:
    """Prints what an artifact was made from."""
    nodes = client.lineage(resolve(client, options.artifact))
    if options.json:
        print(json.dumps([dataclasses.asdict(node) for node in nodes], indent=2))
        return 0
    by_id = {node.artifact_id: node for node in nodes}
    tree = Tree(_label(nodes[0], ""))
    _grow(tree, nodes[0], by_id, {nodes[0].artifact_id})
    console.print(tree, highlight=False)
    return 0


def _grow(tree: Tree, node: LineageNode, by_id: Mapping[str, LineageNode], seen: set[str]) -> None:
    """Adds the inputs; one that stands elsewhere already is named without its own inputs."""
    for role, id_ in node.inputs.items():
        inner = by_id[id_]
        branch = tree.add(_label(inner, role) + (" [dim](above)[/]" if id_ in seen and inner.inputs else ""))
        if id_ not in seen:
            seen.add(id_)
            _grow(branch, inner, by_id, seen)


def _label(node: LineageNode, role: str) -> str:
    mark = "[green]✓[/]" if node.committed else "[yellow]…[/]"
    return f"{mark} {node.artifact_id}" + (f" [dim]{role}[/]" if role else "")


def report(client: Client, options: argparse.Namespace, console: Console) -> int:
    """Fetches the report of a scorecard, of the newest one when none is named."""
    id_ = resolve(client, options.scorecard) if options.scorecard else _newest(client)
    if kind_of(id_) != "scorecard":
        raise InvalidSpec(f"{id_} is no scorecard; `dragoman jobs --kind scorecard` lists them")
    path = _download(client, id_, Path(options.home) / "artifacts", console) / _REPORT
    if options.output:
        target = Path(options.output)
        target.parent.mkdir(parents=True, exist_ok=True)
        path = Path(shutil.copyfile(path, target))
    print(path.resolve())
    if options.open:
        webbrowser.open(path.resolve().as_uri())
    return 0


def _newest(client: Client) -> str:
    found = client.list(["scorecard"], [JobState.SUCCEEDED], limit=1)
    if not found:
        raise NotFound("there is no scorecard yet; `dragoman demo` makes one")
    return found[0].id

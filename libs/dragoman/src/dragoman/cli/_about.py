"""Commands on what there is: info, models."""

import argparse
import dataclasses
import json

from rich.console import Console
from rich.table import Table
from rich.text import Text

from dragoman import __version__
from dragoman.client import Client, ServerInfo
from dragoman.errors import DragomanError, InvalidSpec
from dragoman.nearest import suggestion


def info(client: Client, options: argparse.Namespace, console: Console) -> int:
    """Prints each server's version, kinds and capabilities. 1 when one does not answer."""
    found = client.server_info()
    if options.json:
        print(json.dumps({name: _plain(answer) for name, answer in found.items()}, indent=2))
    else:
        console.print(f"this client: {__version__}", highlight=False)
        for name, answer in found.items():
            _print(name, answer, console)
    return 1 if any(isinstance(answer, DragomanError) for answer in found.values()) else 0


def _plain(answer: ServerInfo | DragomanError) -> object:
    if isinstance(answer, DragomanError):
        return {"error": answer.message, "reason": answer.reason}
    return dataclasses.asdict(answer)


def _print(name: str, answer: ServerInfo | DragomanError, console: Console) -> None:
    if isinstance(answer, DragomanError):
        console.print(Text.assemble((f"\n{name}", "bold"), "  ", (answer.message, "red")))
        return
    title = Text.assemble(
        (f"\n{name}", "bold"), f"  {answer.address}  version {answer.version}, API {answer.api_version}"
    )
    if answer.version != __version__:
        title.append(f"  (this client is {__version__})", style="yellow")
    console.print(title, highlight=False)
    for kind in answer.kinds:
        needs = ", ".join(sorted(set(kind.inputs.values()))) or "nothing"
        console.print(Text.assemble("  ", (kind.name, "cyan"), f"  {kind.description} (from {needs})"), highlight=False)
    for ability in answer.capabilities:
        mark = ("✓", "green") if ability.available else ("✗", "red")
        console.print(Text.assemble("  ", mark, f" {ability.name}: {ability.detail}"), highlight=False)
    versions = "  ".join(f"{package} {version}" for package, version in sorted(answer.software.items()))
    if versions:
        console.print(f"  {versions}", style="dim", highlight=False)


def models(options: argparse.Namespace, console: Console) -> int:
    """Lists the known models and texts, or fetches some."""
    from dragoman.models import CATALOGUE, bar, local_path, pull

    if options.action == "pull":
        if not options.names:
            raise InvalidSpec(f"which? {suggestion('', CATALOGUE)}")
        for name in options.names:
            with bar(name, Console(stderr=True)) as progress:
                path = pull(name, options.home, progress)
            print(path)
        return 0
    rows = [(a, local_path(a.name, options.home)) for a in CATALOGUE.values()]
    if options.json:
        fields = [
            {"name": a.name, "role": a.role, "size_bytes": a.size, "path": str(p), "here": p.exists()} for a, p in rows
        ]
        print(json.dumps(fields, indent=2))
        return 0
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("name", "role", "size", "here"):
        table.add_column(heading, no_wrap=True)
    table.add_column("licence", no_wrap=True, overflow="ellipsis")
    for asset, path in rows:
        size, here = f"{asset.size / 1e6:,.0f} MB", "yes" if path.exists() else "no"
        table.add_row(asset.name, asset.role, size, here, asset.licence)
    console.print(table)
    return 0

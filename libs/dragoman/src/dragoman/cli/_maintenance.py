"""What an operator does now and then: gc, delete, rebuild."""

import argparse
import json
from dataclasses import asdict

from rich import filesize
from rich.console import Console

from dragoman.cli import _words
from dragoman.cli._ids import resolve
from dragoman.client import Client


def gc(client: Client, options: argparse.Namespace, console: Console) -> int:
    """Prints what nothing needs any more, and removes it with --delete."""
    found = client.collect_garbage(options.older_than, options.delete, options.answers)
    if options.json:
        print(json.dumps([asdict(line) for line in found], indent=2))
        return 0
    for line in found:
        console.print(f"{line.object_count:>8,} objects  {filesize.decimal(line.size_bytes):>9}  {line.reason}")
    if not found:
        console.print("nothing to collect")
    elif options.delete:
        console.print("removed")
    else:
        console.print("nothing was removed; add --delete to remove it")
    return 0


def delete(client: Client, options: argparse.Namespace, console: Console) -> int:
    """Removes artifacts and their jobs' records."""
    for text in options.artifacts:
        id_ = resolve(client, text)
        count = client.delete_artifact(id_, options.force)
        console.print(f"{_words.short(id_)}: {count} objects removed")
    return 0


def rebuild(client: Client, options: argparse.Namespace, console: Console) -> int:
    """Makes job records for committed artifacts that have none."""
    made, count = client.rebuild_jobs()
    console.print(f"{len(made)} job records made anew, of {count} committed artifacts")
    return 0

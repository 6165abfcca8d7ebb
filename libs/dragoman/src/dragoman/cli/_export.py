"""The command `export`: a coder as another library's files, in a folder."""

import argparse
import tempfile
from pathlib import Path

from rich.console import Console

from dragoman.cli._ids import resolve
from dragoman.cli._jobs import watch_jobs
from dragoman.client import Client
from dragoman.errors import FailedPrecondition, InvalidSpec
from dragoman.ids import kind_of


def export(client: Client, options: argparse.Namespace, console: Console) -> int:
    """Has a coder written in a library's layout, downloads the files and prints the folder that the library loads."""
    coder_id = resolve(client, options.coder)
    if kind_of(coder_id) != "coder":
        raise InvalidSpec(f"{coder_id} is no coder; `dragoman jobs --kind coder` lists them")
    target = Path(options.folder)
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InvalidSpec(f"{target} is there already and not an empty folder; give the name of a new one")
    job = client.submit("export", {"coder_id": coder_id, "layout": options.layout})
    if not job.state.terminal and watch_jobs(client, {"export": job}, Console(stderr=True)):
        return 1
    print(_fetched(client, job.id, target))
    return 0


def _fetched(client: Client, id_: str, target: Path) -> Path:
    """Moves an artifact's files into a folder and returns where the coder lies in it."""
    parts = client.manifest(id_).parts
    try:
        target.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=target) as room:
            folder = client.download(id_, Path(room))
            for part in parts:
                (target / part.name).parent.mkdir(parents=True, exist_ok=True)
                (folder / part.name).rename(target / part.name)
    except OSError as error:
        reason = f"cannot write to {target}: {error.strerror or error}; give another folder"
        raise FailedPrecondition(reason, reason="CANNOT_WRITE") from error
    return (target / parts[0].name).parent.resolve()

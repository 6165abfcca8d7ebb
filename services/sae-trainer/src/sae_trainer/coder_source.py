"""Where the files of a coder from elsewhere lie: a folder, an s3:// uri or the Hugging Face hub. Imports no torch."""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

from dragoman.errors import FailedPrecondition, InvalidSpec, Unavailable
from dragoman.ids import canonical_json
from dragoman.nearest import suggestion
from dragoman.source_policy import Sources
from dragoman.store import Store

T = TypeVar("T")
FIELD = "imported.source"
_S3 = "s3://"
_HUB = re.compile(r"^([A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*)((?:/[\w.-]+)*)/?$")
_BLOCK = 1 << 20


class CoderFolder(ABC):
    """Files in one place."""

    source: str
    """In canonical form."""
    revision: str | None = None
    """Commit, on the hub only."""

    @property
    def name(self) -> str:
        """The last part of its path; sparsify calls it by the hookpoint. A "seed0" below it is passed over."""
        parts = [part for part in self.source.split("/") if part]
        return parts[-2] if len(parts) > 1 and re.fullmatch(r"seed\d+", parts[-1]) else parts[-1]

    @abstractmethod
    def names(self) -> Sequence[str]:
        """Files, with a slash where they lie in folders below."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Returns a small file."""

    @abstractmethod
    def copy(self, name: str, path: Path) -> None:
        """Copies a file to this host."""

    @abstractmethod
    def sha256(self, name: str) -> str:
        """Returns the sum of a file."""


def open_folder(source: str, revision: str | None, store: Store | None) -> CoderFolder:
    """Returns the folder at a source. Raises InvalidSpec when there is none, Unavailable when the hub is away."""
    if source.startswith(_S3):
        return _StoreFolder(source, store)
    path = Path(source).expanduser()
    hub = _HUB.match(source)
    if hub and not path.exists():
        Sources.policy.check_repository(hub[1], FIELD)
        return _HubFolder(hub[1], hub[2].strip("/"), revision)
    if revision is not None:
        raise InvalidSpec(f"{source} is no hub id, and only the hub has revisions", field="imported.revision")
    Sources.policy.check_path(path, FIELD)
    return _LocalFolder(path.absolute())


def combined(sums: Mapping[str, str]) -> str:
    """Returns one sha256 for files by name."""
    return hashlib.sha256(canonical_json(sorted([name, value] for name, value in sums.items()))).hexdigest()


class _LocalFolder(CoderFolder):
    def __init__(self, path: Path) -> None:
        self.source, self._path = str(path), path
        if not path.is_dir():
            beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
            hint = f"; in {path.parent} {suggestion(path.name, beside)}" if beside else ""
            raise _not_found(f"there is no folder {str(path)!r} on the server's machine{hint}")

    def names(self) -> Sequence[str]:
        below = [f"{p.parent.name}/{p.name}" for p in self._path.glob("*/cfg.json")]
        return sorted([p.name for p in self._path.iterdir() if p.is_file()] + below)

    def read(self, name: str) -> bytes:
        return self._allowed(name).read_bytes()

    def _allowed(self, name: str) -> Path:
        """Returns a file of the folder. Raises InvalidSpec for a link out of what may be read."""
        Sources.policy.check_path(self._path / name, FIELD)
        return self._path / name

    def copy(self, name: str, path: Path) -> None:
        path.symlink_to(self._allowed(name))

    def sha256(self, name: str) -> str:
        return file_sum(self._allowed(name))


class _StoreFolder(CoderFolder):
    def __init__(self, uri: str, store: Store | None) -> None:
        if store is None:
            raise FailedPrecondition(f"{uri} cannot be read: this server has no object store; set DRAGOMAN_S3_ENDPOINT")
        bucket, _, prefix = uri.removeprefix(_S3).partition("/")
        if bucket != store.config.bucket:
            raise _not_found(
                f"{uri} is in the bucket {bucket!r}; this server reads only its own bucket {store.config.bucket!r}"
            )
        Sources.policy.check_prefix(prefix.rstrip("/") + "/", FIELD)
        self.source, self._store, self._prefix = uri.rstrip("/"), store, prefix.rstrip("/") + "/"
        if not self.names():
            raise _not_found(f"there is no object below {self.source}/")

    def names(self) -> Sequence[str]:
        return sorted(info.key.removeprefix(self._prefix) for info in self._store.objects.list(self._prefix))

    def read(self, name: str) -> bytes:
        data = self._store.objects.get_bytes(self._prefix + name)
        if data is None:
            raise _not_found(f"there is no object {self.source}/{name}")
        return data

    def copy(self, name: str, path: Path) -> None:
        if self._store.objects.get_file(self._prefix + name, path) is None:
            raise _not_found(f"there is no object {self.source}/{name}")

    def sha256(self, name: str) -> str:
        key, total, at = self._prefix + name, hashlib.sha256(), 0
        size = next(info.size_bytes for info in self._store.objects.list(key) if info.key == key)
        while at < size:
            block = self._store.objects.get_range(key, at, min(8 * _BLOCK, size - at))
            total.update(block)
            at += len(block)
        return total.hexdigest()


class _HubFolder(CoderFolder):
    """A folder of a repository; what this host has downloaded of it when the hub does not answer."""

    def __init__(self, repo: str, folder: str, revision: str | None) -> None:
        self._repo, self._prefix = repo, f"{folder}/" if folder else ""
        self.source = f"{repo}/{folder}".rstrip("/")
        self._asked = revision
        self.revision = str(self._info.sha) if self._info else self._known.name

    @cached_property
    def _info(self) -> Any | None:
        from huggingface_hub import HfApi

        def ask() -> Any:
            return HfApi().model_info(self._repo, revision=self._asked, files_metadata=True, timeout=30.0)

        try:
            return self._ask(ask)
        except Unavailable:
            return None

    @cached_property
    def _known(self) -> Path:
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            return Path(snapshot_download(self._repo, revision=self._asked, local_files_only=True))
        except LocalEntryNotFoundError as error:
            raise Unavailable(
                f"{self._repo!r} is no path on the server's machine, and the Hugging Face hub cannot be reached from "
                "here; give a folder or an s3:// uri, or try again when the hub is reachable",
                reason="HUB_UNREACHABLE",
            ) from error

    def names(self) -> Sequence[str]:
        if self._info is None:
            found = (p.relative_to(self._known).as_posix() for p in self._known.rglob("*") if p.is_file())
        else:
            found = (str(sibling.rfilename) for sibling in self._info.siblings or ())
        return sorted(name.removeprefix(self._prefix) for name in found if name.startswith(self._prefix))

    def read(self, name: str) -> bytes:
        return self._file(name).read_bytes()

    def copy(self, name: str, path: Path) -> None:
        path.symlink_to(self._file(name))

    def sha256(self, name: str) -> str:
        for sibling in (self._info.siblings or ()) if self._info else ():
            if sibling.rfilename == self._prefix + name and sibling.lfs:
                return str(sibling.lfs.sha256)
        return file_sum(self._file(name))

    def _file(self, name: str) -> Path:
        from huggingface_hub import hf_hub_download

        if self._info is None:
            return self._known / self._prefix / name
        commit = self.revision
        return Path(self._ask(lambda: hf_hub_download(self._repo, self._prefix + name, revision=commit)))

    def _ask(self, call: Callable[[], T]) -> T:
        from huggingface_hub import errors as hub

        try:
            return call()
        except hub.RevisionNotFoundError as error:
            said = f"{self._repo!r} has no revision {self._asked!r} on the Hugging Face hub"
            raise InvalidSpec(said, field="imported.revision", reason="CODER_NOT_FOUND") from error
        except hub.GatedRepoError as error:
            raise _not_found(f"{self._repo!r} is gated on the hub; accept its terms and set HF_TOKEN") from error
        except (hub.RepositoryNotFoundError, hub.HFValidationError) as error:
            raise _not_found(
                f"{self._repo!r} is no path on the server's machine, and the Hugging Face hub has no such repository "
                "(or none that this server may read)"
            ) from error
        # Its HTTP library differs by version and raises its own errors, all of which mean: no answer.
        except Exception as error:
            message = f"the Hugging Face hub did not answer for {self._repo!r}: {error}"
            raise Unavailable(message, reason="HUB_UNREACHABLE") from error


def file_sum(path: Path) -> str:
    """Returns the sha256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _not_found(message: str) -> InvalidSpec:
    hint = "give a folder of the server's machine, a hub id (org/name, or org/name/sub/folder) or an s3:// uri"
    return InvalidSpec(f"{message}; {hint}", field=FIELD, reason="CODER_NOT_FOUND")

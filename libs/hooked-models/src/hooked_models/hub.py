"""The Hugging Face hub: commits, sums and snapshots. Falls back to what this host has downloaded before."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from fnmatch import fnmatch
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, TypeVar

from dragoman.errors import InvalidSpec, Unavailable

T = TypeVar("T")


class Hub:
    """Asks the hub, with plain-word errors that name the field of the spec at fault."""

    def __init__(self, field_name: str) -> None:
        self._field = field_name

    def commit(self, repo: str, revision: str | None) -> str:
        """Returns the commit that a branch, a tag or a commit names now."""
        from huggingface_hub import HfApi

        try:
            info = self._ask(repo, revision, lambda: HfApi().model_info(repo, revision=revision, timeout=30.0))
        except Unavailable:
            return self._known_commit(repo, revision)
        return str(info.sha)

    def sums(self, repo: str, commit: str, patterns: Sequence[str]) -> Mapping[str, str]:
        """Returns the sha256 of the files that match: large ones by the hub's word, small ones by their bytes."""
        from huggingface_hub import HfApi

        try:
            info = self._ask(
                repo, commit, lambda: HfApi().model_info(repo, revision=commit, files_metadata=True, timeout=30.0)
            )
        except Unavailable:
            return {p.name: _sha256(p) for p in _matching(self._known(repo, commit, patterns), patterns)}
        sums: dict[str, str] = {}
        for sibling in info.siblings or []:
            if "/" not in sibling.rfilename and any(fnmatch(sibling.rfilename, p) for p in patterns):
                sums[sibling.rfilename] = (
                    str(sibling.lfs.sha256)
                    if sibling.lfs
                    else _sha256(self.snapshot(repo, commit, [sibling.rfilename]) / sibling.rfilename)
                )
        return sums

    def snapshot(self, repo: str, commit: str, patterns: Sequence[str]) -> Path:
        """Returns a local folder with the files that match, downloaded where they are not there yet."""
        from huggingface_hub import snapshot_download

        try:
            return Path(
                self._ask(repo, commit, lambda: snapshot_download(repo, revision=commit, allow_patterns=list(patterns)))
            )
        except Unavailable:
            return self._known(repo, commit, patterns)

    def _known_commit(self, repo: str, revision: str | None) -> str:
        return self._known(repo, revision, ["config.json"]).name

    def known(self, repo: str, revision: str | None, patterns: Sequence[str]) -> Path | None:
        """Returns the folder of what this host has downloaded of a revision, complete or not; None for nothing."""
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            return Path(
                snapshot_download(repo, revision=revision, allow_patterns=list(patterns), local_files_only=True)
            )
        except LocalEntryNotFoundError:
            return None

    def _known(self, repo: str, revision: str | None, patterns: Sequence[str]) -> Path:
        path = self.known(repo, revision, patterns)
        if path is None:
            raise Unavailable(
                f"{repo!r} is no path on the server's machine, and the Hugging Face hub cannot be reached from here; "
                "give a folder, a GGUF file or an s3:// uri, or try again when the hub is reachable",
                reason="HUB_UNREACHABLE",
            )
        return path

    def _ask(self, repo: str, revision: str | None, call: Callable[[], T]) -> T:
        from huggingface_hub import errors as hub

        try:
            return call()
        except hub.RevisionNotFoundError as error:
            raise self._wrong(f"{repo!r} has no revision {revision!r} on the Hugging Face hub") from error
        except hub.GatedRepoError as error:
            raise self._wrong(
                f"{repo!r} is gated on the Hugging Face hub; accept its terms and set HF_TOKEN"
            ) from error
        except (hub.RepositoryNotFoundError, hub.HFValidationError) as error:
            raise self._wrong(
                f"{repo!r} is no path on the server's machine, and the Hugging Face hub has no such model "
                "(or none that this server may read); give a folder, a GGUF file, an s3:// uri or a hub id"
            ) from error
        except (hub.HfHubHTTPError, hub.OfflineModeIsEnabled, hub.LocalEntryNotFoundError, *_network_errors()) as error:
            message = f"the Hugging Face hub did not answer for {repo!r}: {error}"
            raise Unavailable(message, reason="HUB_UNREACHABLE") from error

    def _wrong(self, message: str) -> InvalidSpec:
        return InvalidSpec(message, field=self._field, reason="MODEL_NOT_FOUND")


def _network_errors() -> tuple[type[Exception], ...]:
    """Returns what the hub's client raises when there is no network: its HTTP library differs by version."""
    libraries = (import_module(name) for name in ("httpx", "httpx2") if find_spec(name))
    return (OSError, *(library.HTTPError for library in libraries))


def _matching(folder: Path, patterns: Sequence[str]) -> list[Path]:
    found: list[Any] = [p for p in sorted(folder.iterdir()) if any(fnmatch(p.name, pattern) for pattern in patterns)]
    return found


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

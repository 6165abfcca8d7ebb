"""What a spec may make a server or worker read: folders of its machine, objects of its bucket, parts of the hub."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path

from dragoman.errors import FailedPrecondition, InvalidSpec
from dragoman.garbage import PREFIXES

_SHELL_PREFIXES = (*PREFIXES, "llm-cache/")
"""Of the bucket: reading them by name would pass over who may see an artifact."""

_REASON = "SOURCE_NOT_ALLOWED"


@dataclass(frozen=True, slots=True)
class SourcePolicy:
    """What an operator allows."""

    roots: Sequence[Path] = ()
    """Folders: everything below them may be read, wherever links inside of them do not lead out."""
    hub: Sequence[str] = ()
    """Patterns of repositories of the model hub, for example "EleutherAI/*"."""

    @classmethod
    def from_env(cls, environ: Mapping[str, str]) -> "SourcePolicy":
        """Reads DRAGOMAN_SOURCE_ROOTS (colons between folders) and DRAGOMAN_HUB_ALLOW (commas between patterns).

        What is not set allows nothing. Raises FailedPrecondition for a folder that is not absolute.
        """
        roots = [Path(root) for root in environ.get("DRAGOMAN_SOURCE_ROOTS", "").split(os.pathsep) if root]
        for root in roots:
            if not root.is_absolute():
                raise FailedPrecondition(f"DRAGOMAN_SOURCE_ROOTS has {str(root)!r}; expected absolute folders")
        patterns = [pattern.strip() for pattern in environ.get("DRAGOMAN_HUB_ALLOW", "").split(",")]
        return cls(tuple(roots), tuple(pattern for pattern in patterns if pattern))

    def check_path(self, path: Path, field: str) -> None:
        """Raises InvalidSpec for a path outside of the folders, links followed; the same whether it exists or not."""
        real = path.expanduser().resolve()
        if not any(real.is_relative_to(root.resolve()) for root in self.roots):
            raise InvalidSpec(
                f"{str(path)!r} is in none of the folders that this server may read; give an s3:// uri or a hub id, or "
                "have its operator allow the folder by DRAGOMAN_SOURCE_ROOTS",
                field=field,
                reason=_REASON,
            )

    def check_prefix(self, prefix: str, field: str) -> None:
        """Raises InvalidSpec for a prefix of the bucket that covers what Dragoman itself keeps there."""
        if any(own.startswith(prefix) or prefix.startswith(own) for own in _SHELL_PREFIXES):
            raise InvalidSpec(
                f"{prefix!r} covers objects that Dragoman keeps in its bucket ({', '.join(_SHELL_PREFIXES)}): name "
                "artifacts by their ids, and put sources of your own beside them",
                field=field,
                reason=_REASON,
            )

    def check_repository(self, repository: str, field: str) -> None:
        """Raises InvalidSpec for a repository of the hub that no pattern allows."""
        if not any(fnmatch(repository, pattern) for pattern in self.hub):
            raise InvalidSpec(
                f"{repository!r} is no repository of the model hub that this server may fetch, and no path that it may "
                "read; give an s3:// uri, or have its operator allow it by DRAGOMAN_HUB_ALLOW",
                field=field,
                reason=_REASON,
            )


EVERYTHING = SourcePolicy((Path("/"),), ("*",))


class Sources:
    """What this process may read. A service sets it once, at its start; a library alone is not restricted."""

    policy: SourcePolicy = EVERYTHING

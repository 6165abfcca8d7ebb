"""Activations as a trainer sees them: which hookpoint, how wide, in which shards. Reads manifests, nothing else."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from dragoman.artifacts import Manifest, PartInfo
from dragoman.errors import InvalidSpec
from dragoman.nearest import suggestion


@dataclass(frozen=True, slots=True)
class Source:
    """The activations of one hookpoint."""

    hookpoint: str
    d_model: int
    shard_sizes: tuple[int, ...]
    """Tokens in each shard; of a model that is streamed, in each of its passes."""
    shards: Sequence[PartInfo] = ()

    @property
    def token_count(self) -> int:
        """Tokens in all shards."""
        return sum(self.shard_sizes)


def source_of(manifest: Manifest, hookpoint: str, field: str = "hookpoint") -> Source:
    """Returns the shards of a hookpoint, in the manifest's order. Raises InvalidSpec when it has none."""
    found = find_hookpoint(hookpoint, _texts(manifest.statistics.get("hookpoints")), manifest.id, field)
    shards = [part for part in manifest.parts if part.metadata.get("hookpoint") == found]
    widths: Any = manifest.statistics["d_model"]
    sizes = tuple(token_count_of(part) for part in shards)
    return Source(found, int(widths.get(found, 0)), sizes, shards)  # no width where no token was counted


def read_and_given(manifest: Manifest, coder: Mapping[str, Any]) -> tuple[Source, Source]:
    """Returns what a coder with these statistics reads, and what it should give: the same, or for a transcoder another.

    Raises:
        InvalidSpec: the activations lack one of the hookpoints.
    """
    reads = source_of(manifest, str(coder["hookpoint"]))
    if not coder.get("transcoder"):
        return reads, reads
    return reads, source_of(manifest, str(coder["output_hookpoint"]))


def source_pair(manifest: Manifest, hookpoint: str, output_hookpoint: str) -> tuple[Source, Source]:
    """Returns what is read and what is to be given; twice the same without an output hookpoint.

    Raises:
        InvalidSpec: the artifact lacks one of the hookpoints, or both are the same.
    """
    reads = source_of(manifest, hookpoint)
    if not output_hookpoint:
        return reads, reads
    gives = source_of(manifest, output_hookpoint, "output_hookpoint")
    if gives.hookpoint == reads.hookpoint:
        raise InvalidSpec(
            f"hookpoint and output_hookpoint are both {reads.hookpoint}; leave output_hookpoint out for an autoencoder",
            field="output_hookpoint",
        )
    return reads, gives


def declared_hookpoints(spec: Mapping[str, Any]) -> Sequence[str]:
    """Returns the hookpoints that an activations spec asks for."""
    return _texts(spec.get("hookpoints"))


def find_hookpoint(wanted: str, names: Sequence[str], artifact_id: str, field: str = "hookpoint") -> str:
    """Returns the one name that is meant: itself, or the only one of which it is the end ("layers.9").

    `field`: of the spec, where errors point to.

    Raises:
        InvalidSpec: none or several are meant; the message has the nearest names.
    """
    if not wanted:
        if len(names) == 1:
            return names[0]
        listed = ", ".join(names)
        raise InvalidSpec(f"{artifact_id} has {len(names)} hookpoints; name one of {listed}", field=field)
    meant = [name for name in names if name == wanted] or [name for name in names if _same_end(name, wanted)]
    if len(meant) != 1:
        raise InvalidSpec(
            f"{artifact_id} has {'several hookpoints' if meant else 'no hookpoint'} {wanted!r}: "
            f"{suggestion(wanted, names)}",
            field=field,
            reason="UNKNOWN_HOOKPOINT",
        )
    return meant[0]


def token_count_of(part: PartInfo) -> int:
    """Returns how many tokens a shard holds."""
    return int(str(part.metadata["token_count"]))


def _same_end(name: str, wanted: str) -> bool:
    return name.endswith("." + wanted) or wanted.endswith("." + name)


def _texts(value: object) -> Sequence[str]:
    return [str(item) for item in value] if isinstance(value, list | tuple) else []

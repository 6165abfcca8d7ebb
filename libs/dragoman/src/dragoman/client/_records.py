"""Answers that are no jobs and no manifests."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from dragoman.artifact.v1 import artifact_pb2
from dragoman.job.v1 import job_service_pb2


@dataclass(frozen=True, slots=True)
class LineageNode:
    """One artifact behind another, or itself. `inputs` is role to artifact id."""

    artifact_id: str
    kind: str
    inputs: Mapping[str, str]
    committed: bool


@dataclass(frozen=True, slots=True)
class KindInfo:
    """A kind of job that a server takes. `inputs` is role to kind of artifact."""

    name: str
    semantics_version: int
    inputs: Mapping[str, str]
    description: str


@dataclass(frozen=True, slots=True)
class Capability:
    """Something a server can do, or why it cannot and how to get it."""

    name: str
    available: bool
    detail: str


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What a server says of itself."""

    service: str
    address: str
    version: str
    api_version: str
    kinds: Sequence[KindInfo]
    limits: Mapping[str, int]
    software: Mapping[str, str]
    capabilities: Sequence[Capability]


def lineage_node(message: artifact_pb2.LineageNode) -> LineageNode:
    """Returns the node of a message."""
    return LineageNode(message.artifact_id, message.kind, dict(sorted(message.inputs.items())), message.committed)


def server_info(message: job_service_pb2.GetServerInfoResponse, address: str) -> ServerInfo:
    """Returns the ServerInfo of a message."""
    limits = message.limits
    return ServerInfo(
        service=message.service,
        address=address,
        version=message.version,
        api_version=message.api_version,
        kinds=[KindInfo(k.name, k.semantics_version, dict(k.inputs), k.description) for k in message.kinds],
        limits={
            "max_message_bytes": limits.max_message_bytes,
            "max_spec_bytes": limits.max_spec_bytes,
            "max_page_size": limits.max_page_size,
            "max_attempts": limits.max_attempts,
        },
        software=dict(message.software),
        capabilities=[Capability(c.name, c.available, c.detail) for c in message.capabilities],
    )


@dataclass(frozen=True, slots=True)
class GarbageLine:
    """Objects that nothing needs, of one reason; up to 20 of the jobs that they belong to."""

    reason: str
    object_count: int
    size_bytes: int
    job_ids: Sequence[str]

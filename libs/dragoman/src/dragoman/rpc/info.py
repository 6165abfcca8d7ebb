"""What a server says of itself."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from dragoman import __version__
from dragoman.job.v1 import job_service_pb2
from dragoman.kinds import AnyKind

API_VERSION = "v1"
MAX_MESSAGE_BYTES = 4 * 1024 * 1024
MAX_SPEC_BYTES = 256 * 1024
MAX_PAGE_SIZE = 500
DEFAULT_PAGE_SIZE = 50
MAX_WATCHED = 1000
MAX_REQUEST_ID = 128


class CapabilityLike(Protocol):
    """Something that a server can do, or why it cannot."""

    @property
    def name(self) -> str: ...
    @property
    def available(self) -> bool: ...
    @property
    def detail(self) -> str: ...


def _none() -> Sequence[CapabilityLike]:
    return ()


@dataclass(frozen=True, slots=True)
class ServerInfo:
    """What GetServerInfo answers. `capabilities` may look at the world; it is called off the event loop."""

    service: str
    kinds: Mapping[str, AnyKind] = field(default_factory=dict[str, AnyKind])
    software: Mapping[str, str] = field(default_factory=dict[str, str])
    capabilities: Callable[[], Sequence[CapabilityLike]] = _none
    max_attempts: int = 0
    version: str = __version__

    def message(self) -> job_service_pb2.GetServerInfoResponse:
        """Returns the answer. May take as long as `capabilities` does."""
        return job_service_pb2.GetServerInfoResponse(
            service=self.service,
            version=self.version,
            api_version=API_VERSION,
            kinds=[_kind(kind) for kind in self.kinds.values()],
            limits=job_service_pb2.Limits(
                max_message_bytes=MAX_MESSAGE_BYTES,
                max_spec_bytes=MAX_SPEC_BYTES,
                max_page_size=MAX_PAGE_SIZE,
                max_attempts=self.max_attempts,
            ),
            software=dict(self.software),
            capabilities=[
                job_service_pb2.Capability(name=c.name, available=c.available, detail=c.detail)
                for c in self.capabilities()
            ],
        )


def _kind(kind: AnyKind) -> job_service_pb2.KindInfo:
    return job_service_pb2.KindInfo(
        name=kind.name,
        semantics_version=kind.version,
        inputs=dict(kind.input_kinds),
        description=kind.description,
    )

"""ArtifactService: reads committed artifacts, so that clients need no credentials of the store."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Mapping
from typing import Any, Protocol

import grpc.aio

from dragoman.artifact.v1 import artifact_pb2 as pb
from dragoman.artifact.v1 import artifact_pb2_grpc
from dragoman.artifacts import Artifact, Manifest, PartInfo
from dragoman.desk import Desk
from dragoman.errors import InvalidSpec, NotFound
from dragoman.ids import kind_of
from dragoman.nearest import suggestion
from dragoman.principals import CALLER
from dragoman.rpc.convert import manifest_message
from dragoman.rpc.interceptors import Context

CHUNK_BYTES = 1 << 20
BLOCK_BYTES = 8 << 20
"""One ranged read of the store; sent in chunks while the next one is read."""
MAX_LINEAGE = 10_000


class ArtifactStore(Protocol):
    """What the servicer needs of dragoman.store.Store; its calls block."""

    def manifest(self, artifact_id: str, /) -> Manifest | None:
        """Returns a committed manifest; None when there is none."""
        ...

    def artifact(self, artifact_id: str, /) -> Artifact:
        """Returns a reader of a committed artifact. Raises NotFound when there is none."""
        ...


class ArtifactServicer(artifact_pb2_grpc.ArtifactServiceServicer):
    """dragoman.artifact.v1.ArtifactService over the object store, and over the desk for what is not committed yet."""

    def __init__(self, store: ArtifactStore, desk: Desk) -> None:
        self._store = store
        self._desk = desk

    async def GetManifest(self, request: pb.GetManifestRequest, context: Context) -> pb.GetManifestResponse:
        """Returns the manifest of a committed artifact."""
        id_ = _artifact_id(request.artifact_id)
        manifest = await self._manifest(id_)
        if manifest is None:
            raise await self._not_committed(id_)
        return pb.GetManifestResponse(manifest=manifest_message(manifest))

    async def _manifest(self, id_: str) -> Manifest | None:
        """Returns a manifest that the caller may know of; None as well for one of another namespace."""
        manifest = await asyncio.to_thread(self._store.manifest, id_)
        return manifest if manifest is not None and CALLER.get().sees(manifest.namespace) else None

    async def DownloadPart(
        self, request: pb.DownloadPartRequest, context: Context
    ) -> AsyncGenerator[pb.DownloadPartResponse]:
        """Streams one part, or a range of it."""
        id_ = _artifact_id(request.artifact_id)
        if await self._manifest(id_) is None:
            raise await self._not_committed(id_)
        artifact = await asyncio.to_thread(self._store.artifact, id_)
        part = _part(artifact, request.part_name)
        position, end = _range(part, request)
        block = asyncio.ensure_future(_read(artifact, part.name, position, end))
        try:
            while position < end:
                data = await block
                position += len(data)
                block = asyncio.ensure_future(_read(artifact, part.name, position, end))
                for start in range(0, len(data), CHUNK_BYTES):
                    yield pb.DownloadPartResponse(data=data[start : start + CHUNK_BYTES])
        finally:
            block.cancel()

    async def GetLineage(self, request: pb.GetLineageRequest, context: Context) -> pb.GetLineageResponse:
        """Returns the graph of ids behind an artifact, breadth first."""
        root = _artifact_id(request.artifact_id)
        nodes: dict[str, pb.LineageNode] = {}
        queue = deque([root])
        while queue and len(nodes) < MAX_LINEAGE:
            id_ = queue.popleft()
            if id_ not in nodes:
                nodes[id_] = await self._node(id_, must_exist=id_ == root)
                inputs = nodes[id_].inputs
                queue.extend(inputs[role] for role in sorted(inputs))  # a protobuf map has no order of its own
        return pb.GetLineageResponse(nodes=list(nodes.values()))

    async def _node(self, id_: str, *, must_exist: bool) -> pb.LineageNode:
        manifest = await self._manifest(id_)
        if manifest is not None:
            return _node(id_, manifest.inputs, committed=True)
        try:
            return _node(id_, (await self._desk.get(id_)).inputs, committed=False)
        except NotFound:
            if must_exist:
                raise
            return _node(id_, {}, committed=False)

    async def _not_committed(self, id_: str) -> NotFound:
        """Says what is known of an artifact that cannot be read."""
        try:
            job = await self._desk.get(id_)
        except NotFound:
            return NotFound(f"there is no artifact {id_}, and no job that makes it; `dragoman jobs` lists the jobs")
        hint = "see `dragoman show`" if job.state.terminal else "wait for it with `dragoman watch`"
        return NotFound(f"{id_} is not committed: its job is {job.state}; {hint} {id_}", reason="NOT_COMMITTED")


def _node(id_: str, inputs: Mapping[str, str], *, committed: bool) -> pb.LineageNode:
    return pb.LineageNode(artifact_id=id_, kind=kind_of(id_), inputs=dict(inputs), committed=committed)


async def _read(artifact: Artifact, name: str, position: int, end: int) -> bytes:
    length = min(BLOCK_BYTES, end - position)
    return await asyncio.to_thread(artifact.read_range, name, position, length) if length > 0 else b""


def _artifact_id(artifact_id: str) -> str:
    if not artifact_id:
        raise InvalidSpec("is required: <kind>-<32 hex digits>, as `dragoman jobs` prints it", field="artifact_id")
    kind_of(artifact_id, field="artifact_id")
    return artifact_id


def _part(artifact: Artifact, name: str) -> PartInfo:
    if not name:
        raise InvalidSpec("is required: the name of a part that the manifest lists", field="part_name")
    names = artifact.names()
    if name not in names:
        raise NotFound(f"{artifact.id} has no part {name!r}; {suggestion(name, names)}", reason="NO_SUCH_PART")
    return artifact.manifest.part(name)


def _range(part: PartInfo, request: pb.DownloadPartRequest) -> tuple[int, int]:
    """Returns first byte and end. Raises InvalidSpec when the range is not inside the part."""
    size, offset, length = part.size_bytes, request.offset_bytes, request.length_bytes
    if not 0 <= offset <= size:
        raise InvalidSpec(f"{offset} is outside of {part.name}, which has {size:,} bytes", field="offset_bytes")
    if length < 0 or offset + length > size:
        text = f"{length} bytes from {offset} reach outside of {part.name}, which has {size:,} bytes"
        raise InvalidSpec(text, field="length_bytes")
    return offset, offset + length if length else size


def mount(server: grpc.aio.Server, servicer: ArtifactServicer) -> str:
    """Adds the servicer and returns the service's full name."""
    generated: Any = artifact_pb2_grpc
    generated.add_ArtifactServiceServicer_to_server(servicer, server)
    return pb.DESCRIPTOR.services_by_name["ArtifactService"].full_name

"""Artifacts: their manifests, files and lineage, and what an operator does with them."""

from collections.abc import Sequence
from pathlib import Path

from dragoman.artifact.v1 import artifact_pb2
from dragoman.artifacts import Manifest
from dragoman.client._caller import Caller
from dragoman.client._download import Report, download, read_part
from dragoman.client._records import GarbageLine, LineageNode, lineage_node
from dragoman.job.v1 import maintenance_service_pb2
from dragoman.rpc.convert import manifest_record
from dragoman.rpc.methods import COLLECT_GARBAGE, DELETE_ARTIFACT, GET_LINEAGE, GET_MANIFEST, REBUILD_JOBS

_MAINTENANCE_TIMEOUT = 3600.0
"""Seconds: millions of objects are listed by the thousand."""


class Artifacts(Caller):
    """The verbs about artifacts."""

    async def manifest(self, artifact_id: str) -> Manifest:
        """Returns the manifest of a committed artifact. Raises NotFound, saying how its job stands."""
        request = artifact_pb2.GetManifestRequest(artifact_id=artifact_id)
        return manifest_record((await self._wire.call(GET_MANIFEST, request, self._wire.anywhere())).manifest)

    async def download(self, artifact_id: str, folder: Path | str, report: Report | None = None) -> Path:
        """Fetches an artifact into `<folder>/<artifact_id>` and returns that folder; see `dragoman.folder`.

        What is there already is kept, a broken download goes on where it stopped, every part is checked against its
        sha256, and manifest.json is written last.

        Args:
            artifact_id: A committed artifact.
            folder: Where to put the artifact's folder.
            report: Called with the part's name, and the bytes done and in all.
        """
        return await download(self._wire, await self.manifest(artifact_id), Path(folder), report)

    async def read_part(self, artifact_id: str, name: str) -> bytes:
        """Returns one part of an artifact, checked against its sha256; for parts that fit into memory.

        Raises NotFound when the artifact has no part of this name.
        """
        return await read_part(self._wire, await self.manifest(artifact_id), name)

    async def lineage(self, artifact_id: str) -> Sequence[LineageNode]:
        """Returns the artifact and everything it was made from, breadth first."""
        request = artifact_pb2.GetLineageRequest(artifact_id=artifact_id)
        answer = await self._wire.call(GET_LINEAGE, request, self._wire.anywhere())
        return [lineage_node(node) for node in answer.nodes]

    # ------------------------------------------------------------- maintenance

    async def collect_garbage(
        self, older_than: float = 7 * 86_400.0, delete: bool = False, answers_older_than: float | None = None
    ) -> Sequence[GarbageLine]:
        """Returns what nothing needs any more, by reason, and removes it with `delete`.

        Args:
            older_than: Seconds; what changed since is left alone. At least 1.
            delete: Remove it.
            answers_older_than: Seconds; language-model answers older than this, too. None keeps them all.
        """
        request = maintenance_service_pb2.CollectGarbageRequest(delete=delete)
        request.older_than.FromMilliseconds(round(older_than * 1000))
        if answers_older_than is not None:
            request.answers_older_than.FromMilliseconds(round(answers_older_than * 1000))
        answer = await self._wire.call(COLLECT_GARBAGE, request, self._wire.anywhere(), _MAINTENANCE_TIMEOUT)
        return [GarbageLine(g.reason, g.object_count, g.size_bytes, tuple(g.job_ids)) for g in answer.garbage]

    async def delete_artifact(self, artifact_id: str, force: bool = False) -> int:
        """Removes an artifact and its job's record; returns how many objects went. See MaintenanceService."""
        request = maintenance_service_pb2.DeleteArtifactRequest(artifact_id=artifact_id, force=force)
        await self._check_version(self._wire.anywhere()[0])
        answer = await self._wire.call(DELETE_ARTIFACT, request, self._wire.anywhere()[0], _MAINTENANCE_TIMEOUT)
        return answer.object_count

    async def rebuild_jobs(self) -> tuple[Sequence[str], int]:
        """Makes job records for committed artifacts that have none; returns their ids, and how many are committed."""
        request = maintenance_service_pb2.RebuildJobsRequest()
        answer = await self._wire.call(REBUILD_JOBS, request, self._wire.anywhere(), _MAINTENANCE_TIMEOUT)
        return tuple(answer.job_ids), answer.artifact_count

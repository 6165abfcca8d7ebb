"""The object store as Dragoman uses it: artifacts, checkpoints and receipts in one bucket.

artifacts/<kind>/<id>/manifest.json            written last and once: the commit
artifacts/<kind>/<id>/<stem>-<sha16>.<ext>     parts, content-addressed
checkpoints/<job>/<task>.json, <task>-<uuid>   the two newest checkpoints of a task: a pointer, and what it points to
receipts/<job>/<task>.json                     proof that a task is done; the first writer wins
"""

import hashlib
import json
import logging
import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from dragoman.artifacts import Manifest, PartInfo
from dragoman.errors import DataLoss, NotFound, SystemTaskError
from dragoman.folder import file_sha256
from dragoman.ids import Json, canonical_json, kind_of
from dragoman.kinds import Part
from dragoman.manifests import MANIFEST_NAME, check_part_names, manifest_from_json, manifest_to_json
from dragoman.objects import Listed, Objects
from dragoman.part_cache import PartCache
from dragoman.probe import probe
from dragoman.s3 import S3, StoreConfig, StoreUnavailable
from dragoman.stored_artifact import StoredArtifact

__all__ = ["Store", "StoreConfig", "StoreUnavailable", "StoredArtifact", "artifact_prefix", "manifest_key", "part_key"]

_LOG = logging.getLogger(__name__)
_READERS = 8
_KNOWN_RECEIPTS = 50_000


class Store:
    """One per process; safe to share between threads. Connects when first used. Every method is safe to repeat."""

    def __init__(self, config: StoreConfig) -> None:
        self.config = config
        self._s3 = S3(config)
        self.objects = Objects(self._s3)
        self._cache = PartCache(config.cache_bytes, config.cache_folder)
        self._receipts: dict[str, tuple[str, Json]] = {}

    def probe(self) -> None:
        """Makes the bucket if it is missing and proves that conditional puts are honoured.

        Raises Unavailable or FailedPrecondition, in words that say what to do.
        """
        probe(self._s3, self.objects)

    def trouble(self) -> str:
        """Returns why the store cannot be used now, empty when it can. Asks once, without patience."""
        return self._s3.trouble()

    # -------------------------------------------------------------- artifacts

    def put_part(self, artifact_id: str, part: Part, stage: int, task_index: int) -> PartInfo:
        """Uploads a part that a task made. It belongs to nothing until a manifest lists it."""
        check_part_names([part.name])
        metadata: dict[str, Json] = json.loads(canonical_json(dict(part.metadata)))
        key, size, sha256 = self._upload(artifact_id, part)
        return PartInfo(part.name, key, size, sha256, part.row_count, metadata, stage, task_index, part.keep)

    def _upload(self, artifact_id: str, part: Part) -> tuple[str, int, str]:
        if (part.path is None) == (part.data is None):
            raise SystemTaskError(f"part {part.name!r}: give either a path or data")
        if part.path is None or part.path.stat().st_size <= self.config.upload_part_bytes:
            # What goes up by one request is read and hashed once.
            data = part.path.read_bytes() if part.path is not None else part.data or b""
            sha256 = hashlib.sha256(data).hexdigest()
            key = part_key(artifact_id, part.name, sha256)
            self.objects.put_bytes(key, data)
            return key, len(data), sha256
        key = part_key(artifact_id, part.name, file_sha256(part.path))
        size, sha256 = self.objects.put_file(key, part.path)
        if key != part_key(artifact_id, part.name, sha256):
            raise SystemTaskError(f"{part.path} changed while it was uploaded as {part.name!r}")
        return key, size, sha256

    def commit(self, manifest: Manifest) -> Manifest:
        """Makes an artifact exist. When it does already, the one that was committed first is returned.

        Raises DataLoss when the store does not hold every part with its size.
        """
        check_part_names([part.name for part in manifest.parts])
        committed = self.manifest(manifest.id)
        if committed is None:
            self._check_parts(manifest)
            plain = replace(manifest, parts=tuple(replace(part, keep=True) for part in manifest.parts))
            if self.objects.put_if_absent(manifest_key(manifest.id), manifest_to_json(plain)):
                return plain
            committed = self.manifest(manifest.id)
        if committed is None:
            raise DataLoss(f"the manifest of {manifest.id} was removed while it was committed; submit the job again")
        if [p.sha256 for p in committed.parts] != [p.sha256 for p in manifest.parts]:
            _LOG.warning("%s was committed before with other bytes; those stay", manifest.id)
        return committed

    def _check_parts(self, manifest: Manifest) -> None:
        stored = {listed.key: listed.size_bytes for listed in self.objects.list(artifact_prefix(manifest.id))}
        for part in manifest.parts:
            if stored.get(part.key) != part.size_bytes:
                raise DataLoss(
                    f"{manifest.id} cannot be committed: part {part.name!r} should be {part.size_bytes} bytes at "
                    f"{part.key}, the store has {stored.get(part.key, 'no such object')}; retry the job"
                )

    def manifest(self, artifact_id: str) -> Manifest | None:
        """Returns a committed artifact's manifest, or None when there is none. Raises DataLoss when it is damaged."""
        data = self.objects.get_bytes(manifest_key(artifact_id))
        try:
            return None if data is None else manifest_from_json(data)
        except DataLoss as error:
            raise DataLoss(
                f"{manifest_key(artifact_id)} is damaged ({error.message}); restore it from a backup, or "
                f"`dragoman delete {artifact_id}` and submit its job again"
            ) from error

    def artifact(self, artifact_id: str) -> StoredArtifact:
        """Returns a reader of a committed artifact. Raises NotFound when it is not committed."""
        manifest = self.manifest(artifact_id)
        if manifest is None:
            raise NotFound(
                f"there is no committed artifact {artifact_id}; `dragoman jobs` shows what there is",
                reason="UNKNOWN_ARTIFACT",
            )
        return StoredArtifact(manifest, self.objects, self._cache)

    def uncommitted(self, artifact_id: str, parts: Sequence[PartInfo]) -> StoredArtifact:
        """Returns a reader of parts that no manifest lists yet, under a draft of one."""
        draft = Manifest(artifact_id, kind_of(artifact_id), 0, {}, {}, tuple(parts), {})
        return StoredArtifact(draft, self.objects, self._cache)

    def sweep(self, artifact_id: str, manifest: Manifest | None) -> int:
        """Removes what lies under an artifact and its committed manifest does not list; returns how many objects.

        With None, everything is removed, unless a manifest has been committed after all: then that one counts.
        """
        manifest = manifest or self.manifest(artifact_id)
        kept = {manifest_key(artifact_id), *(part.key for part in manifest.parts)} if manifest else set[str]()
        prefix = artifact_prefix(artifact_id)
        self.objects.abort_uploads(prefix)
        stray = [listed.key for listed in self.objects.list(prefix) if listed.key not in kept]
        self.objects.delete(stray)
        return len(stray)

    # ------------------------------------------------------------ checkpoints

    def put_checkpoint(self, job_id: str, task_id: str, path: Path) -> None:
        """Stores the state a task can resume from, and keeps the one before it.

        File first, then the pointer to both, then the file before those goes.
        """
        pointer = f"checkpoints/{job_id}/{task_id}.json"
        data = self.objects.get_bytes(pointer)
        old: dict[str, Json] = {} if data is None else json.loads(data)
        gone: Any = old.pop("before", None)
        key = f"checkpoints/{job_id}/{task_id}-{uuid.uuid4().hex}"
        size, sha256 = self.objects.put_file(key, path)
        body: dict[str, Json] = {"key": key, "size_bytes": size, "sha256": sha256, "suffix": path.suffix}
        self.objects.put_bytes(pointer, canonical_json({**body, "before": old or None}))
        if gone is not None:
            self.objects.delete([gone["key"]])

    def get_checkpoint(self, job_id: str, task_id: str, folder: Path) -> Path | None:
        """Returns a local copy of a task's newest checkpoint that is whole.

        None when there is none: then the task starts from the beginning.
        """
        pointer = self.objects.get_bytes(f"checkpoints/{job_id}/{task_id}.json")
        if pointer is None:
            return None
        newest = json.loads(pointer)
        for wanted in filter(None, (newest, newest.get("before"))):
            path = folder / f"checkpoint{wanted['suffix']}"
            if self.objects.get_file(wanted["key"], path) == (wanted["size_bytes"], wanted["sha256"]):
                return path
            path.unlink(missing_ok=True)
            _LOG.warning("a checkpoint of %s %s is damaged or gone; the one before it is tried", job_id, task_id)
        _LOG.warning("checkpoint of %s %s is lost; the task starts from the beginning", job_id, task_id)
        return None

    def delete_checkpoints(self, job_id: str) -> None:
        """Removes every checkpoint of a job."""
        self.delete_under(f"checkpoints/{job_id}/")

    # --------------------------------------------------------------- receipts

    def put_receipt(self, job_id: str, task_id: str, value: Json) -> bool:
        """Records what a task made; returns False when it was recorded before, and leaves that as it is."""
        data, key = canonical_json(value), _receipt_key(job_id, task_id)
        ours = self.objects.put_if_absent(key, data)
        if ours:
            self._remember(key, hashlib.md5(data, usedforsecurity=False).hexdigest(), json.loads(data))
        return ours

    def get_receipt(self, job_id: str, task_id: str) -> Json:
        """Returns a task's receipt, or None when it is not done."""
        data = self.objects.get_bytes(_receipt_key(job_id, task_id))
        return None if data is None else json.loads(data)

    def list_receipts(self, job_id: str) -> list[Json]:
        """Returns the receipts of a job's tasks, in no particular order."""
        listed = self.objects.list(f"receipts/{job_id}/")
        if len(listed) < _READERS:
            return [value for value in map(self._receipt, listed) if value is not None]
        with ThreadPoolExecutor(_READERS, thread_name_prefix="receipts") as pool:
            return [value for value in pool.map(self._receipt, listed) if value is not None]

    def _receipt(self, listed: Listed) -> Json:
        """Reads a receipt once per process: a stage of ten thousand tasks lists those of the stage before as often."""
        known = self._receipts.get(listed.key)
        if known is not None and known[0] == listed.etag:
            return known[1]
        data = self.objects.get_bytes(listed.key)
        if data is None:
            return None
        value = json.loads(data)
        self._remember(listed.key, listed.etag, value)
        return value

    def _remember(self, key: str, etag: str, value: Json) -> None:
        if len(self._receipts) >= _KNOWN_RECEIPTS:
            self._receipts.clear()
        self._receipts[key] = (etag, value)

    def delete_receipts(self, job_id: str) -> None:
        """Removes every receipt of a job."""
        self.objects.delete([listed.key for listed in self.objects.list(f"receipts/{job_id}/")])
        for key in [key for key in list(self._receipts) if key.startswith(f"receipts/{job_id}/")]:
            self._receipts.pop(key, None)

    def job_ids(self, kinds: Sequence[str]) -> frozenset[str]:
        """Returns ids under which there are objects: artifacts of some kinds, committed or not, and receipts of any."""
        prefixes = ("receipts/", *(f"artifacts/{kind}/" for kind in kinds))
        return frozenset(id_ for prefix in prefixes for id_ in self.objects.folders(prefix))

    def delete_under(self, prefix: str) -> int:
        """Removes every object and unfinished upload under a prefix; returns how many objects."""
        self.objects.abort_uploads(prefix)
        keys = [listed.key for listed in self.objects.list(prefix)]
        self.objects.delete(keys)
        return len(keys)


def part_key(artifact_id: str, name: str, sha256: str) -> str:
    """Returns a part's object key: `artifacts/<kind>/<id>/<stem>-<sha16>.<ext>`."""
    path = PurePosixPath(name)
    return f"{artifact_prefix(artifact_id)}{path.with_name(f'{path.stem}-{sha256[:16]}{path.suffix}')}"


def manifest_key(artifact_id: str) -> str:
    """Returns the object key of an artifact's manifest."""
    return f"{artifact_prefix(artifact_id)}{MANIFEST_NAME}"


def artifact_prefix(artifact_id: str) -> str:
    """Returns what the keys of all objects of an artifact begin with."""
    return f"artifacts/{kind_of(artifact_id)}/{artifact_id}/"


def _receipt_key(job_id: str, task_id: str) -> str:
    return f"receipts/{job_id}/{task_id}.json"

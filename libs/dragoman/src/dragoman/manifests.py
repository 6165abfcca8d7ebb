"""Manifests as JSON documents: strict, versioned, one spelling."""

import json
import math
import re
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict, JsonValue, ValidationError

from dragoman.artifacts import Manifest, PartInfo
from dragoman.errors import DataLoss, FailedPrecondition, UserTaskError
from dragoman.ids import Json

SCHEMA = 2
"""Version of the document's layout; raised when an older reader would misread it.

2 has a namespace, which a reader of 1 would show to everybody. What is everybody's is still written as 1.
"""

MANIFEST_NAME = "manifest.json"

_PART_NAME = re.compile(r"[A-Za-z0-9_=+-][A-Za-z0-9._=+-]*(/[A-Za-z0-9_=+-][A-Za-z0-9._=+-]*)*")
_MAX_PART_NAME = 200


class _PartDocument(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    name: str
    key: str
    size_bytes: int
    sha256: str
    row_count: int
    metadata: dict[str, JsonValue]
    stage: int
    task_index: int

    def part(self) -> PartInfo:
        metadata: dict[str, Json] = dict(self.metadata)  # pyright: ignore[reportAssignmentType]
        return PartInfo(
            self.name, self.key, self.size_bytes, self.sha256, self.row_count, metadata, self.stage, self.task_index
        )


class _ManifestDocument(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    schema_: int
    id: str
    kind: str
    semantics_version: int
    spec: dict[str, JsonValue]
    inputs: dict[str, str]
    parts: list[_PartDocument]
    statistics: dict[str, JsonValue]
    failed_count: int
    commit_time: str
    software: dict[str, str]
    cost: dict[str, float] = {}
    namespace: str = ""


def manifest_to_json(manifest: Manifest) -> bytes:
    """Returns the document of a manifest. Raises UserTaskError for a number that JSON has no word for (NaN)."""
    body = {
        "schema": SCHEMA if manifest.namespace else 1,
        "id": manifest.id,
        "kind": manifest.kind,
        "semantics_version": manifest.semantics_version,
        "spec": dict(manifest.spec),
        "inputs": dict(manifest.inputs),
        "parts": [_part_document(part) for part in manifest.parts],
        "statistics": dict(manifest.statistics),
        "failed_count": manifest.failed_count,
        "commit_time": manifest.commit_time,
        "software": dict(manifest.software),
        "cost": dict(manifest.cost),
    }
    body |= {"namespace": manifest.namespace} if manifest.namespace else {}
    try:
        return json.dumps(body, indent=1, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    except ValueError as error:
        raise UserTaskError(
            f"the manifest of {manifest.id} cannot be written as JSON ({error}): its statistics or a part's metadata "
            "hold NaN or infinity, where null was expected"
        ) from error


def _part_document(part: PartInfo) -> dict[str, object]:
    return {
        "name": part.name,
        "key": part.key,
        "size_bytes": part.size_bytes,
        "sha256": part.sha256,
        "row_count": part.row_count,
        "metadata": dict(part.metadata),
        "stage": part.stage,
        "task_index": part.task_index,
    }


def manifest_from_json(data: bytes) -> Manifest:
    """Returns the manifest of a document.

    Raises DataLoss when it is not a manifest, FailedPrecondition when a newer Dragoman wrote it.
    """
    body = _load(data)
    schema = body.pop("schema", None)
    if isinstance(schema, int) and schema > SCHEMA:
        raise FailedPrecondition(
            f"the manifest of {body.get('id')} has schema {schema}; this Dragoman reads up to {SCHEMA}: update it",
            reason="MANIFEST_TOO_NEW",
        )
    try:
        document = _ManifestDocument.model_validate({**body, "schema_": schema})
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(step) for step in first["loc"]).replace("schema_", "schema")
        raise DataLoss(f"not a manifest: {where}: {first['msg']}") from error
    return _manifest(document)


def _load(data: bytes) -> dict[str, object]:
    try:
        body: object = json.loads(data, parse_float=_finite, parse_constant=_finite)
    except (ValueError, RecursionError) as error:
        raise DataLoss(f"not a manifest: its {len(data)} bytes are not JSON ({error})") from error
    if not isinstance(body, dict):
        raise DataLoss(f"not a manifest: expected a JSON object, found {type(body).__name__}")
    return body  # pyright: ignore[reportUnknownVariableType]  JSON objects have string keys


def _finite(text: str) -> float:
    """Returns a number. Raises ValueError for NaN and infinity, which Python reads and JSON does not have."""
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is not a finite number")
    return number


def _manifest(document: _ManifestDocument) -> Manifest:
    spec: dict[str, Json] = dict(document.spec)  # pyright: ignore[reportAssignmentType]
    statistics: dict[str, Json] = dict(document.statistics)  # pyright: ignore[reportAssignmentType]
    return Manifest(
        id=document.id,
        kind=document.kind,
        semantics_version=document.semantics_version,
        spec=spec,
        inputs=document.inputs,
        parts=tuple(part.part() for part in document.parts),
        statistics=statistics,
        failed_count=document.failed_count,
        commit_time=document.commit_time,
        software=document.software,
        cost=document.cost,
        namespace=document.namespace,
    )


def check_part_names(names: Sequence[str]) -> None:
    """Raises UserTaskError for a name that cannot be an object key and a file name, or that occurs twice."""
    seen: set[str] = set()
    for name in names:
        if len(name) > _MAX_PART_NAME or not _PART_NAME.fullmatch(name) or name == MANIFEST_NAME:
            raise UserTaskError(
                f"{name!r} cannot name a part: expected up to {_MAX_PART_NAME} letters, digits and . _ = + - in "
                f"segments divided by '/', none starting with a dot, and not {MANIFEST_NAME!r}",
                reason="INVALID_PART_NAME",
            )
        if name in seen:
            raise UserTaskError(
                f"two parts are named {name!r}: part names are unique in a job, so let them hold the task's index",
                reason="DUPLICATE_PART_NAME",
            )
        seen.add(name)

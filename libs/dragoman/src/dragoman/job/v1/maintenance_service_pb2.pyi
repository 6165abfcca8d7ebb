import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CollectGarbageRequest(_message.Message):
    __slots__ = ("delete", "older_than", "answers_older_than")
    DELETE_FIELD_NUMBER: _ClassVar[int]
    OLDER_THAN_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_OLDER_THAN_FIELD_NUMBER: _ClassVar[int]
    delete: bool
    older_than: _duration_pb2.Duration
    answers_older_than: _duration_pb2.Duration
    def __init__(self, delete: _Optional[bool] = ..., older_than: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., answers_older_than: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class CollectGarbageResponse(_message.Message):
    __slots__ = ("garbage",)
    GARBAGE_FIELD_NUMBER: _ClassVar[int]
    garbage: _containers.RepeatedCompositeFieldContainer[Garbage]
    def __init__(self, garbage: _Optional[_Iterable[_Union[Garbage, _Mapping]]] = ...) -> None: ...

class Garbage(_message.Message):
    __slots__ = ("reason", "object_count", "size_bytes", "job_ids")
    REASON_FIELD_NUMBER: _ClassVar[int]
    OBJECT_COUNT_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    JOB_IDS_FIELD_NUMBER: _ClassVar[int]
    reason: str
    object_count: int
    size_bytes: int
    job_ids: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, reason: _Optional[str] = ..., object_count: _Optional[int] = ..., size_bytes: _Optional[int] = ..., job_ids: _Optional[_Iterable[str]] = ...) -> None: ...

class DeleteArtifactRequest(_message.Message):
    __slots__ = ("artifact_id", "force")
    ARTIFACT_ID_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    artifact_id: str
    force: bool
    def __init__(self, artifact_id: _Optional[str] = ..., force: _Optional[bool] = ...) -> None: ...

class DeleteArtifactResponse(_message.Message):
    __slots__ = ("object_count",)
    OBJECT_COUNT_FIELD_NUMBER: _ClassVar[int]
    object_count: int
    def __init__(self, object_count: _Optional[int] = ...) -> None: ...

class RebuildJobsRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class RebuildJobsResponse(_message.Message):
    __slots__ = ("job_ids", "artifact_count")
    JOB_IDS_FIELD_NUMBER: _ClassVar[int]
    ARTIFACT_COUNT_FIELD_NUMBER: _ClassVar[int]
    job_ids: _containers.RepeatedScalarFieldContainer[str]
    artifact_count: int
    def __init__(self, job_ids: _Optional[_Iterable[str]] = ..., artifact_count: _Optional[int] = ...) -> None: ...

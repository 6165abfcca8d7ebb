from dragoman.job.v1 import job_pb2 as _job_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Explainer(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    EXPLAINER_UNSPECIFIED: _ClassVar[Explainer]
    EXPLAINER_DEFAULT: _ClassVar[Explainer]

class Sampling(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SAMPLING_UNSPECIFIED: _ClassVar[Sampling]
    SAMPLING_QUANTILES: _ClassVar[Sampling]
    SAMPLING_TOP: _ClassVar[Sampling]
    SAMPLING_RANDOM: _ClassVar[Sampling]
EXPLAINER_UNSPECIFIED: Explainer
EXPLAINER_DEFAULT: Explainer
SAMPLING_UNSPECIFIED: Sampling
SAMPLING_QUANTILES: Sampling
SAMPLING_TOP: Sampling
SAMPLING_RANDOM: Sampling

class LatentSelection(_message.Message):
    __slots__ = ("latents", "ranks", "count")
    LATENTS_FIELD_NUMBER: _ClassVar[int]
    RANKS_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    latents: _containers.RepeatedScalarFieldContainer[int]
    ranks: _containers.RepeatedScalarFieldContainer[int]
    count: int
    def __init__(self, latents: _Optional[_Iterable[int]] = ..., ranks: _Optional[_Iterable[int]] = ..., count: _Optional[int] = ...) -> None: ...

class LlmRef(_message.Message):
    __slots__ = ("model", "temperature", "max_tokens")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    model: str
    temperature: float
    max_tokens: int
    def __init__(self, model: _Optional[str] = ..., temperature: _Optional[float] = ..., max_tokens: _Optional[int] = ...) -> None: ...

class ExplanationsSpec(_message.Message):
    __slots__ = ("latents_id", "selection", "explainer", "example_count", "sampling", "window_length", "min_windows", "llm", "seed", "max_failed_fraction", "latents_per_task", "prompt_version")
    LATENTS_ID_FIELD_NUMBER: _ClassVar[int]
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    EXPLAINER_FIELD_NUMBER: _ClassVar[int]
    EXAMPLE_COUNT_FIELD_NUMBER: _ClassVar[int]
    SAMPLING_FIELD_NUMBER: _ClassVar[int]
    WINDOW_LENGTH_FIELD_NUMBER: _ClassVar[int]
    MIN_WINDOWS_FIELD_NUMBER: _ClassVar[int]
    LLM_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    MAX_FAILED_FRACTION_FIELD_NUMBER: _ClassVar[int]
    LATENTS_PER_TASK_FIELD_NUMBER: _ClassVar[int]
    PROMPT_VERSION_FIELD_NUMBER: _ClassVar[int]
    latents_id: str
    selection: LatentSelection
    explainer: Explainer
    example_count: int
    sampling: Sampling
    window_length: int
    min_windows: int
    llm: LlmRef
    seed: int
    max_failed_fraction: float
    latents_per_task: int
    prompt_version: str
    def __init__(self, latents_id: _Optional[str] = ..., selection: _Optional[_Union[LatentSelection, _Mapping]] = ..., explainer: _Optional[_Union[Explainer, str]] = ..., example_count: _Optional[int] = ..., sampling: _Optional[_Union[Sampling, str]] = ..., window_length: _Optional[int] = ..., min_windows: _Optional[int] = ..., llm: _Optional[_Union[LlmRef, _Mapping]] = ..., seed: _Optional[int] = ..., max_failed_fraction: _Optional[float] = ..., latents_per_task: _Optional[int] = ..., prompt_version: _Optional[str] = ...) -> None: ...

class SubmitExplanationsRequest(_message.Message):
    __slots__ = ("spec", "request_id")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    spec: ExplanationsSpec
    request_id: str
    def __init__(self, spec: _Optional[_Union[ExplanationsSpec, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class SubmitExplanationsResponse(_message.Message):
    __slots__ = ("job", "created")
    JOB_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    created: bool
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., created: _Optional[bool] = ...) -> None: ...

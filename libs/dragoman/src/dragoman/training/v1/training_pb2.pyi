from dragoman.activation.v1 import activation_pb2 as _activation_pb2
from dragoman.job.v1 import job_pb2 as _job_pb2
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Architecture(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ARCHITECTURE_UNSPECIFIED: _ClassVar[Architecture]
    ARCHITECTURE_TOPK: _ClassVar[Architecture]

class CoderLayout(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CODER_LAYOUT_UNSPECIFIED: _ClassVar[CoderLayout]
    CODER_LAYOUT_AUTO: _ClassVar[CoderLayout]
    CODER_LAYOUT_SPARSIFY: _ClassVar[CoderLayout]
    CODER_LAYOUT_SAELENS: _ClassVar[CoderLayout]
ARCHITECTURE_UNSPECIFIED: Architecture
ARCHITECTURE_TOPK: Architecture
CODER_LAYOUT_UNSPECIFIED: CoderLayout
CODER_LAYOUT_AUTO: CoderLayout
CODER_LAYOUT_SPARSIFY: CoderLayout
CODER_LAYOUT_SAELENS: CoderLayout

class ImportedCoder(_message.Message):
    __slots__ = ("source", "revision", "layout", "model", "hookpoint", "output_hookpoint", "fingerprint")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    HOOKPOINT_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_HOOKPOINT_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    source: str
    revision: str
    layout: CoderLayout
    model: _activation_pb2.ModelRef
    hookpoint: str
    output_hookpoint: str
    fingerprint: str
    def __init__(self, source: _Optional[str] = ..., revision: _Optional[str] = ..., layout: _Optional[_Union[CoderLayout, str]] = ..., model: _Optional[_Union[_activation_pb2.ModelRef, _Mapping]] = ..., hookpoint: _Optional[str] = ..., output_hookpoint: _Optional[str] = ..., fingerprint: _Optional[str] = ...) -> None: ...

class CoderSpec(_message.Message):
    __slots__ = ("activations_id", "hookpoint", "architecture", "d_sae", "expansion_factor", "k", "learning_rate", "batch_tokens", "epochs", "warmup_steps", "decay_fraction", "auxk_alpha", "dead_tokens", "seed", "checkpoint_steps", "imported")
    ACTIVATIONS_ID_FIELD_NUMBER: _ClassVar[int]
    HOOKPOINT_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURE_FIELD_NUMBER: _ClassVar[int]
    D_SAE_FIELD_NUMBER: _ClassVar[int]
    EXPANSION_FACTOR_FIELD_NUMBER: _ClassVar[int]
    K_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    BATCH_TOKENS_FIELD_NUMBER: _ClassVar[int]
    EPOCHS_FIELD_NUMBER: _ClassVar[int]
    WARMUP_STEPS_FIELD_NUMBER: _ClassVar[int]
    DECAY_FRACTION_FIELD_NUMBER: _ClassVar[int]
    AUXK_ALPHA_FIELD_NUMBER: _ClassVar[int]
    DEAD_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    CHECKPOINT_STEPS_FIELD_NUMBER: _ClassVar[int]
    IMPORTED_FIELD_NUMBER: _ClassVar[int]
    activations_id: str
    hookpoint: str
    architecture: Architecture
    d_sae: int
    expansion_factor: float
    k: int
    learning_rate: float
    batch_tokens: int
    epochs: float
    warmup_steps: int
    decay_fraction: float
    auxk_alpha: float
    dead_tokens: int
    seed: int
    checkpoint_steps: int
    imported: ImportedCoder
    def __init__(self, activations_id: _Optional[str] = ..., hookpoint: _Optional[str] = ..., architecture: _Optional[_Union[Architecture, str]] = ..., d_sae: _Optional[int] = ..., expansion_factor: _Optional[float] = ..., k: _Optional[int] = ..., learning_rate: _Optional[float] = ..., batch_tokens: _Optional[int] = ..., epochs: _Optional[float] = ..., warmup_steps: _Optional[int] = ..., decay_fraction: _Optional[float] = ..., auxk_alpha: _Optional[float] = ..., dead_tokens: _Optional[int] = ..., seed: _Optional[int] = ..., checkpoint_steps: _Optional[int] = ..., imported: _Optional[_Union[ImportedCoder, _Mapping]] = ...) -> None: ...

class EvaluationSpec(_message.Message):
    __slots__ = ("coder_id", "activations_id", "batch_tokens")
    CODER_ID_FIELD_NUMBER: _ClassVar[int]
    ACTIVATIONS_ID_FIELD_NUMBER: _ClassVar[int]
    BATCH_TOKENS_FIELD_NUMBER: _ClassVar[int]
    coder_id: str
    activations_id: str
    batch_tokens: int
    def __init__(self, coder_id: _Optional[str] = ..., activations_id: _Optional[str] = ..., batch_tokens: _Optional[int] = ...) -> None: ...

class SubmitCoderRequest(_message.Message):
    __slots__ = ("spec", "request_id")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    spec: CoderSpec
    request_id: str
    def __init__(self, spec: _Optional[_Union[CoderSpec, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class SubmitCoderResponse(_message.Message):
    __slots__ = ("job", "created")
    JOB_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    created: bool
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., created: _Optional[bool] = ...) -> None: ...

class SubmitEvaluationRequest(_message.Message):
    __slots__ = ("spec", "request_id")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    spec: EvaluationSpec
    request_id: str
    def __init__(self, spec: _Optional[_Union[EvaluationSpec, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class SubmitEvaluationResponse(_message.Message):
    __slots__ = ("job", "created")
    JOB_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    created: bool
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., created: _Optional[bool] = ...) -> None: ...

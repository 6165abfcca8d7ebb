from dragoman.job.v1 import job_pb2 as _job_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class WeightsVariant(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    WEIGHTS_VARIANT_UNSPECIFIED: _ClassVar[WeightsVariant]
    WEIGHTS_VARIANT_TRAINED: _ClassVar[WeightsVariant]
    WEIGHTS_VARIANT_RERANDOMIZED_INCL_EMB: _ClassVar[WeightsVariant]
    WEIGHTS_VARIANT_RERANDOMIZED_EXCL_EMB: _ClassVar[WeightsVariant]
    WEIGHTS_VARIANT_STEP0: _ClassVar[WeightsVariant]
    WEIGHTS_VARIANT_CONTROL: _ClassVar[WeightsVariant]

class DataType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DATA_TYPE_UNSPECIFIED: _ClassVar[DataType]
    DATA_TYPE_FLOAT32: _ClassVar[DataType]
    DATA_TYPE_BFLOAT16: _ClassVar[DataType]
    DATA_TYPE_FLOAT16: _ClassVar[DataType]

class Split(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SPLIT_UNSPECIFIED: _ClassVar[Split]
    SPLIT_ALL: _ClassVar[Split]
    SPLIT_TRAIN: _ClassVar[Split]
    SPLIT_TEST: _ClassVar[Split]

class TextFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TEXT_FORMAT_UNSPECIFIED: _ClassVar[TextFormat]
    TEXT_FORMAT_AUTO: _ClassVar[TextFormat]
    TEXT_FORMAT_TEXT: _ClassVar[TextFormat]
    TEXT_FORMAT_JSONL: _ClassVar[TextFormat]
    TEXT_FORMAT_PARQUET: _ClassVar[TextFormat]

class Packing(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PACKING_UNSPECIFIED: _ClassVar[Packing]
    PACKING_PACKED: _ClassVar[Packing]
    PACKING_DOCUMENT: _ClassVar[Packing]
    PACKING_TRUNCATED: _ClassVar[Packing]

class BosPolicy(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BOS_POLICY_UNSPECIFIED: _ClassVar[BosPolicy]
    BOS_POLICY_AUTO: _ClassVar[BosPolicy]
    BOS_POLICY_ALWAYS: _ClassVar[BosPolicy]
    BOS_POLICY_NEVER: _ClassVar[BosPolicy]

class Intervention(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INTERVENTION_UNSPECIFIED: _ClassVar[Intervention]
    INTERVENTION_ADD: _ClassVar[Intervention]
    INTERVENTION_CLAMP: _ClassVar[Intervention]
    INTERVENTION_ZERO: _ClassVar[Intervention]

class PromptSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PROMPT_SOURCE_UNSPECIFIED: _ClassVar[PromptSource]
    PROMPT_SOURCE_ACTIVATING: _ClassVar[PromptSource]
    PROMPT_SOURCE_RANDOM: _ClassVar[PromptSource]

class SteeredPositions(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    STEERED_POSITIONS_UNSPECIFIED: _ClassVar[SteeredPositions]
    STEERED_POSITIONS_LAST: _ClassVar[SteeredPositions]
    STEERED_POSITIONS_ALL: _ClassVar[SteeredPositions]
WEIGHTS_VARIANT_UNSPECIFIED: WeightsVariant
WEIGHTS_VARIANT_TRAINED: WeightsVariant
WEIGHTS_VARIANT_RERANDOMIZED_INCL_EMB: WeightsVariant
WEIGHTS_VARIANT_RERANDOMIZED_EXCL_EMB: WeightsVariant
WEIGHTS_VARIANT_STEP0: WeightsVariant
WEIGHTS_VARIANT_CONTROL: WeightsVariant
DATA_TYPE_UNSPECIFIED: DataType
DATA_TYPE_FLOAT32: DataType
DATA_TYPE_BFLOAT16: DataType
DATA_TYPE_FLOAT16: DataType
SPLIT_UNSPECIFIED: Split
SPLIT_ALL: Split
SPLIT_TRAIN: Split
SPLIT_TEST: Split
TEXT_FORMAT_UNSPECIFIED: TextFormat
TEXT_FORMAT_AUTO: TextFormat
TEXT_FORMAT_TEXT: TextFormat
TEXT_FORMAT_JSONL: TextFormat
TEXT_FORMAT_PARQUET: TextFormat
PACKING_UNSPECIFIED: Packing
PACKING_PACKED: Packing
PACKING_DOCUMENT: Packing
PACKING_TRUNCATED: Packing
BOS_POLICY_UNSPECIFIED: BosPolicy
BOS_POLICY_AUTO: BosPolicy
BOS_POLICY_ALWAYS: BosPolicy
BOS_POLICY_NEVER: BosPolicy
INTERVENTION_UNSPECIFIED: Intervention
INTERVENTION_ADD: Intervention
INTERVENTION_CLAMP: Intervention
INTERVENTION_ZERO: Intervention
PROMPT_SOURCE_UNSPECIFIED: PromptSource
PROMPT_SOURCE_ACTIVATING: PromptSource
PROMPT_SOURCE_RANDOM: PromptSource
STEERED_POSITIONS_UNSPECIFIED: SteeredPositions
STEERED_POSITIONS_LAST: SteeredPositions
STEERED_POSITIONS_ALL: SteeredPositions

class ModelRef(_message.Message):
    __slots__ = ("source", "revision", "weights", "weights_seed", "dtype", "fingerprint", "device", "trust_remote_code", "initial_weights", "initial_weights_fingerprint")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    WEIGHTS_SEED_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    TRUST_REMOTE_CODE_FIELD_NUMBER: _ClassVar[int]
    INITIAL_WEIGHTS_FIELD_NUMBER: _ClassVar[int]
    INITIAL_WEIGHTS_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    source: str
    revision: str
    weights: WeightsVariant
    weights_seed: int
    dtype: DataType
    fingerprint: str
    device: str
    trust_remote_code: bool
    initial_weights: str
    initial_weights_fingerprint: str
    def __init__(self, source: _Optional[str] = ..., revision: _Optional[str] = ..., weights: _Optional[_Union[WeightsVariant, str]] = ..., weights_seed: _Optional[int] = ..., dtype: _Optional[_Union[DataType, str]] = ..., fingerprint: _Optional[str] = ..., device: _Optional[str] = ..., trust_remote_code: _Optional[bool] = ..., initial_weights: _Optional[str] = ..., initial_weights_fingerprint: _Optional[str] = ...) -> None: ...

class TokensSpec(_message.Message):
    __slots__ = ("source", "format", "text_field", "tokenizer", "tokenizer_revision", "ctx_len", "bos", "test_fraction", "max_document_tokens", "max_documents", "seed", "source_fingerprint", "tokenizer_fingerprint", "packing", "messages_field", "count_special_tokens", "scrambled", "texts_id")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_FIELD_NUMBER: _ClassVar[int]
    TOKENIZER_FIELD_NUMBER: _ClassVar[int]
    TOKENIZER_REVISION_FIELD_NUMBER: _ClassVar[int]
    CTX_LEN_FIELD_NUMBER: _ClassVar[int]
    BOS_FIELD_NUMBER: _ClassVar[int]
    TEST_FRACTION_FIELD_NUMBER: _ClassVar[int]
    MAX_DOCUMENT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    MAX_DOCUMENTS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    TOKENIZER_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    PACKING_FIELD_NUMBER: _ClassVar[int]
    MESSAGES_FIELD_FIELD_NUMBER: _ClassVar[int]
    COUNT_SPECIAL_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SCRAMBLED_FIELD_NUMBER: _ClassVar[int]
    TEXTS_ID_FIELD_NUMBER: _ClassVar[int]
    source: str
    format: TextFormat
    text_field: str
    tokenizer: str
    tokenizer_revision: str
    ctx_len: int
    bos: BosPolicy
    test_fraction: float
    max_document_tokens: int
    max_documents: int
    seed: int
    source_fingerprint: str
    tokenizer_fingerprint: str
    packing: Packing
    messages_field: str
    count_special_tokens: bool
    scrambled: bool
    texts_id: str
    def __init__(self, source: _Optional[str] = ..., format: _Optional[_Union[TextFormat, str]] = ..., text_field: _Optional[str] = ..., tokenizer: _Optional[str] = ..., tokenizer_revision: _Optional[str] = ..., ctx_len: _Optional[int] = ..., bos: _Optional[_Union[BosPolicy, str]] = ..., test_fraction: _Optional[float] = ..., max_document_tokens: _Optional[int] = ..., max_documents: _Optional[int] = ..., seed: _Optional[int] = ..., source_fingerprint: _Optional[str] = ..., tokenizer_fingerprint: _Optional[str] = ..., packing: _Optional[_Union[Packing, str]] = ..., messages_field: _Optional[str] = ..., count_special_tokens: _Optional[bool] = ..., scrambled: _Optional[bool] = ..., texts_id: _Optional[str] = ...) -> None: ...

class ActivationsSpec(_message.Message):
    __slots__ = ("tokens_id", "model", "hookpoints", "split", "max_tokens", "dtype", "batch_size", "rows_per_task")
    TOKENS_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    HOOKPOINTS_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    ROWS_PER_TASK_FIELD_NUMBER: _ClassVar[int]
    tokens_id: str
    model: ModelRef
    hookpoints: _containers.RepeatedScalarFieldContainer[str]
    split: Split
    max_tokens: int
    dtype: DataType
    batch_size: int
    rows_per_task: int
    def __init__(self, tokens_id: _Optional[str] = ..., model: _Optional[_Union[ModelRef, _Mapping]] = ..., hookpoints: _Optional[_Iterable[str]] = ..., split: _Optional[_Union[Split, str]] = ..., max_tokens: _Optional[int] = ..., dtype: _Optional[_Union[DataType, str]] = ..., batch_size: _Optional[int] = ..., rows_per_task: _Optional[int] = ...) -> None: ...

class LatentsSpec(_message.Message):
    __slots__ = ("tokens_id", "model", "coder_id", "split", "max_tokens", "batch_size", "rows_per_task", "top_windows", "window_length", "quantile_windows", "activation_dtype", "token_table", "neighbours", "neighbour_tokens", "seed")
    TOKENS_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CODER_ID_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    ROWS_PER_TASK_FIELD_NUMBER: _ClassVar[int]
    TOP_WINDOWS_FIELD_NUMBER: _ClassVar[int]
    WINDOW_LENGTH_FIELD_NUMBER: _ClassVar[int]
    QUANTILE_WINDOWS_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_DTYPE_FIELD_NUMBER: _ClassVar[int]
    TOKEN_TABLE_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOURS_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOUR_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    tokens_id: str
    model: ModelRef
    coder_id: str
    split: Split
    max_tokens: int
    batch_size: int
    rows_per_task: int
    top_windows: int
    window_length: int
    quantile_windows: int
    activation_dtype: DataType
    token_table: int
    neighbours: int
    neighbour_tokens: int
    seed: int
    def __init__(self, tokens_id: _Optional[str] = ..., model: _Optional[_Union[ModelRef, _Mapping]] = ..., coder_id: _Optional[str] = ..., split: _Optional[_Union[Split, str]] = ..., max_tokens: _Optional[int] = ..., batch_size: _Optional[int] = ..., rows_per_task: _Optional[int] = ..., top_windows: _Optional[int] = ..., window_length: _Optional[int] = ..., quantile_windows: _Optional[int] = ..., activation_dtype: _Optional[_Union[DataType, str]] = ..., token_table: _Optional[int] = ..., neighbours: _Optional[int] = ..., neighbour_tokens: _Optional[int] = ..., seed: _Optional[int] = ...) -> None: ...

class LatentChoice(_message.Message):
    __slots__ = ("latents", "ranks", "count")
    LATENTS_FIELD_NUMBER: _ClassVar[int]
    RANKS_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    latents: _containers.RepeatedScalarFieldContainer[int]
    ranks: _containers.RepeatedScalarFieldContainer[int]
    count: int
    def __init__(self, latents: _Optional[_Iterable[int]] = ..., ranks: _Optional[_Iterable[int]] = ..., count: _Optional[int] = ...) -> None: ...

class EffectsSpec(_message.Message):
    __slots__ = ("latents_id", "selection", "intervention", "strengths", "kl_targets", "kl_tolerance", "search_steps", "prompts", "split", "prompt_count", "prompt_tokens", "positions", "top_tokens", "new_tokens", "temperature", "seed", "batch_size", "latents_per_task")
    LATENTS_ID_FIELD_NUMBER: _ClassVar[int]
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    INTERVENTION_FIELD_NUMBER: _ClassVar[int]
    STRENGTHS_FIELD_NUMBER: _ClassVar[int]
    KL_TARGETS_FIELD_NUMBER: _ClassVar[int]
    KL_TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    SEARCH_STEPS_FIELD_NUMBER: _ClassVar[int]
    PROMPTS_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    PROMPT_COUNT_FIELD_NUMBER: _ClassVar[int]
    PROMPT_TOKENS_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    TOP_TOKENS_FIELD_NUMBER: _ClassVar[int]
    NEW_TOKENS_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    LATENTS_PER_TASK_FIELD_NUMBER: _ClassVar[int]
    latents_id: str
    selection: LatentChoice
    intervention: Intervention
    strengths: _containers.RepeatedScalarFieldContainer[float]
    kl_targets: _containers.RepeatedScalarFieldContainer[float]
    kl_tolerance: float
    search_steps: int
    prompts: PromptSource
    split: Split
    prompt_count: int
    prompt_tokens: int
    positions: SteeredPositions
    top_tokens: int
    new_tokens: int
    temperature: float
    seed: int
    batch_size: int
    latents_per_task: int
    def __init__(self, latents_id: _Optional[str] = ..., selection: _Optional[_Union[LatentChoice, _Mapping]] = ..., intervention: _Optional[_Union[Intervention, str]] = ..., strengths: _Optional[_Iterable[float]] = ..., kl_targets: _Optional[_Iterable[float]] = ..., kl_tolerance: _Optional[float] = ..., search_steps: _Optional[int] = ..., prompts: _Optional[_Union[PromptSource, str]] = ..., split: _Optional[_Union[Split, str]] = ..., prompt_count: _Optional[int] = ..., prompt_tokens: _Optional[int] = ..., positions: _Optional[_Union[SteeredPositions, str]] = ..., top_tokens: _Optional[int] = ..., new_tokens: _Optional[int] = ..., temperature: _Optional[float] = ..., seed: _Optional[int] = ..., batch_size: _Optional[int] = ..., latents_per_task: _Optional[int] = ...) -> None: ...

class FidelitySpec(_message.Message):
    __slots__ = ("tokens_id", "model", "coder_ids", "split", "max_tokens", "batch_size", "rows_per_task")
    TOKENS_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    CODER_IDS_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    ROWS_PER_TASK_FIELD_NUMBER: _ClassVar[int]
    tokens_id: str
    model: ModelRef
    coder_ids: _containers.RepeatedScalarFieldContainer[str]
    split: Split
    max_tokens: int
    batch_size: int
    rows_per_task: int
    def __init__(self, tokens_id: _Optional[str] = ..., model: _Optional[_Union[ModelRef, _Mapping]] = ..., coder_ids: _Optional[_Iterable[str]] = ..., split: _Optional[_Union[Split, str]] = ..., max_tokens: _Optional[int] = ..., batch_size: _Optional[int] = ..., rows_per_task: _Optional[int] = ...) -> None: ...

class SubmitTokensRequest(_message.Message):
    __slots__ = ("spec", "request_id")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    spec: TokensSpec
    request_id: str
    def __init__(self, spec: _Optional[_Union[TokensSpec, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class SubmitTokensResponse(_message.Message):
    __slots__ = ("job", "created")
    JOB_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    created: bool
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., created: _Optional[bool] = ...) -> None: ...

class SubmitActivationsRequest(_message.Message):
    __slots__ = ("spec", "request_id")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    spec: ActivationsSpec
    request_id: str
    def __init__(self, spec: _Optional[_Union[ActivationsSpec, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class SubmitActivationsResponse(_message.Message):
    __slots__ = ("job", "created")
    JOB_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    created: bool
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., created: _Optional[bool] = ...) -> None: ...

class SubmitLatentsRequest(_message.Message):
    __slots__ = ("spec", "request_id")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    spec: LatentsSpec
    request_id: str
    def __init__(self, spec: _Optional[_Union[LatentsSpec, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class SubmitLatentsResponse(_message.Message):
    __slots__ = ("job", "created")
    JOB_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    created: bool
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., created: _Optional[bool] = ...) -> None: ...

class SubmitEffectsRequest(_message.Message):
    __slots__ = ("spec", "request_id")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    spec: EffectsSpec
    request_id: str
    def __init__(self, spec: _Optional[_Union[EffectsSpec, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class SubmitEffectsResponse(_message.Message):
    __slots__ = ("job", "created")
    JOB_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    created: bool
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., created: _Optional[bool] = ...) -> None: ...

class SubmitFidelityRequest(_message.Message):
    __slots__ = ("spec", "request_id")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    spec: FidelitySpec
    request_id: str
    def __init__(self, spec: _Optional[_Union[FidelitySpec, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class SubmitFidelityResponse(_message.Message):
    __slots__ = ("job", "created")
    JOB_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    created: bool
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., created: _Optional[bool] = ...) -> None: ...

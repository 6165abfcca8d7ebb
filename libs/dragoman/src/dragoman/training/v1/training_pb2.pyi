from dragoman.activation.v1 import activation_pb2 as _activation_pb2
from dragoman.job.v1 import job_pb2 as _job_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Architecture(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ARCHITECTURE_UNSPECIFIED: _ClassVar[Architecture]
    ARCHITECTURE_TOPK: _ClassVar[Architecture]
    ARCHITECTURE_RELU: _ClassVar[Architecture]
    ARCHITECTURE_JUMPRELU: _ClassVar[Architecture]
    ARCHITECTURE_GATED: _ClassVar[Architecture]
    ARCHITECTURE_BATCH_TOPK: _ClassVar[Architecture]
    ARCHITECTURE_MATRYOSHKA_BATCH_TOPK: _ClassVar[Architecture]
    ARCHITECTURE_FROZEN_DECODER: _ClassVar[Architecture]
    ARCHITECTURE_RANDOM: _ClassVar[Architecture]

class Optimiser(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OPTIMISER_UNSPECIFIED: _ClassVar[Optimiser]
    OPTIMISER_ADAM: _ClassVar[Optimiser]
    OPTIMISER_SIGNUM: _ClassVar[Optimiser]
    OPTIMISER_MUON: _ClassVar[Optimiser]
    OPTIMISER_SCHEDULE_FREE: _ClassVar[Optimiser]

class DecoderNorm(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    DECODER_NORM_UNSPECIFIED: _ClassVar[DecoderNorm]
    DECODER_NORM_UNIT: _ClassVar[DecoderNorm]
    DECODER_NORM_FREE: _ClassVar[DecoderNorm]

class BiasStart(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BIAS_START_UNSPECIFIED: _ClassVar[BiasStart]
    BIAS_START_MEAN: _ClassVar[BiasStart]
    BIAS_START_GEOMETRIC_MEDIAN: _ClassVar[BiasStart]
    BIAS_START_ZERO: _ClassVar[BiasStart]

class InputNormalisation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    INPUT_NORMALISATION_UNSPECIFIED: _ClassVar[InputNormalisation]
    INPUT_NORMALISATION_NONE: _ClassVar[InputNormalisation]
    INPUT_NORMALISATION_MEAN_NORM: _ClassVar[InputNormalisation]

class Autocast(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    AUTOCAST_UNSPECIFIED: _ClassVar[Autocast]
    AUTOCAST_NONE: _ClassVar[Autocast]
    AUTOCAST_BFLOAT16: _ClassVar[Autocast]

class Parallel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PARALLEL_UNSPECIFIED: _ClassVar[Parallel]
    PARALLEL_DATA: _ClassVar[Parallel]
    PARALLEL_LATENTS: _ClassVar[Parallel]

class CoderLayout(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    CODER_LAYOUT_UNSPECIFIED: _ClassVar[CoderLayout]
    CODER_LAYOUT_AUTO: _ClassVar[CoderLayout]
    CODER_LAYOUT_SPARSIFY: _ClassVar[CoderLayout]
    CODER_LAYOUT_SAELENS: _ClassVar[CoderLayout]
ARCHITECTURE_UNSPECIFIED: Architecture
ARCHITECTURE_TOPK: Architecture
ARCHITECTURE_RELU: Architecture
ARCHITECTURE_JUMPRELU: Architecture
ARCHITECTURE_GATED: Architecture
ARCHITECTURE_BATCH_TOPK: Architecture
ARCHITECTURE_MATRYOSHKA_BATCH_TOPK: Architecture
ARCHITECTURE_FROZEN_DECODER: Architecture
ARCHITECTURE_RANDOM: Architecture
OPTIMISER_UNSPECIFIED: Optimiser
OPTIMISER_ADAM: Optimiser
OPTIMISER_SIGNUM: Optimiser
OPTIMISER_MUON: Optimiser
OPTIMISER_SCHEDULE_FREE: Optimiser
DECODER_NORM_UNSPECIFIED: DecoderNorm
DECODER_NORM_UNIT: DecoderNorm
DECODER_NORM_FREE: DecoderNorm
BIAS_START_UNSPECIFIED: BiasStart
BIAS_START_MEAN: BiasStart
BIAS_START_GEOMETRIC_MEDIAN: BiasStart
BIAS_START_ZERO: BiasStart
INPUT_NORMALISATION_UNSPECIFIED: InputNormalisation
INPUT_NORMALISATION_NONE: InputNormalisation
INPUT_NORMALISATION_MEAN_NORM: InputNormalisation
AUTOCAST_UNSPECIFIED: Autocast
AUTOCAST_NONE: Autocast
AUTOCAST_BFLOAT16: Autocast
PARALLEL_UNSPECIFIED: Parallel
PARALLEL_DATA: Parallel
PARALLEL_LATENTS: Parallel
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

class StreamedActivations(_message.Message):
    __slots__ = ("tokens_id", "model", "split", "max_tokens", "batch_size", "dtype", "shuffle_tokens", "seed")
    TOKENS_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SPLIT_FIELD_NUMBER: _ClassVar[int]
    MAX_TOKENS_FIELD_NUMBER: _ClassVar[int]
    BATCH_SIZE_FIELD_NUMBER: _ClassVar[int]
    DTYPE_FIELD_NUMBER: _ClassVar[int]
    SHUFFLE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    tokens_id: str
    model: _activation_pb2.ModelRef
    split: _activation_pb2.Split
    max_tokens: int
    batch_size: int
    dtype: _activation_pb2.DataType
    shuffle_tokens: int
    seed: int
    def __init__(self, tokens_id: _Optional[str] = ..., model: _Optional[_Union[_activation_pb2.ModelRef, _Mapping]] = ..., split: _Optional[_Union[_activation_pb2.Split, str]] = ..., max_tokens: _Optional[int] = ..., batch_size: _Optional[int] = ..., dtype: _Optional[_Union[_activation_pb2.DataType, str]] = ..., shuffle_tokens: _Optional[int] = ..., seed: _Optional[int] = ...) -> None: ...

class TakenCoder(_message.Message):
    __slots__ = ("coders_id", "number")
    CODERS_ID_FIELD_NUMBER: _ClassVar[int]
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    coders_id: str
    number: int
    def __init__(self, coders_id: _Optional[str] = ..., number: _Optional[int] = ...) -> None: ...

class CoderSpec(_message.Message):
    __slots__ = ("activations_id", "hookpoint", "architecture", "d_sae", "expansion_factor", "k", "learning_rate", "batch_tokens", "epochs", "warmup_steps", "decay_fraction", "auxk_alpha", "dead_tokens", "seed", "checkpoint_steps", "imported", "output_hookpoint", "skip", "target_l0", "l1_coefficient", "l0_coefficient", "jumprelu_bandwidth", "multi_topk", "widths", "optimiser", "beta1", "beta2", "max_grad_norm", "decoder_norm", "tied_start", "bias_start", "input_normalisation", "resample_tokens", "ema_decay", "autocast", "streamed", "taken", "ranks", "parallel")
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
    OUTPUT_HOOKPOINT_FIELD_NUMBER: _ClassVar[int]
    SKIP_FIELD_NUMBER: _ClassVar[int]
    TARGET_L0_FIELD_NUMBER: _ClassVar[int]
    L1_COEFFICIENT_FIELD_NUMBER: _ClassVar[int]
    L0_COEFFICIENT_FIELD_NUMBER: _ClassVar[int]
    JUMPRELU_BANDWIDTH_FIELD_NUMBER: _ClassVar[int]
    MULTI_TOPK_FIELD_NUMBER: _ClassVar[int]
    WIDTHS_FIELD_NUMBER: _ClassVar[int]
    OPTIMISER_FIELD_NUMBER: _ClassVar[int]
    BETA1_FIELD_NUMBER: _ClassVar[int]
    BETA2_FIELD_NUMBER: _ClassVar[int]
    MAX_GRAD_NORM_FIELD_NUMBER: _ClassVar[int]
    DECODER_NORM_FIELD_NUMBER: _ClassVar[int]
    TIED_START_FIELD_NUMBER: _ClassVar[int]
    BIAS_START_FIELD_NUMBER: _ClassVar[int]
    INPUT_NORMALISATION_FIELD_NUMBER: _ClassVar[int]
    RESAMPLE_TOKENS_FIELD_NUMBER: _ClassVar[int]
    EMA_DECAY_FIELD_NUMBER: _ClassVar[int]
    AUTOCAST_FIELD_NUMBER: _ClassVar[int]
    STREAMED_FIELD_NUMBER: _ClassVar[int]
    TAKEN_FIELD_NUMBER: _ClassVar[int]
    RANKS_FIELD_NUMBER: _ClassVar[int]
    PARALLEL_FIELD_NUMBER: _ClassVar[int]
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
    output_hookpoint: str
    skip: bool
    target_l0: float
    l1_coefficient: float
    l0_coefficient: float
    jumprelu_bandwidth: float
    multi_topk: bool
    widths: _containers.RepeatedScalarFieldContainer[int]
    optimiser: Optimiser
    beta1: float
    beta2: float
    max_grad_norm: float
    decoder_norm: DecoderNorm
    tied_start: bool
    bias_start: BiasStart
    input_normalisation: InputNormalisation
    resample_tokens: int
    ema_decay: float
    autocast: Autocast
    streamed: StreamedActivations
    taken: TakenCoder
    ranks: int
    parallel: Parallel
    def __init__(self, activations_id: _Optional[str] = ..., hookpoint: _Optional[str] = ..., architecture: _Optional[_Union[Architecture, str]] = ..., d_sae: _Optional[int] = ..., expansion_factor: _Optional[float] = ..., k: _Optional[int] = ..., learning_rate: _Optional[float] = ..., batch_tokens: _Optional[int] = ..., epochs: _Optional[float] = ..., warmup_steps: _Optional[int] = ..., decay_fraction: _Optional[float] = ..., auxk_alpha: _Optional[float] = ..., dead_tokens: _Optional[int] = ..., seed: _Optional[int] = ..., checkpoint_steps: _Optional[int] = ..., imported: _Optional[_Union[ImportedCoder, _Mapping]] = ..., output_hookpoint: _Optional[str] = ..., skip: _Optional[bool] = ..., target_l0: _Optional[float] = ..., l1_coefficient: _Optional[float] = ..., l0_coefficient: _Optional[float] = ..., jumprelu_bandwidth: _Optional[float] = ..., multi_topk: _Optional[bool] = ..., widths: _Optional[_Iterable[int]] = ..., optimiser: _Optional[_Union[Optimiser, str]] = ..., beta1: _Optional[float] = ..., beta2: _Optional[float] = ..., max_grad_norm: _Optional[float] = ..., decoder_norm: _Optional[_Union[DecoderNorm, str]] = ..., tied_start: _Optional[bool] = ..., bias_start: _Optional[_Union[BiasStart, str]] = ..., input_normalisation: _Optional[_Union[InputNormalisation, str]] = ..., resample_tokens: _Optional[int] = ..., ema_decay: _Optional[float] = ..., autocast: _Optional[_Union[Autocast, str]] = ..., streamed: _Optional[_Union[StreamedActivations, _Mapping]] = ..., taken: _Optional[_Union[TakenCoder, _Mapping]] = ..., ranks: _Optional[int] = ..., parallel: _Optional[_Union[Parallel, str]] = ...) -> None: ...

class CodersSpec(_message.Message):
    __slots__ = ("coders",)
    CODERS_FIELD_NUMBER: _ClassVar[int]
    coders: _containers.RepeatedCompositeFieldContainer[CoderSpec]
    def __init__(self, coders: _Optional[_Iterable[_Union[CoderSpec, _Mapping]]] = ...) -> None: ...

class SweepSpec(_message.Message):
    __slots__ = ("base", "architectures", "ks", "hookpoints", "learning_rates", "seeds", "one_pass")
    BASE_FIELD_NUMBER: _ClassVar[int]
    ARCHITECTURES_FIELD_NUMBER: _ClassVar[int]
    KS_FIELD_NUMBER: _ClassVar[int]
    HOOKPOINTS_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATES_FIELD_NUMBER: _ClassVar[int]
    SEEDS_FIELD_NUMBER: _ClassVar[int]
    ONE_PASS_FIELD_NUMBER: _ClassVar[int]
    base: CoderSpec
    architectures: _containers.RepeatedScalarFieldContainer[Architecture]
    ks: _containers.RepeatedScalarFieldContainer[int]
    hookpoints: _containers.RepeatedScalarFieldContainer[str]
    learning_rates: _containers.RepeatedScalarFieldContainer[float]
    seeds: _containers.RepeatedScalarFieldContainer[int]
    one_pass: bool
    def __init__(self, base: _Optional[_Union[CoderSpec, _Mapping]] = ..., architectures: _Optional[_Iterable[_Union[Architecture, str]]] = ..., ks: _Optional[_Iterable[int]] = ..., hookpoints: _Optional[_Iterable[str]] = ..., learning_rates: _Optional[_Iterable[float]] = ..., seeds: _Optional[_Iterable[int]] = ..., one_pass: _Optional[bool] = ...) -> None: ...

class EvaluationSpec(_message.Message):
    __slots__ = ("coder_id", "activations_id", "batch_tokens", "floor_tokens", "seed")
    CODER_ID_FIELD_NUMBER: _ClassVar[int]
    ACTIVATIONS_ID_FIELD_NUMBER: _ClassVar[int]
    BATCH_TOKENS_FIELD_NUMBER: _ClassVar[int]
    FLOOR_TOKENS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    coder_id: str
    activations_id: str
    batch_tokens: int
    floor_tokens: int
    seed: int
    def __init__(self, coder_id: _Optional[str] = ..., activations_id: _Optional[str] = ..., batch_tokens: _Optional[int] = ..., floor_tokens: _Optional[int] = ..., seed: _Optional[int] = ...) -> None: ...

class OverlapSpec(_message.Message):
    __slots__ = ("coder_id", "other_coder_id", "threshold", "null_count", "seed")
    CODER_ID_FIELD_NUMBER: _ClassVar[int]
    OTHER_CODER_ID_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    NULL_COUNT_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    coder_id: str
    other_coder_id: str
    threshold: float
    null_count: int
    seed: int
    def __init__(self, coder_id: _Optional[str] = ..., other_coder_id: _Optional[str] = ..., threshold: _Optional[float] = ..., null_count: _Optional[int] = ..., seed: _Optional[int] = ...) -> None: ...

class ExportSpec(_message.Message):
    __slots__ = ("coder_id", "layout")
    CODER_ID_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    coder_id: str
    layout: CoderLayout
    def __init__(self, coder_id: _Optional[str] = ..., layout: _Optional[_Union[CoderLayout, str]] = ...) -> None: ...

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

class SubmitCodersRequest(_message.Message):
    __slots__ = ("spec", "request_id")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    spec: CodersSpec
    request_id: str
    def __init__(self, spec: _Optional[_Union[CodersSpec, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class SubmitCodersResponse(_message.Message):
    __slots__ = ("job", "created")
    JOB_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    created: bool
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., created: _Optional[bool] = ...) -> None: ...

class SubmitSweepRequest(_message.Message):
    __slots__ = ("spec", "request_id")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    spec: SweepSpec
    request_id: str
    def __init__(self, spec: _Optional[_Union[SweepSpec, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class SweepCoder(_message.Message):
    __slots__ = ("label", "job", "created")
    LABEL_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    label: str
    job: _job_pb2.Job
    created: bool
    def __init__(self, label: _Optional[str] = ..., job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., created: _Optional[bool] = ...) -> None: ...

class SubmitSweepResponse(_message.Message):
    __slots__ = ("coders",)
    CODERS_FIELD_NUMBER: _ClassVar[int]
    coders: _containers.RepeatedCompositeFieldContainer[SweepCoder]
    def __init__(self, coders: _Optional[_Iterable[_Union[SweepCoder, _Mapping]]] = ...) -> None: ...

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

class SubmitOverlapRequest(_message.Message):
    __slots__ = ("spec", "request_id")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    spec: OverlapSpec
    request_id: str
    def __init__(self, spec: _Optional[_Union[OverlapSpec, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class SubmitOverlapResponse(_message.Message):
    __slots__ = ("job", "created")
    JOB_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    created: bool
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., created: _Optional[bool] = ...) -> None: ...

class SubmitExportRequest(_message.Message):
    __slots__ = ("spec", "request_id")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    spec: ExportSpec
    request_id: str
    def __init__(self, spec: _Optional[_Union[ExportSpec, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class SubmitExportResponse(_message.Message):
    __slots__ = ("job", "created")
    JOB_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    created: bool
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., created: _Optional[bool] = ...) -> None: ...

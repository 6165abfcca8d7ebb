from dragoman.explanation.v1 import explanation_pb2 as _explanation_pb2
from dragoman.job.v1 import job_pb2 as _job_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Scorer(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCORER_UNSPECIFIED: _ClassVar[Scorer]
    SCORER_DETECTION: _ClassVar[Scorer]
    SCORER_FUZZING: _ClassVar[Scorer]
    SCORER_INTRUDER: _ClassVar[Scorer]
    SCORER_DECILE_INTRUDER: _ClassVar[Scorer]
    SCORER_EMBEDDING: _ClassVar[Scorer]
    SCORER_EXAMPLE_EMBEDDING: _ClassVar[Scorer]
    SCORER_SIMULATION: _ClassVar[Scorer]
    SCORER_SIMULATION_TOKEN_BY_TOKEN: _ClassVar[Scorer]
    SCORER_SURPRISAL: _ClassVar[Scorer]
    SCORER_DISCRIMINATION: _ClassVar[Scorer]
    SCORER_FUZZING_SILENT: _ClassVar[Scorer]
    SCORER_INTERVENTION: _ClassVar[Scorer]
    SCORER_FAITHFULNESS: _ClassVar[Scorer]
    SCORER_OUTPUT: _ClassVar[Scorer]
    SCORER_GENERATION: _ClassVar[Scorer]
SCORER_UNSPECIFIED: Scorer
SCORER_DETECTION: Scorer
SCORER_FUZZING: Scorer
SCORER_INTRUDER: Scorer
SCORER_DECILE_INTRUDER: Scorer
SCORER_EMBEDDING: Scorer
SCORER_EXAMPLE_EMBEDDING: Scorer
SCORER_SIMULATION: Scorer
SCORER_SIMULATION_TOKEN_BY_TOKEN: Scorer
SCORER_SURPRISAL: Scorer
SCORER_DISCRIMINATION: Scorer
SCORER_FUZZING_SILENT: Scorer
SCORER_INTERVENTION: Scorer
SCORER_FAITHFULNESS: Scorer
SCORER_OUTPUT: Scorer
SCORER_GENERATION: Scorer

class EmbedderRef(_message.Message):
    __slots__ = ("model",)
    MODEL_FIELD_NUMBER: _ClassVar[int]
    model: str
    def __init__(self, model: _Optional[str] = ...) -> None: ...

class Stopping(_message.Message):
    __slots__ = ("interval_width", "threshold", "error_rate", "batch_count")
    INTERVAL_WIDTH_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    ERROR_RATE_FIELD_NUMBER: _ClassVar[int]
    BATCH_COUNT_FIELD_NUMBER: _ClassVar[int]
    interval_width: float
    threshold: float
    error_rate: float
    batch_count: int
    def __init__(self, interval_width: _Optional[float] = ..., threshold: _Optional[float] = ..., error_rate: _Optional[float] = ..., batch_count: _Optional[int] = ...) -> None: ...

class ScoresSpec(_message.Message):
    __slots__ = ("explanations_id", "latents_id", "scorer", "active_count", "inactive_count", "null_count", "window_length", "llm", "seed", "bootstrap_count", "max_failed_fraction", "latents_per_task", "latent_count", "embedder", "neighbour_count", "near_count", "stop", "effects_id", "kl_target", "token_budget", "dry_run", "price", "decoder_count", "written_latents_id", "cost_budget")
    EXPLANATIONS_ID_FIELD_NUMBER: _ClassVar[int]
    LATENTS_ID_FIELD_NUMBER: _ClassVar[int]
    SCORER_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_COUNT_FIELD_NUMBER: _ClassVar[int]
    INACTIVE_COUNT_FIELD_NUMBER: _ClassVar[int]
    NULL_COUNT_FIELD_NUMBER: _ClassVar[int]
    WINDOW_LENGTH_FIELD_NUMBER: _ClassVar[int]
    LLM_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    BOOTSTRAP_COUNT_FIELD_NUMBER: _ClassVar[int]
    MAX_FAILED_FRACTION_FIELD_NUMBER: _ClassVar[int]
    LATENTS_PER_TASK_FIELD_NUMBER: _ClassVar[int]
    LATENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    EMBEDDER_FIELD_NUMBER: _ClassVar[int]
    NEIGHBOUR_COUNT_FIELD_NUMBER: _ClassVar[int]
    NEAR_COUNT_FIELD_NUMBER: _ClassVar[int]
    STOP_FIELD_NUMBER: _ClassVar[int]
    EFFECTS_ID_FIELD_NUMBER: _ClassVar[int]
    KL_TARGET_FIELD_NUMBER: _ClassVar[int]
    TOKEN_BUDGET_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    DECODER_COUNT_FIELD_NUMBER: _ClassVar[int]
    WRITTEN_LATENTS_ID_FIELD_NUMBER: _ClassVar[int]
    COST_BUDGET_FIELD_NUMBER: _ClassVar[int]
    explanations_id: str
    latents_id: str
    scorer: Scorer
    active_count: int
    inactive_count: int
    null_count: int
    window_length: int
    llm: _explanation_pb2.LlmRef
    seed: int
    bootstrap_count: int
    max_failed_fraction: float
    latents_per_task: int
    latent_count: int
    embedder: EmbedderRef
    neighbour_count: int
    near_count: int
    stop: Stopping
    effects_id: str
    kl_target: float
    token_budget: int
    dry_run: bool
    price: _explanation_pb2.Price
    decoder_count: int
    written_latents_id: str
    cost_budget: float
    def __init__(self, explanations_id: _Optional[str] = ..., latents_id: _Optional[str] = ..., scorer: _Optional[_Union[Scorer, str]] = ..., active_count: _Optional[int] = ..., inactive_count: _Optional[int] = ..., null_count: _Optional[int] = ..., window_length: _Optional[int] = ..., llm: _Optional[_Union[_explanation_pb2.LlmRef, _Mapping]] = ..., seed: _Optional[int] = ..., bootstrap_count: _Optional[int] = ..., max_failed_fraction: _Optional[float] = ..., latents_per_task: _Optional[int] = ..., latent_count: _Optional[int] = ..., embedder: _Optional[_Union[EmbedderRef, _Mapping]] = ..., neighbour_count: _Optional[int] = ..., near_count: _Optional[int] = ..., stop: _Optional[_Union[Stopping, _Mapping]] = ..., effects_id: _Optional[str] = ..., kl_target: _Optional[float] = ..., token_budget: _Optional[int] = ..., dry_run: _Optional[bool] = ..., price: _Optional[_Union[_explanation_pb2.Price, _Mapping]] = ..., decoder_count: _Optional[int] = ..., written_latents_id: _Optional[str] = ..., cost_budget: _Optional[float] = ...) -> None: ...

class TextsSpec(_message.Message):
    __slots__ = ("explanations_id", "text_count", "neutral_count", "llm", "seed", "max_failed_fraction", "latents_per_task", "token_budget", "dry_run", "price", "cost_budget")
    EXPLANATIONS_ID_FIELD_NUMBER: _ClassVar[int]
    TEXT_COUNT_FIELD_NUMBER: _ClassVar[int]
    NEUTRAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    LLM_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    MAX_FAILED_FRACTION_FIELD_NUMBER: _ClassVar[int]
    LATENTS_PER_TASK_FIELD_NUMBER: _ClassVar[int]
    TOKEN_BUDGET_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    COST_BUDGET_FIELD_NUMBER: _ClassVar[int]
    explanations_id: str
    text_count: int
    neutral_count: int
    llm: _explanation_pb2.LlmRef
    seed: int
    max_failed_fraction: float
    latents_per_task: int
    token_budget: int
    dry_run: bool
    price: _explanation_pb2.Price
    cost_budget: float
    def __init__(self, explanations_id: _Optional[str] = ..., text_count: _Optional[int] = ..., neutral_count: _Optional[int] = ..., llm: _Optional[_Union[_explanation_pb2.LlmRef, _Mapping]] = ..., seed: _Optional[int] = ..., max_failed_fraction: _Optional[float] = ..., latents_per_task: _Optional[int] = ..., token_budget: _Optional[int] = ..., dry_run: _Optional[bool] = ..., price: _Optional[_Union[_explanation_pb2.Price, _Mapping]] = ..., cost_budget: _Optional[float] = ...) -> None: ...

class RunRef(_message.Message):
    __slots__ = ("scores_ids", "explanations_id", "evaluation_id")
    SCORES_IDS_FIELD_NUMBER: _ClassVar[int]
    EXPLANATIONS_ID_FIELD_NUMBER: _ClassVar[int]
    EVALUATION_ID_FIELD_NUMBER: _ClassVar[int]
    scores_ids: _containers.RepeatedScalarFieldContainer[str]
    explanations_id: str
    evaluation_id: str
    def __init__(self, scores_ids: _Optional[_Iterable[str]] = ..., explanations_id: _Optional[str] = ..., evaluation_id: _Optional[str] = ...) -> None: ...

class ScorecardSpec(_message.Message):
    __slots__ = ("trained", "control", "title", "confidence", "bootstrap_count", "seed")
    TRAINED_FIELD_NUMBER: _ClassVar[int]
    CONTROL_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_FIELD_NUMBER: _ClassVar[int]
    BOOTSTRAP_COUNT_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    trained: RunRef
    control: RunRef
    title: str
    confidence: float
    bootstrap_count: int
    seed: int
    def __init__(self, trained: _Optional[_Union[RunRef, _Mapping]] = ..., control: _Optional[_Union[RunRef, _Mapping]] = ..., title: _Optional[str] = ..., confidence: _Optional[float] = ..., bootstrap_count: _Optional[int] = ..., seed: _Optional[int] = ...) -> None: ...

class SubmitScoresRequest(_message.Message):
    __slots__ = ("spec", "request_id")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    spec: ScoresSpec
    request_id: str
    def __init__(self, spec: _Optional[_Union[ScoresSpec, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class SubmitScoresResponse(_message.Message):
    __slots__ = ("job", "created")
    JOB_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    created: bool
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., created: _Optional[bool] = ...) -> None: ...

class SubmitTextsRequest(_message.Message):
    __slots__ = ("spec", "request_id")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    spec: TextsSpec
    request_id: str
    def __init__(self, spec: _Optional[_Union[TextsSpec, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class SubmitTextsResponse(_message.Message):
    __slots__ = ("job", "created")
    JOB_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    created: bool
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., created: _Optional[bool] = ...) -> None: ...

class SubmitScorecardRequest(_message.Message):
    __slots__ = ("spec", "request_id")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    spec: ScorecardSpec
    request_id: str
    def __init__(self, spec: _Optional[_Union[ScorecardSpec, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class SubmitScorecardResponse(_message.Message):
    __slots__ = ("job", "created")
    JOB_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    created: bool
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., created: _Optional[bool] = ...) -> None: ...

class TriageSpec(_message.Message):
    __slots__ = ("latents_id", "scores_ids", "effects_id", "control_scores_ids", "control_effects_id", "scrambled_latents_id", "explanations_id", "quantile", "kl_target", "positional_information", "unigram_share", "embedder", "seed")
    LATENTS_ID_FIELD_NUMBER: _ClassVar[int]
    SCORES_IDS_FIELD_NUMBER: _ClassVar[int]
    EFFECTS_ID_FIELD_NUMBER: _ClassVar[int]
    CONTROL_SCORES_IDS_FIELD_NUMBER: _ClassVar[int]
    CONTROL_EFFECTS_ID_FIELD_NUMBER: _ClassVar[int]
    SCRAMBLED_LATENTS_ID_FIELD_NUMBER: _ClassVar[int]
    EXPLANATIONS_ID_FIELD_NUMBER: _ClassVar[int]
    QUANTILE_FIELD_NUMBER: _ClassVar[int]
    KL_TARGET_FIELD_NUMBER: _ClassVar[int]
    POSITIONAL_INFORMATION_FIELD_NUMBER: _ClassVar[int]
    UNIGRAM_SHARE_FIELD_NUMBER: _ClassVar[int]
    EMBEDDER_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    latents_id: str
    scores_ids: _containers.RepeatedScalarFieldContainer[str]
    effects_id: str
    control_scores_ids: _containers.RepeatedScalarFieldContainer[str]
    control_effects_id: str
    scrambled_latents_id: str
    explanations_id: str
    quantile: float
    kl_target: float
    positional_information: float
    unigram_share: float
    embedder: EmbedderRef
    seed: int
    def __init__(self, latents_id: _Optional[str] = ..., scores_ids: _Optional[_Iterable[str]] = ..., effects_id: _Optional[str] = ..., control_scores_ids: _Optional[_Iterable[str]] = ..., control_effects_id: _Optional[str] = ..., scrambled_latents_id: _Optional[str] = ..., explanations_id: _Optional[str] = ..., quantile: _Optional[float] = ..., kl_target: _Optional[float] = ..., positional_information: _Optional[float] = ..., unigram_share: _Optional[float] = ..., embedder: _Optional[_Union[EmbedderRef, _Mapping]] = ..., seed: _Optional[int] = ...) -> None: ...

class SubmitTriageRequest(_message.Message):
    __slots__ = ("spec", "request_id")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    spec: TriageSpec
    request_id: str
    def __init__(self, spec: _Optional[_Union[TriageSpec, _Mapping]] = ..., request_id: _Optional[str] = ...) -> None: ...

class SubmitTriageResponse(_message.Message):
    __slots__ = ("job", "created")
    JOB_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    created: bool
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., created: _Optional[bool] = ...) -> None: ...

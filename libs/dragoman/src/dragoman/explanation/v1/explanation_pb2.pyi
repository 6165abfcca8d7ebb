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
    EXPLAINER_NO_ACTIVATIONS: _ClassVar[Explainer]
    EXPLAINER_CHAIN_OF_THOUGHT: _ClassVar[Explainer]
    EXPLAINER_CONTRASTIVE: _ClassVar[Explainer]
    EXPLAINER_MAX_ACT: _ClassVar[Explainer]
    EXPLAINER_OUTPUT: _ClassVar[Explainer]
    EXPLAINER_ENSEMBLE: _ClassVar[Explainer]
    EXPLAINER_NLA: _ClassVar[Explainer]
    EXPLAINER_ELEUTHER_ACTS_TOP5: _ClassVar[Explainer]
    EXPLAINER_ACTS_TOP5: _ClassVar[Explainer]
    EXPLAINER_OTHER_LATENT: _ClassVar[Explainer]
    EXPLAINER_GENERIC: _ClassVar[Explainer]
    EXPLAINER_RANDOM: _ClassVar[Explainer]
    EXPLAINER_ORACLE: _ClassVar[Explainer]
    EXPLAINER_HYPOTHESES: _ClassVar[Explainer]

class Sampling(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SAMPLING_UNSPECIFIED: _ClassVar[Sampling]
    SAMPLING_QUANTILES: _ClassVar[Sampling]
    SAMPLING_TOP: _ClassVar[Sampling]
    SAMPLING_RANDOM: _ClassVar[Sampling]
    SAMPLING_MIXED: _ClassVar[Sampling]

class CounterSource(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COUNTER_SOURCE_UNSPECIFIED: _ClassVar[CounterSource]
    COUNTER_SOURCE_SAME_TOKENS: _ClassVar[CounterSource]
    COUNTER_SOURCE_NEIGHBOURS: _ClassVar[CounterSource]
    COUNTER_SOURCE_SILENT: _ClassVar[CounterSource]

class OutputEvidence(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTPUT_EVIDENCE_UNSPECIFIED: _ClassVar[OutputEvidence]
    OUTPUT_EVIDENCE_BOTH: _ClassVar[OutputEvidence]
    OUTPUT_EVIDENCE_VOCAB_PROJ: _ClassVar[OutputEvidence]
    OUTPUT_EVIDENCE_TOKEN_CHANGE: _ClassVar[OutputEvidence]

class TriageClass(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    TRIAGE_CLASS_UNSPECIFIED: _ClassVar[TriageClass]
    TRIAGE_CLASS_INPUT: _ClassVar[TriageClass]
    TRIAGE_CLASS_OUTPUT: _ClassVar[TriageClass]
    TRIAGE_CLASS_CROSS: _ClassVar[TriageClass]
EXPLAINER_UNSPECIFIED: Explainer
EXPLAINER_DEFAULT: Explainer
EXPLAINER_NO_ACTIVATIONS: Explainer
EXPLAINER_CHAIN_OF_THOUGHT: Explainer
EXPLAINER_CONTRASTIVE: Explainer
EXPLAINER_MAX_ACT: Explainer
EXPLAINER_OUTPUT: Explainer
EXPLAINER_ENSEMBLE: Explainer
EXPLAINER_NLA: Explainer
EXPLAINER_ELEUTHER_ACTS_TOP5: Explainer
EXPLAINER_ACTS_TOP5: Explainer
EXPLAINER_OTHER_LATENT: Explainer
EXPLAINER_GENERIC: Explainer
EXPLAINER_RANDOM: Explainer
EXPLAINER_ORACLE: Explainer
EXPLAINER_HYPOTHESES: Explainer
SAMPLING_UNSPECIFIED: Sampling
SAMPLING_QUANTILES: Sampling
SAMPLING_TOP: Sampling
SAMPLING_RANDOM: Sampling
SAMPLING_MIXED: Sampling
COUNTER_SOURCE_UNSPECIFIED: CounterSource
COUNTER_SOURCE_SAME_TOKENS: CounterSource
COUNTER_SOURCE_NEIGHBOURS: CounterSource
COUNTER_SOURCE_SILENT: CounterSource
OUTPUT_EVIDENCE_UNSPECIFIED: OutputEvidence
OUTPUT_EVIDENCE_BOTH: OutputEvidence
OUTPUT_EVIDENCE_VOCAB_PROJ: OutputEvidence
OUTPUT_EVIDENCE_TOKEN_CHANGE: OutputEvidence
TRIAGE_CLASS_UNSPECIFIED: TriageClass
TRIAGE_CLASS_INPUT: TriageClass
TRIAGE_CLASS_OUTPUT: TriageClass
TRIAGE_CLASS_CROSS: TriageClass

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

class NlaRef(_message.Message):
    __slots__ = ("model", "source", "temperature", "last_paragraph")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TEMPERATURE_FIELD_NUMBER: _ClassVar[int]
    LAST_PARAGRAPH_FIELD_NUMBER: _ClassVar[int]
    model: str
    source: str
    temperature: float
    last_paragraph: bool
    def __init__(self, model: _Optional[str] = ..., source: _Optional[str] = ..., temperature: _Optional[float] = ..., last_paragraph: _Optional[bool] = ...) -> None: ...

class GivenText(_message.Message):
    __slots__ = ("latent", "explanation")
    LATENT_FIELD_NUMBER: _ClassVar[int]
    EXPLANATION_FIELD_NUMBER: _ClassVar[int]
    latent: int
    explanation: str
    def __init__(self, latent: _Optional[int] = ..., explanation: _Optional[str] = ...) -> None: ...

class Price(_message.Message):
    __slots__ = ("currency", "prompt", "completion", "cached")
    CURRENCY_FIELD_NUMBER: _ClassVar[int]
    PROMPT_FIELD_NUMBER: _ClassVar[int]
    COMPLETION_FIELD_NUMBER: _ClassVar[int]
    CACHED_FIELD_NUMBER: _ClassVar[int]
    currency: str
    prompt: float
    completion: float
    cached: float
    def __init__(self, currency: _Optional[str] = ..., prompt: _Optional[float] = ..., completion: _Optional[float] = ..., cached: _Optional[float] = ...) -> None: ...

class ExplanationsSpec(_message.Message):
    __slots__ = ("latents_id", "selection", "explainer", "example_count", "sampling", "window_length", "min_windows", "llm", "seed", "max_failed_fraction", "latents_per_task", "prompt_version", "show_strengths", "counter_count", "counter_source", "effects_id", "output_evidence", "kl_target", "explanations_id", "texts", "nla", "token_budget", "dry_run", "price", "triage_id", "triage_classes", "triage_tiers", "cost_budget")
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
    SHOW_STRENGTHS_FIELD_NUMBER: _ClassVar[int]
    COUNTER_COUNT_FIELD_NUMBER: _ClassVar[int]
    COUNTER_SOURCE_FIELD_NUMBER: _ClassVar[int]
    EFFECTS_ID_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    KL_TARGET_FIELD_NUMBER: _ClassVar[int]
    EXPLANATIONS_ID_FIELD_NUMBER: _ClassVar[int]
    TEXTS_FIELD_NUMBER: _ClassVar[int]
    NLA_FIELD_NUMBER: _ClassVar[int]
    TOKEN_BUDGET_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    TRIAGE_ID_FIELD_NUMBER: _ClassVar[int]
    TRIAGE_CLASSES_FIELD_NUMBER: _ClassVar[int]
    TRIAGE_TIERS_FIELD_NUMBER: _ClassVar[int]
    COST_BUDGET_FIELD_NUMBER: _ClassVar[int]
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
    show_strengths: bool
    counter_count: int
    counter_source: CounterSource
    effects_id: str
    output_evidence: OutputEvidence
    kl_target: float
    explanations_id: str
    texts: _containers.RepeatedCompositeFieldContainer[GivenText]
    nla: NlaRef
    token_budget: int
    dry_run: bool
    price: Price
    triage_id: str
    triage_classes: _containers.RepeatedScalarFieldContainer[TriageClass]
    triage_tiers: _containers.RepeatedScalarFieldContainer[int]
    cost_budget: float
    def __init__(self, latents_id: _Optional[str] = ..., selection: _Optional[_Union[LatentSelection, _Mapping]] = ..., explainer: _Optional[_Union[Explainer, str]] = ..., example_count: _Optional[int] = ..., sampling: _Optional[_Union[Sampling, str]] = ..., window_length: _Optional[int] = ..., min_windows: _Optional[int] = ..., llm: _Optional[_Union[LlmRef, _Mapping]] = ..., seed: _Optional[int] = ..., max_failed_fraction: _Optional[float] = ..., latents_per_task: _Optional[int] = ..., prompt_version: _Optional[str] = ..., show_strengths: _Optional[bool] = ..., counter_count: _Optional[int] = ..., counter_source: _Optional[_Union[CounterSource, str]] = ..., effects_id: _Optional[str] = ..., output_evidence: _Optional[_Union[OutputEvidence, str]] = ..., kl_target: _Optional[float] = ..., explanations_id: _Optional[str] = ..., texts: _Optional[_Iterable[_Union[GivenText, _Mapping]]] = ..., nla: _Optional[_Union[NlaRef, _Mapping]] = ..., token_budget: _Optional[int] = ..., dry_run: _Optional[bool] = ..., price: _Optional[_Union[Price, _Mapping]] = ..., triage_id: _Optional[str] = ..., triage_classes: _Optional[_Iterable[_Union[TriageClass, str]]] = ..., triage_tiers: _Optional[_Iterable[int]] = ..., cost_budget: _Optional[float] = ...) -> None: ...

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

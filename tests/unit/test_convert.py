"""Conversion between messages and our own types: what goes in comes out, and what is wrong is said plainly."""

import math
from typing import Any

import pytest
from dragoman.activation.v1 import activation_pb2
from dragoman.artifacts import Manifest, PartInfo
from dragoman.errors import DragomanError, FailureClass, InvalidSpec
from dragoman.explanation.v1 import explanation_pb2
from dragoman.job.v1 import job_pb2
from dragoman.jobs import DeadLetter, EventType, Failure, JobEvent, JobProgress, JobRecord, JobState
from dragoman.rpc import convert
from dragoman.scoring.v1 import scoring_pb2
from dragoman.training.v1 import training_pb2
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

SPECS: list[type[Message]] = [
    activation_pb2.TokensSpec,
    activation_pb2.ActivationsSpec,
    activation_pb2.LatentsSpec,
    training_pb2.CoderSpec,
    training_pb2.EvaluationSpec,
    training_pb2.OverlapSpec,
    training_pb2.ExportSpec,
    explanation_pb2.ExplanationsSpec,
    scoring_pb2.ScoresSpec,
    scoring_pb2.TextsSpec,
    scoring_pb2.ScorecardSpec,
]


def scalars(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """Values that a field of a spec may be given, in plain Python."""
    if field.cpp_type == FieldDescriptor.CPPTYPE_MESSAGE:
        return specs(field.message_type)
    if field.cpp_type == FieldDescriptor.CPPTYPE_ENUM:
        prefix = field.enum_type.values[0].name.removesuffix("UNSPECIFIED")
        return st.sampled_from([v.name.removeprefix(prefix).lower() for v in field.enum_type.values[1:]])
    return {
        FieldDescriptor.CPPTYPE_INT32: st.integers(-(2**31), 2**31 - 1),
        FieldDescriptor.CPPTYPE_INT64: st.integers(-(2**63), 2**63 - 1),
        FieldDescriptor.CPPTYPE_DOUBLE: st.floats(allow_nan=False, allow_infinity=False),
        FieldDescriptor.CPPTYPE_STRING: st.text(),
        FieldDescriptor.CPPTYPE_BOOL: st.booleans(),
    }[field.cpp_type]


def values(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    """Like `scalars`, less what a message cannot tell from "not given"."""
    one = scalars(field)
    if field.is_repeated:
        return st.lists(one, min_size=1, max_size=3)
    return one if field.has_presence else one.filter(bool)


def specs(descriptor: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({}, optional={f.name: values(f) for f in descriptor.fields})


@pytest.mark.parametrize("message_class", SPECS, ids=lambda c: c.DESCRIPTOR.name)
@given(data=st.data())
def test_a_spec_survives_the_round_trip(message_class: type[Message], data: st.DataObject) -> None:
    spec = data.draw(specs(message_class.DESCRIPTOR))
    message = convert.spec_message(spec, message_class)
    wire = message_class.FromString(message.SerializeToString())
    assert convert.spec_dict(wire) == spec


def test_what_was_not_given_is_left_out() -> None:
    spec = activation_pb2.LatentsSpec(
        tokens_id="tokens-1", model=activation_pb2.ModelRef(source="m", weights="WEIGHTS_VARIANT_RERANDOMIZED_INCL_EMB")
    )
    spec.top_windows = 0
    assert convert.spec_dict(spec) == {
        "tokens_id": "tokens-1",
        "model": {"source": "m", "weights": "rerandomized_incl_emb"},
        "top_windows": 0,
    }


def problems(spec: dict[str, Any], message_class: type[Message]) -> dict[str, str]:
    with pytest.raises(InvalidSpec) as caught:
        convert.spec_message(spec, message_class)
    return {v.field: v.description for v in caught.value.violations}


def test_unknown_fields_name_the_nearest_and_all_problems_come_at_once() -> None:
    found = problems(
        {"tokens_id": 7, "model": {"sorce": "x", "weights": "train"}, "hook_points": [], "batch_size": True},
        activation_pb2.ActivationsSpec,
    )
    assert found["tokens_id"] == "expected text, got the whole number 7"
    assert found["model.sorce"].startswith("ModelRef has no field 'sorce'; did you mean 'source'?")
    assert found["model.weights"].startswith("'train' is not a known WeightsVariant; did you mean 'trained'?")
    assert "rerandomized_incl_emb" in found["model.weights"]
    assert "did you mean 'hookpoints'?" in found["hook_points"]
    assert found["batch_size"] == "expected a whole number, got the truth value True"
    assert len(found) == 5


@pytest.mark.parametrize(
    ("spec", "field", "says"),
    [
        ({"hookpoints": "layers.9"}, "hookpoints", "expected a list, got the text 'layers.9'"),
        ({"hookpoints": ["a", 3]}, "hookpoints[1]", "expected text, got the whole number 3"),
        ({"batch_size": 2**31}, "batch_size", "2147483648 is out of range"),
        ({"batch_size": 2.5}, "batch_size", "expected a whole number, got the number 2.5"),
        ({"model": "gpt2"}, "model", "expected a mapping of field names to values, got the text 'gpt2'"),
        ({"split": 3}, "split", "expected one of all, train, test, got the whole number 3"),
        ({"tokens_id": "\ud800"}, "tokens_id", "cannot be stored"),
    ],
)
def test_wrong_values_are_described_in_plain_words(spec: dict[str, Any], field: str, says: str) -> None:
    assert problems(spec, activation_pb2.ActivationsSpec)[field].find(says) >= 0


@pytest.mark.parametrize("number", [math.nan, math.inf, 10**400])
def test_numbers_must_be_finite(number: float) -> None:
    assert "not a finite number" in problems({"temperature": number}, explanation_pb2.LlmRef)["temperature"]


def test_infinite_numbers_in_a_message_are_refused() -> None:
    with pytest.raises(InvalidSpec, match=r"test_fraction: inf is not a finite number"):
        convert.spec_dict(activation_pb2.TokensSpec(test_fraction=math.inf))


def test_none_means_not_given_and_whole_floats_are_whole_numbers() -> None:
    message = convert.spec_message({"max_tokens": 1e6, "batch_size": None}, activation_pb2.LatentsSpec)
    assert convert.spec_dict(message) == {"max_tokens": 1_000_000}


def test_a_newer_clients_field_and_enum_value_are_refused_not_dropped() -> None:
    unknown_field = activation_pb2.ModelRef.FromString(b"\xa2\x06\x03abc")  # field 100, three bytes
    with pytest.raises(InvalidSpec, match=r"field number 100 of ModelRef is not known"):
        convert.spec_dict(unknown_field)
    nested = activation_pb2.LatentsSpec(model=unknown_field)
    with pytest.raises(InvalidSpec) as caught:
        convert.spec_dict(nested)
    assert caught.value.violations[0].field == "model"
    with pytest.raises(InvalidSpec, match=r"split: number 77 is not a known Split; the choices are all, train, test"):
        convert.spec_dict(activation_pb2.LatentsSpec(split=77))  # type: ignore[arg-type]


json = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.floats(-1e15, 1e15),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(), json))
def test_structs_round_trip(mapping: dict[str, Any]) -> None:
    assert convert.struct_dict(convert.struct_message(mapping)) == mapping


def test_whole_numbers_that_a_double_cannot_hold_become_text() -> None:
    assert convert.struct_dict(convert.struct_message({"seed": 2**62 + 1})) == {"seed": str(2**62 + 1)}


times = st.just(0.0) | st.floats(1e9, 4e9)
counts = st.integers(0, 2**31 - 1)
names = st.text(max_size=8)
numbers = st.floats(allow_nan=False)
failures = st.builds(Failure, names, names, st.sampled_from(FailureClass), names, counts, names)
progress = st.builds(
    JobProgress, names, counts, counts, counts, counts, numbers, numbers, numbers, names, numbers, names,
    st.dictionaries(names, numbers, max_size=2),
)  # fmt: skip
ids = st.from_regex(r"[a-z]{3,8}-[0-9a-f]{32}", fullmatch=True)
jobs = progress.flatmap(
    lambda made: st.builds(
        JobRecord,
        id=ids,
        kind=names,
        service=names,
        state=st.sampled_from(JobState),
        spec=st.dictionaries(names, json, max_size=2),
        inputs=st.dictionaries(names, ids, max_size=2),
        waiting_for=st.lists(ids, max_size=2).map(tuple),
        stages=st.just(()),
        stage_index=st.just(made.stage_index),
        failure=st.none() | failures,
        failed_count=counts,
        retry_count=counts,
        create_time=times,
        start_time=times,
        end_time=times,
        progress=st.just(made),
        revision=counts,
        queue_position=counts,
    )
)


@given(jobs)
def test_jobs_round_trip(job: JobRecord) -> None:
    message = convert.job_message(job)
    assert convert.job_record(job_pb2.Job.FromString(message.SerializeToString())) == job


@given(
    st.builds(
        JobEvent,
        ids,
        names,
        st.sampled_from([t for t in EventType if t is not EventType.HEARTBEAT]),
        st.sampled_from(JobState),
        times,
        counts,
        st.none() | progress,
        names,
        st.none() | failures,
        names,
    )
)
def test_events_round_trip(event: JobEvent) -> None:
    assert convert.event_record(convert.event_message(event)) == event


@given(st.builds(DeadLetter, ids, names, failures, times))
def test_dead_letters_round_trip(letter: DeadLetter) -> None:
    assert convert.dead_letter_record(convert.dead_letter_message(letter)) == letter


def test_manifests_round_trip() -> None:
    part = PartInfo("rows-00000.safetensors", "artifacts/tokens/x/rows", 2**40, "ab" * 32, 128, {"first_row": 0})
    manifest = Manifest(
        id="tokens-" + "0" * 32,
        kind="tokens",
        semantics_version=1,
        spec={"source": "x", "ctx_len": 256, "max_documents": None},
        inputs={},
        parts=(part,),
        statistics={"token_count": 12, "split": [1, 2.5], "has_bos": True},
        failed_count=3,
        commit_time="2026-11-21T09:00:00.250000+00:00",
        software={"dragoman": "0.1.0"},
    )
    assert convert.manifest_record(convert.manifest_message(manifest)) == manifest


def test_a_state_newer_than_the_client_says_so() -> None:
    with pytest.raises(DragomanError, match="update the client") as caught:
        convert.job_record(job_pb2.Job(id="x", state=99))  # type: ignore[arg-type]
    assert caught.value.reason == "VERSION_SKEW"

"""Specs, settings and what an unfit one says."""

import pytest
from dragoman.errors import InvalidSpec
from dragoman.explanation.v1 import explanation_pb2
from dragoman.latent_selection import LatentSelection
from dragoman.rpc.convert import field_names, spec_dict, spec_message
from dragoman.rpc.invalid import invalid_spec
from explainer import convert
from explainer.config import Config
from explainer.spec import ExplanationsSpec, LlmRef
from pydantic import ValidationError

LATENTS = "latents-" + "1" * 32


def test_the_spec_mirrors_the_proto_field_by_field() -> None:
    assert set(ExplanationsSpec.model_fields) == set(field_names(explanation_pb2.ExplanationsSpec))
    assert set(LatentSelection.model_fields) == set(field_names(explanation_pb2.LatentSelection))
    assert set(LlmRef.model_fields) == set(field_names(explanation_pb2.LlmRef))


def test_a_message_becomes_a_spec_with_the_defaults_of_the_proto() -> None:
    request = explanation_pb2.SubmitExplanationsRequest(
        spec=explanation_pb2.ExplanationsSpec(
            latents_id=LATENTS,
            selection=explanation_pb2.LatentSelection(ranks=[5, 3]),
            sampling=explanation_pb2.SAMPLING_TOP,
        )
    )
    spec = ExplanationsSpec(**convert.explanations_spec(request))
    assert spec.selection.ranks == (5, 3)
    assert (spec.sampling, spec.explainer, spec.example_count, spec.window_length) == ("top", "default", 20, 32)
    assert (spec.min_windows, spec.llm.max_tokens, spec.max_failed_fraction, spec.latents_per_task) == (20, 64, 0.5, 8)
    written = spec.model_dump(mode="json")
    assert ExplanationsSpec(**spec_dict(spec_message(written, explanation_pb2.ExplanationsSpec))) == spec


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        ({"selection": {"latents": [1], "count": 3}}, "selection", "latents and count are given together"),
        ({"selection": {"ranks": [4, 4]}}, "selection", "ranks names 4 more than once"),
        ({"selection": {"latents": [-1]}}, "selection.latents[0]", "greater than or equal to 0"),
        ({"window_length": 3}, "window_length", "greater than or equal to 4"),
        ({"example_count": 101}, "example_count", "less than or equal to 100"),
        ({"llm": {"temperature": 3}}, "llm.temperature", "less than or equal to 2"),
        ({"exampel_count": 3}, "exampel_count", "did you mean 'example_count'"),
    ],
)
def test_an_unfit_field_is_named(change: dict[str, object], field: str, words: str) -> None:
    with pytest.raises(ValidationError) as caught:
        ExplanationsSpec(latents_id=LATENTS, **change)  # pyright: ignore[reportArgumentType]
    error = invalid_spec(caught.value, ExplanationsSpec)
    assert error.violations[0].field == field
    assert words in error.message


def test_settings_have_defaults_and_refuse_what_is_no_number() -> None:
    engine = Config.from_env({}).engine
    assert (engine.url, engine.api_key, engine.model, engine.concurrency) == ("http://127.0.0.1:8090", None, "", 4)
    given = {"DRAGOMAN_LLM_URL": "http://llm:1", "DRAGOMAN_LLM_API_KEY": "sk-1", "EXPLAINER_LLM_CONCURRENCY": "9"}
    engine = Config.from_env(given).engine
    assert (engine.url, engine.api_key, engine.concurrency) == ("http://llm:1", "sk-1", 9)
    assert "sk-1" not in repr(engine)
    for bad in ("many", "0", "nan", "inf"):
        with pytest.raises(InvalidSpec, match="EXPLAINER_LLM_CONCURRENCY"):
            Config.from_env({"EXPLAINER_LLM_CONCURRENCY": bad})

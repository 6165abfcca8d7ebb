"""What pydantic finds wrong, in the words of a spec."""

from collections.abc import Sequence
from typing import Literal

import pytest
from dragoman.errors import InvalidSpec
from dragoman.kinds import Spec
from dragoman.nearest import nearest, suggestion
from dragoman.rpc.errors import status_of
from dragoman.rpc.invalid import invalid_spec
from google.rpc.code_pb2 import Code
from pydantic import Field, ValidationError, field_validator, model_validator


class Inner(Spec):
    scores_ids: tuple[str, ...] = ()
    weights: Literal["trained", "control"] = "trained"


class Outer(Spec):
    tokens_id: str
    k: int = Field(32, ge=1)
    trained: Inner | None = None
    runs: Sequence[Inner] = ()

    @field_validator("tokens_id")
    @classmethod
    def _not_empty(cls, value: str) -> str:
        if not value:
            raise ValueError("must not be empty, or nothing is read")
        return value

    @model_validator(mode="after")
    def _together(self) -> "Outer":
        if self.k > 100 and not self.runs:
            raise ValueError("k above 100, though there are no runs")
        return self


def found(spec: object) -> dict[str, str]:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate(spec)
    return {v.field: v.description for v in invalid_spec(caught.value, Outer).violations}


def test_unknown_fields_name_the_nearest_at_every_depth() -> None:
    said = found({"token_id": "x", "trained": {"weight": 1}, "runs": [{}, {"score_ids": []}]})
    assert said["token_id"].startswith("Outer has no field 'token_id'; did you mean 'tokens_id'?")
    assert said["trained.weight"].startswith("Inner has no field 'weight'; did you mean 'weights'?")
    assert said["runs[1].score_ids"].startswith("Inner has no field 'score_ids'; did you mean 'scores_ids'?")
    assert said["tokens_id"] == "is required"


def test_wrong_values_are_shown() -> None:
    said = found({"tokens_id": "x", "k": 0, "trained": {"weights": "random"}})
    assert said["k"] == "Input should be greater than or equal to 1, got 0"
    assert said["trained.weights"] == "Input should be 'trained' or 'control', got 'random'"


def test_the_models_own_words_are_kept_whole() -> None:
    assert found({"tokens_id": ""}) == {"tokens_id": "must not be empty, or nothing is read"}
    assert found({"tokens_id": "x", "k": 200}) == {"": "k above 100, though there are no runs"}


def test_a_validation_error_that_nobody_caught_is_still_the_callers() -> None:
    with pytest.raises(ValidationError) as caught:
        Outer.model_validate({"tokens_id": 3})
    assert status_of(caught.value).code == Code.INVALID_ARGUMENT
    assert isinstance(invalid_spec(caught.value), InvalidSpec)


def test_nearest_names() -> None:
    assert nearest("Hookpoint", ["hookpoints", "model"]) == ["hookpoints"]
    assert nearest("zzz", ["hookpoints"]) == []
    assert suggestion("x", []) == "there are none to choose from"
    many = [f"layers.{i}" for i in range(40)]
    assert suggestion("layers.40", many).startswith("did you mean 'layers.")
    assert suggestion("zzz", many) == "none of the 40 choices is alike"

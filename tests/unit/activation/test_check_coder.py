"""A coder must read and give what the model has, and have been trained on the same weights."""

from typing import Any

import pytest
from activation.coder_memory import check_coders_fit
from activation.input_checks import check_coder
from dragoman.artifacts import InputInfo, Manifest
from dragoman.errors import InvalidSpec
from hooked_models.describe import describe_config
from hooked_models.description import ModelDescription
from hooked_models.model_ref import ModelRef

from tests.support.tiny import CONFIGS

REF = ModelRef(source="/models/a", fingerprint="aa")
DOWN = "layers.1.mlp.down_proj"
"""Reads 48, gives 32."""


@pytest.fixture(scope="module")
def llama() -> ModelDescription:
    return ModelDescription(**describe_config(CONFIGS["llama"]()))


def _coder(model: Any = None, **statistics: Any) -> InputInfo:
    said: Any = {"hookpoint": "layers.1", "d_model": 32, "model": REF.model_dump() if model is None else model}
    manifest = Manifest(f"coder-{'0' * 32}", "coder", 1, {}, {}, [], {**said, **statistics})
    return InputInfo(manifest.id, "coder", {}, manifest, {})


def _refusal(coder: InputInfo, llama: ModelDescription, ref: ModelRef = REF) -> InvalidSpec:
    with pytest.raises(InvalidSpec) as caught:
        check_coder(coder, ref, llama)
    return caught.value


def test_autoencoders_and_transcoders_that_fit_are_taken(llama: ModelDescription) -> None:
    check_coder(_coder(), REF, llama)
    check_coder(_coder(hookpoint="model.layers.1", output_hookpoint="model.layers.1", d_out=32), REF, llama)
    check_coder(_coder(hookpoint=f"{DOWN}.input", d_model=48, output_hookpoint=DOWN, d_out=32), REF, llama)


def test_a_transcoder_is_checked_where_it_reads_and_where_it_gives(llama: ModelDescription) -> None:
    error = _refusal(_coder(hookpoint=f"{DOWN}.input", d_model=32, output_hookpoint=DOWN, d_out=32), llama)
    assert (
        "the coder takes vectors of 32, model.layers.1.mlp.down_proj.input of LlamaForCausalLM has 48" in error.message
    )
    error = _refusal(_coder(hookpoint=f"{DOWN}.input", d_model=48, output_hookpoint=DOWN, d_out=48), llama)
    assert "the coder gives vectors of 48, model.layers.1.mlp.down_proj of LlamaForCausalLM has 32" in error.message
    assert len(error.violations) == 1
    error = _refusal(_coder(output_hookpoint="layers.1.mpl", d_out=32), llama)
    assert error.reason == "HOOKPOINT_NOT_FOUND"


@pytest.mark.parametrize(
    ("trained_on", "now", "field"),
    [
        ({}, {"weights": "control"}, "model.weights"),
        ({"weights": "step0"}, {}, "model.weights"),
        ({"weights": "control"}, {"weights": "control", "weights_seed": 1}, "model.weights_seed"),
        ({"dtype": "bfloat16"}, {}, "model.dtype"),
        ({"fingerprint": "bb"}, {}, "model.fingerprint"),
        (
            {"weights": "step0", "initial_weights": "/a", "initial_weights_fingerprint": "11"},
            {"weights": "step0", "initial_weights": "/b", "initial_weights_fingerprint": "22"},
            "model.initial_weights_fingerprint",
        ),
        (
            {"weights": "step0", "initial_weights": "/a", "initial_weights_fingerprint": "11"},
            {"weights": "step0"},
            "model.initial_weights_fingerprint",
        ),
        (
            {"weights": "step0"},
            {"weights": "step0", "initial_weights": "/a", "initial_weights_fingerprint": "11"},
            "model.initial_weights_fingerprint",
        ),
    ],
)
def test_a_coder_of_other_weights_is_refused(
    llama: ModelDescription, trained_on: dict[str, Any], now: dict[str, Any], field: str
) -> None:
    base = REF.model_dump()
    ref = ModelRef.model_validate({**base, **now})
    error = _refusal(_coder(model={**base, **trained_on}), llama, ref)
    assert [v.field for v in error.violations] == [field]
    check_coder(_coder(model=ref.model_dump()), ref, llama)


def test_what_is_not_known_of_an_imported_coder_is_not_compared(llama: ModelDescription) -> None:
    check_coder(_coder(model={"source": "org/name"}), REF, llama)
    check_coder(_coder(model={}), REF, llama)
    error = _refusal(
        _coder(model={"source": "org/name", "weights": "trained"}), llama, REF.model_copy(update={"weights": "control"})
    )
    assert "the coder was trained on activations with weights 'trained' (model org/name)" in error.message


def test_of_an_imported_coder_only_what_is_known_is_compared(llama: ModelDescription) -> None:
    here = REF.model_copy(update={"source": "me/tiny-llama", "dtype": "bfloat16"})
    for source in ("me/tiny-llama", "/models/elsewhere"):
        check_coder(_coder({"source": source, "weights": "trained", "weights_seed": 0}), here, llama)
    error = _refusal(_coder({"source": "you/tiny-llama", "weights": "trained"}), llama, here)
    assert [violation.field for violation in error.violations] == ["model.source"]
    assert "'you/tiny-llama'" in error.message
    check_coder(_coder({"source": "you/tiny-llama", "weights": "trained"}), REF, llama)


def test_coders_that_no_worker_can_hold_beside_the_model_are_refused_with_all_sizes(llama: ModelDescription) -> None:
    small, large = _coder(d_sae=64, k=4), _coder(d_sae=1 << 20, d_out=32)
    coders = {"coder_ids[0]": small, "coder_ids[1]": large}
    weights = 2 * llama.parameter_count
    needed = weights + 64 * (4 * 64 + 2 * 32) + (1 << 20) * 4 * 64
    check_coders_fit(coders, llama, "bfloat16", needed)
    check_coders_fit(coders, llama, "bfloat16", None)
    waiting = InputInfo(large.id, "coder", {}, None, {})
    check_coders_fit({"coder_id": waiting}, llama, "bfloat16", 1)
    said = r"the 2 coders take 0\.25 GiB beside the model's .* a worker has 0\.25 GiB"
    with pytest.raises(InvalidSpec, match=said) as error:
        check_coders_fit(coders, llama, "bfloat16", needed - 1)
    assert (error.value.violations[0].field, error.value.reason) == ("coder_ids[1]", "CODER_TOO_LARGE")

"""Specs mirror the proto messages, and take what comes over the wire."""

import pytest
from activation.config import Config
from activation.convert import spec_of
from activation.spec import ActivationsSpec, LatentsSpec, TokensSpec
from dragoman.activation.v1 import activation_pb2 as pb
from dragoman.errors import FailedPrecondition
from dragoman.kinds import Spec
from dragoman.rpc.convert import field_names, spec_message
from hooked_models.model_ref import ModelRef


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (TokensSpec, pb.TokensSpec),
        (ActivationsSpec, pb.ActivationsSpec),
        (LatentsSpec, pb.LatentsSpec),
        (ModelRef, pb.ModelRef),
    ],
)
def test_a_spec_has_the_fields_of_its_message(spec: type[Spec], message: type) -> None:
    assert set(spec.model_fields) == set(field_names(message))


def test_a_request_becomes_a_spec_with_every_default_written_out() -> None:
    model = pb.ModelRef(source="m", weights=pb.WEIGHTS_VARIANT_RERANDOMIZED_INCL_EMB, dtype=pb.DATA_TYPE_BFLOAT16)
    request = pb.SubmitActivationsRequest(
        spec=pb.ActivationsSpec(tokens_id="t", model=model, hookpoints=["layers.9"], split=pb.SPLIT_TEST)
    )
    spec = ActivationsSpec.model_validate(spec_of(request))
    assert (spec.model.weights, spec.model.dtype, spec.split) == ("rerandomized_incl_emb", "bfloat16", "test")
    assert (spec.batch_size, spec.rows_per_task, spec.max_tokens) == (8, 128, 0)
    again = spec_message(spec.model_dump(mode="json"), pb.ActivationsSpec)
    assert ActivationsSpec.model_validate(spec_of(pb.SubmitActivationsRequest(spec=again))) == spec


def test_settings_that_cannot_be_used_are_refused() -> None:
    assert Config.from_env({"ACTIVATION_TORCH_THREADS": "3", "DRAGOMAN_HOME": "/x"}).torch_threads == 3
    assert str(Config.from_env({"DRAGOMAN_HOME": "/x"}).cache) == "/x/activation"
    with pytest.raises(FailedPrecondition, match="ACTIVATION_TORCH_THREADS is 'all'"):
        Config.from_env({"ACTIVATION_TORCH_THREADS": "all"})
    with pytest.raises(FailedPrecondition, match="ACTIVATION_DEVICE is 'tpu'"):
        Config.from_env({"ACTIVATION_DEVICE": "tpu"})
    assert not Config.from_env({}).trust_remote_code
    assert Config.from_env({"ACTIVATION_TRUST_REMOTE_CODE": "1"}).trust_remote_code
    with pytest.raises(FailedPrecondition, match="ACTIVATION_TRUST_REMOTE_CODE is 'maybe'; expected 0 or 1"):
        Config.from_env({"ACTIVATION_TRUST_REMOTE_CODE": "maybe"})
    assert Config.from_env({}).worker_memory_bytes is None
    assert Config.from_env({"ACTIVATION_WORKER_MEMORY_GIB": "2"}).worker_memory_bytes == 2 << 30
    with pytest.raises(FailedPrecondition, match="ACTIVATION_WORKER_MEMORY_GIB is '0'"):
        Config.from_env({"ACTIVATION_WORKER_MEMORY_GIB": "0"})

"""Specs, their defaults, and the run that they mean."""

import pytest
from pydantic import ValidationError
from sae_trainer.coder_setup import first_l0_coefficient
from sae_trainer.core.run_length import ImpossibleRun, run_of
from sae_trainer.spec import CoderSpec, EvaluationSpec

ID = "activations-" + "0" * 32


def test_the_default_width_is_written_out() -> None:
    assert CoderSpec(activations_id=ID) == CoderSpec(activations_id=ID, expansion_factor=8)
    assert CoderSpec(activations_id=ID, d_sae=64).expansion_factor is None


def test_a_dumped_spec_reads_back_the_same() -> None:
    for spec in (CoderSpec(activations_id=ID), CoderSpec(activations_id=ID, d_sae=64, epochs=0.5)):
        assert CoderSpec(**spec.model_dump(mode="json")) == spec


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"d_sae": 64, "expansion_factor": 4}, r"d_sae \(64\) and expansion_factor \(4\) are both given"),
        ({"d_sae": 16}, "k is 32 but there are only 16 latents"),
        ({"k": 0}, "greater than or equal to 1"),
        ({"epochs": 0}, "greater than 0"),
        ({"epochs": float("inf")}, "finite"),
        ({"decay_fraction": 1.5}, "less than or equal to 1"),
        ({"architecture": "transformer"}, "'topk'"),
        ({"d_sea": 64}, "d_sea"),
    ],
)
def test_wrong_fields(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CoderSpec.model_validate({"activations_id": ID, **fields})


def test_unknown_fields_of_an_evaluation() -> None:
    with pytest.raises(ValidationError, match="batch_size"):
        EvaluationSpec.model_validate({"coder_id": "c", "activations_id": ID, "batch_size": 3})


def test_defaults_follow_the_rules_of_the_proto() -> None:
    run = run_of(CoderSpec(activations_id=ID), d_model=576, token_count=2048 * 100 + 5)
    assert (run.d_sae, run.step_count, run.warmup_steps, run.decay_steps) == (4608, 100, 10, 20)
    assert run.peak_learning_rate == pytest.approx(6e-4 / (4608 / 2**14) ** 0.5)
    long = run_of(CoderSpec(activations_id=ID, epochs=10_000), d_model=576, token_count=2048 * 100)
    assert (long.warmup_steps, long.dead_tokens) == (1000, 10_000_000)


@pytest.mark.parametrize(
    ("run_tokens", "fields", "dead_tokens"),
    [
        (102_400, {}, 102_400 // 4),
        (1_024_000, {}, 300 * 4608 // 32),
        (1_024_000, {"architecture": "relu", "target_l0": 16}, 300 * 4608 // 16),
        (20_480_000, {}, 20_480_000 // 200),
        (20_480_000, {"dead_tokens": 7}, 7),
    ],
)
def test_default_dead_tokens(run_tokens: int, fields: dict[str, object], dead_tokens: int) -> None:
    spec = CoderSpec.model_validate({"activations_id": ID, **fields})
    assert run_of(spec, d_model=576, token_count=run_tokens).dead_tokens == dead_tokens


@pytest.mark.parametrize(
    ("architecture", "step_count", "warmup"),
    [("relu", 2000, 1500), ("gated", 400, 150), ("relu", 200, 0), ("topk", 2000, 0)],
)
def test_target_l0_falls_while_the_penalty_has_time_to_follow(architecture: str, step_count: int, warmup: int) -> None:
    """At a rate of 1 / 1600 the last 400 steps are left; at 1 / 625 the last 250."""
    rate = 1 / 625 if architecture == "gated" else 1 / 1600
    spec = CoderSpec.model_validate({"activations_id": ID, "architecture": architecture, "learning_rate": rate})
    assert run_of(spec, 576, 2048 * step_count).l0_warmup_steps == warmup


def test_jumprelu_starts_with_a_tenth_of_the_variance_for_its_target() -> None:
    assert first_l0_coefficient(CoderSpec(activations_id=ID, architecture="jumprelu", target_l0=20)) == 0.1 / 20
    given = CoderSpec(activations_id=ID, architecture="jumprelu", target_l0=20, l0_coefficient=0.5)
    assert first_l0_coefficient(given) == 0.5


def test_learning_rate_rises_stays_and_falls() -> None:
    spec = CoderSpec(activations_id=ID, learning_rate=1.0, warmup_steps=4, decay_fraction=0.3, batch_tokens=10)
    run = run_of(spec, 8, 200)
    rates = [run.learning_rate(step) for step in range(20)]
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[5:14] == [1.0] * 9
    assert rates[14:] == pytest.approx([6 / 7, 5 / 7, 4 / 7, 3 / 7, 2 / 7, 1 / 7])


def test_fractional_epochs() -> None:
    assert run_of(CoderSpec(activations_id=ID, epochs=0.5, batch_tokens=10), 8, 100).step_count == 5
    assert run_of(CoderSpec(activations_id=ID, epochs=2.5, batch_tokens=10), 8, 100).step_count == 25


def test_impossible_runs_name_the_field() -> None:
    with pytest.raises(ImpossibleRun, match=r"100 tokens times 1 epochs are fewer than one batch of 2048") as few:
        run_of(CoderSpec(activations_id=ID), 576, 100)
    assert few.value.field == "batch_tokens"
    with pytest.raises(ImpossibleRun, match=r"k is 32 but there are only 8 latents.*d_model 4") as wide:
        run_of(CoderSpec(activations_id=ID, expansion_factor=2), 4, 10_000)
    assert wide.value.field == "k"

"""Fields that go together, rates by optimiser, the pace of a run, and runs that are lost."""

import pytest
from pydantic import ValidationError
from sae_trainer.core.curve import Point
from sae_trainer.core.divergence import Diverged, DivergenceWatch
from sae_trainer.core.pace import Pace
from sae_trainer.core.run_length import run_of
from sae_trainer.spec import CoderSpec

ID = "activations-" + "0" * 32


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"architecture": "relu", "k": 3}, "k is for topk, .*, not for relu; give target_l0 instead"),
        ({"target_l0": 3}, "target_l0 is for relu, jumprelu, gated, not for topk; give k instead"),
        ({"architecture": "jumprelu", "l1_coefficient": 1}, "l1_coefficient is for relu, gated, not for jumprelu"),
        ({"architecture": "gated", "l0_coefficient": 1}, "l0_coefficient is for jumprelu, not for gated"),
        ({"jumprelu_bandwidth": 0.1}, "jumprelu_bandwidth is for jumprelu, not for topk"),
        ({"architecture": "batch_topk", "multi_topk": True}, "multi_topk is for topk, not for batch_topk"),
        ({"widths": [8, 64], "d_sae": 64}, "widths is for matryoshka_batch_topk, not for topk"),
        ({"architecture": "random", "auxk_alpha": 0.1}, "auxk_alpha is for .*, not for random"),
        ({"skip": True}, "skip is for a transcoder"),
        ({"hookpoint": "a", "output_hookpoint": "a"}, "output_hookpoint is the hookpoint that is read, 'a'"),
        ({"architecture": "random", "output_hookpoint": "a"}, "random is a baseline for autoencoders"),
        ({"decoder_norm": "unit", "output_hookpoint": "a"}, "decoder_norm is unit, but a transcoder's decoder"),
        ({"tied_start": True, "output_hookpoint": "a"}, "tied_start is true, but a transcoder's decoder"),
        ({"optimiser": "signum", "beta2": 0.9}, "signum has no second moment"),
        ({"optimiser": "schedule_free", "decay_fraction": 0.2}, "schedule_free takes the place of a decay"),
        ({"optimiser": "schedule_free", "ema_decay": 0.9}, "schedule_free averages the weights itself"),
        ({"resample_tokens": 100}, "resample_tokens is for relu, gated, not for topk"),
        ({"architecture": "relu", "target_l0": 64, "d_sae": 64}, "choose target_l0 < d_sae"),
        ({"architecture": "matryoshka_batch_topk", "widths": [8, 32], "d_sae": 64}, "the last one to d_sae 64"),
        ({"architecture": "matryoshka_batch_topk", "widths": [32, 8, 64], "d_sae": 64}, "they must rise"),
        ({"beta1": 1.0}, "less than 1"),
    ],
)
def test_fields_that_contradict_each_other(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        CoderSpec.model_validate({"activations_id": ID, **fields})


@pytest.mark.parametrize(
    ("short", "written"),
    [
        ({}, {"k": 32, "auxk_alpha": 1.0, "input_normalisation": "none", "decay_fraction": 0.2, "beta1": 0.9}),
        ({"architecture": "relu"}, {"target_l0": 32, "input_normalisation": "mean_norm"}),
        ({"output_hookpoint": "b"}, {"decoder_norm": "free", "tied_start": False, "input_normalisation": "mean_norm"}),
        ({"optimiser": "schedule_free"}, {"decay_fraction": 0.0, "beta2": 0.999}),
    ],
)
def test_defaults_name_the_same_artifact(short: dict[str, object], written: dict[str, object]) -> None:
    left_out = CoderSpec.model_validate({"activations_id": ID, **short})
    assert left_out == CoderSpec.model_validate({"activations_id": ID, **short, **written})
    assert left_out == CoderSpec.model_validate(left_out.model_dump(mode="json"))


def test_a_coefficient_alone_is_not_steered() -> None:
    spec = CoderSpec.model_validate({"activations_id": ID, "architecture": "relu", "l1_coefficient": 0.5})
    assert spec.target_l0 is None


@pytest.mark.parametrize(
    ("optimiser", "rate"), [("adam", 1.2e-3), ("signum", 1e-2), ("muon", 2e-3), ("schedule_free", 4e-4)]
)
def test_default_rates(optimiser: str, rate: float) -> None:
    spec = CoderSpec.model_validate({"activations_id": ID, "optimiser": optimiser, "d_sae": 4096})
    assert run_of(spec, 512, 10_000).peak_learning_rate == pytest.approx(rate)


def test_default_widths() -> None:
    """A nested coder of fewer than 8 k latents would not be sparse; half of them there always are."""
    for k, widths in {1: (8, 16, 32, 64), 3: (32, 64), 32: (32, 64)}.items():
        fields = {"activations_id": ID, "architecture": "matryoshka_batch_topk", "d_sae": 64, "k": k}
        assert run_of(CoderSpec.model_validate(fields), 8, 10_000).widths == widths
    assert run_of(CoderSpec(activations_id=ID, architecture="batch_topk"), 8, 10_000).widths == ()


def test_pace_is_that_of_the_last_half_minute() -> None:
    pace = Pace(100.0, 5000)
    assert (pace.tokens_per_second, pace.seconds_left(9000)) == (0.0, None)
    for second in range(1, 21):
        pace.mark(100.0 + second, 5000 + 10 * second)
    assert (pace.tokens_per_second, pace.seconds_left(5300)) == (10.0, 10.0)
    for second in range(1, 61):
        pace.mark(120.0 + second, 5200 + 100 * second)
    assert pace.tokens_per_second == pytest.approx(100.0)


def see(watch: DivergenceWatch, fvus: list[float], l0: float = 3.0) -> int:
    """Returns after how many steps the watch says that the run is lost; -1 when it does not."""
    for step, fvu in enumerate(fvus, 1):
        try:
            watch.see(Point(step, step, fvu, l0, 0.0, fvu, 1e-3))
        except Diverged:
            return step
    return -1


def collapse(watch: DivergenceWatch) -> None:
    """Shows it 1,500 steps in which hardly a latent fires."""
    for step in range(500, 2000):
        watch.see(Point(step, step, 1.001, 0.01, 1.0, 1.001, 1e-3))


def test_a_run_that_ends_above_the_mean_predictor_is_lost() -> None:
    learnt = [1.0] * 10 + [0.4] * 40
    assert see(DivergenceWatch(10, None), [*learnt, 30.0]) == 51
    assert see(DivergenceWatch(10, None), [*learnt, *[1.05] * 60]) > 50
    assert see(DivergenceWatch(60, None), [*learnt, *[1.05] * 100]) in range(61, 80)


def test_a_run_that_is_slow_or_noisy_is_not() -> None:
    assert see(DivergenceWatch(10, None), [1.6, 1.5] * 100) == -1
    assert see(DivergenceWatch(10, None), [1.0, 1.04] * 100) == -1
    assert see(DivergenceWatch(10, None), [0.4] * 50 + [0.9] * 100) == -1


def test_the_message_says_what_to_change() -> None:
    watch = DivergenceWatch(10, "l1_coefficient")
    for step in range(1, 500):
        watch.see(Point(step, step, 0.3, 20.0, 0.0, 0.3, 1e-3))
    with pytest.raises(Diverged, match=r"hardly a latent fires \(L0 0\.01\); lower l1_coefficient, or raise target_l0"):
        collapse(watch)
    with pytest.raises(Diverged, match=r"loss is nan at step 3, learning rate 0.001: .*lower learning_rate"):
        DivergenceWatch(10, None).see(Point(3, 3, float("nan"), 1.0, 0.0, float("nan"), 1e-3))

"""Numbers from sums: the ratios, where they mean nothing, and their intervals."""

from typing import Any

import numpy as np
import pytest
from activation.core.fidelity import MEASURES, SUMS, Measure, block_size, measures


def _generator() -> np.random.Generator:
    return np.random.Generator(np.random.PCG64(5))


def _blocks(count: int = 40, **changes: Any) -> np.ndarray:
    """Blocks of ten predicted positions with losses that vary from block to block."""
    noise = np.random.Generator(np.random.PCG64(1)).standard_normal(count) * 0.3
    per_position: dict[str, Any] = {
        "ce_original": 3.0 + noise, "ce_coder": 3.5 + noise, "ce_zero": 9.0 + noise, "ce_mean": 5.0 + noise,
        "kl_coder": 0.4 + noise / 10, "kl_zero": 6.0 + noise, "kl_mean": 2.0 + noise,
        "squared_error": 0.2 + noise / 10, "squared_distance": 1.0 + noise / 3, **changes,
    }  # fmt: skip
    columns = [np.full(count, 12.0), np.full(count, 10.0)]
    columns += [np.broadcast_to(per_position[name], count) * 10 for name in SUMS[2:]]
    return np.stack(columns, 1)


def test_ratios_of_totals() -> None:
    found = measures(_blocks(), _generator())
    assert tuple(found) == MEASURES
    value = {name: measure.value for name, measure in found.items()}
    assert value["ce_increase"] == pytest.approx(0.5)
    assert value["ce_recovered_zero"] == pytest.approx(5.5 / 6)
    assert value["ce_recovered_mean"] == pytest.approx(1.5 / 2)
    blocks = _blocks().sum(0)
    total = dict(zip(SUMS, blocks, strict=True))
    assert value["kl_recovered_zero"] == pytest.approx(1 - total["kl_coder"] / total["kl_zero"])
    assert value["fvu"] == pytest.approx(total["squared_error"] / total["squared_distance"])
    assert not any(measure.note for measure in found.values())


def test_intervals_are_those_of_a_bootstrap_done_one_by_one() -> None:
    blocks = _blocks()
    found = measures(blocks, _generator())
    generator = np.random.Generator(np.random.PCG64(77))
    drawn = blocks[generator.integers(40, size=(4000, 40))].sum(1)
    kl = drawn[:, SUMS.index("kl_coder")] / drawn[:, SUMS.index("predicted_count")]
    fvu = drawn[:, SUMS.index("squared_error")] / drawn[:, SUMS.index("squared_distance")]
    for name, samples in (("kl_coder", kl), ("fvu", fvu)):
        low, high = np.quantile(samples, [0.025, 0.975])
        measure = found[name]
        assert measure.low is not None
        assert measure.high is not None
        assert (measure.low, measure.high) == pytest.approx((low, high), abs=(high - low) * 0.1)
    increase = found["ce_increase"]
    assert (increase.low, increase.high) == pytest.approx((0.5, 0.5)), "a difference is resampled in pairs"


def test_an_ablation_that_loses_nothing_has_no_ratio_and_says_so() -> None:
    found = measures(_blocks(ce_zero=3.0, ce_original=3.0, kl_zero=0.0), _generator())
    for name in ("ce_recovered_zero", "kl_recovered_zero"):
        assert (found[name].value, found[name].low, found[name].high) == (None, None, None)
        assert f"{name} is not defined" in found[name].note
    assert found["ce_recovered_mean"].value is not None


def test_a_ratio_over_what_may_be_nothing_has_no_interval() -> None:
    noise = np.random.Generator(np.random.PCG64(2)).standard_normal(40)
    found = measures(_blocks(ce_zero=3.01 + noise, ce_original=3.0), _generator())
    measure = found["ce_recovered_zero"]
    assert measure.value is not None
    assert measure.low is measure.high is None
    assert "not distinguishable from 0" in measure.note


def test_one_block_has_no_interval_and_one_that_predicts_nothing_is_no_sample() -> None:
    one = measures(_blocks(1), _generator())
    assert one["kl_coder"].value is not None
    assert one["kl_coder"] == Measure(one["kl_coder"].value, None, None)
    empty = np.zeros((3, len(SUMS)))
    empty[:, [0, -2, -1]] = [4.0, 40.0, 40.0]
    both = measures(np.concatenate([_blocks(1), empty]), _generator())
    assert both["kl_coder"].low is None
    assert both["ce_coder"] == one["ce_coder"]
    assert both["fvu"].value != one["fvu"].value, "its tokens count where tokens are counted"


def test_rows_are_resampled_in_at_most_1024_blocks() -> None:
    for rows in (1, 1024, 1025, 10**6):
        assert -(-rows // block_size(rows)) <= 1024
    assert block_size(1024) == 1

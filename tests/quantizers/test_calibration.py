"""Step sizes from weights alone: each does what its name says, by layer and by row."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.quantizers.calibration import calibration, max_scale, percentile_scale
from engine.quantizers.form import level_range


def weights(seed: int) -> torch.Tensor:
    return torch.as_tensor(np.random.default_rng(seed).standard_t(3, size=(5, 7, 2)))


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1000), bits=st.integers(1, 8), percentile=st.floats(50, 100))
def test_percentiles_are_numpys(seed: int, bits: int, percentile: float) -> None:
    weight, top = weights(seed), level_range(bits)[1]
    by_layer = np.percentile(weight.abs().numpy(), percentile) / top
    assert percentile_scale(weight, bits, None, percentile).item() == pytest.approx(by_layer)
    by_row = np.percentile(weight.abs().numpy().reshape(5, -1), percentile, axis=1) / top
    found = percentile_scale(weight, bits, 0, percentile)
    assert found.shape == (5, 1, 1)
    np.testing.assert_allclose(found.flatten().numpy(), by_row)


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 1000), bits=st.integers(2, 8))
def test_the_maximum_clips_nothing_and_is_used(seed: int, bits: int) -> None:
    weight, top = weights(seed), level_range(bits)[1]
    levels = (weight / max_scale(weight, bits, 0)).flatten(1).abs()
    np.testing.assert_allclose(levels.amax(1).numpy(), top)


@pytest.mark.parametrize("axis", [None, 0])
def test_zeros_have_a_step(axis: int | None) -> None:
    weight = torch.zeros(3, 4)
    assert bool((percentile_scale(weight, 3, axis) > 0).all())
    weight[1, 0] = 5.0
    assert bool((percentile_scale(weight, 3, axis, 60.0) == 5.0 / 3).all())


def test_a_percentile_out_of_range_is_refused() -> None:
    with pytest.raises(ValueError, match="above 0 and at most 100, got 101"):
        percentile_scale(torch.ones(1, 1), 3, None, 101.0)


def test_all_rules_have_a_name() -> None:
    weight = weights(0)
    found = {name: calibration(name, 90.0)(weight, 3, None).item() for name in ("mse", "max", "percentile")}
    assert found["percentile"] < found["max"]
    assert calibration("second_order", 90.0)(weight, 3, None).item() == found["mse"] < found["max"]
    with pytest.raises(KeyError):
        calibration("median", 50.0)

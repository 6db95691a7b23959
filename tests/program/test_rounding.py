from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.errors import NotRepresentable
from engine.program.rounding import common_scale, integer_level, integer_thresholds, leak_entry
from engine.specs.plan import MulShiftLeak, NoLeak, ShiftLeak

VALUES = st.floats(-50, 50, allow_nan=False)


@given(VALUES, st.sampled_from([0.125, 0.3, 1.0, 7.0]), st.integers(-500, 500))
def test_fire_at_is_the_threshold_on_the_integer_grid(theta: float, unit: float, v: int) -> None:
    for test, fires in (("gt", v > theta / unit), ("ge", v >= theta / unit)):
        fire_at, reset_sub = integer_thresholds(theta, unit, test)  # type: ignore[arg-type]
        assert (v >= fire_at) == fires
        assert int(fire_at - reset_sub) in (0, 1)
        assert abs(reset_sub - theta / unit) <= 0.5


@given(VALUES)
def test_levels_are_within_half_a_step(value: float) -> None:
    assert abs(integer_level(value, 0.25) * 0.25 - value) <= 0.125


def test_levels_beyond_int64_are_refused() -> None:
    with pytest.raises(NotRepresentable, match="too large for its unit"):
        integer_level(1e30, 1e-3)


@pytest.mark.parametrize(("decay", "m"), [(0.0, 0), (0.5, 2048), (0.9, 3686), (-0.25, -1024), (1.25, 5120)])
def test_mul_shift_rounds_the_decay(decay: float, m: int) -> None:
    leak = leak_entry(np.array([decay]), MulShiftLeak(shift_bits=12))
    assert leak.values is not None
    assert leak.values.tolist() == [m]


def test_a_decay_of_one_is_no_leak_in_any_form() -> None:
    for form in (NoLeak(), ShiftLeak(k=3), MulShiftLeak()):
        assert leak_entry(np.ones(3), form).kind == "none"
    assert leak_entry(np.array([0.99999]), MulShiftLeak(shift_bits=4)).kind == "none"


@pytest.mark.parametrize(("decay", "k"), [(0.0, 0), (0.5, 1), (0.875, 3), (0.95, 4)])
def test_shift_takes_the_nearest_power(decay: float, k: int) -> None:
    leak = leak_entry(np.array([decay]), ShiftLeak())
    assert leak.values is not None
    assert leak.values.tolist() == [k]


def test_a_shift_that_is_given_is_taken() -> None:
    leak = leak_entry(np.array([0.95, 0.5, 0.0]), ShiftLeak(k=3))
    assert leak.values is not None
    assert leak.values.tolist() == [3, 3, 0]  # what keeps nothing goes on keeping nothing


@pytest.mark.parametrize(("decay", "form"), [(0.5, NoLeak()), (1.5, ShiftLeak()), (-0.5, ShiftLeak())])
def test_forms_refuse_decays_they_cannot_say(decay: float, form: NoLeak | ShiftLeak) -> None:
    with pytest.raises(NotRepresentable, match=f"found {decay:g}"):
        leak_entry(np.array([decay]), form)


@given(st.lists(st.floats(1e-4, 1e2), min_size=2, max_size=4))
def test_common_scale_is_within_a_factor_of_root_two(steps: list[float]) -> None:
    u, exponents = common_scale([np.array([step]) for step in steps])
    for step, exponent in zip(steps, exponents, strict=True):
        assert 0 <= int(exponent[0]) <= 15
        if exponent[0] < 15:
            assert abs(np.log2(float(u[0]) * 2.0 ** int(exponent[0]) / step)) <= 0.5 + 1e-6


def test_common_scale_refuses_zero() -> None:
    with pytest.raises(NotRepresentable, match="positive"):
        common_scale([np.array([0.0])])

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.program.pack import PackedArray, pack_array, pack_bits, packed_bytes, payload, program_arrays, shrink
from runtime.bits import unpack_bits
from runtime.errors import ProgramError
from tests.program.programs import random_program


@given(st.integers(1, 32), st.booleans(), st.integers(0, 200), st.randoms(use_true_random=False))
def test_unpack_inverts_pack_at_every_width(width: int, signed: bool, count: int, random: object) -> None:
    rng = np.random.default_rng(random.getrandbits(32))  # type: ignore[attr-defined]
    lo, hi = (-(1 << (width - 1)), 1 << (width - 1)) if signed else (0, 1 << width)
    values = rng.integers(lo, hi, count)
    data = pack_bits(values, width)
    assert len(data) == packed_bytes(count, width) == (count * width + 7) // 8
    np.testing.assert_array_equal(unpack_bits(data, width, count, "signed" if signed else "unsigned"), values)


@given(st.lists(st.sampled_from([-1, 1]), min_size=1, max_size=99))
def test_one_bit_weights_are_plus_and_minus_one(weights: list[int]) -> None:
    array = PackedArray("connection", 0, "weight", np.array(weights), 1, "plus_minus_one")
    assert unpack_bits(pack_array(array), 1, len(weights), "plus_minus_one").tolist() == weights


@pytest.mark.parametrize("width", [1, 3, 7, 13])
def test_long_arrays_cross_the_chunks(width: int) -> None:
    values = np.random.default_rng(0).integers(0, 1 << width, (1 << 16) + 5)
    np.testing.assert_array_equal(unpack_bits(pack_bits(values, width), width, values.size, "unsigned"), values)


@pytest.mark.parametrize(("values", "width"), [([4], 2), ([-3], 2), ([0], 0), ([0], 33)])
def test_values_that_do_not_fit_are_refused(values: list[int], width: int) -> None:
    with pytest.raises(ValueError, match=r"do not fit|width must be"):
        pack_bits(np.array(values), width)


def test_unpacking_is_strict() -> None:
    with pytest.raises(ProgramError, match="take 2 bytes as signed, found 1"):
        unpack_bits(b"\0", 3, 3, "signed")
    with pytest.raises(ProgramError, match="padding bits"):
        unpack_bits(b"\xff", 3, 2, "signed")
    with pytest.raises(ProgramError, match="unknown encoding"):
        unpack_bits(b"\0", 3, 2, "gray")


@given(st.lists(st.integers(-1, 1), min_size=1, max_size=200))
def test_ternary_values_go_five_to_a_byte(values: list[int]) -> None:
    array = PackedArray("connection", 0, "weight", np.array(values), 2, "ternary")
    data = pack_array(array)
    assert len(data) == array.size_bytes == -(-len(values) // 5)
    assert unpack_bits(data, 2, len(values), "ternary").tolist() == values


def test_ternary_bytes_are_checked() -> None:
    assert unpack_bits(b"\x0b", 2, 3, "ternary").tolist() == [1, -1, 0]
    for byte, message in ((243, "at most 242"), (27, "padding digits")):
        with pytest.raises(ProgramError, match=message):
            unpack_bits(bytes([byte]), 2, 3, "ternary")


def test_shrink_finds_the_fewest_entries() -> None:
    assert shrink(np.full((2, 3, 3), 7)).tolist() == [7]
    assert shrink(np.array([1, 2])[:, None, None] * np.ones((2, 3, 3), int)).tolist() == [1, 2]
    assert shrink(np.arange(4).reshape(2, 2)).tolist() == [0, 1, 2, 3]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_arrays_have_the_smallest_width_and_fill_the_payload(seed: int) -> None:
    program = random_program(seed)
    arrays = program_arrays(program)
    assert sum(array.size_bytes for array in arrays) == len(payload(program))
    for array in arrays:
        lo, hi = int(array.values.min()), int(array.values.max())
        if array.role != "weight" and array.width > 1:
            half = 1 << (array.width - (2 if array.encoding == "signed" else 1))
            assert hi >= half or lo < -half  # one bit less would not do

"""The event kernel against the reference runner: every spike and state, at every level of the processor."""

from __future__ import annotations

import numpy as np
import pytest

from engine.kernels.build import levels
from engine.kernels.event import event_library
from engine.program import dense_sums
from engine.program.event_tables import DenseChoice, prepare_events
from engine.program.events import dense_of, extract_events, run_events
from engine.program.manifest import build_manifest
from engine.program.pack import payload
from engine.program.program import INPUT, Connection, InputFormat, IntegerProgram, Layer, Leak
from engine.program.taps import Unsupported
from runtime import parse_program, run
from tests.program.programs import adversarial_program, random_input, random_program

THERE = [level for level in levels() if event_library(level)[0] is not None]
pytestmark = pytest.mark.skipif(not THERE, reason="no C compiler on this machine")


def check(program: IntegerProgram, x: np.ndarray, level: str, dense: DenseChoice = "measured") -> str:  # type: ignore[type-arg]
    mine = run_events(program, x, level, dense)
    theirs = run(parse_program(build_manifest(program, {}), payload(program)), x)
    np.testing.assert_array_equal(mine.counts, theirs.counts)
    assert mine.clamped == theirs.clamped
    assert mine.saturated == theirs.saturated
    for layer in program.layers:
        np.testing.assert_array_equal(mine.spikes[layer.name], theirs.spikes[layer.name])
        for part in ("v", "i", "n"):
            expected = getattr(theirs.states[layer.name], part)
            found = getattr(mine.states[layer.name], part)
            assert (found is None) == (expected is None)
            if expected is not None:
                np.testing.assert_array_equal(found, expected)
    return mine.runner


@pytest.mark.parametrize("dense", ["never", "always"])
@pytest.mark.parametrize("level", THERE)
def test_every_spike_and_state_of_random_programs(level: str, dense: DenseChoice) -> None:
    native = saturating = 0
    for seed in range(120):
        program = random_program(seed)
        x = random_input(program, seed, steps=9)
        ran = check(program, x, level, dense).startswith("native")
        native += ran
        saturating += ran and any(run_events(program, x, level, dense).saturated.values())
    assert native > 50, "most programs must run natively, or the test says nothing"
    assert saturating > 10, "some states must leave their range, or their number says nothing"


@pytest.mark.parametrize("kind", ["lif", "cubalif"])
def test_what_does_not_fit_is_handed_over_and_said(kind: str) -> None:
    program = adversarial_program(kind)
    runner = check(program, np.full((2, 5, *program.input.shape), program.input.hi), THERE[0])
    assert runner.startswith("numpy (layer ")


@pytest.mark.parametrize("level", THERE)
def test_the_widest_shift_rounds_half_up(level: str) -> None:
    """Half of 2^31 is the one half that an int32 of the divisor does not give."""
    for leak in (Leak("shift", np.array([31, 30]), 0, "half_up"), Leak("mul_shift", np.array([3, -3]), 31, "half_up")):
        layer = Layer("li", "li", (2,), 8, 0, np.float32(1), leak)
        connection = Connection("fc", INPUT, "li", "linear", (1,), (2,), bits=3, weight=[[3], [-3]])
        program = IntegerProgram(InputFormat((1,)), (layer,), (connection,), "li", "membrane_last")
        assert check(program, np.ones((1, 4, 1), dtype=np.int64), level).startswith("native")


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "uint64", "float32"])
@pytest.mark.parametrize("limits", [(-2, 3), (0, 1), (0, 300), (2, 300), (-300, -1)])
def test_inputs_of_every_type_and_range(limits: tuple[int, int], dtype: str) -> None:
    """A range may leave what the data's type holds, and the data what int64 holds."""
    layer = Layer("li", "li", (2,), 20, 0, np.float32(1))
    connection = Connection("fc", INPUT, "li", "linear", (40,), (2,), bits=3, weight=np.tile([3, -2], (2, 20)))
    program = IntegerProgram(InputFormat((40,), *limits), (layer,), (connection,), "li", "membrane_sum")
    x = np.random.default_rng(1).choice([0, 1, 1, 2, 44, 255], (2, 3, 40)).astype(dtype)
    if dtype == "uint64":
        x[0, 0, :5] = 2**64 - 1
    for level in THERE:
        mine = run_events(program, x, level, "never")
        whole = x if dtype != "float32" else x.astype(np.int64)
        theirs = run(parse_program(build_manifest(program, {}), payload(program)), whole)
        np.testing.assert_array_equal(mine.counts, theirs.counts)
        assert mine.clamped == theirs.clamped


@pytest.mark.parametrize("in_bytes", [True, False])
def test_dense_sums_of_every_form(in_bytes: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Bytes and floats: both are exact, and enough of the random programs take the dense way to prove it."""
    monkeypatch.setattr(dense_sums, "bytes_are_fast", lambda: in_bytes)
    taken = 0
    for seed in range(120):
        program = random_program(seed)
        try:
            taken += len(prepare_events(program, THERE[-1], "always").dense)
        except Unsupported:
            continue
        check(program, random_input(program, seed, steps=9), THERE[-1], "always")
    assert taken > 40


def test_a_busy_source_takes_the_product_and_a_quiet_one_the_events() -> None:
    weight = np.ones((64, 256), dtype=np.int64)
    layer = Layer("out", "if", (64,), 16, 0, np.float32(1), fire_at=300, reset="subtract", reset_sub=300)
    connection = Connection("fc", INPUT, "out", "linear", (256,), (64,), bits=2, weight=weight)
    prepared = prepare_events(IntegerProgram(InputFormat((256,)), (layer,), (connection,), "out"))
    quiet, _ = extract_events(prepared, np.zeros((4, 8, 256), dtype=np.uint8))
    busy, _ = extract_events(prepared, np.ones((4, 8, 256), dtype=np.uint8))
    assert dense_of(prepared, connection, quiet) is None
    sums = dense_of(prepared, connection, busy)
    assert sums is not None
    assert sums.unique().tolist() == [256]

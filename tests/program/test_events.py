"""The event kernel against the reference runner: every spike and state, at every level of the processor."""

from __future__ import annotations

import numpy as np
import pytest

from engine.kernels.build import levels
from engine.kernels.event import event_library
from engine.program.events import run_events
from engine.program.manifest import build_manifest
from engine.program.pack import payload
from engine.program.program import IntegerProgram
from runtime import parse_program, run
from tests.program.programs import adversarial_program, random_input, random_program

THERE = [level for level in levels() if event_library(level)[0] is not None]
pytestmark = pytest.mark.skipif(not THERE, reason="no C compiler on this machine")


def check(program: IntegerProgram, x: np.ndarray, level: str) -> str:  # type: ignore[type-arg]
    mine = run_events(program, x, level)
    theirs = run(parse_program(build_manifest(program, {}), payload(program)), x)
    np.testing.assert_array_equal(mine.counts, theirs.counts)
    assert mine.clamped == theirs.clamped
    for layer in program.layers:
        np.testing.assert_array_equal(mine.spikes[layer.name], theirs.spikes[layer.name])
        for part in ("v", "i", "n"):
            expected = getattr(theirs.states[layer.name], part)
            found = getattr(mine.states[layer.name], part)
            assert (found is None) == (expected is None)
            if expected is not None:
                np.testing.assert_array_equal(found, expected)
    return mine.runner


@pytest.mark.parametrize("level", THERE)
def test_every_spike_and_state_of_random_programs(level: str) -> None:
    native = 0
    for seed in range(120):
        program = random_program(seed)
        native += check(program, random_input(program, seed, steps=9), level).startswith("native")
    assert native > 50, "most programs must run natively, or the test says nothing"


@pytest.mark.parametrize("kind", ["lif", "cubalif"])
def test_what_does_not_fit_is_handed_over_and_said(kind: str) -> None:
    program = adversarial_program(kind)
    runner = check(program, np.full((2, 5, *program.input.shape), program.input.hi), THERE[0])
    assert runner.startswith("numpy (layer ")

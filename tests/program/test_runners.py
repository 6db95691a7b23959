"""The runner that a step takes: the same activity as torch's simulation, and its name."""

from __future__ import annotations

import numpy as np
import pytest

from engine.data.batches import Split
from engine.network.measure import measure
from engine.program.event_tables import prepare_events
from engine.program.manifest import build_manifest
from engine.program.pack import payload
from engine.program.runners import measure_program
from engine.program.simulate import prepare_program
from engine.program.taps import Unsupported
from runtime import parse_program, run
from tests.program.programs import adversarial_program, random_input, random_program


def test_activity_is_that_of_the_simulation() -> None:
    native = 0
    for seed in range(60):
        program = random_program(seed)
        x = np.clip(random_input(program, seed, samples=5, steps=9), program.input.lo, program.input.hi)
        split = Split(x, np.zeros(len(x), dtype=np.int64))
        ran, expected = measure_program(program, split), measure(prepare_program(program), split)
        native += ran.runner.startswith("native")
        if ran.saturated is not None:
            held = parse_program(build_manifest(program, {}), payload(program))
            assert ran.saturated == run(held, x).saturated
        np.testing.assert_array_equal(ran.activity.counts, expected.counts)
        for held, other in ((ran.activity.rates, expected.rates), (ran.activity.busy, expected.busy)):
            assert held.keys() == other.keys()
            for name, values in held.items():
                np.testing.assert_allclose(values, other[name], rtol=1e-12, err_msg=f"{seed} {name}")
    assert native > 20 or not _kernel_is_there()


def test_what_the_kernel_does_not_know_runs_in_torch_and_says_why() -> None:
    program = adversarial_program("lif")
    split = Split(np.full((2, 5, *program.input.shape), program.input.hi), np.zeros(2, dtype=np.int64))
    ran = measure_program(program, split)
    assert ran.runner.startswith("torch (")
    np.testing.assert_array_equal(ran.activity.counts, measure(prepare_program(program), split).counts)


def _kernel_is_there() -> bool:
    try:
        prepare_events(random_program(0))
    except Unsupported as reason:
        pytest.skip(str(reason))
    return True

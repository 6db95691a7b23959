"""Updates that may be skipped really change nothing, and energies are the published figures times the counts."""

from __future__ import annotations

import numpy as np

from engine.program.manifest import build_manifest
from engine.program.pack import payload
from runtime import parse_program, run
from runtime.cost import Operations, count_operations
from runtime.energy import estimate_energy
from runtime.updates import needed_updates
from tests.program.programs import random_input, random_program


def test_a_skipped_neuron_never_fires_and_its_state_only_leaks() -> None:
    """Where nothing is needed the step is the leak alone: no spike, no sum, no change of sign, no growth."""
    skipped = 0
    for seed in range(120):
        program = random_program(seed)
        held = parse_program(build_manifest(program, {}), payload(program))
        x = np.clip(random_input(program, seed, steps=10), program.input.lo, program.input.hi)
        x[:, 2:] *= np.random.default_rng(seed).random(x[:, 2:].shape) < 0.2
        x = np.clip(x, program.input.lo, program.input.hi)
        trace = run(held, x, history=True)
        needed = needed_updates(held, x, trace.spikes)
        for layer in held.layers:
            idle = ~needed[layer.name]
            skipped += int(idle.sum())
            assert not trace.spikes[layer.name][idle].any(), (seed, layer.name)
            v = np.stack([state.v for state in trace.history[layer.name]], axis=1)  # [sample, time, ...]
            before = np.concatenate([np.zeros_like(v[:, :1]), v[:, :-1]], axis=1)
            assert (np.abs(v[idle]) <= np.abs(before[idle])).all(), (seed, layer.name)
            assert (v[idle] * before[idle] >= 0).all(), (seed, layer.name)
        counted = count_operations(held, x, trace.spikes)
        assert counted.needed == sum(int(mask.sum()) for mask in needed.values()) <= counted.updates
        assert counted.multiplied <= counted.dense_multiplied
        assert counted.moved_bits <= counted.dense_moved_bits
    assert skipped > 500


def test_energies_are_figures_times_counts() -> None:
    counted = Operations(synaptic=100, dense=1000, updates=50, needed=20, multiplied=20, dense_multiplied=50,
                         moved_bits=6400, dense_moved_bits=64000)  # fmt: skip
    cmos, loihi = estimate_energy(counted, 20_000)
    assert cmos.events_pj == 0.1 * (100 + 3 * 20) + 3.1 * 20 + 20.0 * 100
    assert cmos.dense_pj == 0.1 * (1000 + 3 * 50) + 3.1 * 50 + 20.0 * 1000
    assert loihi.events_pj == 23.6 * 100 + 81.0 * 20 + 52.0 * 30
    assert loihi.dense_pj is None

"""Two implementations, one meaning: the torch simulation and the runtime agree in every spike and state."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from engine.network.model import INPUT
from engine.program.manifest import build_manifest
from engine.program.pack import payload
from engine.program.simulate import simulate_program
from runtime import parse_program, run
from tests.program.programs import random_input, random_program


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_torch_and_runtime_agree_spike_for_spike(seed: int) -> None:
    program = random_program(seed)
    x = random_input(program, seed, steps=12)
    held = parse_program(build_manifest(program, {}), payload(program))
    mine = simulate_program(program, torch.as_tensor(x).transpose(0, 1), ("*",))  # [time, batch, ...]
    theirs = run(held, x)
    np.testing.assert_array_equal(mine.counts.numpy(), theirs.counts)
    assert theirs.clamped == np.count_nonzero((x < program.input.lo) | (x > program.input.hi))
    for layer in program.layers:
        spikes = mine.spikes[layer.name].transpose(0, 1).numpy()
        np.testing.assert_array_equal(spikes, theirs.spikes[layer.name])
        state = theirs.states[layer.name]
        np.testing.assert_array_equal(mine.states[layer.name].v.numpy(), state.v)
        np.testing.assert_array_equal(state.n, theirs.spikes[layer.name][:, -1])
        if state.i is not None:
            np.testing.assert_array_equal(mine.states[layer.name].i.numpy(), state.i)


def test_random_programs_reach_all_semantics() -> None:
    """The generator would be worthless if it drew one kind of neuron."""
    layers = [layer for seed in range(300) for layer in random_program(seed).layers]
    seen = {(la.kind, la.reset, la.reset_timing, la.reset_order, la.drop_reset_input) for la in layers}
    assert {kind for kind, *_ in seen} == {"if", "lif", "cubalif", "li", "cubali"}
    assert {
        ("lif", "to_value", "next_step", "after_leak", True),
        ("cubalif", "subtract", "same_step", None, False),
    } < seen
    assert {(la.leak_v.kind, la.leak_v.rounding) for la in layers if la.leak_v.kind != "none"} == {
        (kind, rounding) for kind in ("shift", "mul_shift") for rounding in ("floor", "toward_zero", "half_up")
    }
    assert {la.current for la in layers if la.kind == "cubalif"} == {"new", "old"}
    assert {la.max_spikes for la in layers} == {1, 2, 7, 300}
    connections = [c for s in range(300) for c in random_program(s).connections]
    assert {"conv", "loop", "id", "back", "pool"} < {c.name for c in connections}
    assert {c.kind for c in connections} == {"linear", "conv1d", "conv2d", "identity"}
    assert {c.bits for c in connections} >= {1, 2, 16}
    late = [c for c in connections if c.delay is not None]
    assert {c.delayed for c in late} == {True, False}
    assert {c.source == INPUT for c in late} == {True, False}
    assert {len(set(c.delay.flat)) > 1 for c in late if c.delay is not None} == {True, False}
    assert {la.state_bits for la in layers} >= {2, 3, 32}

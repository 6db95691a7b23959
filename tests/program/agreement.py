"""Every runner on one program and input: spikes and states of every layer after every step must be the reference's.

A program is causal, so the state after step t is the final state of a run over the first t steps: runners that report
only final states are run on prefixes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.kernels.build import levels
from engine.kernels.event import event_library
from engine.program.event_tables import DenseChoice
from engine.program.events import run_events
from engine.program.manifest import build_manifest
from engine.program.pack import payload
from engine.program.program import IntegerProgram
from engine.program.simulate import simulate_program
from runtime import parse_program, run

Ints = NDArray[Any]
States = Mapping[str, tuple[Ints, Ints | None]]  # v, i
Outcome = tuple[Ints, Mapping[str, Ints], States, Mapping[str, int] | None]  # counts, spikes, states, saturations
Runner = Callable[[IntegerProgram, Ints], Outcome]
LEVELS = tuple(level for level in levels() if event_library(level)[0] is not None)


def simulation(program: IntegerProgram, x: Ints) -> Outcome:
    """Torch."""
    trace = simulate_program(program, torch.as_tensor(x).transpose(0, 1), ("*",))
    spikes = {name: np.swapaxes(fired.numpy(), 0, 1) for name, fired in trace.spikes.items()}
    states = {
        name: (state.v.numpy(), None if state.i is None else state.i.numpy()) for name, state in trace.states.items()
    }
    return trace.counts.numpy(), spikes, states, None


def native(level: str, dense: DenseChoice) -> Runner:
    """The native runner at one level of the processor, by events or by products."""

    def call(program: IntegerProgram, x: Ints) -> Outcome:
        ran = run_events(program, x, level, dense)
        return ran.counts, ran.spikes, {name: (state.v, state.i) for name, state in ran.states.items()}, ran.saturated

    return call


def runners() -> dict[str, Runner]:
    """Every runner of this machine that lives in this process."""
    found: dict[str, Runner] = {"simulation": simulation}
    for level in LEVELS:
        found[f"events {level}"] = native(level, "never")
    if LEVELS:
        found[f"products {LEVELS[-1]}"] = native(LEVELS[-1], "always")
        found[f"measured {LEVELS[-1]}"] = native(LEVELS[-1], "measured")
    return found


def differences(program: IntegerProgram, x: Ints, stops: Iterator[int] | range) -> Iterator[str]:
    """What differs from the reference, in words; states are compared after each of the ``stops`` steps.

    Args:
        program: what to run.
        x: integers ``[sample, time, *input_shape]``.
        stops: numbers of steps; the last should be all of them.
    """
    held = parse_program(build_manifest(program, {}), payload(program))
    expected = run(held, x, history=True)
    for stop in stops:
        for who, call in runners().items():
            counts, spikes, states, saturated = call(program, x[:, :stop])
            if stop == x.shape[1] and not np.array_equal(counts, expected.counts):
                yield f"{who}: counts"
            if stop == x.shape[1] and saturated not in (None, expected.saturated):
                yield f"{who}: saturations {saturated}, expected {expected.saturated}"
            for layer in program.layers:
                now = expected.history[layer.name][stop - 1]
                v, i = states[layer.name]
                fired = expected.spikes[layer.name][:, :stop]
                wrong = int((spikes[layer.name] != fired).sum()) + int((v != now.v).sum())
                wrong += 0 if now.i is None or i is None else int((i != now.i).sum())
                if wrong or (i is None) != (now.i is None):
                    yield f"{who}: {wrong} values of {layer.name} within {stop} steps"

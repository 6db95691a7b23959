"""Which runner a program takes outside the service: the quickest one that is installed; NumPy's is always there.

Another package offers a runner by an entry point of the group ``spikebit.runners``: a function that takes a
:class:`~runtime.program.Program` and returns a :data:`Runner`, or raises :class:`Unavailable` with the reason. The
engine offers ``native``, its compiled kernel; it needs torch, so it takes some seconds to load.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import entry_points
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ProgramError
from runtime.program import IntArray, Program
from runtime.runner import run

GROUP = "spikebit.runners"
WORTH = 2e10  # multiply-adds: about what NumPy does in the seconds that a native runner takes to load


class Unavailable(Exception):
    """An installed runner cannot run here, or not this program; the message says why."""


@dataclass(frozen=True)
class Ran:
    """What :class:`runtime.runner.Trace` says of counts, spikes, clamped inputs and saturations, whoever ran."""

    counts: IntArray
    spikes: dict[str, NDArray[Any]]
    clamped: int
    saturated: dict[str, int]


Runner = Callable[[IntArray], Ran]
Maker = Callable[[Program], Runner]


def choose(program: Program, wanted: str = "auto", neuron_steps: int = 0) -> tuple[Runner, str]:
    """A runner and its name for the record.

    Args:
        program: what to run.
        wanted: ``numpy``; the name of an installed runner; ``auto``: an installed one where it pays to load it.
        neuron_steps: samples times steps to come.

    Raises:
        ProgramError: no runner of that name is installed, or it cannot run this program.
    """
    if wanted == "numpy":
        return _numpy(program), "numpy"
    if wanted == "auto" and work_of(program) * neuron_steps < WORTH:
        return _numpy(program), "numpy (quicker than loading another for so little)"
    found = {entry.name: entry for entry in entry_points(group=GROUP)}
    if wanted != "auto" and wanted not in found:
        raise ProgramError(f"no runner {wanted!r} is installed; there are: {', '.join(['numpy', *sorted(found)])}")
    reasons = []
    for name in sorted(found) if wanted == "auto" else [wanted]:
        try:
            maker: Maker = found[name].load()
            return maker(program), name
        except (Unavailable, ImportError) as error:
            reasons.append(f"{name}: {error}")
    if wanted != "auto":
        raise ProgramError(f"runner {reasons[0]}")
    return _numpy(program), f"numpy ({'; '.join(reasons) or 'no other is installed'})"


def work_of(program: Program) -> int:
    """Multiply-adds and neuron updates of one step."""
    total = sum(prod(layer.shape) for layer in program.layers)
    for connection in program.connections:
        if connection.weight is not None:
            places = 1 if connection.kind == "linear" else prod(connection.source_shape[1:])  # stride 1: at most
            total += int(np.prod(connection.weight.shape)) * places
    return total


def _numpy(program: Program) -> Runner:
    def call(x: IntArray) -> Ran:
        trace = run(program, x)
        return Ran(trace.counts, trace.spikes, trace.clamped, trace.saturated)

    return call

"""Which runner a job's step takes for a program: the fastest one that there is, and its name for the report.

All runners agree in every spike and state (docs/runners.md; tests compare them), so this is a question of time alone:
the native runner on a processor wherever it knows the program, else torch's simulation, which also runs on other
devices. The NumPy runner is what both are compared with.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

import numpy as np
import torch

from engine.data.batches import Split
from engine.network.measure import Activity, measure
from engine.program.event_tables import PreparedEvents, prepare_events
from engine.program.events import Events, extract_events, run_prepared
from engine.program.program import INPUT, IntegerProgram
from engine.program.simulate import prepare_program
from engine.program.taps import Unsupported, internal_order

BATCH_BYTES = 1 << 28  # of the widest layer's event buffers
LARGEST_BATCH = 256
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Ran:
    """What came out, and what ran: ``native (AVX512)`` or ``torch (why not native)``.

    ``saturated``: per layer, how often a state was limited to its range; None: the runner does not count it.
    """

    activity: Activity
    runner: str
    saturated: dict[str, int] | None = None


def measure_program(
    program: IntegerProgram,
    split: Split,
    device: str | torch.device = "cpu",
    progress: Progress = lambda done, total: None,
) -> Ran:
    """Run all samples of a split through a program.

    Args:
        program: what to run.
        split: samples ``[sample, time, ...]``, whole numbers within the program's input range.
        device: of the job.
        progress: called with (samples done, samples in all).
    """
    device = torch.device(device)
    if device.type != "cpu":
        return Ran(measure(prepare_program(program, device), split, progress), f"torch ({device.type})")
    try:
        prepared = prepare_events(program)
    except Unsupported as reason:
        return Ran(measure(prepare_program(program, device), split, progress), f"torch ({reason})")
    return _measure_native(prepared, split, progress)


def _measure_native(prepared: PreparedEvents, split: Split, progress: Progress) -> Ran:
    program = prepared.program
    steps = int(split.x.shape[1])
    shapes = {INPUT: program.input.shape} | {layer.name: layer.shape for layer in program.layers}
    spikes = {name: np.zeros(prod(shape)) for name, shape in shapes.items()}
    busy = {name: np.zeros(prod(shape)) for name, shape in shapes.items()}
    size = max(1, min(LARGEST_BATCH, BATCH_BYTES // (steps * 8 * max(prod(shape) for shape in shapes.values()))))
    counts = []
    saturated = {layer.name: 0 for layer in program.layers}
    for first in range(0, len(split), size):
        events, _ = extract_events(prepared, np.asarray(split.x[first : first + size]))
        ran = run_prepared(prepared, events)
        counts.append(ran.counts)
        saturated = {name: times + ran.saturated[name] for name, times in saturated.items()}
        for name, held in ({INPUT: events} | ran.layers).items():
            fired, active = _totals(held, prod(shapes[name]))
            spikes[name] += fired
            busy[name] += active
        progress(min(first + size, len(split)), len(split))
    total = len(split) * steps
    order = {name: internal_order(shape) for name, shape in shapes.items()}
    activity = Activity(
        counts=np.concatenate(counts).astype(np.float64),
        rates={name: spikes[name][order[name]] / total for name in shapes if name != INPUT},
        busy={name: busy[name][order[name]] / total for name in shapes},
    )
    return Ran(activity, f"native ({prepared.library.level})", saturated)


def _totals(events: Events, neurons: int) -> tuple[np.ndarray, np.ndarray]:
    """Spikes, and steps with a spike, of every neuron in internal order."""
    fired, active = np.zeros(neurons), np.zeros(neurons)
    for begin, end in zip(events.begin[:, 0], events.end[:, -1], strict=True):  # a sample's events lie together
        index = events.index[begin:end]
        times = np.bincount(index, minlength=neurons)
        active += times
        value = None if events.value is None else events.value[begin:end]
        fired += times if value is None else np.bincount(index, value, neurons)
    return fired, active

"""Where a network's spikes part from the expected ones: layer by layer, step by step."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from engine.data.batches import Split
from engine.data.traces import Traces
from engine.network.measure import batch_size
from engine.network.simulate import Prepared, run
from engine.specs.evaluated import FirstSpikeDifference, LayerTrace, TraceAgreement


def compare_traces(prepared: Prepared, test: Split, expected: Traces) -> TraceAgreement:
    """Run the traced samples and compare every spike of every traced layer.

    The first difference is that of the first differing sample, there the earliest step, there the first layer in
    execution order, there the lowest neuron: the place to look at, since all others may follow from it.

    Args:
        prepared: the float network.
        test: the test split that ``expected.rows`` counts in.
        expected: from :func:`engine.data.traces.read_traces`.
    """
    order = [stage.name for stage in prepared.stages if stage.name in expected.spikes]
    differing = dict.fromkeys(order, 0)
    earliest: dict[str, int | None] = dict.fromkeys(order, None)
    first: FirstSpikeDifference | None = None
    split, done = test.take(expected.rows), 0
    for x, _ in split.batches(batch_size(prepared, split.x.shape[1], prod(split.x.shape[2:]))):
        with torch.no_grad():
            trace = run(prepared, torch.as_tensor(x, device=prepared.device), record=order)
        chosen = slice(done, done + x.shape[1])
        for name in order:
            got = trace.spikes[name].cpu().numpy().swapaxes(0, 1)  # [sample, time, neuron...]
            differs = got != expected.spikes[name][chosen]
            differing[name] += int(differs.sum())
            steps = np.flatnonzero(differs.any(axis=(0, *range(2, differs.ndim))))
            if steps.size:
                before = earliest[name]
                earliest[name] = int(steps[0]) if before is None else min(before, int(steps[0]))
            found = _first(name, differs, got, expected, done)
            if found is not None and (first is None or (found.sample_row, found.step) < (first.sample_row, first.step)):
                first = found
        done += x.shape[1]
    return TraceAgreement(
        samples=len(split),
        layers=tuple(
            LayerTrace(
                layer=name,
                compared=int(expected.spikes[name].size),
                differing=differing[name],
                first_step=earliest[name],
            )
            for name in order
        ),
        first_difference=first,
    )


def _first(
    name: str, differs: NDArray[np.bool_], got: NDArray[Any], expected: Traces, done: int
) -> FirstSpikeDifference | None:
    if not differs.any():
        return None
    flat = differs.reshape(*differs.shape[:2], -1)  # [sample, time, neuron]
    row, step, neuron = (int(n) for n in np.unravel_index(int(flat.argmax()), flat.shape))
    wanted = expected.spikes[name][done + row, step].reshape(-1)
    return FirstSpikeDifference(
        sample=int(expected.rows[done + row]),
        sample_row=done + row,
        layer=name,
        step=step,
        neuron=neuron,
        expected=int(wanted[neuron]),
        got=int(got[row, step].reshape(-1)[neuron]),
    )

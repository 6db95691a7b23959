"""What a job would cost, from the two summaries alone. Basis: estimated.

Model (constants measured on one core of the development machine, to be read as ±3×):

* one pass over a sample costs ``steps · (macs + NEURON_OPS · neurons)`` operations, where ``macs`` is taken as the
  number of weights (a convolution's kernel counts once per weight, so convolutional networks are underestimated);
* a training pass (forward, backward, update) is three such passes, a probe of the curvature is four;
* memory is the process with torch, the data as float32, and every layer's state of a batch over all steps;
* the program is the weights at the plan's or budget's mean width, and for thresholds, biases, leaks and exponents the
  bound that intake found in the network (at 16-bit states, else in proportion); 16 bytes a neuron where there is none.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from math import ceil
from typing import Any

from engine.specs.job import Job
from engine.specs.recipes import RECIPES
from engine.specs.sizes import weight_bytes
from engine.specs.steps import EPOCHS, AllocateStep, EvaluateStep, FinetuneStep, SensitivityStep, Step, SweepStep

OPERATIONS_PER_S = 8e9
NEURON_OPS = 40
STEP_OVERHEAD_S = 60e-6  # one time step of the scan, per layer and batch
START_S = 2.0  # child, torch, reading the inputs
PROCESS_BYTES = 350 << 20
NEURON_BYTES = 16  # of a program, where intake did not say
STATE_BITS = 16  # of the plan that intake's bound is for
TRAIN_FACTOR, PROBE_FACTOR = 3.0, 4.0
EVALUATE_BATCH = 256


def estimate(job: Job, model: Mapping[str, Any], dataset: Mapping[str, Any]) -> dict[str, Any]:
    """Seconds on one CPU, peak bytes of memory, bytes of the program (None where the job makes none).

    Args:
        job: the resolved job.
        model: summary with ``weight_layers``, ``neuron_layers`` as (name, number).
        dataset: summary with ``splits``, ``steps``, ``sample_shape``.
    """
    weights = sum(int(number) for _, number in model.get("weight_layers") or [])
    neurons = sum(int(number) for _, number in model.get("neuron_layers") or [])
    layers = max(1, len(model.get("neuron_layers") or []))
    splits, steps = dataset.get("splits") or {}, int(dataset.get("steps") or 1)
    train, test = int(splits.get("train") or 0), int(splits.get("test") or 0)
    sample_s = steps * (weights + NEURON_OPS * neurons) / OPERATIONS_PER_S

    def passes(samples: int, batch: int) -> float:
        batches = -(-samples // max(1, batch))
        return samples * sample_s + batches * steps * layers * STEP_OVERHEAD_S

    seconds, batch, program_bytes = START_S, EVALUATE_BATCH, None
    for step in _flat(job.steps):
        if isinstance(step, EvaluateStep):
            seconds += passes(test, EVALUATE_BATCH)
        elif isinstance(step, SensitivityStep):
            probes = step.min_probes + (step.max_probes - step.min_probes) // 4
            cost = probes * PROBE_FACTOR * passes(min(train, step.max_samples), step.max_samples)
            seconds += cost if step.max_seconds is None else min(cost, step.max_seconds)
            batch = max(batch, min(train, step.max_samples))
        elif isinstance(step, FinetuneStep):
            runs = step.seeds + int(step.float_control) + step.descend_from / 3
            epochs = EPOCHS if step.epochs is None else step.epochs  # at most: fewer where an epoch is dear
            cost = runs * epochs * TRAIN_FACTOR * passes(train, step.batch_size)
            seconds += cost if step.max_seconds is None else min(cost, runs * step.max_seconds)
        elif isinstance(step, AllocateStep):
            program_bytes = _program_bytes(step, model)
    if any(isinstance(step, SweepStep) for step in job.steps):
        program_bytes = None  # which of them it will be is found out by running them
    if not any(step.kind == "integerize" for step in job.steps):
        program_bytes = None
    inputs = 1
    for axis in dataset.get("sample_shape") or []:
        inputs *= int(axis)
    data_bytes = 4 * (train + test + int(splits.get("val") or 0)) * steps * inputs
    memory = PROCESS_BYTES + data_bytes + 4 * batch * steps * (neurons * 3 + inputs) + 16 * weights
    return {
        "basis": "estimated",
        "seconds": round(seconds, 1),
        "memory_bytes": int(memory),
        "program_bytes": program_bytes,
    }


def _flat(steps: Sequence[Step]) -> Iterator[Step]:
    """The steps, a sweep as what its variants run: their sensitivity once for each recipe."""
    for step in steps:
        if not isinstance(step, SweepStep):
            yield step
            continue
        for name in step.recipes:
            for one in RECIPES[name].steps:
                if isinstance(one, FinetuneStep):
                    yield from [one.model_copy(update={"float_control": False})] * len(step.mean_weight_bits)
                elif not isinstance(one, EvaluateStep):
                    yield one


def _program_bytes(step: AllocateStep, model: Mapping[str, Any]) -> int:
    layers = [(str(name), int(number)) for name, number in model.get("weight_layers") or []]
    if step.plan is not None:
        plan = step.plan
        size = sum(
            weight_bytes(number, plan.weights[name].bits if name in plan.weights else 8) for name, number in layers
        )
        fine = any(layer.granularity == "channel" for layer in plan.weights.values())
        state_bits = max((neuron.state_bits for neuron in plan.neurons.values()), default=STATE_BITS)
        return size + _rest(model, "channel" if fine else "layer", state_bits)
    widest = float(max(step.widths))
    mean = widest if step.mean_weight_bits is None else min(widest, step.mean_weight_bits)
    size = sum(ceil(number * mean / 8) for _, number in layers) + _rest(model, step.granularity, step.neuron.state_bits)
    return size if step.program_bytes is None else min(size, step.program_bytes)


def _rest(model: Mapping[str, Any], granularity: str, state_bits: int) -> int:
    """All but the weights."""
    rest = (model.get("program_rest_bytes") or {}).get("layer" if granularity == "layer" else "channel")
    if rest is None:
        return NEURON_BYTES * sum(int(number) for _, number in model.get("neuron_layers") or [])
    return ceil(int(rest) * state_bits / STATE_BITS)

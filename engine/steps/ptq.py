"""``ptq``: quantize under the plan without a gradient step and without labels."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from engine.data.batches import Split
from engine.errors import InvalidDataset, InvalidSpec
from engine.network.measure import measure
from engine.network.prepare import prepare
from engine.program.inputs import encoded, integer_side
from engine.program.quantized import Parameters, QuantizedForm, prepare_quantized, start_training
from engine.quantizers.calibration import calibration
from engine.specs.steps import PtqStep
from engine.specs.trained import PtqSection
from engine.steps.context import Context, Work
from engine.training.second_order_start import second_order_start


def ptq_step(spec: PtqStep, work: Work, context: Context) -> Work:
    """Calibrate weights on training samples; what follows takes the parameters as it would take trained ones.

    Raises:
        InvalidSpec: there is no plan.
        InvalidDataset: there is no training split.
        NotRepresentable: analogue inputs that no weights could scale.
    """
    began = time.perf_counter()
    train = work.data.train
    if work.plan is None:
        raise InvalidSpec("invalid_step", "ptq needs an earlier step 'allocate'", "/steps")
    if train is None:
        raise InvalidDataset("only_test_split", "ptq needs samples to calibrate on, the file has the test split alone")
    rows = np.sort(np.random.default_rng(context.job.seed).permutation(len(train))[: spec.samples])
    samples = train.take(rows)
    side = integer_side(work.network, work.data, work.plan)
    seen = encoded(samples, side.scale)
    first, start = start_training(side.network, work.plan, side.limits, context.device)
    context.events.progress("ptq", 0, 2, spec.calibration)
    own = spec.calibration in ("second_order", "mse")  # a quantizer's own steps: MSE-optimal where it is free to choose
    rule = None if own else calibration(spec.calibration, spec.percentile)
    form, parameters = start_training(side.network, work.plan, side.limits, context.device, rule)
    plain: list[str] = []
    if spec.calibration == "second_order":
        before, parameters = parameters, second_order_start(form, parameters, seen.x)
        names = [c.name for c in work.network.weighted]
        plain = [name for name in names if parameters[f"weight:{name}"] is before[f"weight:{name}"]]
    context.events.progress("ptq", 1, 2, "comparing with the float network")
    wanted = measure(prepare(work.network, device=context.device), samples).counts.argmax(1)
    section = PtqSection(
        calibration=spec.calibration,
        samples=len(samples),
        plain=tuple(plain),
        agreement=_agreement(form, parameters, seen, wanted),
        agreement_before=_agreement(first, start, seen, wanted),
        seconds=time.perf_counter() - began,
    )
    return replace(work, quantized=(form, parameters), sections=(*work.sections, section))


def _agreement(form: QuantizedForm, parameters: Parameters, samples: Split, wanted: NDArray[np.int64]) -> float:
    """Share of the samples to which the quantized network gives the float network's class."""
    return float((measure(prepare_quantized(form, parameters), samples).counts.argmax(1) == wanted).mean())

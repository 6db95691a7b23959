"""``finetune``: train the network in the program's own arithmetic, and the float network beside it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import torch

from engine.curvature.logit_scale import margin_scale
from engine.errors import InvalidDataset, InvalidSpec
from engine.network.measure import readouts
from engine.network.prepare import prepare
from engine.program.inputs import IntegerSide, integer_side
from engine.program.quantized import Parameters, QuantizedForm, start_training, with_parameters
from engine.report.statistics import accuracy_of
from engine.specs.plan import Plan
from engine.specs.steps import FinetuneStep
from engine.specs.trained import Epoch, FinetuneSection
from engine.steps.checkpoint import save_checkpoint
from engine.steps.context import Context, Work
from engine.training.budget import default_epochs
from engine.training.forms import FloatForm, QuantizedTrainable, float_parameters
from engine.training.loop import Trainable, Trained, TrainingData, TrainingState, train
from engine.training.loss import choose_logit_scale
from engine.training.rates import default_rate
from engine.training.samples import samples_on
from engine.training.second_order_start import second_order_start


def finetune_step(spec: FinetuneStep, work: Work, context: Context) -> Work:
    """Fine-tune under the plan; checkpoints every epoch; continues where an earlier attempt stopped.

    Raises:
        InvalidSpec: there is no plan.
        InvalidDataset: there is no training split.
        NotRepresentable: analogue inputs that no weights could scale.
    """
    began = time.perf_counter()
    if work.plan is None:
        raise InvalidSpec("invalid_step", "finetune needs an earlier step 'allocate'", "/steps")
    device = context.device
    plan, side = work.plan, integer_side(work.network, work.data, work.plan)
    given, work = work, replace(work, network=side.network, data=side.data)
    data, scale = _training_data(spec, given, work, device)
    if spec.epochs is None:
        spec = spec.model_copy(update={"epochs": default_epochs(work.network, len(data.y), work.data.steps)})
    epochs = spec.epochs or 0
    saved = dict(context.saved or {}) if context.saved_step == work.index else {}
    form, start, plain = _start(spec, side, plan, context, saved.get("quantized"))
    rate = spec.learning_rate or default_rate(work.network, spec.start, plain)
    done: dict[str, Any] = {}

    def one(phase: str, network: Trainable, parameters: dict[str, torch.Tensor]) -> Trained:
        state = saved.get(phase)

        def on_epoch(current: TrainingState, epoch: Epoch) -> None:
            done[phase] = asdict(current)
            save_checkpoint(context, given, done)
            context.events.progress(
                f"finetune:{phase}", epoch.epoch, epochs, "",
                train_loss=epoch.train_loss, validation_accuracy=epoch.validation_accuracy,
            )  # fmt: skip

        done[phase] = state
        resume = None if state is None else TrainingState(**_on_device(state, device))
        return train(
            network, parameters, data, spec,
            seed=context.job.seed, peak_rate=rate, logit_scale=scale, resume=resume, on_epoch=on_epoch,
        )  # fmt: skip

    quantized = one("quantized", QuantizedTrainable(form), start)
    control = accuracy = None
    if spec.float_control:
        floating = FloatForm(work.network, torch.float32, device)
        control = one("control", floating, float_parameters(work.network, torch.float32, device))
        tuned = prepare(with_parameters(work.network, control.parameters), device=device)
        right = readouts(tuned, work.data.test).argmax(1) == work.data.test.y
        accuracy = accuracy_of(int(right.sum()), len(right))
    section = FinetuneSection(
        quantized=quantized.curve,
        control=None if control is None else control.curve,
        control_accuracy=accuracy,
        resumed_from_epoch=_resumed_epoch(saved),
        seconds=time.perf_counter() - began,
    )
    return replace(given, quantized=(form, quantized.parameters), sections=(*work.sections, section))


def _start(
    spec: FinetuneStep, side: IntegerSide, plan: Plan, context: Context, saved: Mapping[str, Any] | None
) -> tuple[QuantizedForm, Parameters, tuple[str, ...]]:
    """The form under the plan, where its training starts, and the layers whose weights start as they are.

    ``saved``: the training state of an earlier attempt; its start is taken as it is.
    """
    form, given = start_training(side.network, plan, side.limits, context.device)
    train_split, start = side.data.train, given
    if saved is not None:
        start = {name: value.to(context.device) for name, value in saved["start"].items()}
    elif spec.start == "second_order" and train_split is not None:
        rows = np.random.default_rng(context.job.seed).permutation(len(train_split))[: spec.start_samples]
        start = second_order_start(form, given, train_split.x[np.sort(rows)])
    names = [f"weight:{c.name}" for c in side.network.weighted]
    plain = tuple(name.removeprefix("weight:") for name in names if torch.equal(start[name], given[name]))
    if plain and spec.start == "second_order" and saved is None:
        context.events.log(
            f"finetune: no second-order start for {', '.join(plain)} (grouped, 1 bit, or too many inputs)"
        )
    return form, start, plain


def _training_data(spec: FinetuneStep, given: Work, work: Work, device: torch.device) -> tuple[TrainingData, float]:
    """Tensors on the device, with the float network's readout as teacher, and the factor from counts to logits.

    ``given`` holds the float network and its data, ``work`` their integer side.
    """
    train_split, val = work.data.train, work.data.val
    if train_split is None or val is None or given.data.train is None:
        raise InvalidDataset("only_test_split", "finetune needs training samples, the file has the test split alone")
    counts = readouts(prepare(given.network, device=device), given.data.train)
    teacher, y = torch.as_tensor(counts, device=device), torch.as_tensor(train_split.y, device=device)
    data = TrainingData(
        x=samples_on(train_split.x, device),
        y=y,
        teacher=teacher,
        x_val=samples_on(val.x, device),
        y_val=torch.as_tensor(val.y, device=device),
    )
    chosen = margin_scale if work.data.own_labels else choose_logit_scale  # own labels are always right: no best scale
    return data, spec.logit_scale or chosen(teacher.cpu(), y.cpu())


def _on_device(state: Mapping[str, Any], device: torch.device) -> dict[str, Any]:
    """A saved state, which is read into main memory, with its parameters where training runs (Adam moves its own)."""
    moved = {
        key: {name: value.to(device) for name, value in state[key].items()}
        for key in ("parameters", "average", "best", "start")
    }
    return {**state, **moved}


def _resumed_epoch(saved: Mapping[str, Any]) -> int | None:
    epochs = [state["epoch"] for state in saved.values() if state is not None]
    return sum(epochs) if epochs else None

"""``finetune``: train the network in the program's own arithmetic, and the float network beside it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
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
from engine.specs.evaluated import Accuracy
from engine.specs.plan import Plan
from engine.specs.steps import FinetuneStep
from engine.specs.trained import Epoch, FinetuneSection, TrainingCurve
from engine.steps.checkpoint import save_checkpoint
from engine.steps.context import Context, Work
from engine.training.budget import default_epochs
from engine.training.forms import FloatForm, QuantizedTrainable, float_parameters
from engine.training.loop import Trainable, Trained, TrainingData, TrainingState, train
from engine.training.loss import choose_logit_scale
from engine.training.rates import default_rate
from engine.training.samples import samples_on
from engine.training.second_order_start import second_order_start

SEED_STEP = 7_919  # between the seeds of one step's trainings


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
    run = _Phases(spec, given, context, data, scale)
    side, wider = _descend(spec, side, plan, run)
    form, start, plain = _start(spec, side, plan, context, run.saved.get("quantized"))
    run.rate = spec.learning_rate or default_rate(work.network, spec.start, plain)
    trained = [run.train(_named("quantized", k), QuantizedTrainable(form), start, k) for k in range(spec.seeds)]
    best = max(range(spec.seeds), key=lambda k: (_validation(trained[k]), -k))
    quantized = trained[best]
    control, accuracy = _control(run, work) if spec.float_control else (None, None)
    section = FinetuneSection(
        quantized=quantized.curve,
        wider=wider,
        seed=context.job.seed + SEED_STEP * best if spec.seeds > 1 else None,
        other_seeds=tuple(one.curve for k, one in enumerate(trained) if k != best),
        control=None if control is None else control.curve,
        control_accuracy=accuracy,
        resumed_from_epoch=_resumed_epoch(run.saved),
        seconds=time.perf_counter() - began,
    )
    return replace(given, quantized=(form, quantized.parameters), sections=(*work.sections, section))


def _control(run: _Phases, work: Work) -> tuple[Trained, Accuracy]:
    """The float network after the same schedule, and its accuracy on the test split."""
    device = run.context.device
    floating = FloatForm(work.network, torch.float32, device)
    trained = run.train("control", floating, float_parameters(work.network, torch.float32, device))
    tuned = prepare(with_parameters(work.network, trained.parameters), device=device)
    right = readouts(tuned, work.data.test).argmax(1) == work.data.test.y
    return trained, accuracy_of(int(right.sum()), len(right))


@dataclass
class _Phases:
    """The trainings of one step, each resumable under its name; all finished ones are in every checkpoint."""

    spec: FinetuneStep
    work: Work
    context: Context
    data: TrainingData
    scale: float
    rate: float = 0.0

    def __post_init__(self) -> None:
        here = self.context.saved_step == self.work.index
        self.saved: dict[str, Any] = dict(self.context.saved or {}) if here else {}
        self.done: dict[str, Any] = {}

    def train(
        self, phase: str, network: Trainable, start: Parameters, seed: int = 0, epochs: int | None = None
    ) -> Trained:
        """Train from ``start``, or go on where an earlier attempt stopped; ``seed`` counts from the job's."""
        state = self.saved.get(phase)
        spec = self.spec if epochs is None else self.spec.model_copy(update={"epochs": epochs})

        def on_epoch(current: TrainingState, epoch: Epoch) -> None:
            self.done[phase] = asdict(current)
            save_checkpoint(self.context, self.work, self.done)
            self.context.events.progress(
                f"finetune:{phase}", epoch.epoch, spec.epochs or 0, "",
                train_loss=epoch.train_loss, validation_accuracy=epoch.validation_accuracy,
            )  # fmt: skip

        self.done[phase] = state
        return train(
            network, start, self.data, spec,
            seed=self.context.job.seed + SEED_STEP * seed, peak_rate=self.rate, logit_scale=self.scale,
            resume=None if state is None else TrainingState(**_on_device(state, self.context.device)),
            on_epoch=on_epoch,
        )  # fmt: skip


def _named(phase: str, number: int) -> str:
    return phase if number == 0 else f"{phase}:{number}"


def _validation(trained: Trained) -> tuple[float, float]:
    """Accuracy on validation, then the loss, of what a training kept; a start that it fell back to comes last."""
    kept = next((e for e in trained.curve.epochs if e.epoch == trained.curve.best_epoch), None)
    return (-1.0, 0.0) if kept is None else (kept.validation_accuracy, -kept.validation_loss)


def _descend(
    spec: FinetuneStep, side: IntegerSide, plan: Plan, run: _Phases
) -> tuple[IntegerSide, tuple[TrainingCurve, ...]]:
    """The network after trainings with more bits than the plan has, and how they went.

    Each takes a third of the schedule, and its weights are where the next one starts to round.
    """
    curves = []
    for more in range(spec.descend_from, 0, -1):
        entries = {
            name: one.model_copy(update={"bits": min(one.bits + more, 16)}) for name, one in plan.weights.items()
        }
        phase = f"wider:{more}"
        form, start, plain = _start(
            spec, side, plan.model_copy(update={"weights": entries}), run.context, run.saved.get(phase)
        )
        run.rate = spec.learning_rate or default_rate(side.network, spec.start, plain)
        trained = run.train(phase, QuantizedTrainable(form), start, epochs=-(-(spec.epochs or 0) // 3))
        side = replace(side, network=with_parameters(side.network, trained.parameters))
        curves.append(trained.curve)
    return side, tuple(curves)


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

"""The one training loop: float or quantized, seeded, checkpointed each epoch, resumable to the bit.

The order of samples depends on (seed, epoch) alone, so that a resumed run sees what an undisturbed one sees.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch
from torch import Tensor

from engine.network.simulate import Prepared, run
from engine.quantizers.form import Phase
from engine.specs.steps import EPOCHS, FinetuneStep
from engine.specs.trained import Epoch, TrainingCurve
from engine.training.loss import finetune_loss
from engine.training.samples import Samples
from engine.training.schedule import learning_rate

CLIP_NORM = 1.0  # QUALITY finding 9
WARMUP_EPOCHS = 0.5
BETAS = (0.9, 0.999)
# Users' networks have mostly seen our validation samples in their own training, so that early epochs, which have not
# forgotten them yet, look better than they generalise. Only the annealed end of the schedule is compared.
SETTLED = 0.75  # share of the schedule after which epochs are candidates
CLEARLY = 3.0  # standard errors of the difference of two accuracies

Parameters = dict[str, Tensor]


class Trainable(Protocol):
    """A network that can be trained: parameters in, something to run out."""

    def prepare(self, parameters: Mapping[str, Tensor], phase: Phase | None = None) -> Prepared:
        """Tensors for :func:`engine.network.simulate.run`, differentiable in the parameters."""
        ...


@dataclass(frozen=True)
class TrainingData:
    """Samples ``[sample, time, ...]``, labels ``[sample]`` and the float network's readout ``[sample, outputs]``."""

    x: Samples
    y: Tensor
    teacher: Tensor
    x_val: Samples
    y_val: Tensor


@dataclass
class TrainingState:
    """Everything that the next epoch depends on, and the best epoch so far."""

    epoch: int
    parameters: Parameters
    average: Parameters
    optimizer: dict[str, Any]
    best: Parameters
    best_key: tuple[float, float]
    best_epoch: int
    start: Parameters
    start_key: tuple[float, float]
    settled: bool = False
    history: list[dict[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Trained:
    """Parameters of the best epoch on validation, and how the training went."""

    parameters: Parameters
    curve: TrainingCurve


def train(
    network: Trainable,
    start: Parameters,
    data: TrainingData,
    spec: FinetuneStep,
    *,
    seed: int,
    peak_rate: float,
    logit_scale: float,
    resume: TrainingState | None = None,
    on_epoch: Callable[[TrainingState, Epoch], None] = lambda state, epoch: None,
) -> Trained:
    """Fine-tune with Adam, cosine schedule, gradient clipping and early stop on the validation part.

    Args:
        network: what is trained; ``start`` is its parameters, which are not changed.
        data: training and validation samples on one device.
        spec: epochs (None: 30), batch size, surrogate, distillation, averaging, jitter.
        seed: of the order of samples and the jitter.
        peak_rate: highest learning rate.
        logit_scale: factor from counts to logits.
        resume: state after an earlier epoch; the result is then the same as without the interruption.
        on_epoch: called after each epoch with the state (to be saved) and its record; may raise to stop.

    Returns:
        Parameters of the best epoch: among those of the schedule's last part (``SETTLED``; all of them after an early
        stop) the highest validation accuracy, ties: lowest validation loss, then the earlier. The start is kept
        where even that is clearly worse on validation (``CLEARLY``).
    """
    state = resume if resume is not None else _first_state(network, start, data, spec, logit_scale)
    leaves = {name: value.clone().requires_grad_() for name, value in state.parameters.items()}
    optimizer = torch.optim.Adam(_groups(leaves, spec.scale_rate), lr=peak_rate, betas=BETAS)
    if state.optimizer:
        optimizer.load_state_dict(state.optimizer)
    while (stopped := _stopped(state, spec)) is None:
        began = time.perf_counter()
        loss, rate = _one_epoch(network, leaves, state, optimizer, data, spec, seed, peak_rate, logit_scale)
        state.epoch += 1
        state.parameters = {name: leaf.detach().clone() for name, leaf in leaves.items()}
        state.optimizer = optimizer.state_dict()
        judged = state.average if spec.weight_average else state.parameters
        accuracy, validation_loss = validate(network, judged, data, logit_scale, spec.batch_size)
        _keep_best(state, judged, (accuracy, -validation_loss), settled=state.epoch > SETTLED * _epochs(spec))
        record = Epoch(
            epoch=state.epoch,
            train_loss=loss,
            validation_loss=validation_loss,
            validation_accuracy=accuracy,
            learning_rate=rate,
            seconds=time.perf_counter() - began,
        )
        state.history.append(record.model_dump())
        on_epoch(state, record)
    _choose(state, len(data.y_val))
    epochs = tuple(Epoch.model_validate(record) for record in state.history)
    curve = TrainingCurve(
        epochs=epochs, best_epoch=state.best_epoch, stopped=stopped, validation_samples=len(data.y_val)
    )
    return Trained(state.best, curve)


def validate(
    network: Trainable, parameters: Mapping[str, Tensor], data: TrainingData, logit_scale: float, batch_size: int
) -> tuple[float, float]:
    """Accuracy and cross-entropy (nats) on the validation part."""
    with torch.no_grad():
        prepared = network.prepare(parameters)
        starts = range(0, len(data.y_val), 4 * batch_size)
        parts = (data.x_val[start : start + 4 * batch_size] for start in starts)
        counts = torch.cat([run(prepared, x.transpose(0, 1)).counts for x in parts])
        loss = finetune_loss(counts, data.y_val, None, logit_scale, 0.0)
        accuracy = (counts.argmax(1) == data.y_val).double().mean()
    return float(accuracy), float(loss)


def _groups(leaves: Parameters, scale_rate: float) -> list[dict[str, Any]]:
    """Parameters by learning rate: Adam makes the LSQ paper's gradient scale void, so the rate takes its place."""
    kinds = ("log2_scale:", "log2_range:")
    scales = [leaf for name, leaf in leaves.items() if name.startswith(kinds)]
    rest = [leaf for name, leaf in leaves.items() if not name.startswith(kinds)]
    groups: list[dict[str, Any]] = [{"params": rest, "factor": 1.0}]
    return [*groups, {"params": scales, "factor": scale_rate}] if scales else groups


def _epochs(spec: FinetuneStep) -> int:
    return EPOCHS if spec.epochs is None else spec.epochs


def _stopped(state: TrainingState, spec: FinetuneStep) -> Literal["schedule", "patience", "time"] | None:
    """Why training ends here; None: it goes on."""
    if state.epoch >= _epochs(spec):
        return "schedule"
    if spec.patience is not None and state.epoch - state.best_epoch >= spec.patience:
        return "patience"
    if spec.max_seconds is not None and sum(e["seconds"] for e in state.history) >= spec.max_seconds:
        return "time"
    return None


def _first_state(
    network: Trainable, start: Parameters, data: TrainingData, spec: FinetuneStep, logit_scale: float
) -> TrainingState:
    accuracy, loss = validate(network, start, data, logit_scale, spec.batch_size)
    key = (accuracy, -loss)
    return TrainingState(0, _copy(start), _copy(start), {}, _copy(start), key, 0, start=_copy(start), start_key=key)


def _keep_best(state: TrainingState, judged: Parameters, key: tuple[float, float], *, settled: bool) -> None:
    """Remember the best epoch so far; the first settled one replaces whatever came before it."""
    if (settled and not state.settled) or key > state.best_key:
        state.best, state.best_key, state.best_epoch = _copy(judged), key, state.epoch
    state.settled = state.settled or settled


def _choose(state: TrainingState, samples: int) -> None:
    """Go back to the start where training clearly lost accuracy on validation."""
    before, after = state.start_key[0], state.best_key[0]
    error = ((before * (1 - before) + after * (1 - after)) / max(samples, 1)) ** 0.5
    if before - after > CLEARLY * error:
        state.best, state.best_key, state.best_epoch = state.start, state.start_key, 0


def _one_epoch(
    network: Trainable,
    leaves: Parameters,
    state: TrainingState,
    optimizer: torch.optim.Optimizer,
    data: TrainingData,
    spec: FinetuneStep,
    seed: int,
    peak_rate: float,
    logit_scale: float,
) -> tuple[float, float]:
    """One pass over the training samples; returns the mean loss and the last learning rate."""
    generator = torch.Generator().manual_seed(seed * 1_000_003 + state.epoch)
    draws = torch.Generator().manual_seed(seed * 1_000_003 + state.epoch + 500_009)  # of quantizers and layers
    order = torch.randperm(len(data.y), generator=generator).to(data.y.device)
    batches = torch.split(order, spec.batch_size)
    total, rate = 0.0, peak_rate
    for index, rows in enumerate(batches):
        step = state.epoch * len(batches) + index
        rate = learning_rate(step, _epochs(spec) * len(batches), max(1, round(WARMUP_EPOCHS * len(batches))), peak_rate)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]
        done = step / max(_epochs(spec) * len(batches), 1)
        phase = Phase(done, draws, _share(spec, done))
        x = _jitter(data.x[rows], spec.input_jitter_steps, generator)
        trace = run(
            network.prepare(leaves, phase),
            x.transpose(0, 1),
            surrogate=spec.surrogate,
            reset_gradient=spec.reset_gradient,
        )
        loss = finetune_loss(trace.counts, data.y[rows], data.teacher[rows], logit_scale, spec.distillation)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_([leaf for leaf in leaves.values() if leaf.grad is not None], CLIP_NORM)
        optimizer.step()
        total += float(loss.detach()) * len(rows)
        if spec.weight_average:
            for name, leaf in leaves.items():
                state.average[name].lerp_(leaf.detach(), 1.0 - spec.weight_average)
    return total / len(data.y), rate


def _share(spec: FinetuneStep, done: float) -> float:
    """Probability that a layer is quantized: from the spec's to 1, where the epochs that are compared begin."""
    return min(1.0, spec.layer_probability + (1.0 - spec.layer_probability) * done / SETTLED)


def _jitter(x: Tensor, most: int, generator: torch.Generator) -> Tensor:
    """Shift each sample ``[sample, time, ...]`` in time by up to ``most`` steps; what leaves is lost, zeros enter."""
    if most == 0:
        return x
    shifts = torch.randint(-most, most + 1, (len(x),), generator=generator).tolist()
    out = torch.zeros_like(x)
    for row, shift in enumerate(shifts):
        if shift > 0:
            out[row, shift:] = x[row, :-shift]
        elif shift < 0:
            out[row, :shift] = x[row, -shift:]
        else:
            out[row] = x[row]
    return out


def _copy(parameters: Mapping[str, Tensor]) -> Parameters:
    return {name: value.detach().clone() for name, value in parameters.items()}

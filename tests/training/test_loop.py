"""The training loop: learns, stops, resumes to the bit."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch

from engine.network.prepare import prepare
from engine.network.simulate import run
from engine.program.quantized import start_training
from engine.specs.steps import FinetuneStep
from engine.training.forms import FloatForm, QuantizedTrainable, float_parameters
from engine.training.loop import Trained, TrainingData, TrainingState, train
from engine.training.loss import choose_logit_scale, finetune_loss
from engine.training.schedule import learning_rate
from tests.program.networks import plan_of, recurrent


def toy_data() -> TrainingData:
    """Four classes, each with its own three busy inputs."""
    rng = np.random.default_rng(0)

    def samples(count: int) -> tuple[torch.Tensor, torch.Tensor]:
        y = np.arange(count) % 4
        rate = np.full((count, 12), 0.05)
        for k in range(3):
            rate[np.arange(count), 3 * y + k] = 0.6
        x = rng.random((count, 20, 12)) < rate[:, None]
        return torch.as_tensor(x.astype(np.uint8)), torch.as_tensor(y)

    (x, y), (x_val, y_val) = samples(64), samples(32)
    return TrainingData(x, y, torch.zeros(64, 4).double(), x_val, y_val)


def quantized() -> tuple[QuantizedTrainable, dict[str, torch.Tensor]]:
    network = recurrent(gain=1.0)
    form, start = start_training(network, plan_of(network), (0, 1))
    return QuantizedTrainable(form), start


def fit(spec: FinetuneStep, **more: Any) -> Trained:
    network, start = quantized()
    return train(network, start, toy_data(), spec, seed=3, peak_rate=0.02, logit_scale=0.5, **more)


def test_it_learns() -> None:
    trained = fit(FinetuneStep(epochs=16, batch_size=16, distillation=0.0))
    assert trained.curve.epochs[-1].train_loss < 0.5 * trained.curve.epochs[0].train_loss
    assert max(e.validation_accuracy for e in trained.curve.epochs) > 0.7


@pytest.mark.parametrize("average", [0.0, 0.9])
def test_resumed_run_equals_undisturbed_run(average: float) -> None:
    spec = FinetuneStep(epochs=5, batch_size=16, weight_average=average, input_jitter_steps=2)
    states: list[TrainingState] = []
    whole = fit(spec, on_epoch=lambda state, epoch: states.append(copy.deepcopy(state)))
    resumed = fit(spec, resume=states[1])
    for name, value in whole.parameters.items():
        assert torch.equal(value, resumed.parameters[name])
    assert [e.train_loss for e in whole.curve.epochs] == [e.train_loss for e in resumed.curve.epochs]
    assert whole.curve.best_epoch == resumed.curve.best_epoch


def test_patience_stops() -> None:
    trained = fit(FinetuneStep(epochs=50, patience=2, batch_size=16, distillation=1.0))
    assert trained.curve.stopped == "patience"
    assert len(trained.curve.epochs) == trained.curve.best_epoch + 2


def test_time_stops_after_an_epoch() -> None:
    trained = fit(FinetuneStep(epochs=50, max_seconds=1e-6, batch_size=16))
    assert (trained.curve.stopped, len(trained.curve.epochs)) == ("time", 1)


def test_no_epochs_keep_the_start() -> None:
    _, start = quantized()
    trained = fit(FinetuneStep(epochs=0))
    assert all(torch.equal(start[name], value) for name, value in trained.parameters.items())


def test_float_form_trains_too() -> None:
    network = recurrent(gain=1.0)
    form = FloatForm(network, torch.float32, torch.device("cpu"))
    start = float_parameters(network, torch.float32, torch.device("cpu"))
    spec = FinetuneStep(epochs=4, batch_size=16, distillation=0.0)
    trained = train(form, start, toy_data(), spec, seed=0, peak_rate=0.02, logit_scale=0.5)
    assert trained.curve.epochs[-1].train_loss < trained.curve.epochs[0].train_loss


def test_logit_scale_minimises_cross_entropy() -> None:
    network = recurrent(gain=1.0)
    data = toy_data()
    counts = run(prepare(network), data.x.transpose(0, 1)).counts
    best = choose_logit_scale(counts, data.y)
    losses = [finetune_loss(counts, data.y, None, s, 0.0).item() for s in (best / 2**0.25, best, best * 2**0.25)]
    assert losses[1] == min(losses)


def test_distillation_is_zero_at_the_teacher() -> None:
    counts = torch.randn(5, 3, generator=torch.Generator().manual_seed(0))
    loss = finetune_loss(counts, torch.zeros(5, dtype=torch.long), counts, 0.7, 1.0)
    assert abs(loss.item()) < 1e-6


def test_schedule_ends_near_zero() -> None:
    rates = [learning_rate(s, 100, 5, 1.0) for s in range(100)]
    assert max(rates) == 1.0
    assert rates[-1] < 1e-3


def test_only_the_settled_part_of_the_schedule_is_compared() -> None:
    trained = fit(FinetuneStep(epochs=8, batch_size=16, distillation=0.0))
    assert trained.curve.best_epoch >= 7
    best = trained.curve.epochs[trained.curve.best_epoch - 1]
    assert best.validation_accuracy == max(e.validation_accuracy for e in trained.curve.epochs[6:])


def test_training_that_harms_is_undone() -> None:
    good = fit(FinetuneStep(epochs=16, batch_size=16, distillation=0.0))
    network, _ = quantized()
    spec = FinetuneStep(epochs=2, batch_size=16, distillation=0.0)
    wild = train(network, good.parameters, toy_data(), spec, seed=0, peak_rate=30.0, logit_scale=0.5)
    assert wild.curve.best_epoch == 0
    assert all(torch.equal(good.parameters[name], value) for name, value in wild.parameters.items())

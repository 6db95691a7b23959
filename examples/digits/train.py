"""Train the demo's network and write ``digits.nir``: ``python -m examples.digits.train``.

Run by hand; takes 20 to 30 s on one core.
Plain torch: three bias-free linear layers, leaky integrate-and-fire neurons of the ``nir-paper`` dynamics
(forward Euler, spike when v > threshold, threshold subtracted in the same step), arctan surrogate. The pixels
are drawn as new spikes in every epoch; the weights that are kept are chosen on a validation part of the
training split. The test split is read once, after all is fixed, by :mod:`examples.digits.check`.
"""

from __future__ import annotations

import sys
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import nir
import numpy as np
import torch

from examples.digits import data

HERE = Path(__file__).resolve().parent
SIZES = (64, 128, 128, 10)
DT_S = 1e-4
DECAY = 0.9  # v' = DECAY·v + W·s
EPOCHS = 72
BATCH = 64
LEARNING_RATE = 3e-3
COUNT_SCALE = 0.5  # spike counts → logits
SURROGATE_SLOPE = 3.0
SEED = 0


class Spike(torch.autograd.Function):
    """Heaviside forward; backward ``1/(1 + (k·(v − 1))²)``."""

    @staticmethod
    def forward(context: Any, excess: torch.Tensor) -> torch.Tensor:
        """1 where the membrane is above the threshold."""
        context.save_for_backward(excess)
        return (excess > 0).to(excess.dtype)

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> torch.Tensor:
        """The surrogate derivative."""
        excess: torch.Tensor = context.saved_tensors[0]
        return gradients[0] / (1 + (SURROGATE_SLOPE * excess) ** 2)


def counts(weights: list[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Output spike counts ``[batch, 10]`` for spikes ``[batch, time, 64]``."""
    signal = x.transpose(0, 1)  # [time, batch, neuron]
    for weight in weights:
        currents = (signal @ weight.T).unbind(0)
        membrane = torch.zeros_like(currents[0])
        fired = []
        for current in currents:
            membrane = DECAY * membrane + current
            spike = Spike.apply(membrane - 1.0)  # type: ignore[no-untyped-call]
            membrane = membrane - spike
            fired.append(spike)
        signal = torch.stack(fired)
    return signal.sum(0)


def accuracy(weights: list[torch.Tensor], x: torch.Tensor, labels: torch.Tensor) -> float:
    """Fraction right; ties go to the lowest index."""
    with torch.no_grad():
        return float((counts(weights, x).numpy().argmax(1) == labels.numpy()).mean())


def train() -> list[torch.Tensor]:
    """The weights of the epoch with the best validation accuracy (the later one among equals)."""
    torch.manual_seed(SEED)
    random = np.random.RandomState(SEED)
    pixels, labels = data.load_pixels()
    outer, _ = data.split(labels, data.TEST_SHARE, data.SPLIT_SEED)
    inner, held = data.split(labels[outer], 0.15, SEED)
    fit, validation = outer[inner], outer[held]
    encoded = data.spikes(pixels, np.random.RandomState(data.SPIKE_SEED))
    x_val, y_val = torch.from_numpy(encoded[validation]).float(), torch.from_numpy(labels[validation])
    y_fit = torch.from_numpy(labels[fit])

    weights = [
        (torch.randn(after, before) * gain / before**0.5).requires_grad_()
        for before, after, gain in zip(SIZES, SIZES[1:], (1.5, 1.5, 1.0), strict=False)
    ]
    optimizer = torch.optim.AdamW(weights, lr=LEARNING_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    best, kept = -1.0, [weight.detach().clone() for weight in weights]
    for epoch in range(EPOCHS):
        x_fit = torch.from_numpy(data.spikes(pixels[fit], random)).float()
        total = 0.0
        for batch in torch.split(torch.from_numpy(random.permutation(len(fit))), BATCH):
            logits = COUNT_SCALE * counts(weights, x_fit[batch])
            loss = torch.nn.functional.cross_entropy(logits, y_fit[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            total += float(loss.detach()) * len(batch)
        schedule.step()
        score = accuracy(weights, x_val, y_val)
        if score >= best:
            best, kept = score, [weight.detach().clone() for weight in weights]
        print(f"epoch {epoch + 1:3d}  loss {total / len(fit):.4f}  validation {score:.4f}", file=sys.stderr)
    print(f"kept: validation {best:.4f}", file=sys.stderr)
    return kept


def write(weights: list[torch.Tensor], path: Path, sizes: tuple[int, ...] = SIZES) -> None:
    """Linear and LIF nodes in a chain; ``tau = dt/(1 − DECAY)`` and ``r = tau/dt`` give the update above."""
    tau = DT_S / (1 - DECAY)
    nodes: dict[str, nir.NIRNode] = {"input": nir.Input(np.array([sizes[0]]))}
    for index, weight in enumerate(weights, start=1):
        ones = np.ones(len(weight), dtype=np.float32)
        nodes[f"fc{index}"] = nir.Linear(weight.numpy())
        nodes[f"lif{index}"] = nir.LIF(
            tau=ones * tau, r=ones * (tau / DT_S), v_leak=ones * 0, v_threshold=ones, v_reset=ones * 0
        )
    nodes["output"] = nir.Output(np.array([sizes[-1]]))
    names = list(nodes)
    nir.write(path, nir.NIRGraph(nodes, list(pairwise(names))))


if __name__ == "__main__":
    started = time.monotonic()
    write(train(), HERE / "digits.nir")
    print(f"{HERE / 'digits.nir'} written after {time.monotonic() - started:.0f} s", file=sys.stderr)

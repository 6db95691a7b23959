"""The neurons of the published code as the benchmark trains them, against loops written from the equations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from benchmarks.four_state import _NEURONS, ALPHA, ALPHA_R, BETA, KINDS, _run, _spike
from engine.reference.decolle_neuron import simplified_neuron


def layer(seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.normal(size=(5, 4)), 0.2 * rng.normal(size=5), (rng.random((60, 4)) < 0.4).astype(np.float64)


def membranes(kind: str, gain: float, weight: np.ndarray, bias: np.ndarray, x: np.ndarray) -> np.ndarray:
    torch.set_default_dtype(torch.float64)
    try:
        made = (torch.tensor(gain), torch.tensor(weight), torch.tensor(bias))
        return _run(kind, [made], torch.tensor(x).unsqueeze(1))[:, 0].numpy()
    finally:
        torch.set_default_dtype(torch.float32)


def test_the_original_neuron() -> None:
    weight, bias, x = layer()
    q, p, r, s = np.zeros(4), np.zeros(4), np.zeros(5), np.zeros(5)
    expected = []
    for frame in x:
        q_before = q
        q = BETA * q + (1 - BETA) * frame
        p = ALPHA * p + (1 - ALPHA) * q_before
        r = ALPHA_R * r - s
        u = 50 * weight @ p + bias + r
        s = (u > 0).astype(float)
        expected.append(u)
    assert np.abs(membranes("four_state", 50.0, weight, bias, x) - np.array(expected)).max() < 1e-12


def test_one_state_is_the_simplified_neuron() -> None:
    weight, bias, x = layer(1)
    u = membranes("one_state", 1.0, weight, bias, x)
    assert np.array_equal(u > 0, simplified_neuron(weight, bias, ALPHA, x) > 0)


def test_states_held() -> None:
    assert [len(_NEURONS[kind].start(1, 3, 3)) for kind in KINDS] == [4, 1]


def test_the_spikes_derivative() -> None:
    u = torch.tensor([-0.5, 0.0, 0.25], dtype=torch.float64, requires_grad=True)
    spikes = _spike(u)
    assert spikes.tolist() == [0.0, 0.0, 1.0]
    (slope,) = torch.autograd.grad(spikes.sum(), u)
    assert slope.tolist() == pytest.approx([1 / (1 + (np.pi * v) ** 2) for v in (-0.5, 0.0, 0.25)])

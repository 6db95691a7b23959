"""Hessians of membranes against loops over samples, steps and columns."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from engine.curvature import membrane_hessian
from engine.curvature.linear_network import LinearNetwork, LinearStage, linearise
from engine.curvature.membrane_hessian import membrane_hessians
from tests.curvature.networks import CASES, objective_of

Array = NDArray[np.float64]
LINEAR = ("subtract_same_step", "value_same_step", "cubalif", "recurrent_cubalif_old", "li_membrane_sum", "delays")


def linearised(name: str, blocks: int = 1) -> list[LinearNetwork]:
    objective = objective_of(next(c for c in CASES if c.name == name), "detached", samples=4, steps=9)
    x = torch.as_tensor(np.moveaxis(objective.x, 0, 1)).double()
    return [linearise(objective, part) for part in x.chunk(blocks, dim=1)]


def by_loops(network: LinearNetwork, stage: LinearStage, row: int) -> Array:
    """``Σ s'(u)·p·pᵀ`` of one neuron, the definition."""
    wires = [w.connection for w in stage.wires]
    total = np.zeros(())
    leak = stage.neurons.current_leak
    spike = stage.neurons.spike
    carry = stage.neurons.carry.expand(network.steps, network.batch, *stage.shape).numpy()
    for sample in range(network.batch):
        i = p = np.zeros(())
        for t in range(network.steps):
            seen = [network.seen[c.name].reshape(network.steps, network.batch, -1)[t, sample].numpy() for c in wires]
            z = np.concatenate([*seen, [1.0]])
            i = z if leak is None else float(leak.mean()) * i + z
            p = carry[t, sample, row] * p + i
            near = 1.0 if spike is None else float(spike[t, sample, row])
            total = total + near * np.outer(p, p)
    return np.asarray(total / (network.steps * network.batch))


@pytest.mark.parametrize("name", LINEAR)
def test_every_row_is_the_definition(name: str) -> None:
    (network,) = linearised(name)
    found = membrane_hessians([network])
    for stage in network.stages:
        (hessian,) = found[stage.name]
        assert hessian.with_bias
        assert len(hessian.matrix) == stage.shape[0]
        for row in range(stage.shape[0]):
            np.testing.assert_allclose(hessian.matrix[row].numpy(), by_loops(network, stage, row), rtol=1e-9)


def test_rows_share_one_where_each_would_take_too_much(monkeypatch: pytest.MonkeyPatch) -> None:
    (network,) = linearised("subtract_same_step")
    own = membrane_hessians([network])
    monkeypatch.setattr(membrane_hessian, "MOST_ENTRIES", 0)
    shared = membrane_hessians([network])
    for name, (hessian,) in shared.items():
        assert hessian.matrix.shape == (1, *own[name][0].matrix.shape[1:])
        assert torch.linalg.eigvalsh(hessian.matrix[0]).min() > -1e-9


@pytest.mark.parametrize("name", ["convolution", "convolution_1d"])
def test_a_convolution_is_a_linear_map_of_its_patches(name: str) -> None:
    """With all steps counted alike and no leak, ``wᵀHw`` is the mean square of what the kernel sums up."""
    (network,) = linearised(name)
    stages = tuple(
        replace(s, neurons=replace(s.neurons, spike=None), rule=replace(s.rule, leak_v=_Forgets()))
        for s in network.stages
    )
    found = membrane_hessians([replace(network, stages=stages)])
    for stage in network.stages:
        for wire, hessian in zip([w for w in stage.wires if w.weight is not None], found[stage.name], strict=True):
            if wire.connection.kind == "linear":
                continue
            assert wire.weight is not None
            sums = wire.product(network.seen[wire.connection.name], wire.weight)
            rows = wire.weight.flatten(1)
            expected = sums.flatten(2).square().sum((0, 2)) / (network.steps * network.batch)
            got = torch.einsum("rc,cd,rd->r", rows, hessian.matrix[0], rows)
            assert torch.allclose(got, expected)


class _Forgets:
    slope = 0.0

    def apply(self, state: torch.Tensor) -> torch.Tensor:
        return torch.zeros_like(state)


def test_blocks_add_up() -> None:
    for name in ("convolution", "recurrent", "li_membrane_sum"):
        whole, parts = membrane_hessians(linearised(name)), membrane_hessians(linearised(name, blocks=2))
        assert whole.keys() == parts.keys()
        for layer, each in whole.items():
            for one, two in zip(each, parts[layer], strict=True):
                assert torch.allclose(one.matrix, two.matrix)


def test_grouped_convolutions_are_left_out() -> None:
    (network,) = linearised("convolution_grouped")
    grouped = {w.connection.name for s in network.stages for w in s.wires if w.connection.groups > 1}
    seen = {name for each in membrane_hessians([network]).values() for h in each for name, _ in h.columns}
    assert grouped
    assert not grouped & seen


@pytest.mark.parametrize("name", ["subtract_same_step", "cubalif", "convolution", "convolution_1d"])
def test_pieces_that_bound_memory_add_up(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = membrane_hessians(linearised(name))
    monkeypatch.setattr(membrane_hessian, "MOST_KEPT", 1)
    pieces = membrane_hessians(linearised(name))
    assert whole.keys() == pieces.keys()
    for layer, each in whole.items():
        for one, other in zip(each, pieces[layer], strict=True):
            assert torch.allclose(one.matrix, other.matrix, rtol=1e-12)


def test_what_has_too_many_inputs_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(membrane_hessian, "MOST_COLUMNS", 0)
    assert membrane_hessians(linearised("convolution")) == {}
    assert membrane_hessians(linearised("subtract_same_step")) == {}

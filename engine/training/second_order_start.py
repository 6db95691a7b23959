"""Where fine-tuning starts: weights rounded so that the membranes, not the weights, change least. No labels needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from engine.curvature.linear_network import LinearNetwork, linearise
from engine.curvature.membrane_hessian import MembraneHessian, membrane_hessians
from engine.curvature.objective import GRADIENT_BLOCK, Objective
from engine.curvature.output_losses import CrossEntropy
from engine.data.rows import Rows
from engine.network.model import Connection, NeuronLayer
from engine.program.integerize import pool_factor
from engine.program.quantized import Parameters, QuantizedForm, base_scale, with_ranges
from engine.quantizers.form import level_range
from engine.quantizers.registry import quantizer
from engine.quantizers.second_order import inverse_factor, second_order_rounding
from engine.specs.steps import Surrogate

GENTLE = Surrogate(slope=3.0)  # how near to threshold an error counts; 1 to 8 were close on training samples, ADR 9
# Of the MSE-optimal scale, tried for each row; 1 first: it stays where all cost alike, as with inputs that never fire.
FACTORS = tuple(2.0 ** (k / 10) for k in sorted(range(-6, 6), key=abs))


@dataclass(frozen=True)
class _Ready:
    """What all scales of a layer share: the Hessian over its columns, their largest levels and order, its factor."""

    matrix: Tensor
    highest: Tensor
    order: Tensor
    factor: Tensor
    bias: str | None


@dataclass(frozen=True)
class _Tried:
    """One layer rounded with one factor of its scale: new weights by connection, the bias, the cost per row."""

    weights: dict[str, Tensor]
    bias: Tensor | None
    cost: Tensor


def second_order_start(
    form: QuantizedForm, parameters: Mapping[str, Tensor], x: NDArray[np.generic] | Rows
) -> Parameters:
    """Parameters whose rounded network does nearly what the float network does.

    Source: optimal brain quantization (:mod:`engine.quantizers.second_order`) under the membranes' Hessian
    (:mod:`engine.curvature.membrane_hessian`), which is what Shi, Li & Ward-Cherrier (arXiv:2506.03996) do after
    training. The coarsest connection into a layer is rounded first, so that finer ones and the bias make up for it; the
    scale of each row is the best of ``FACTORS`` times its MSE-optimal one.

    Args:
        form: the network under its plan.
        parameters: as :func:`engine.program.quantized.start_training` gives them; unchanged.
        x: frames of the training split ``[sample, time, *input_shape]``.

    Returns:
        Parameters with new weights, scales and biases; what has no Hessian (grouped convolutions, one-bit weights,
        more inputs than ``MOST_COLUMNS``) is as it was.
    """
    result = dict(parameters)
    hessians = membrane_hessians(_linearised(form, x))
    for layer in form.network.layers:
        for hessian in hessians.get(layer.name, ()):
            result |= _best(form, result, layer, hessian)
    return with_ranges(form, result)


def _linearised(form: QuantizedForm, x: NDArray[np.generic] | Rows) -> Iterator[LinearNetwork]:
    frames = x[:] if isinstance(x, Rows) else x
    objective = Objective(
        form.network, frames, np.zeros(len(frames), np.int64), CrossEntropy(1.0), GENTLE, "detached", str(form.device)
    )
    for block, _ in objective.blocks(GRADIENT_BLOCK):
        yield linearise(objective, block)


def _best(
    form: QuantizedForm, parameters: Mapping[str, Tensor], layer: NeuronLayer, hessian: MembraneHessian
) -> Parameters:
    """The layer's parameters under the factor, by row where rows have scales of their own, that costs least."""
    connections = [c for c in form.network.into(layer.name) if c.name in {name for name, _ in hessian.columns}]
    if any(form.plan.weights[c.name].bits == 1 for c in connections):
        return {}
    key = f"log2_scale:{layer.name}"
    shared = len([c for c in form.network.into(layer.name) if c.weight is not None]) > len(connections)
    free = all(quantizer(form.plan.weights[c.name].quantizer).free_scale for c in connections)
    factors = FACTORS if key in parameters and free and not shared else (1.0,)
    ready = _ready(form, parameters, connections, hessian)
    tried = [_try(form, parameters, layer, ready, connections, factor) for factor in factors]
    costs = torch.stack([t.cost for t in tried])  # [factor, row]
    if layer.name not in form.per_row:
        costs = costs.sum(1, keepdim=True).expand_as(costs)
    choice = costs.argmin(0)  # [row]
    rows = torch.arange(len(choice), device=choice.device)
    found: Parameters = {
        f"weight:{c.name}": torch.stack([t.weights[c.name] for t in tried])[choice, rows] for c in connections
    }
    if len(factors) > 1:
        shift = torch.log2(torch.tensor(factors, dtype=torch.float64, device=choice.device))[choice]
        found[key] = parameters[key] + (shift if parameters[key].dim() else shift[0])
    if ready.bias is not None:
        found[ready.bias] = torch.stack([t.bias for t in tried if t.bias is not None])[choice, rows]
    return found


def _ready(
    form: QuantizedForm, parameters: Mapping[str, Tensor], connections: list[Connection], hessian: MembraneHessian
) -> _Ready:
    """Columns of few levels first, and among equals those that fire most; a bias is never rounded and comes last."""
    device = hessian.matrix.device
    tops = [
        torch.full((parameters[f"weight:{c.name}"][0].numel(),), float(level_range(form.plan.weights[c.name].bits)[1]))
        for c in connections
    ]
    matrix, bias = hessian.matrix, _bias_of(parameters, connections) if hessian.with_bias else None
    if bias is not None:
        tops.append(torch.full((1,), torch.inf))
    elif hessian.with_bias:
        matrix = matrix[:, :-1, :-1]
    highest = torch.cat(tops).to(device, torch.float64)
    by_activity = torch.argsort(matrix.diagonal(dim1=1, dim2=2).mean(0), descending=True, stable=True)
    order = by_activity[torch.argsort(highest[by_activity], stable=True)]
    return _Ready(matrix, highest, order, inverse_factor(matrix, order), bias)


def _try(
    form: QuantizedForm,
    parameters: Mapping[str, Tensor],
    layer: NeuronLayer,
    ready: _Ready,
    connections: list[Connection],
    factor: float,
) -> _Tried:
    key = f"log2_scale:{layer.name}"
    scaled = dict(parameters)
    if key in parameters:
        scaled[key] = parameters[key] + float(np.log2(factor))
    u = base_scale(form, scaled, layer).detach().flatten()  # [row] or [1]
    weights, steps = [], []
    for connection in connections:
        weight = parameters[f"weight:{connection.name}"].detach().flatten(1)  # [row, column]
        exponent = torch.as_tensor(np.asarray(form.exponents[connection.name]), dtype=torch.float64, device=u.device)
        step = (u * torch.exp2(exponent).flatten() / pool_factor(connection)).reshape(-1, 1)
        weights.append(weight)
        steps.append(step.expand_as(weight))
    if ready.bias is not None:
        bias = parameters[ready.bias].detach().reshape(-1, 1)
        weights, steps = [*weights, bias], [*steps, torch.zeros_like(bias)]
    out = second_order_rounding(
        torch.cat(weights, 1), torch.cat(steps, 1), ready.highest, ready.matrix, ready.order, ready.factor
    )
    new, start = {}, 0
    for connection in connections:
        shape = parameters[f"weight:{connection.name}"].shape
        width = shape.numel() // shape[0]
        new[connection.name] = out.values[:, start : start + width].reshape(shape)
        start += width
    return _Tried(new, None if ready.bias is None else out.values[:, -1], out.cost)


def _bias_of(parameters: Mapping[str, Tensor], connections: list[Connection]) -> str | None:
    """The first bias among them: biases that meet in one neuron are one number in the program."""
    names = (f"bias:{c.name}" for c in connections)
    return next((name for name in names if name in parameters), None)

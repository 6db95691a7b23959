"""How much an error in each weight of a neuron moves its membrane where that can change a spike.

Axes: traces ``[time, batch, column]``, Hessians ``[row, column, column]``; a row is an output neuron or channel, the
columns are its inputs over all connections, and last its bias. Needs samples, no labels.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

import torch
import torch.nn.functional as F
from torch import Tensor

from engine.curvature.linear_network import LinearNetwork, LinearStage
from engine.network.model import Connection

MOST_ENTRIES = 4_000_000  # of a layer's Hessians: up to here every row has one of its own
CHUNK = 64  # steps whose traces are kept at once, fewer where they would take more than
MOST_KEPT = 2**26  # numbers: 512 MiB of traces or patches at a time
MOST_COLUMNS = 4096  # of one Hessian: 128 MiB, of which rounding needs several at once, and minutes beyond


@dataclass(frozen=True)
class MembraneHessian:
    """``columns``: connections with their number of columns; ``matrix`` ``[row or 1, column (+1 for the bias)]²``."""

    columns: tuple[tuple[str, int], ...]
    matrix: Tensor
    with_bias: bool


def membrane_hessians(networks: Iterable[LinearNetwork]) -> dict[str, tuple[MembraneHessian, ...]]:
    """Per neuron layer ``H_r = mean over samples and steps of s'(u_r)·p_r·p_rᵀ``, a sum over blocks.

    Source: the optimal brain surgeon on membranes of Shi, Li & Ward-Cherrier (arXiv:2506.03996), whose filtered inputs
    are ``p`` here, weighted by the surrogate: an error far from threshold changes no spike. With z the inputs of a
    step, ``i_t = a·i_{t−1} + z_t`` and ``p_t = carry_t·p_{t−1} + i_t``, where ``carry`` is the membrane's leak along
    the trajectory (0 after a reset to a value).

    Args:
        networks: blocks of samples, linearised with a detached reset and a gentle surrogate.

    Returns:
        For every layer one Hessian where all its inputs are linear, else one per connection. Rows share one where
        they would take more than ``MOST_ENTRIES`` numbers, and in convolutions; the membrane's mean leak is used there.
        Layers without weights, grouped convolutions, and what has more than ``MOST_COLUMNS`` inputs are left out.
    """
    total: dict[str, tuple[MembraneHessian, ...]] = {}
    steps = 0
    for network in networks:
        weight = network.steps * network.batch
        found = {stage.name: tuple(_of_stage(network, stage)) for stage in network.stages}
        total = found if not total else {name: _add(total[name], found[name]) for name in found}
        steps += weight
    return {
        name: tuple(MembraneHessian(h.columns, h.matrix / max(steps, 1), h.with_bias) for h in each)
        for name, each in total.items()
        if each
    }


def _add(one: tuple[MembraneHessian, ...], other: tuple[MembraneHessian, ...]) -> tuple[MembraneHessian, ...]:
    return tuple(MembraneHessian(a.columns, a.matrix + b.matrix, a.with_bias) for a, b in zip(one, other, strict=True))


def _of_stage(network: LinearNetwork, stage: LinearStage) -> list[MembraneHessian]:
    wires = [w.connection for w in stage.wires if w.weight is not None]
    if wires and all(c.kind == "linear" and not c.after for c in wires) and len(stage.shape) == 1:
        return [_linear(network, stage, wires)] if sum(map(_inputs, wires)) < MOST_COLUMNS else []
    return [_patches(network, stage, c) for c in wires if c.groups == 1 and _inputs(c) <= MOST_COLUMNS]


def _inputs(connection: Connection) -> int:
    """Weights of one output neuron or channel."""
    return 0 if connection.weight is None else prod(connection.weight.shape[1:])


def _linear(network: LinearNetwork, stage: LinearStage, connections: list[Connection]) -> MembraneHessian:
    seen = [network.seen[c.name].reshape(network.steps, network.batch, -1) for c in connections]
    one = torch.ones_like(seen[0][..., :1])
    z = torch.cat([*seen, one], dim=2)  # [time, batch, column]
    near = _nearness(stage)
    columns, rows = z.shape[2], stage.shape[0]
    if rows * columns * columns <= MOST_ENTRIES:
        matrix = _by_row(stage, z, near)
    else:
        p = _filtered(stage, z)
        weighted = p if near is None else p * near.mean(2, keepdim=True)
        matrix = (weighted.flatten(0, 1).T @ p.flatten(0, 1)).unsqueeze(0)
    names = tuple((c.name, s.shape[2]) for c, s in zip(connections, seen, strict=True))
    return MembraneHessian(names, matrix, with_bias=True)


def _by_row(stage: LinearStage, z: Tensor, near: Tensor | None) -> Tensor:
    """Every neuron's own trace, cut by its own resets."""
    rows = stage.shape[0]
    z = _current(stage, z)
    carry = stage.neurons.carry
    p = z.new_zeros(z.shape[1], rows, z.shape[2])
    matrix = z.new_zeros(rows, z.shape[2], z.shape[2])
    size = max(1, min(CHUNK, MOST_KEPT // p.numel()))
    for start in range(0, len(z), size):
        kept = []
        for t in range(start, min(start + size, len(z))):
            gain = carry[t] if carry.dim() == 3 else carry
            p = p * gain.expand(z.shape[1], rows).unsqueeze(2) + z[t].unsqueeze(1)
            kept.append(p)
        traces = torch.stack(kept).flatten(0, 1).transpose(0, 1)  # [row, step·batch, column]
        weights = None if near is None else near[start : start + len(kept)].flatten(0, 1).T.unsqueeze(2)
        matrix += torch.bmm((traces if weights is None else traces * weights).transpose(1, 2), traces)
    return matrix


def _patches(network: LinearNetwork, stage: LinearStage, connection: Connection) -> MembraneHessian:
    """A convolution's patches, or a linear map among other kinds: one Hessian for all rows, without the bias."""
    seen = network.seen[connection.name]
    z = seen.reshape(network.steps, network.batch, *seen.shape[1:])
    p = _filtered(stage, z).flatten(0, 1)
    linear, columns = connection.kind == "linear", _inputs(connection)
    near = None if linear else _near_positions(stage, connection)
    matrix = p.new_zeros(columns, columns)
    size = max(1, MOST_KEPT // (columns * _positions(connection, p)))
    for start in range(0, len(p), size):
        part = p[start : start + size]
        rows = (part if linear else _unfold(connection, part)).reshape(-1, columns)
        weighted = rows if near is None else rows * near[start : start + size].reshape(-1, 1)
        matrix += weighted.T @ rows
    return MembraneHessian(((connection.name, columns),), matrix.unsqueeze(0), with_bias=False)


def _positions(connection: Connection, p: Tensor) -> int:
    """Places where a kernel is laid on one row of ``p``; 1 of a linear map."""
    return 1 if connection.kind == "linear" else _unfold(connection, p[:1]).shape[1]


def _unfold(connection: Connection, p: Tensor) -> Tensor:
    """``[rows, channel, ...]`` to ``[rows, position, column]``."""
    weight = connection.weight
    if weight is None:
        raise ValueError(f"connection {connection.name!r} holds no weight")
    kernel = weight.shape[2:]
    if len(kernel) == 1:
        p, kernel = p.unsqueeze(2), (1, *kernel)
    patches = F.unfold(
        p, kernel, dilation=_pair(connection.dilation, 1), padding=_pair(connection.padding, 0),
        stride=_pair(connection.stride, 1),
    )  # fmt: skip
    return patches.transpose(1, 2)


def _pair(values: tuple[int, ...], neutral: int) -> tuple[int, int]:
    return (values[0], values[1]) if len(values) == 2 else (neutral, values[0])


def _near_positions(stage: LinearStage, connection: Connection) -> Tensor | None:
    """Nearness per position, a mean over channels; None where pooling lies between the sums and the membranes."""
    near = _nearness(stage)
    return None if near is None or connection.after else near.mean(2).flatten(0, 1).flatten(1)


def _nearness(stage: LinearStage) -> Tensor | None:
    """The surrogate ``[time, batch, neuron...]``, in its own unit: blocks add up; None: all steps count alike."""
    return stage.neurons.spike


def _current(stage: LinearStage, z: Tensor) -> Tensor:
    """Inputs after the synaptic filter of a current-based layer, by its mean leak."""
    leak = stage.neurons.current_leak
    return z if leak is None else _low_pass(z, float(leak.mean()))


def _filtered(stage: LinearStage, z: Tensor) -> Tensor:
    """Inputs after the filters of current and membrane, by their mean leaks, without resets."""
    slope = stage.rule.leak_v.slope
    return _low_pass(_current(stage, z), float(torch.as_tensor(slope).mean()))


def _low_pass(z: Tensor, factor: float) -> Tensor:
    if factor == 0.0:
        return z
    out = torch.empty_like(z)
    state = torch.zeros_like(z[0])
    for t, value in enumerate(z.unbind(0)):
        state = torch.add(value, state, alpha=factor, out=out[t])
    return out

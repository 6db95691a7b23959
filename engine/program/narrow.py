"""The integer network in float32 instead of float64, where that is provably the same.

All numbers are integers held in floats, and float32 holds them exactly up to 2^24. A step adds sums of bounded size to
states within their range, and leaks are computed in float64 whatever the state is (:mod:`engine.kernels.rules`): bounds
on the sums are all that has to be checked. They are for every set of parameters; thresholds and biases are trained.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Any

import torch
from torch import Tensor

from engine.kernels.rules import Leak, MulShiftLeak, NeuronRule, ShiftLeak
from engine.network.model import SumPool
from engine.network.simulate import Prepared, Stage
from engine.network.synapse import Synapse

LARGEST_STATE = 1 << 22
LARGEST_SUM = 1 << 23  # with a state and a bias below 2^22 each, no partial sum reaches 2^24


def narrow(prepared: Prepared, highest: Mapping[str, int]) -> Prepared:
    """The same network with float32 states, or ``prepared`` itself where exactness is not provable.

    Args:
        prepared: of integers in float64.
        highest: largest magnitude that enters each connection's weights, by connection name.
    """
    with torch.no_grad():
        if not all(_fits(stage, highest) for stage in prepared.stages):
            return prepared
    stages = tuple(
        replace(stage, rule=_cast(stage.rule), synapses=tuple(_cast_gain(synapse) for synapse in stage.synapses))
        for stage in prepared.stages
    )
    return replace(prepared, stages=stages, dtype=torch.float32, sum_dtype=torch.float64)


def _fits(stage: Stage, highest: Mapping[str, int]) -> bool:
    rule = stage.rule
    if rule.limit is None or max(map(abs, rule.limit)) > LARGEST_STATE:
        return False
    if any(isinstance(leak, MulShiftLeak) and _size(leak.m) > LARGEST_SUM for leak in (rule.leak_v, rule.leak_i)):
        return False
    values = (rule.bias, rule.bias_i, rule.fire_at, rule.reset_sub, rule.reset_to, rule.floor, rule.start)
    if any(_size(value) > LARGEST_STATE for value in values):
        return False
    return sum(_bound(synapse, highest[synapse.connection.name]) for synapse in stage.synapses) <= LARGEST_SUM


def _bound(synapse: Synapse, highest: int) -> float:
    """Largest sum that a connection can deliver, in units of the state."""
    weight = synapse.weight
    bound = float(highest) if weight is None else float(weight.detach().abs().flatten(1).sum(1).max()) * highest
    for part in synapse.connection.after:
        if isinstance(part, SumPool):
            bound *= part.kernel[0] * part.kernel[1]
    return bound * (1.0 if synapse.gain is None else _size(synapse.gain))


def _size(value: Tensor | None) -> float:
    return 0.0 if value is None else float(value.detach().abs().max())


def _cast(rule: NeuronRule) -> NeuronRule:
    changed: dict[str, Any] = {
        field.name: value.to(torch.float32)
        for field in fields(rule)
        if isinstance(value := getattr(rule, field.name), Tensor)
    }
    leak_i = None if rule.leak_i is None else _cast_leak(rule.leak_i)
    return replace(rule, **changed, leak_v=_cast_leak(rule.leak_v), leak_i=leak_i)


def _cast_leak(leak: Leak) -> Leak:
    if isinstance(leak, MulShiftLeak):
        return replace(leak, m=leak.m.to(torch.float32))
    return replace(leak, k=leak.k.to(torch.float32)) if isinstance(leak, ShiftLeak) else leak


def _cast_gain(synapse: Synapse) -> Synapse:
    return synapse if synapse.gain is None else replace(synapse, gain=synapse.gain.to(torch.float32))

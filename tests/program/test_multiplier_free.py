"""The recipe ``mint`` multiplies nothing: shown by an integer type that counts what is done to it."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import torch

from engine.network.model import INPUT
from engine.program.bounds import multiplications
from engine.program.program import IntegerProgram
from engine.program.quantized import start_training, to_program
from engine.program.simulate import simulate_program
from engine.specs.plan import MulShiftLeak, NeuronPlan, Plan
from engine.specs.recipes import RECIPES
from engine.specs.steps import AllocateStep
from tests.program.networks import plan_of, recurrent


class Counted:
    """A whole number that tells a counter of every operation."""

    def __init__(self, value: int, seen: Counter[str]) -> None:
        self.value, self.seen = int(value), seen

    def _do(self, name: str, value: int) -> Counted:
        self.seen[name] += 1
        return Counted(value, self.seen)

    def __add__(self, other: Counted) -> Counted:
        return self._do("add", self.value + other.value)

    def __sub__(self, other: Counted) -> Counted:
        return self._do("add", self.value - other.value)

    def __mul__(self, other: Counted) -> Counted:
        return self._do("multiply", self.value * other.value)

    def __rshift__(self, bits: int) -> Counted:
        return self._do("shift", self.value >> bits)

    def __lshift__(self, bits: int) -> Counted:
        return self._do("shift", self.value << bits)

    def __ge__(self, other: Counted) -> bool:
        self.seen["compare"] += 1
        return self.value >= other.value


def walk(program: IntegerProgram, x: np.ndarray[Any, Any], seen: Counter[str]) -> dict[str, list[list[int]]]:
    """docs/program.md for linear layers of LIF neurons with a same-step reset, one sample ``[time, input]``."""

    def number(value: Any) -> Counted:
        return Counted(int(value), seen)

    states = {layer.name: [number(0)] * layer.size for layer in program.layers}
    before = {layer.name: [0] * layer.size for layer in program.layers}
    spikes: dict[str, list[list[int]]] = {layer.name: [] for layer in program.layers}
    for frame in x:
        now: dict[str, list[int]] = {INPUT: [int(value) for value in frame]}
        for layer in program.layers:
            lo, hi = (number(limit) for limit in layer.limits)
            fired = []
            for n in range(layer.size):
                v = states[layer.name][n]
                leak = layer.leak_v
                if leak.values is not None and leak.kind == "shift":
                    v = v - (v >> int(leak.values.flat[n]))
                elif leak.values is not None:
                    half = number(1 << (leak.shift_bits - 1) if leak.rounding == "half_up" else 0)
                    v = (number(leak.values.flat[n]) * v + half) >> leak.shift_bits
                for connection in program.into(layer.name):
                    source = before[connection.source] if connection.delayed else now[connection.source]
                    assert connection.weight is not None
                    row = connection.exponents.flat[n] if connection.exponents.ndim else connection.exponents
                    total = number(0)
                    for k, spike in enumerate(source):
                        if spike:
                            total = total + number(connection.weight[n, k])
                    v = v + (total << int(row + layer.fraction_bits))
                if layer.bias is not None:
                    v = v + number(layer.bias.flat[n])
                v = hi if v >= hi else v if v >= lo else lo
                assert layer.fire_at is not None
                spike = v >= number(layer.fire_at.flat[n])
                if spike and layer.reset == "subtract":
                    assert layer.reset_sub is not None
                    v = v - number(layer.reset_sub.flat[n])
                    v = v if v >= lo else lo
                elif spike:
                    assert layer.reset_to is not None
                    v = number(layer.reset_to.flat[n])
                states[layer.name][n] = v
                fired.append(int(spike))
            now[layer.name] = fired
            spikes[layer.name].append(fired)
        before = {name: now[name] for name in before}
    return spikes


def mint_plan() -> NeuronPlan:
    step = next(step for step in RECIPES["mint"].steps if isinstance(step, AllocateStep))
    return step.neuron


def check(neuron: dict[str, Any]) -> tuple[IntegerProgram, Counter[str]]:
    network = recurrent(kind="lif", reset="subtract", reset_timing="same_step", reset_order=None)
    plan: Plan = plan_of(network, bits=4, granularity="layer", **neuron)
    program = to_program(*start_training(network, plan, (0, 1)))
    x = (np.random.default_rng(0).random((12, 12)) < 0.5).astype(np.uint8)
    seen: Counter[str] = Counter()
    spikes = walk(program, x, seen)
    found = simulate_program(program, torch.as_tensor(x).unsqueeze(1), ("*",))
    fired = 0
    for name, trace in found.spikes.items():
        assert trace[:, 0].int().tolist() == spikes[name]
        fired += int(trace.sum())
    assert fired > 10
    return program, seen


def test_no_multiplication_is_made_and_every_spike_is_the_programs() -> None:
    program, seen = check(mint_plan().model_dump())
    assert seen["multiply"] == 0
    assert seen["add"] > 100
    assert seen["shift"] > 100
    assert multiplications(program) == ()
    for connection in program.connections:
        assert connection.weight is not None
        inputs = connection.weight.shape[1]
        top = 7
        assert (inputs + 1) * top < 2 ** (32 - 1)  # MINT's accumulator bound, far below the declared width


def test_the_counter_counts() -> None:
    program, seen = check({"leak": MulShiftLeak().model_dump()})
    assert seen["multiply"] == 12 * sum(layer.size for layer in program.layers)
    assert multiplications(program) != ()

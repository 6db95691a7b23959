"""The native tangent scan against plain torch: every factor a layer can have, both dtypes, every layout."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from engine.kernels import linear_neurons
from engine.kernels.layout import channels_last, laid_out
from engine.kernels.linear_neurons import Bends, LinearNeurons, Trajectory, bends, linearise_neurons
from engine.kernels.native import library, switched_off
from engine.kernels.rules import FloatLeak, NeuronRule
from engine.kernels.step import SpikeGradient
from engine.kernels.tangent_scan import Pushed, SpikeAdjoint, Wanted, pull, push

STEPS, BATCH = 9, 6
SHAPES = ((7,), (700,), (3, 4, 5))

needs_native = pytest.mark.skipif(library() is None, reason="the native library is not built here")


class Drawn:
    """Random factors of a layer."""

    def __init__(self, shape: tuple[int, ...], dtype: torch.dtype) -> None:
        self.shape, self.dtype = shape, dtype
        self.generator = torch.Generator().manual_seed(sum(shape))

    def over_time(self) -> Tensor:
        return channels_last(self._draw(STEPS, BATCH, *self.shape) - 0.5)

    def per_neuron(self) -> Tensor:
        return self._draw(*self.shape)

    def of(self, *shape: int) -> Tensor:
        return self._draw(*shape)

    def _draw(self, *shape: int) -> Tensor:
        return torch.rand(*shape, generator=self.generator, dtype=self.dtype)


def layers(draw: Drawn) -> dict[str, LinearNeurons]:
    plain = LinearNeurons(torch.tensor(0.9), draw.over_time(), None, None, None, False)
    return {
        "one leak": plain,
        "leaks": replace(plain, carry=draw.per_neuron()),
        "subtract through": replace(plain, carry=draw.per_neuron(), slope=draw.per_neuron()),
        "to value": replace(plain, carry=draw.over_time(), end=draw.over_time()),
        "gated": replace(plain, carry=draw.over_time(), gate=draw.over_time()),
        "current": replace(plain, current_leak=draw.per_neuron()),
        "old current": replace(plain, current_leak=draw.per_neuron(), old_current=True, slope=draw.per_neuron()),
        "everything": replace(
            plain, carry=draw.over_time(), gate=draw.over_time(), end=draw.over_time(), current_leak=draw.per_neuron()
        ),
        "never spikes": replace(plain, spike=None, current_leak=draw.per_neuron(), carry=draw.per_neuron()),
    }


NAMES = tuple(layers(Drawn((2,), torch.float32)))


def assert_same(found: Pushed, twin: Pushed, exact: torch.dtype) -> None:
    for name in ("u", "n", "curvature", "contracted"):
        one, other = getattr(found, name), getattr(twin, name)
        assert (one is None) == (other is None), name
        if one is not None:
            tolerance = 1e-5 if exact == torch.float32 else 1e-12
            torch.testing.assert_close(one, other, rtol=tolerance, atol=tolerance * float(other.abs().max()))


@needs_native
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_native_is_plain_torch(name: str, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    draw = Drawn(shape, dtype)
    neurons, like = layers(draw)[name], draw.over_time()
    bent = Bends(draw.over_time(), draw.over_time() if neurons.gate is not None else None)
    reads = draw.of(STEPS)
    by_sample = draw.of(BATCH, STEPS, *shape).transpose(0, 1)  # as a product per sample leaves it
    for acc in (draw.over_time(), by_sample):
        for wanted in (Wanted(u=True, n=True, read=reads), Wanted(n=True), Wanted(read=reads), Wanted()):
            for given in (bent, None):
                found = push(neurons, like, acc.clone(), given, wanted)
                with switched_off():
                    assert_same(found, push(neurons, like, acc.clone(), given, wanted), dtype)
    outside, rows, end = draw.over_time(), draw.of(BATCH, *shape), draw.over_time()
    for n in (
        SpikeAdjoint(outside),
        SpikeAdjoint(None, reads, rows),
        SpikeAdjoint(outside, reads, rows),
        SpikeAdjoint(),
    ):
        for v in (None, end):
            acc, u = pull(neurons, like, n, v, membranes=True)
            with switched_off():
                twin_acc, twin_u = pull(neurons, like, n, v, membranes=True)
            for one, other in ((acc, twin_acc), (u, twin_u)):
                assert one is not None
                assert other is not None
                torch.testing.assert_close(one, other)


@pytest.mark.parametrize("name", NAMES)
def test_adjoints_are_the_transpose_of_tangents(name: str) -> None:
    draw = Drawn((5,), torch.float64)
    neurons, like = layers(draw)[name], draw.over_time()
    acc, seed = draw.over_time(), draw.over_time()
    found = push(neurons, like, acc.clone(), None, Wanted(u=True, n=True))
    assert found.u is not None
    end = found.u if neurons.end is None else found.u * neurons.end
    back, _ = pull(neurons, like, SpikeAdjoint(seed), seed, membranes=False)
    forward = (end * seed).sum() + (0.0 if found.n is None else (found.n * seed).sum())
    torch.testing.assert_close(forward, (acc * back).sum())


def test_results_do_not_depend_on_the_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = Drawn((300,), torch.float32)
    neurons, like, acc = layers(draw)["everything"], draw.over_time(), draw.over_time()
    wanted, bent = Wanted(n=True, read=draw.of(STEPS)), Bends(draw.over_time())
    alone = push(neurons, like, acc, bent, wanted)
    monkeypatch.setattr("engine.kernels.native.LEAST_WORK", 1)
    monkeypatch.setattr("torch.get_num_threads", lambda: 4)
    together = push(neurons, like, acc, bent, wanted)
    for name in ("n", "curvature", "contracted"):
        assert torch.equal(getattr(alone, name), getattr(together, name))


@pytest.mark.parametrize(
    ("reset", "dropped", "floor"),
    [("subtract", False, None), ("to_value", False, None), ("subtract", True, None), ("to_value", True, -0.2)],
)
def test_second_derivatives_in_stretches_are_those_at_once(
    reset: str, dropped: bool, floor: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    draw = Drawn((4,), torch.float64)
    one = torch.tensor(1.0, dtype=torch.float64)
    rule = NeuronRule(
        FloatLeak(0.9 * one), fire_at=0.1 * one, reset=reset, reset_sub=one, reset_to=0.05 * one,  # type: ignore[arg-type]
        timing="next_step", order="after_leak", drop_input=dropped, floor=None if floor is None else floor * one,
    )  # fmt: skip
    u = draw.over_time()
    path = Trajectory((u > 0.1).double(), u, draw.over_time() if dropped else None)
    gradient = SpikeGradient(2.0, through_reset=True)
    adjoint_u, adjoint_n = draw.over_time(), draw.over_time()

    def of_all() -> tuple[LinearNeurons, Bends]:
        linear = linearise_neurons(rule, path, gradient)
        return linear, bends(rule, path, linear, adjoint_u, lambda steps: adjoint_n[steps], None, gradient)

    whole = of_all()
    monkeypatch.setattr(linear_neurons, "STRETCH", 1)
    monkeypatch.setattr(linear_neurons, "LEAST", 2)
    parts = of_all()
    assert whole[0].spike is not None
    assert parts[0].spike is not None
    assert torch.equal(whole[0].spike, parts[0].spike)
    assert whole[1].bend is not None
    assert parts[1].bend is not None
    assert torch.equal(whole[1].bend, parts[1].bend)
    assert (whole[1].cross is None) == (not dropped)
    if whole[1].cross is not None:
        assert parts[1].cross is not None
        assert torch.equal(whole[1].cross, parts[1].cross)


def test_layouts_are_kept() -> None:
    like = channels_last(torch.zeros(2, 3, 4, 5, 6))
    plain = torch.arange(like.numel(), dtype=torch.float32).reshape(like.shape)
    moved = laid_out(plain, like)
    assert moved.stride() == like.stride()
    assert torch.equal(moved, plain)
    assert laid_out(moved, like) is moved

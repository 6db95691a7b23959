"""Networks beyond the tutorials, captured in a framework's venv: ``python more_networks.py FRAMEWORK FOLDER``."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

import spikebit

framework, folder = sys.argv[1], Path(sys.argv[2])
torch.manual_seed(1)
rng = np.random.default_rng(1)
Nets = Iterator[tuple[str, Any, tuple[int, ...]]]


def chain(*cells: torch.nn.Module, gain: float = 1.0) -> torch.nn.Module:
    """16 inputs, 24 hidden neurons, 4 outputs."""
    first, second = torch.nn.Linear(16, 24), torch.nn.Linear(24, 4, bias=False)
    first.weight.data *= 3 * gain
    second.weight.data *= 3 * gain
    return torch.nn.Sequential(first, cells[0], second, cells[1])


def conv(*cells: torch.nn.Module, pool: torch.nn.Module) -> torch.nn.Module:
    """Convolution, pool, dense on 2×6×6 inputs."""
    first = torch.nn.Conv2d(2, 4, 3, padding=1)
    first.weight.data *= 3
    last = torch.nn.Linear(36, 4)
    last.weight.data *= 6
    return torch.nn.Sequential(
        first, cells[0], torch.nn.Dropout(0.5), torch.nn.Sequential(pool, torch.nn.Flatten()), last, cells[1]
    )


def snntorch() -> Nets:
    import snntorch as snn

    def cell(kind: Any, **options: Any) -> Any:
        return kind(beta=0.85, threshold=0.8, init_hidden=True, **options)

    for reset in ("subtract", "zero", "none"):
        yield (
            f"leaky-{reset}",
            chain(cell(snn.Leaky, reset_mechanism=reset), cell(snn.Leaky, reset_mechanism=reset)),
            (16,),
        )
        pair = [cell(snn.Synaptic, alpha=0.7, reset_mechanism=reset) for _ in range(2)]
        yield f"synaptic-{reset}", chain(*pair, gain=0.5), (16,)
    for reset in ("subtract", "zero"):
        pair = [cell(snn.Leaky, reset_mechanism=reset, reset_delay=False) for _ in range(2)]
        yield f"undelayed-{reset}", chain(*pair), (16,)
    pair = [cell(snn.RSynaptic, alpha=0.7, linear_features=n, reset_mechanism="zero") for n in (24, 4)]
    yield "rsynaptic-zero", chain(*pair, gain=0.5), (16,)
    yield "conv", conv(cell(snn.Leaky), cell(snn.Leaky), pool=torch.nn.AvgPool2d(2)), (2, 6, 6)
    refused("reset 'subtract' and reset_delay=False", chain(
        *(cell(snn.RLeaky, linear_features=n, reset_delay=False) for n in (24, 4))))  # fmt: skip
    refused("need different dynamics", chain(cell(snn.Leaky), cell(snn.Leaky, reset_mechanism="zero")))
    batch = torch.nn.Sequential(torch.nn.Linear(16, 4), torch.nn.BatchNorm1d(4), cell(snn.Leaky))
    refused("fold it into the layer before", batch)
    refused("ends in a layer of neurons", torch.nn.Sequential(cell(snn.Leaky), torch.nn.Linear(16, 4)))


def norse() -> Nets:
    import norse.torch as n
    from norse.torch.functional.lif_box import LIFBoxParameters
    from norse.torch.functional.reset import reset_subtract
    from norse.torch.module.iaf import IAFCell, IAFParameters
    from norse.torch.module.lif_box import LIFBoxCell

    parameters = n.LIFParameters(tau_syn_inv=torch.tensor(250.0), v_th=torch.tensor(0.3))
    yield "lif", n.SequentialState(*chain(n.LIFCell(parameters), n.LIFCell(parameters))), (16,)
    box = LIFBoxParameters(v_th=torch.tensor(0.2), v_leak=torch.tensor(0.05), reset_method=reset_subtract)
    yield "box-subtract", n.SequentialState(*chain(LIFBoxCell(box), LIFBoxCell(box))), (16,)
    iaf = IAFParameters(v_th=torch.tensor(1.1))
    yield "iaf", n.SequentialState(*chain(IAFCell(iaf), IAFCell(iaf))), (16,)
    yield "conv", n.SequentialState(*conv(IAFCell(iaf), IAFCell(iaf), pool=torch.nn.AvgPool2d(2))), (2, 6, 6)
    refused("LIFRecurrentCell is not captured", n.SequentialState(torch.nn.Linear(16, 4), n.LIFRecurrentCell(4, 4)))


def spikingjelly() -> Nets:
    from spikingjelly.activation_based import neuron

    for reset in (0.0, -0.1, None):
        for decay in (True, False):
            pair = [neuron.LIFNode(tau=3.0, decay_input=decay, v_threshold=0.3, v_reset=reset) for _ in range(2)]
            yield f"lif-{reset}-{decay}", chain(*pair), (16,)
        yield f"if-{reset}", chain(*(neuron.IFNode(v_threshold=1.1, v_reset=reset) for _ in range(2))), (16,)
    pair = [neuron.ParametricLIFNode(init_tau=2.5, v_threshold=0.2) for _ in range(2)]
    yield "conv", conv(*pair, pool=torch.nn.AvgPool2d(2)), (2, 6, 6)
    refused("differ in reset", chain(neuron.IFNode(), neuron.IFNode(v_reset=None)))


def sinabs() -> Nets:
    import sinabs.activation as sa
    import sinabs.layers as sl

    theta = torch.tensor(0.9)
    yield "squeezed", chain(*(sl.IAFSqueeze(spike_threshold=theta, batch_size=1, min_v_mem=-1.0) for _ in "ab")), (16,)
    yield "one-spike", chain(*(sl.IAF(spike_threshold=theta, spike_fn=sa.SingleSpike) for _ in "ab")), (16,)
    for norm in (True, False):
        pair = [sl.LIF(tau_mem=torch.tensor(8.0), spike_threshold=theta, norm_input=norm) for _ in "ab"]
        yield f"lif-{norm}", chain(*pair, gain=4.0 if norm else 1.0), (16,)
    yield "conv", conv(sl.IAF(spike_threshold=theta), sl.IAF(spike_threshold=theta), pool=sl.SumPool2d(2)), (2, 6, 6)
    refused("with tau_syn", chain(*(sl.LIF(tau_mem=8.0, tau_syn=5.0) for _ in "ab")))
    refused("differ in membrane_floor", chain(sl.IAF(min_v_mem=-1.0), sl.IAF(min_v_mem=-2.0)))


def rockpool() -> Nets:
    from rockpool.nn.combinators import Sequential
    from rockpool.nn.modules.torch import LIFTorch, LinearTorch

    def cell(n: int, **more: Any) -> Any:
        return LIFTorch(n, tau_mem=0.012, tau_syn=0.004, threshold=0.4, dt=1e-3, **more)

    yield "no-bias", Sequential(LinearTorch((16, 24), has_bias=False), cell(24), LinearTorch((24, 4)), cell(4)), (16,)
    refused("recurrent weights", Sequential(LinearTorch((16, 4)), cell(4, has_rec=True)))
    refused("leak_mode 'bitshifts'", Sequential(LinearTorch((16, 4)), LIFTorch(4, leak_mode="bitshifts", dt=1e-3)))


def frames(shape: tuple[int, ...]) -> np.ndarray:
    """Input spikes ``[sample, time, ...]``."""
    return (rng.random((64, 50, *shape)) < 0.3).astype(np.uint8)


def refused(message: str, net: Any) -> None:
    """The network is refused with this message."""
    from spikebit.capture import CannotCapture

    try:
        spikebit.capture(net, frames((16,)), framework=framework, out=folder / "refused")
    except CannotCapture as error:
        if message not in str(error):
            raise AssertionError(f"expected {message!r}, found {error}") from error
    else:
        raise AssertionError(f"expected a refusal: {message}")


makers: dict[str, Callable[[], Nets]] = {one.__name__: one for one in (snntorch, norse, spikingjelly, sinabs, rockpool)}
for name, net, shape in makers[framework]():
    labels = rng.integers(0, 4, 64)
    spikebit.capture(net, frames(shape), framework=framework, labels=labels, out=folder / name)
    print(name)

"""Networks beyond the tutorials, captured in a framework's venv: ``python more_networks.py FRAMEWORK FOLDER``."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from odd_modules import Add, Halved, Hooked, Loop, NoSequential, Pools, Shared, Skip, Wrong, tied, twice

import spikebit

framework, folder = sys.argv[1], Path(sys.argv[2])
torch.manual_seed(1)
rng = np.random.default_rng(1)
SAMPLES = 100  # more than capture runs at once
Nets = Iterator[tuple[str, Any, tuple[int, ...]] | tuple[str, Any, tuple[int, ...], str]]  # the last: its readout


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


def trained(net: torch.nn.Module, steps: bool = True) -> torch.nn.Module:
    """After a backward pass, with the membranes of the last graph still in it; by time step, or all steps at once."""
    x = torch.from_numpy(frames((16,))).float()
    out = [net(frame) for frame in x[:, :5].transpose(0, 1)] if steps else [net(x)]
    torch.stack([one[0] if isinstance(one, tuple) else one for one in out]).sum().backward()
    return net


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
    for reset in ("subtract", "zero"):
        pair = [cell(snn.Synaptic, alpha=0.7, reset_mechanism=reset, reset_delay=False) for _ in range(2)]
        yield f"synaptic-undelayed-{reset}", chain(*pair, gain=0.5), (16,)
        pair = [cell(snn.RLeaky, linear_features=n, reset_mechanism=reset, reset_delay=False) for n in (24, 4)]
        yield f"rleaky-undelayed-{reset}", chain(*pair, gain=0.5), (16,)
        ones = [cell(snn.RLeaky, all_to_all=False, V=0.3, reset_mechanism=reset) for _ in range(2)]
        yield f"one-to-one-{reset}", chain(*ones), (16,)
    back = cell(snn.RLeaky, conv2d_channels=4, kernel_size=3)
    yield "conv-recurrent", conv(back, cell(snn.Leaky), pool=torch.nn.AvgPool2d(2)), (2, 6, 6)
    yield "skip", Skip(*(cell(snn.Leaky) for _ in range(3))), (16,)
    yield "trained", trained(chain(cell(snn.Leaky, learn_beta=True), cell(snn.Leaky))), (16,)
    back = cell(snn.RSynaptic, alpha=0.7, linear_features=24)
    yield "trained-recurrent", trained(chain(back, cell(snn.RLeaky, linear_features=4), gain=0.5)), (16,)
    refused("reset_delay=False: snnTorch ignores it", chain(
        *(cell(snn.RSynaptic, alpha=0.7, linear_features=n, reset_delay=False) for n in (24, 4))))  # fmt: skip
    leaky = [cell(snn.Leaky) for _ in range(3)]
    refused("sums into neuron layers alone", Wrong(*leaky))
    refused("is called twice in a step", Shared(*leaky))
    refused("cannot be traced", Loop(*leaky))
    yield "tied", torch.nn.Sequential(*tied(lambda: cell(snn.Leaky))), (16,)
    first, second = chain(cell(snn.Leaky), cell(snn.Leaky)), chain(cell(snn.Leaky), cell(snn.Leaky))
    yield "ports", torch.nn.Sequential(OrderedDict(zip(("input", "one", "two", "output"), first, strict=True))), (16,)
    yield (
        "ports-weights",
        torch.nn.Sequential(OrderedDict(zip(("fc", "input", "output", "out"), second, strict=True))),
        (16,),
    )
    back = chain(cell(snn.RLeaky, linear_features=24), cell(snn.Leaky))
    yield "helper-names", torch.nn.Sequential(OrderedDict(zip(("fc", "a", "a_rec", "b"), back, strict=True))), (16,)
    yield "sum-names", Add(*(cell(snn.Leaky) for _ in range(3))), (16,)
    yield "pool-twice", Pools(*(cell(snn.Leaky) for _ in range(3))), (1, 8, 8)
    yield "no-sequential", NoSequential(*(cell(snn.Leaky) for _ in range(2))), (16,)
    refused("1 is called twice in a step (again as 3)", torch.nn.Sequential(*twice(*leaky[:2])))
    refused("forward does", Halved(*chain(*leaky[:2])))
    refused("puts out something else than its layers", Hooked(*chain(*leaky[:2])))
    refused("need different dynamics", chain(cell(snn.Leaky), cell(snn.Leaky, reset_mechanism="zero")))
    batch = torch.nn.Sequential(torch.nn.Linear(16, 4), torch.nn.BatchNorm1d(4), cell(snn.Leaky))
    refused("fold it into the layer before", batch)
    refused("ends in a layer of neurons", torch.nn.Sequential(cell(snn.Leaky), torch.nn.Linear(16, 4)))


def norse() -> Nets:
    import norse.torch as n
    from norse.torch.functional.lif_box import LIFBoxParameters
    from norse.torch.functional.reset import reset_subtract
    from norse.torch.module.iaf import IAFCell, IAFParameters
    from norse.torch.module.leaky_integrator_box import LIBoxCell
    from norse.torch.module.lif_box import LIFBoxCell

    parameters = n.LIFParameters(tau_syn_inv=torch.tensor(250.0), v_th=torch.tensor(0.3))
    yield "lif", n.SequentialState(*chain(n.LIFCell(parameters), n.LIFCell(parameters))), (16,)
    box = LIFBoxParameters(v_th=torch.tensor(0.2), v_leak=torch.tensor(0.05), reset_method=reset_subtract)
    yield "box-subtract", n.SequentialState(*chain(LIFBoxCell(box), LIFBoxCell(box))), (16,)
    iaf = IAFParameters(v_th=torch.tensor(1.1))
    yield "iaf", n.SequentialState(*chain(IAFCell(iaf), IAFCell(iaf))), (16,)
    low, high = (IAFParameters(v_th=torch.tensor(0.5), v_reset=torch.tensor(value)) for value in (-0.7, 0.3))
    yield "iaf-reset", n.SequentialState(*chain(IAFCell(low), IAFCell(high))), (16,)
    leaky = {"v_leak": torch.tensor(0.1), "v_th": torch.tensor(0.3)}
    same = n.LIFParameters(v_reset=torch.tensor(0.1), **leaky)
    yield "iaf-lif", n.SequentialState(*chain(n.LIFCell(same), IAFCell(high))), (16,)
    refused("differ in start", n.SequentialState(*chain(n.LIFCell(n.LIFParameters(**leaky)), IAFCell(high))))
    yield "conv", n.SequentialState(*conv(IAFCell(iaf), IAFCell(iaf), pool=torch.nn.AvgPool2d(2))), (2, 6, 6)
    back = [n.LIFRecurrentCell(size, out, parameters) for size, out in ((16, 24), (24, 4))]
    yield "recurrent", n.SequentialState(*back), (16,)
    yield "trained", trained(n.SequentialState(*chain(n.LIFCell(parameters), n.LIFCell(parameters)))), (16,)
    lif = [n.LIFCell(parameters) for _ in range(2)]
    yield "tied", n.SequentialState(*tied(lambda: n.LIFCell(parameters))), (16,)
    refused("1 is called twice in a step (again as 3)", n.SequentialState(*twice(*lif)))
    refused("return_hidden", n.SequentialState(*chain(*lif), return_hidden=True))
    readouts = {"li": n.LICell(), "libox": LIBoxCell()}
    for name, last in readouts.items():
        yield name, n.SequentialState(*chain(n.LIFCell(parameters), last)), (16,), "membrane_sum"
    refused("expected readout membrane_sum", n.SequentialState(*chain(n.LIFCell(parameters), n.LICell())))
    refused("never spikes: expected it as the last", n.SequentialState(*chain(n.LICell(), n.LIFCell(parameters))))
    refused("LIFAdExCell has no NIR node", n.SequentialState(torch.nn.Linear(16, 4), n.LIFAdExCell()))


def spikingjelly() -> Nets:
    from spikingjelly.activation_based import layer, neuron

    for reset in (0.0, -0.1, None):
        for decay in (True, False):
            pair = [neuron.LIFNode(tau=3.0, decay_input=decay, v_threshold=0.3, v_reset=reset) for _ in range(2)]
            yield f"lif-{reset}-{decay}", chain(*pair), (16,)
        yield f"if-{reset}", chain(*(neuron.IFNode(v_threshold=1.1, v_reset=reset) for _ in range(2))), (16,)
    pair = [neuron.ParametricLIFNode(init_tau=2.5, v_threshold=0.2) for _ in range(2)]
    yield "conv", conv(*pair, pool=torch.nn.AvgPool2d(2)), (2, 6, 6)
    for reset in (0.0, -0.1, None):
        pair = [neuron.CUBALIFNode(c_decay=0.4, v_decay=0.7, v_threshold=1.3, v_reset=reset) for _ in range(2)]
        yield f"cubalif-{reset}", chain(*pair), (16,)
    inner = neuron.LIFNode(tau=3.0, v_threshold=0.3)
    back = layer.LinearRecurrentContainer(inner, 24, 24)
    yield "recurrent", chain(back, neuron.LIFNode(tau=2.0, v_threshold=0.2)), (16,)
    yield "skip", Skip(*(neuron.LIFNode(tau=3.0, v_threshold=0.3) for _ in range(3))), (16,)
    yield "trained", trained(chain(*(neuron.LIFNode(tau=3.0, v_threshold=0.3) for _ in range(2)))), (16,)
    lif = [neuron.LIFNode(tau=3.0, v_threshold=0.3) for _ in range(2)]
    yield "tied", torch.nn.Sequential(*tied(lambda: neuron.LIFNode(tau=3.0, v_threshold=0.3))), (16,)
    refused("1 is called twice in a step (again as 3)", torch.nn.Sequential(*twice(*lif)))
    refused("puts out something else than its layers", Hooked(*chain(*lif)))
    refused("differ in reset", chain(neuron.IFNode(), neuron.IFNode(v_reset=None)))
    refused("QIFNode has no NIR node", chain(neuron.QIFNode(), neuron.IFNode()))
    added = layer.ElementWiseRecurrentContainer(neuron.IFNode(), torch.add)
    refused("only LinearRecurrentContainer", chain(added, neuron.IFNode()))


def sinabs() -> Nets:
    import sinabs.activation as sa
    import sinabs.layers as sl
    from sinabs.from_torch import from_model

    theta = torch.tensor(0.9)
    yield "squeezed", chain(*(sl.IAFSqueeze(spike_threshold=theta, batch_size=1, min_v_mem=-1.0) for _ in "ab")), (16,)
    yield "one-spike", chain(*(sl.IAF(spike_threshold=theta, spike_fn=sa.SingleSpike) for _ in "ab")), (16,)
    for norm in (True, False):
        pair = [sl.LIF(tau_mem=torch.tensor(8.0), spike_threshold=theta, norm_input=norm) for _ in "ab"]
        yield f"lif-{norm}", chain(*pair, gain=4.0 if norm else 1.0), (16,)
    yield "conv", conv(sl.IAF(spike_threshold=theta), sl.IAF(spike_threshold=theta), pool=sl.SumPool2d(2)), (2, 6, 6)
    for norm in (True, False):
        options = {"tau_mem": torch.tensor(8.0), "tau_syn": torch.tensor(5.0), "spike_threshold": theta}
        pair = [sl.LIF(norm_input=norm, **options) for _ in "ab"]
        yield f"synapse-{norm}", chain(*pair, gain=1.5 if norm else 0.3), (16,)
        back = sl.LIFRecurrent(rec_connect=recurrent(), norm_input=norm, **options)
        yield f"recurrent-{norm}", chain(back, sl.LIF(norm_input=norm, **options), gain=1.5 if norm else 0.3), (16,)
        leak = sl.ExpLeak(tau_mem=torch.tensor(8.0), norm_input=norm)
        yield f"leak-{norm}", chain(sl.IAF(spike_threshold=theta), leak), (16,), "membrane_max"
    back = sl.IAFRecurrent(rec_connect=recurrent(), spike_threshold=theta, min_v_mem=-1.0)
    yield "iaf-recurrent", chain(back, sl.IAF(spike_threshold=theta, min_v_mem=-1.0)), (16,)
    yield "skip", Skip(*(sl.IAF(spike_threshold=theta) for _ in "abc")), (16,)
    options = {"tau_mem": torch.tensor(8.0), "spike_threshold": theta, "norm_input": False}
    yield "trained", trained(chain(*(sl.LIF(**options) for _ in "ab")), steps=False), (16,)
    iaf = [sl.IAF(spike_threshold=theta) for _ in "ab"]
    yield "tied", torch.nn.Sequential(*tied(lambda: sl.IAF(spike_threshold=theta))), (16,)
    refused("1 is called twice in a step (again as 3)", torch.nn.Sequential(*twice(*iaf)))
    refused("puts out something else than its layers", Hooked(*chain(*iaf)))
    grid = chain(*(sl.IAF(spike_threshold=torch.tensor(at), min_v_mem=-0.5) for at in (0.1, 0.3)))
    for layer in (grid[0], grid[2]):
        layer.weight.data = torch.round(10 * layer.weight.data) / 10
    torch.nn.init.zeros_(grid[0].bias)
    yield "grid", grid, (16,)
    options["train_alphas"] = True
    yield "alphas", trained(chain(*(sl.LIF(**options) for _ in "ab")), steps=False), (16,)
    yield "alphas-synapse", chain(*(sl.LIF(tau_syn=torch.tensor(5.0), **options) for _ in "ab"), gain=0.3), (16,)
    refused("a floor above 0", chain(sl.IAF(min_v_mem=0.3), sl.IAF(min_v_mem=0.3)))
    analog = torch.nn.Sequential(torch.nn.Linear(16, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4), torch.nn.ReLU())
    made = from_model(analog, input_shape=(16,), batch_size=1)
    refused("give capture the .spiking_model", made)
    yield "from-model", made.spiking_model, (16,)
    biased = sl.IAFRecurrent(rec_connect=torch.nn.Linear(24, 24))
    refused("acts from the second step", chain(biased, sl.IAF()))
    refused("ALIF", chain(sl.ALIF(tau_mem=8.0, tau_adapt=8.0), sl.IAF()))
    refused("differ in membrane_floor", chain(sl.IAF(min_v_mem=-1.0), sl.IAF(min_v_mem=-2.0)))


def recurrent() -> torch.nn.Linear:
    """A weight back without bias."""
    layer = torch.nn.Linear(24, 24, bias=False)
    layer.weight.data *= 0.5
    return layer


def rockpool() -> Nets:
    from rockpool.nn.combinators import Sequential
    from rockpool.nn.modules.torch import ExpSynTorch, LIFNeuronTorch, LIFTorch, LinearTorch

    def cell(n: int, **more: Any) -> Any:
        return LIFTorch(n, tau_mem=0.012, tau_syn=0.004, threshold=0.4, dt=1e-3, **more)

    yield "no-bias", Sequential(LinearTorch((16, 24), has_bias=False), cell(24), LinearTorch((24, 4)), cell(4)), (16,)

    def shifts(n: int) -> Any:
        dash = {"dash_mem": torch.full((n,), 3.0), "dash_syn": torch.full((n, 1), 2.0)}
        return LIFTorch(n, leak_mode="bitshifts", threshold=0.8, dt=1e-3, **dash)

    def decays(n: int) -> Any:
        rate = {"alpha": torch.full((n,), 0.8), "beta": torch.full((n, 1), 0.6)}
        return LIFTorch(n, leak_mode="decays", threshold=0.8, bias=torch.full((n,), 0.02), dt=1e-3, **rate)

    def plain(n: int) -> Any:
        return LIFNeuronTorch(n, tau_mem=0.012, threshold=0.4, bias=0.01, dt=1e-3)

    for name, make in (("bitshifts", shifts), ("decays", decays), ("neuron", plain)):
        yield name, Sequential(LinearTorch((16, 24)), make(24), LinearTorch((24, 4)), make(4)), (16,)
    back = cell(24, has_rec=True, w_rec=0.02 * torch.randn(24, 24))
    yield "recurrent", Sequential(LinearTorch((16, 24)), back, LinearTorch((24, 4)), cell(4)), (16,)
    used = Sequential(LinearTorch((16, 24)), cell(24), LinearTorch((24, 4)), cell(4))
    yield "trained", trained(used, steps=False), (16,)
    one = cell(24)
    again = Sequential(LinearTorch((16, 24)), one, LinearTorch((24, 24)), one, LinearTorch((24, 4)), cell(4))
    refused("is called twice in a step", again)

    class Doubled(type(used)):  # type: ignore[misc]
        def evolve(self, x: torch.Tensor, record: bool = False) -> Any:
            return super().evolve(2 * x, record)

    doubled = Doubled(LinearTorch((16, 24)), cell(24), LinearTorch((24, 4)), cell(4))
    refused("puts out something else than its layers", doubled)
    refused("2 synapses", Sequential(LinearTorch((16, 8)), LIFTorch((8, 4), dt=1e-3)))
    refused("with noise", Sequential(LinearTorch((16, 4)), cell(4, noise_std=0.1)))
    refused("ExpSynTorch is not captured", Sequential(LinearTorch((16, 4)), ExpSynTorch(4, dt=1e-3)))


def frames(shape: tuple[int, ...]) -> np.ndarray:
    """Input spikes ``[sample, time, ...]``."""
    return (rng.random((SAMPLES, 50, *shape)) < 0.3).astype(np.uint8)


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
for name, net, shape, *readout in makers[framework]():
    labels = rng.integers(0, 4, SAMPLES)
    options = {"readout": readout[0]} if readout else {}
    spikebit.capture(net, frames(shape), framework=framework, labels=labels, out=folder / name, **options)
    print(name)

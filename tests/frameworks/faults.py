"""What exporters and importers get wrong, shown in their own venv: ``python faults.py FRAMEWORK``; a line a fault.

Each line is a fault that a page tells and Spikebit works round; where it is gone, the page and the work-around can go.
"""

from __future__ import annotations

import contextlib
import io
import sys
import warnings
from collections.abc import Callable

import nir
import numpy as np
import torch

warnings.simplefilter("ignore")


def line(node: nir.NIRNode, size: int = 2) -> nir.NIRGraph:
    """Input, Linear, one node, Output."""
    ends = {"input": nir.Input(np.array([size])), "output": nir.Output(np.array([size]))}
    nodes = {"input": ends["input"], "w": nir.Linear(np.eye(size)), "cell": node, "output": ends["output"]}
    return nir.NIRGraph(nodes, [("input", "w"), ("w", "cell"), ("cell", "output")])


def fails(action: Callable[[], object]) -> bool:
    """Whether an action raises, or writes no node for what it was given."""
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            action()
    except Exception:
        return True
    return False


def snntorch() -> None:
    import snntorch as snn
    from snntorch.export_nir import export_to_nir
    from snntorch.import_nir import import_from_nir

    ones = np.ones(2)
    cell = import_from_nir(line(nir.IF(r=ones, v_threshold=ones))).get_submodule("cell")
    assert float(cell.beta) == np.float32(0.9)
    print("the importer makes an IF leak")
    lif = nir.LIF(tau=ones * 1e-3, r=ones * 10, v_leak=0 * ones, v_threshold=ones)
    cell = import_from_nir(line(lif)).get_submodule("cell")
    assert (cell.reset_mechanism, cell.reset_delay) == ("zero", False)
    print("the importer always resets to zero at once")
    mixed = nir.LIF(tau=ones * 1e-3, r=ones * 10, v_leak=0 * ones, v_threshold=np.array([1.0, 2.0]))
    assert fails(lambda: import_from_nir(line(mixed)))
    print("the importer takes one threshold a layer")
    beta = torch.full((4,), 0.9)
    recurrent = snn.RLeaky(beta=beta, threshold=torch.ones(4), linear_features=4, init_hidden=True)
    with contextlib.redirect_stdout(io.StringIO()):
        graph = export_to_nir(torch.nn.Sequential(torch.nn.Linear(3, 4), recurrent), torch.zeros(1, 3), ignore_dims=[0])

    def again() -> None:
        net = import_from_nir(graph)
        net(net(torch.ones(1, 3))[0])
        if not any(isinstance(module, snn.RLeaky) for module in net.modules()):
            raise ValueError("no recurrent cell was built")

    assert fails(again)
    print("the importer cannot read the exporter's recurrent cells")
    assert fails(lambda: export_to_nir(torch.nn.Sequential(torch.nn.Linear(3, 4), snn.Leaky(0.9)), torch.zeros(1, 3)))
    print("the exporter cannot write scalar parameters")


def norse() -> None:
    import norse.torch as norse
    from norse.torch.functional.reset import reset_subtract
    from norse.torch.utils.export_nir import to_nir

    ones = np.ones(2)
    lif = nir.LIF(tau=ones * 1e-2, r=ones, v_leak=0 * ones, v_threshold=ones, v_reset=-ones)
    net = norse.from_nir(line(lif), reset_method=reset_subtract)
    (cell,) = [module for module in net.modules() if type(module).__name__ == "LIFBoxCell"]
    assert float(torch.as_tensor(cell.p.v_reset)) == 0.0
    print("the importer drops v_reset")
    assert cell.p.reset_method is not reset_subtract
    print("the importer passes no reset method on to a LIF")
    recurrent = norse.SequentialState(norse.LIFRecurrentCell(3, 4))

    def export() -> None:
        graph = to_nir(recurrent, torch.zeros(3))
        if not any(isinstance(node, nir.CubaLIF | nir.LIF | nir.NIRGraph) for node in graph.nodes.values()):
            raise ValueError("the cell was left out")

    assert fails(export)
    print("the exporter leaves recurrent cells out")


def spikingjelly() -> None:
    from spikingjelly.activation_based import layer, neuron
    from spikingjelly.activation_based.nir_exchange import export_to_nir, import_from_nir

    soft = torch.nn.Sequential(layer.Linear(3, 4), neuron.LIFNode(v_reset=None))
    assert fails(lambda: export_to_nir(soft, torch.zeros(1, 3)))
    print("the exporter refuses a soft reset")
    container = torch.nn.Sequential(layer.LinearRecurrentContainer(neuron.LIFNode(), 4, 4))
    assert fails(lambda: export_to_nir(container, torch.zeros(1, 4)))
    print("the exporter fails on recurrent containers")
    ones = np.ones(2)
    mixed = nir.LIF(tau=np.array([1e-3, 2e-3]), r=ones, v_leak=0 * ones, v_threshold=ones)
    assert fails(lambda: import_from_nir(line(mixed)))
    print("the importer takes one tau a layer")


def sinabs() -> None:
    import sinabs.layers as sl
    from sinabs.nir import to_nir

    sample = torch.zeros(1, 1, 3)
    recurrent = torch.nn.Sequential(sl.IAFRecurrent(rec_connect=torch.nn.Linear(3, 3)))
    assert fails(lambda: to_nir(recurrent, sample))
    print("the exporter refuses recurrent layers")
    synapse = torch.nn.Sequential(torch.nn.Linear(3, 3), sl.LIFSqueeze(tau_mem=8.0, tau_syn=4.0, batch_size=1))
    graph = None
    with contextlib.suppress(Exception):
        graph = to_nir(synapse, torch.zeros(1, 3))
    assert graph is None or not any(isinstance(node, nir.CubaLIF) for node in graph.nodes.values())
    print("the exporter drops tau_syn")


def rockpool() -> None:
    from rockpool.nn.combinators import Sequential
    from rockpool.nn.modules.torch import LIFTorch, LinearTorch, to_nir

    plain = Sequential(LinearTorch((3, 4)), LIFTorch(4, dt=1e-3))
    assert fails(lambda: to_nir(plain, torch.zeros(1, 1, 3)))
    print("the exporter fails with this nir: batch and time in its shapes")


{one.__name__: one for one in (snntorch, norse, spikingjelly, sinabs, rockpool)}[sys.argv[1]]()

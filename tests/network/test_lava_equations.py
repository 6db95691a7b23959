"""The lava preset against its documented equations, written independently: Lava itself needs an older Python.

Source: Lava's LIF process, floating point: ``u ← (1 − du)·u + a``, ``v ← (1 − dv)·v + u + bias``, a spike where
``v > vth``, then ``v ← 0``.
"""

from __future__ import annotations

import numpy as np
import torch

from engine.network.discretise import discretise
from engine.network.graph import Graph
from engine.network.nodes import make_node
from engine.network.prepare import prepare
from engine.network.simulate import run
from engine.specs.dynamics import PRESETS

DT = 1e-4


def test_a_recurrent_network_spikes_as_the_equations_say() -> None:
    rng = np.random.default_rng(8)
    w_in, w_rec, w_out = rng.normal(size=(20, 12)), 0.4 * rng.normal(size=(20, 20)), rng.normal(size=(5, 20))
    du, dv, vth = rng.uniform(0.2, 0.6, 20), rng.uniform(0.05, 0.3, 20), rng.uniform(0.8, 1.2, 20)
    cell = {"tau_syn": DT / du, "w_in": 1 / du, "tau_mem": DT / dv, "r": 1 / dv, "v_leak": np.zeros(20)}
    last = {"tau": np.full(5, DT / 0.1), "r": np.full(5, 10.0), "v_leak": np.zeros(5), "v_threshold": np.full(5, 1.1)}
    nodes = {
        "input": make_node("input", "Input", {"shape": [12]}),
        "w_in": make_node("w_in", "Linear", {"weight": w_in}),
        "hid": make_node("hid", "CubaLIF", cell | {"v_threshold": vth}),
        "w_rec": make_node("w_rec", "Linear", {"weight": w_rec}),
        "w_out": make_node("w_out", "Linear", {"weight": w_out}),
        "out": make_node("out", "LIF", last),
        "output": make_node("output", "Output", {"shape": [5]}),
    }
    chain = [("input", "w_in"), ("w_in", "hid"), ("hid", "w_out"), ("w_out", "out"), ("out", "output")]
    graph = Graph(nodes, (*chain, ("hid", "w_rec"), ("w_rec", "hid")))
    x = (rng.random((60, 8, 12)) < 0.3).astype(np.float64)
    trace = run(prepare(discretise(graph, PRESETS["lava"])), torch.as_tensor(x), record="*")

    fired = 0
    for sample in range(8):
        u, v, s, out = np.zeros(20), np.zeros(20), np.zeros(20), np.zeros(5)
        for t in range(60):
            u = (1 - du) * u + w_in @ x[t, sample] + w_rec @ s
            v = (1 - dv) * v + u
            s = (v > vth).astype(np.float64)
            v[s > 0] = 0.0
            out = 0.9 * out + w_out @ s
            spikes = out > 1.1
            out[spikes] = 0.0
            np.testing.assert_array_equal(trace.spikes["hid"][t, sample].numpy(), s)
            np.testing.assert_array_equal(trace.spikes["out"][t, sample].numpy(), spikes)
            fired += int(s.sum() + spikes.sum())
    assert fired > 1000

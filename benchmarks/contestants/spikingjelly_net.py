"""SpikingJelly in its quick multi-step mode: synapses over all steps at once, LIF over ``[time, batch, ...]``.

It resets before the decay, ``v_t = 0.9·(v_{t−1} − s_{t−1}) + a_t``: a peer for time, not for values.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from benchmarks.contestants.common import contest
from benchmarks.contestants.snntorch_net import module_of, set_weight
from benchmarks.workloads import DECAY, THRESHOLD, Weights, Workload


class Net(nn.Module):
    """Synapses and LIFNodes; the readout is a leaky sum."""

    def __init__(self, workload: Workload, weights: Weights) -> None:
        super().__init__()
        from spikingjelly.activation_based import neuron, surrogate

        self.synapses = nn.ModuleList(module_of(workload, name) for name in workload.layers)
        for module, name in zip(self.synapses, workload.layers, strict=True):
            set_weight(module, torch.as_tensor(weights[name]))
        self.neurons = nn.ModuleList(
            neuron.LIFNode(
                tau=1.0 / (1.0 - DECAY), decay_input=False, v_threshold=THRESHOLD, v_reset=None,
                surrogate_function=surrogate.ATan(alpha=2.0), detach_reset=True, step_mode="m",
            )
            for _ in range(len(self.synapses) - 1)
        )  # fmt: skip
        self.rates: list[float] = []

    def forward(self, x: Tensor) -> Tensor:
        """``[time, batch, ...]`` to ``[batch, class]``."""
        steps, batch = x.shape[:2]
        self.rates = []
        for k, synapse in enumerate(self.synapses):
            value = x.flatten(2) if isinstance(synapse, nn.Linear) else x
            current = synapse(value.flatten(0, 1)).unflatten(0, (steps, batch))
            if k < len(self.neurons):
                self.neurons[k].reset()  # type: ignore[operator]
                x = self.neurons[k](current)
                if not torch.is_grad_enabled():
                    self.rates.append(float(x.mean()))
        v = torch.zeros_like(current[0])
        total = torch.zeros_like(v)
        for a in current.unbind(0):
            v = DECAY * v + a
            total = total + v
        return total / steps


def build(workload: Workload, weights: Weights):  # type: ignore[no-untyped-def]
    net = Net(workload, weights)

    def rates(x: Tensor) -> dict[str, float]:
        with torch.no_grad():
            net(x)
        return dict(zip(workload.layers, net.rates, strict=False))

    return net, list(net.synapses.parameters()), rates


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    contest(build)

"""snnTorch as its tutorials write it: modules called in a loop over time steps."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from benchmarks.contestants.common import Forward, contest
from benchmarks.workloads import DECAY, THRESHOLD, Weights, Workload


class Net(nn.Module):
    """Synapses and Leaky neurons; logits are the mean of the last Leaky's membrane."""

    def __init__(self, workload: Workload, weights: Weights) -> None:
        super().__init__()
        import snntorch
        from snntorch import surrogate

        self.synapses: nn.ModuleList = nn.ModuleList(module_of(workload, name) for name in workload.layers)
        for module, name in zip(self.synapses, workload.layers, strict=True):
            set_weight(module, torch.as_tensor(weights[name]))
        last = len(self.synapses) - 1
        self.neurons = nn.ModuleList(
            snntorch.Leaky(
                beta=DECAY, threshold=THRESHOLD, spike_grad=surrogate.atan(alpha=2.0),
                reset_mechanism="none" if k == last else "subtract",
            )
            for k in range(last + 1)
        )  # fmt: skip
        self.counts = [0.0] * last

    def forward(self, x: Tensor, count: bool = False) -> Tensor:
        """``[time, batch, ...]`` to ``[batch, class]``."""
        membranes = [neuron.init_leaky() for neuron in self.neurons]  # type: ignore[operator]
        total: Tensor | None = None
        for value in x.unbind(0):
            for k, (synapse, neuron) in enumerate(zip(self.synapses, self.neurons, strict=True)):
                if isinstance(synapse, nn.Linear):
                    value = value.flatten(1)
                value, membranes[k] = neuron(synapse(value), membranes[k])
                if count and k < len(self.counts):
                    self.counts[k] += float(value.mean()) / len(x)
            total = membranes[-1] if total is None else total + membranes[-1]
        if total is None:
            raise ValueError("expected at least one time step")
        return total / len(x)


def set_weight(module: nn.Module, weight: Tensor) -> None:
    """Give a synapse its weight."""
    with torch.no_grad():
        module.get_parameter("weight").copy_(weight)


def module_of(workload: Workload, name: str) -> nn.Module:
    """The synapse of a layer."""
    shape = workload.layers[name]
    if len(shape) == 4:
        return nn.Conv2d(shape[1], shape[0], shape[2], stride=workload.stride, bias=False)
    return nn.Linear(shape[1], shape[0], bias=False)


def build(workload: Workload, weights: Weights):  # type: ignore[no-untyped-def]
    net = Net(workload, weights)

    def rates(x: Tensor) -> dict[str, float]:
        with torch.no_grad():
            net.counts = [0.0] * len(net.counts)
            net(x, count=True)
        return dict(zip(workload.layers, net.counts, strict=False))

    forward: Forward = net
    return forward, list(net.synapses.parameters()), rates


if __name__ == "__main__":
    warnings.filterwarnings("ignore")
    contest(build)

"""PyHessian on the snnTorch network: its own setup and products, one vector for all layers, split by layer.

Its trace loop is a random sign vector, one Hessian-vector product and one dot product a step; its stop rule, which
divides by the signed running mean, is left out. The API gives the sum over layers; the split is one dot product each.
"""

from __future__ import annotations

import argparse
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from benchmarks.contestants.snntorch_net import Net
from benchmarks.peers import memory, serve
from benchmarks.workloads import ALL_WORKLOADS, load_weights, samples


class Contestant:
    """The handlers; ``setup`` keeps PyHessian's gradient with its graph, as its constructor does."""

    def __init__(self, workload_name: str, weights: Path) -> None:
        workload = ALL_WORKLOADS[workload_name]
        found, labels = samples(workload)
        self.names = list(workload.layers)
        self.x, self.y = torch.as_tensor(found).float(), torch.as_tensor(labels)
        self.net = Net(workload, load_weights(weights))
        self.hessian: Any = None

    def setup(self) -> None:
        """PyHessian's constructor: forward and backward with a graph."""
        from pyhessian import hessian  # type: ignore[import-not-found]

        self.hessian = None
        self.net.zero_grad(set_to_none=True)
        self.hessian = hessian(self.net, F.cross_entropy, data=(self.x, self.y), cuda=False)

    def probe(self, seed: int = 0) -> dict[str, Any]:
        """One step of its trace loop."""
        from pyhessian.utils import hessian_vector_product  # type: ignore[import-not-found]

        torch.manual_seed(seed)
        v = [torch.randint_like(p, high=2) * 2 - 1 for p in self.hessian.params]
        product = hessian_vector_product(self.hessian.gradsH, self.hessian.params, v)
        return {"values": [float((a * b).sum()) for a, b in zip(product, v, strict=True)]}

    def value(self, directions: str) -> dict[str, Any]:
        """``V'HV`` per layer for the directions in an npz file, each alone."""
        from pyhessian.utils import hessian_vector_product

        values = {}
        with np.load(directions, allow_pickle=False) as file:
            for name in file.files:
                v = [torch.zeros_like(p) for p in self.hessian.params]
                v[self.names.index(name)] = torch.as_tensor(file[name])
                product = hessian_vector_product(self.hessian.gradsH, self.hessian.params, v)
                values[name] = float(sum((a * b).double().sum() for a, b in zip(product, v, strict=True)))
        return {"values": values}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", choices=ALL_WORKLOADS)
    parser.add_argument("weights", type=Path)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    contestant = Contestant(options.workload, options.weights)
    serve({"memory": memory, **{name: getattr(contestant, name) for name in ("setup", "probe", "value")}})

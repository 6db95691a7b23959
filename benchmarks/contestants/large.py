"""One training step over 1,000 time steps of a network of 10 million parameters; prints the peak resident bytes."""

from __future__ import annotations

import resource

import torch
import torch.nn.functional as F

from benchmarks.contestants.ours import form_of, logits_of, network_of
from benchmarks.workloads import Workload

LARGE = Workload(
    "large", 1000, 8, (2048,), 0.02, 10, {"fc1": (2304, 2048), "fc2": (2304, 2304), "fc3": (10, 2304)}
)  # 10.05 million weights


def main() -> None:
    """Forward, backward, Adam, then the peak."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: (torch.randn(shape, generator=generator) * 3.0 / shape[1] ** 0.5).numpy()
        for name, shape in LARGE.layers.items()
    }
    form, parameters = form_of(network_of(LARGE, weights), None)
    leaves = {name: value.requires_grad_(name.startswith("weight:")) for name, value in parameters.items()}
    x = (torch.rand(LARGE.steps, LARGE.batch, *LARGE.input_shape, generator=generator) < LARGE.density).to(torch.uint8)
    optimizer = torch.optim.Adam([value for value in leaves.values() if value.requires_grad])
    logits = logits_of(form, leaves, 1.0 / LARGE.steps, x)
    F.cross_entropy(logits, torch.arange(LARGE.batch)).backward()  # type: ignore[no-untyped-call]
    optimizer.step()
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


if __name__ == "__main__":
    main()

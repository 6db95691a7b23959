"""What every contestant does alike, whatever its framework: evaluation, training step, bytes saved; torch alone."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.peers import serve
from benchmarks.workloads import WORKLOADS, Weights, Workload, load_weights, samples

# So small that weights, and with them firing rates, stay what they are; the optimiser works all the same.
RATE = 1e-7
Forward = Callable[[Tensor], Tensor]  # input [time, batch, ...] to logits [batch, class]


def contest(
    build: Callable[[Workload, Weights], tuple[Forward, list[Tensor], Callable[[Tensor], dict[str, float]]]],
    convert: Callable[[Tensor], Tensor] = lambda x: x.to(torch.float32),
) -> None:
    """Serve ``evaluate``, ``step``, ``values`` and ``saved`` for the workload and weights named on the command line.

    Args:
        build: makes the forward pass, its parameters, and a function from the input to firing rates by layer.
        convert: the input that the framework takes, from 0 and 1 in bytes; done once, not timed.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("workload", choices=WORKLOADS)
    parser.add_argument("weights", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    workload = WORKLOADS[options.workload]
    found, labels = samples(workload)
    x, y = convert(torch.as_tensor(found)), torch.as_tensor(labels)
    forward, parameters, rates = build(workload, load_weights(options.weights))
    optimizer = torch.optim.Adam(parameters, lr=RATE)

    def loss_of() -> Tensor:
        return F.cross_entropy(forward(x), y)

    def evaluate(repeat: int = 1) -> None:
        with torch.no_grad():
            for _ in range(repeat):
                forward(x)

    def step(repeat: int = 1) -> None:
        for _ in range(repeat):
            optimizer.zero_grad(set_to_none=True)
            loss_of().backward()  # type: ignore[no-untyped-call]
            optimizer.step()

    def values() -> dict[str, Any]:
        optimizer.zero_grad(set_to_none=True)
        loss = loss_of()
        loss.backward()  # type: ignore[no-untyped-call]
        with torch.no_grad():
            logits = forward(x)
        norms = [float(p.grad.norm()) for p in parameters if p.grad is not None]
        return {"logits": logits.tolist(), "loss": float(loss.detach()), "norms": norms, "rates": rates(x)}

    def saved() -> dict[str, Any]:
        return {"bytes": saved_bytes(loss_of, [*parameters, x, y])}

    serve({"evaluate": evaluate, "step": step, "values": values, "saved": saved})


def saved_bytes(run: Callable[[], Tensor], beside: Iterable[Tensor]) -> int:
    """Bytes that autograd keeps for the backward pass, each storage once; not parameters and inputs."""
    known = {t.untyped_storage().data_ptr() for t in beside}
    sizes: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        loss = run()
    total = sum(sizes.values())
    del loss
    return total

"""What the training scripts of the zoo share: data in, a seeded loop, the network and its counts out.

Runs in a framework's environment (``make frameworks``): needs NumPy, torch and nir alone. Every choice (epoch, and by
hand sizes and rates) was made on the validation samples; the test split is run once, for the expected counts.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nir
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

HERE = Path(__file__).resolve().parent
BATCH = 64
CLIP_NORM = 1.0

Forward = Callable[[Tensor], Tensor]  # frames [time, batch, ...] → output spike counts [batch, class]


@dataclass(frozen=True)
class Recipe:
    """How a network is trained: a cosine schedule of Adam on the cross-entropy of scaled counts."""

    epochs: int
    learning_rate: float
    count_scale: float  # spike counts → logits
    weight_decay: float = 1e-4
    seed: int = 0


def load_frames(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a frames file."""
    with np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def fit(network: torch.nn.Module, forward: Forward, data: dict[str, NDArray[Any]], recipe: Recipe) -> None:
    """Train in place; the weights of the epoch with the best validation accuracy (the later among equals) stay.

    Args:
        network: whose parameters are trained.
        forward: runs it.
        data: the arrays of a frames file.
        recipe: schedule and seed; the order of the samples depends on the seed alone.
    """
    random = np.random.RandomState(recipe.seed)
    parameters = [value for value in network.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=recipe.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, recipe.epochs)
    y = torch.from_numpy(data["y_train"])
    best, kept = -1.0, {name: value.clone() for name, value in network.state_dict().items()}
    for epoch in range(recipe.epochs):
        total = 0.0
        for batch in np.array_split(random.permutation(len(y)), -(-len(y) // BATCH)):
            logits = recipe.count_scale * forward(_frames(data["x_train"][batch]))
            loss = torch.nn.functional.cross_entropy(logits, y[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(parameters, CLIP_NORM)
            optimizer.step()
            total += float(loss.detach()) * len(batch)
        schedule.step()
        score = float((counts(forward, data["x_val"]).argmax(1) == data["y_val"]).mean())
        if score >= best:
            best, kept = score, {name: value.clone() for name, value in network.state_dict().items()}
        print(f"epoch {epoch + 1:3d}  loss {total / len(y):.4f}  validation {score:.4f}", file=sys.stderr)
    network.load_state_dict(kept)
    print(f"kept: validation {best:.4f}", file=sys.stderr)


def counts(forward: Forward, x: NDArray[Any]) -> NDArray[np.int64]:
    """Output spike counts ``[sample, class]`` of frames ``[sample, time, ...]``."""
    with torch.no_grad():
        parts = [forward(_frames(part)).numpy() for part in np.array_split(x, -(-len(x) // 256))]
    whole: NDArray[np.int64] = np.rint(np.concatenate(parts)).astype(np.int64)
    return whole


def _frames(x: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(np.moveaxis(x, 0, 1))).float()  # [time, batch, ...]


def ship(name: str, graph: nir.NIRGraph, forward: Forward, data: dict[str, NDArray[Any]]) -> None:
    """Write ``NAME.nir`` and ``NAME.counts.npz``, the framework's own output counts on the test split."""
    nir.write(HERE / f"{name}.nir", graph)
    test = counts(forward, data["x_test"])
    np.savez_compressed(HERE / f"{name}.counts.npz", counts=test.astype(np.int32))
    right = int((test.argmax(1) == data["y_test"]).sum())
    print(f"{name}: {right} / {len(test)} on the test split, {time.process_time():.0f} s of CPU time", file=sys.stderr)


def start(default_data: str) -> dict[str, NDArray[Any]]:
    """One thread, seed 0, and the frames file named on the command line."""
    if len(sys.argv) != 2:
        sys.exit(f"usage: python -m {os.environ.get('ZOO_MODULE', 'examples.zoo.NAME')} {default_data}.npz")
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return load_frames(Path(sys.argv[1]))

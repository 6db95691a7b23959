"""Train the detector and write ``spectrum.nir``: ``python -m examples.spectrum.train``.

Run by hand; about a minute of one core. The neurons, surrogate and NIR nodes are those of :mod:`examples.digits.train`.
The epoch that is kept is chosen on the validation split; the test split is read by :mod:`examples.spectrum.compare`.
"""

from __future__ import annotations

import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import torch

from examples.digits.train import accuracy, counts, write
from examples.spectrum import data

HERE = Path(__file__).resolve().parent
SIZES = (data.INPUTS, 48, 32, 2)
EPOCHS = 25
BATCH = 64
LEARNING_RATE = 3e-3
COUNT_SCALE = 0.3  # spike counts → logits
SEED = 0


def train() -> list[torch.Tensor]:
    """The weights of the epoch with the best validation accuracy (the later one among equals)."""
    torch.manual_seed(SEED)
    random = np.random.RandomState(SEED)
    frames = data.arrays()
    x, y = torch.from_numpy(frames["x_train"]).float(), torch.from_numpy(frames["y_train"])
    x_val, y_val = torch.from_numpy(frames["x_val"]).float(), torch.from_numpy(frames["y_val"])
    weights = [(torch.randn(after, before) / before**0.5).requires_grad_() for before, after in pairwise(SIZES)]
    optimizer = torch.optim.AdamW(weights, lr=LEARNING_RATE, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, EPOCHS)
    best, kept = -1.0, [weight.detach().clone() for weight in weights]
    for epoch in range(EPOCHS):
        for batch in torch.split(torch.from_numpy(random.permutation(len(y))), BATCH):
            loss = torch.nn.functional.cross_entropy(COUNT_SCALE * counts(weights, x[batch]), y[batch])
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
        schedule.step()
        score = accuracy(weights, x_val, y_val)
        if score >= best:
            best, kept = score, [weight.detach().clone() for weight in weights]
        print(f"epoch {epoch + 1:3d}  validation {score:.4f}", file=sys.stderr)
    return kept


if __name__ == "__main__":
    write(train(), HERE / "spectrum.nir", SIZES)
    print(f"{HERE / 'spectrum.nir'} written", file=sys.stderr)

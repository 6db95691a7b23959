"""What the tests send: the digits network with few samples, expected counts, and requests for quick jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from examples.digits.data import arrays

NETWORK = Path(__file__).resolve().parents[2] / "examples" / "digits" / "digits.nir"
PRESET = "nir-paper"
TRAIN, TEST = 240, 120
EPOCHS = 10
SENSITIVITY = {"min_probes": 2, "max_probes": 4, "max_samples": 64, "measure": "off"}
FINETUNE = {"epochs": EPOCHS, "batch_size": 32, "float_control": False}
OPTIONS: dict[str, Any] = {"sensitivity": SENSITIVITY, "finetune": FINETUNE}


def write_digits(path: Path, train: int = TRAIN, test: int = TEST) -> Path:
    """A frames file with the first samples of each split."""
    digits = arrays()
    sizes = {"x_train": train, "y_train": train, "x_test": test, "y_test": test}
    np.savez_compressed(path, **{name: array[: sizes.get(name, len(array))] for name, array in digits.items()})  # type: ignore[arg-type]
    return path


def main_job(model: str, dataset: str, **changes: Any) -> dict[str, Any]:
    """The request of a whole ``hessian-mixed`` job that ends within seconds."""
    request = {
        "model": model,
        "dataset": dataset,
        "recipe": "hessian-mixed",
        "mean_weight_bits": 4.0,
        "seed": 7,
        "options": OPTIONS,
    }
    return request | changes


def long_job(model: str, dataset: str) -> dict[str, Any]:
    """A fine-tune that ends only when it is stopped."""
    return main_job(model, dataset, options=OPTIONS | {"finetune": FINETUNE | {"epochs": 5000}})

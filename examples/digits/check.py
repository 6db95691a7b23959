"""Accuracy of ``digits.nir`` by a few lines of NumPy that share no code with the engine or with ``train.py``.

``python -m examples.digits.check`` prints ``correct / samples`` of the test split.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np

from examples.digits import data

DT_S = 1e-4


def correct_samples(nir_file: Path, x: data.Bytes, labels: data.Labels) -> int:
    """Samples whose label spikes most (ties: lowest index); x is ``[sample, time, 64]``."""
    signal = x.transpose(1, 0, 2).astype(np.float64)  # [time, sample, neuron]
    with h5py.File(nir_file) as file:
        nodes = file["node/nodes"]
        for index in range(1, 1 + sum(name.startswith("lif") for name in nodes)):
            lif = {name: value[()] for name, value in nodes[f"lif{index}"].items()}
            currents = signal @ nodes[f"fc{index}/weight"][()].T.astype(np.float64)
            v = np.zeros_like(currents[0])
            signal = np.zeros_like(currents)
            for t, current in enumerate(currents):
                v = v + DT_S / lif["tau"] * (lif["v_leak"] - v + lif["r"] * current)
                signal[t] = v > lif["v_threshold"]
                v = v - signal[t] * lif["v_threshold"]
    return int((signal.sum(0).argmax(1) == labels).sum())


if __name__ == "__main__":
    frames = data.arrays()
    x_test, y_test = frames["x_test"].astype(np.uint8), frames["y_test"].astype(np.int64)
    right = correct_samples(Path(__file__).resolve().parent / "digits.nir", x_test, y_test)
    print(f"{right} / {len(y_test)}")

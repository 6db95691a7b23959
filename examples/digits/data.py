"""scikit-learn's 1,797 handwritten digits as spikes: ``python -m examples.digits.data OUT.npz``.

Every pixel (0..16) becomes a spike train: in each of ``STEPS`` steps it fires with probability
``pixel / 16 · RATE``. The draw comes from NumPy's frozen ``RandomState`` streams and the file has fixed time
stamps, so the same bytes come out on every machine with the same zlib.

Source of the data: E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI, as scikit-learn
ships it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from examples.frames_file import write_frames

STEPS = 24
RATE = 0.5
TEST_SHARE = 0.25
SPLIT_SEED = 0
SPIKE_SEED = 20261123

Bytes = NDArray[np.uint8]
Labels = NDArray[np.int64]


def load_pixels() -> tuple[NDArray[np.float64], Labels]:
    """Intensities ``[sample, 64]`` between 0 and 1, and labels ``[sample]``."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    return pixels / 16.0, labels.astype(np.int64)


def spikes(intensity: NDArray[np.float64], random: np.random.RandomState) -> Bytes:
    """Bernoulli spike trains ``[sample, time, pixel]`` of 0 and 1 for intensities ``[sample, pixel]``."""
    draws = random.random_sample((len(intensity), STEPS, intensity.shape[1]))
    return (draws < intensity[:, None, :] * RATE).astype(np.uint8)


def split(labels: Labels, share: float, seed: int) -> tuple[Labels, Labels]:
    """Indices kept and held out, both ascending: ``share`` of every class is held out."""
    random = np.random.RandomState(seed)
    held: list[int] = []
    for label in np.unique(labels):
        members = random.permutation(np.flatnonzero(labels == label))
        held.extend(members[: round(len(members) * share)])
    held_out = np.sort(np.array(held, dtype=np.int64))
    return np.setdiff1d(np.arange(len(labels)), held_out), held_out


def arrays() -> dict[str, NDArray[np.generic]]:
    """The four arrays of a frames file, and the class names."""
    pixels, labels = load_pixels()
    encoded = spikes(pixels, np.random.RandomState(SPIKE_SEED))
    train, test = split(labels, TEST_SHARE, SPLIT_SEED)
    return {
        "x_train": encoded[train],
        "y_train": labels[train],
        "x_test": encoded[test],
        "y_test": labels[test],
        "classes": np.array([str(digit) for digit in range(10)]),
    }


def build(path: Path) -> Path:
    """Write the frames file to ``path`` and return it."""
    return write_frames(path, arrays())


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python -m examples.digits.data OUT.npz")
    print(build(Path(sys.argv[1])))

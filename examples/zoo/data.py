"""The frames files of the zoo: ``python -m examples.zoo.data NAME OUT.npz``."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from examples.frames_file import write_frames
from examples.zoo.digits_data import encoded_digits, latency, motion_events, noisy_rates
from examples.zoo.syllables_data import syllables

Arrays = dict[str, NDArray[np.generic]]

DATASETS: dict[str, Callable[[], Arrays]] = {
    "latency": partial(encoded_digits, latency, 11),
    "motion": partial(encoded_digits, motion_events, 12),
    "rates": partial(encoded_digits, noisy_rates, 13),
    "syllables": syllables,
}


def build(name: str, path: Path) -> Path:
    """Write the dataset to ``path`` and return it: the same bytes every time.

    Raises:
        KeyError: there is no such dataset; the message lists the known ones.
    """
    if name not in DATASETS:
        raise KeyError(f"unknown dataset {name!r}; known: {', '.join(DATASETS)}")
    return write_frames(path, DATASETS[name]())


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in DATASETS:
        sys.exit(f"usage: python -m examples.zoo.data {{{','.join(DATASETS)}}} OUT.npz")
    print(build(sys.argv[1], Path(sys.argv[2])))

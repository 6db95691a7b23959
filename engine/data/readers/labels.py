"""Labels as every reader checks them: whole numbers from 0, one a sample, within the classes where they are named."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.frames import MAX_CLASSES
from engine.errors import InvalidDataset


def check_labels(name: str, values: NDArray[Any], samples: int, classes: int | None) -> NDArray[np.int64]:
    """Labels ``[sample]`` as int64.

    Args:
        name: of the array, for messages.
        values: as read.
        samples: how many there must be.
        classes: number of named classes, or None.

    Raises:
        InvalidDataset: ``regression_labels``, ``labels_shape``, ``labels_out_of_range``.
    """
    if values.dtype.kind not in "biu":
        detail = f"array {name!r}: expected whole-number labels, found {values.dtype}; regression is not supported"
        raise InvalidDataset("regression_labels", detail, name)
    if values.shape != (samples,):
        detail = f"array {name!r}: expected one label per sample, shape ({samples},), found {values.shape}"
        raise InvalidDataset("labels_shape", detail, name)
    top = (MAX_CLASSES if classes is None else classes) - 1
    for value in (int(values.min(initial=0)), int(values.max(initial=0))):
        if not 0 <= value <= top:
            detail = f"array {name!r}: expected labels from 0 to {top}, found {value}"
            raise InvalidDataset("labels_out_of_range", detail, name)
    return values.astype(np.int64)

"""Writes a frames file whose bytes depend on the arrays alone."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time stamp that a zip file can hold


def write_frames(path: Path, arrays: Mapping[str, NDArray[np.generic]]) -> Path:
    """Write ``arrays`` as an npz with fixed time stamps: the same bytes on every machine with the same zlib.

    Args:
        path: the file; its folder is made, an existing file is replaced.
        arrays: name (``x_train``, ``y_train`` ...) → array; no object arrays.

    Returns:
        ``path``.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, array in arrays.items():
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.asanyarray(array), allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", _EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, buffer.getvalue())
    return path

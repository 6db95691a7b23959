"""Writing golden vectors: a deterministic npz of at most 1 MiB (docs/program.md, Golden vectors)."""

from __future__ import annotations

import io
import zipfile
import zlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.golden import golden_arrays, longest_sample
from runtime.program import Program
from runtime.runner import run

LIMIT_BYTES = 1 << 20
LEVEL = 6  # 9 takes three times as long and saves 2 %
SHARED = 4096  # what compressing a sample alone may cost over compressing all together, seen on spikes
EPOCH = (1980, 1, 1, 0, 0, 0)  # the zip format's first date: files hold no time


def golden_bytes(program: Program, samples: NDArray[Any], limit: int = LIMIT_BYTES) -> tuple[bytes, int]:
    """The golden file of as many leading samples as fit.

    Where not even one fits with all spikes and states, its input, output spikes and a SHA-256 per layer and step are
    kept; where that does not fit either, its steps are halved until it does (a program is causal: fewer steps are a
    valid vector).

    Args:
        program: as the runtime reads it.
        samples: integers ``[sample, time, *input_shape]``.
        limit: most bytes.

    Returns:
        the file's bytes and the number of samples in it.
    """
    samples = samples[:, : longest_sample(program)]
    arrays = {name: narrowest(array) for name, array in golden_arrays(program, samples, run(program, samples)).items()}
    kept = _probably_fit(arrays, len(samples), limit)
    while kept:
        data = deterministic_npz({name: array[:kept] for name, array in arrays.items()})
        if len(data) <= limit:
            return data, kept
        kept -= 1
    first = narrowest(samples[:1])
    while True:
        data = deterministic_npz(golden_arrays(program, first, run(program, first), hashed=True))
        if len(data) <= limit or first.shape[1] == 1:
            return data, 1
        first = first[:, : first.shape[1] // 2]


def _probably_fit(arrays: Mapping[str, NDArray[Any]], samples: int, limit: int) -> int:
    """How many leading samples fit by their compressed data alone, headers apart: at least as many as really do."""
    size = 0
    for k in range(samples):
        size += sum(len(zlib.compress(array[k].tobytes(), LEVEL)) for array in arrays.values())
        if size > limit + k * SHARED:
            return k
    return samples


def deterministic_npz(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    """An npz whose bytes depend on the arrays alone: sorted names, no times, fixed compression."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as file:
        for name in sorted(arrays):
            entry = zipfile.ZipInfo(f"{name}.npy", EPOCH)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.create_system = 3  # else it names the operating system
            content = io.BytesIO()
            np.lib.format.write_array(content, np.ascontiguousarray(arrays[name]), (1, 0), allow_pickle=False)
            file.writestr(entry, content.getvalue(), compresslevel=LEVEL)
    return buffer.getvalue()


def narrowest(values: NDArray[Any]) -> NDArray[Any]:
    """The same integers in the smallest dtype of 8, 16, 32 or 64 bits, unsigned where none is negative."""
    lo, hi = int(values.min()), int(values.max())
    for dtype in (np.uint8, np.int8, np.uint16, np.int16, np.uint32, np.int32):
        limits = np.iinfo(dtype)
        if limits.min <= lo and hi <= limits.max:
            return values.astype(dtype)
    return values.astype(np.int64)

"""Expected spikes of single layers: what the framework that wrote a network saw inside it, for a few test samples.

Layout (npz, no pickles): ``samples`` ``[k]``, rows of ``x_test``; ``layers`` ``[n]``, names of neuron layers as the
model's record lists them; ``spikes_0`` to ``spikes_{n−1}``, whole numbers ``[k, time, neuron...]`` for each of these
layers, the spikes of every step.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engine.data.npz import ArrayEntry, open_arrays
from engine.data.zip_safe import ZipLimits
from engine.errors import InvalidDataset

MAX_BYTES = 1 << 28
Shape = tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Traces:
    """Spikes ``[sample, time, neuron...]`` by layer, of the test samples at ``rows``."""

    rows: NDArray[np.int64]
    spikes: Mapping[str, NDArray[Any]]


def read_traces(path: Path, samples: int, steps: int, layers: Mapping[str, Shape]) -> Traces:
    """The expected spikes in a file, checked against the network and the data.

    Args:
        path: an npz file.
        samples: how many test samples there are.
        steps: time steps of a sample.
        layers: shape of every neuron layer by name.

    Raises:
        InvalidDataset: ``missing_array``, ``unknown_layer``, ``traces_shape``, ``traces_type``,
            ``samples_out_of_range`` or what the npz reader refuses.
    """
    with path.open("rb") as file:
        try:
            arrays = open_arrays(file, ZipLimits(max_bytes=MAX_BYTES))
        except InvalidDataset as error:
            raise InvalidDataset(error.code, f"expected traces: {error.detail}", error.pointer) from error
        rows = _rows(arrays, samples)
        names = _names(arrays, layers)
        spikes = {}
        for index, name in enumerate(names):
            entry = _array(arrays, f"spikes_{index}")
            _check(name, entry, (len(rows), steps, *layers[name]))
            spikes[name] = entry.read()
        return Traces(rows, spikes)


def _array(arrays: Mapping[str, ArrayEntry], name: str) -> ArrayEntry:
    if name not in arrays:
        detail = f"expected traces: expected the array {name!r}, found {', '.join(sorted(arrays)) or 'none'}"
        raise InvalidDataset("missing_array", detail, name)
    return arrays[name]


def _names(arrays: Mapping[str, ArrayEntry], layers: Mapping[str, Shape]) -> list[str]:
    entry = _array(arrays, "layers")
    if entry.dtype.kind not in "US" or len(entry.shape) != 1 or not entry.header.count:
        detail = f"array 'layers': expected names in one axis, found {entry.dtype} {entry.shape}"
        raise InvalidDataset("traces_type", detail, "layers")
    names = [str(name) for name in entry.read().astype(str)]
    for index, name in enumerate(names):
        if name not in layers or name in names[:index]:
            what = "twice" if name in layers else f"but the network has {', '.join(layers)}"
            raise InvalidDataset("unknown_layer", f"array 'layers' names {name[:64]!r}, {what}", "layers")
    return names


def _rows(arrays: Mapping[str, ArrayEntry], samples: int) -> NDArray[np.int64]:
    entry = _array(arrays, "samples")
    if entry.dtype.kind not in "iu" or len(entry.shape) != 1 or not entry.header.count:
        detail = f"array 'samples': expected whole numbers in one axis, found {entry.dtype} {entry.shape}"
        raise InvalidDataset("traces_type", detail, "samples")
    rows = entry.read().astype(np.int64)
    if rows.min() < 0 or rows.max() >= samples or len(np.unique(rows)) != len(rows):
        detail = f"array 'samples': expected different rows from 0 to {samples - 1}, found {rows.min()} to {rows.max()}"
        raise InvalidDataset("samples_out_of_range", detail, "samples")
    return rows


def _check(layer: str, entry: ArrayEntry, wanted: Shape) -> None:
    where = f"array {entry.name!r} (layer {layer!r})"
    if entry.dtype.kind not in "iub":
        raise InvalidDataset("traces_type", f"{where}: expected whole numbers, found {entry.dtype}", entry.name)
    if entry.shape != wanted:
        raise InvalidDataset("traces_shape", f"{where}: expected shape {wanted}, found {entry.shape}", entry.name)

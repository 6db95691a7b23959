"""Small files of every format of events, made by script: what good ones hold, and how to break them."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np

SENSOR = (6, 5)  # rows, columns
Events = list[np.ndarray[Any, Any]]


def random_events(draw: np.random.Generator, count: int, sensor: tuple[int, int] = SENSOR, most_us: int = 5000) -> Any:
    """Events ``[event, (t, row, column, polarity)]`` in order of time."""
    columns = [np.sort(draw.integers(0, most_us, count))]
    columns += [draw.integers(0, size, count) for size in (*sensor, 2)]
    return np.stack(columns, 1)


def samples(seed: int = 0, sizes: Mapping[str, int] | None = None) -> dict[str, list[Any]]:
    """Per split a list of samples."""
    draw = np.random.default_rng(seed)
    wanted = {"train": 6, "test": 4} if sizes is None else sizes
    return {name: [random_events(draw, int(draw.integers(5, 40))) for _ in range(n)] for name, n in wanted.items()}


def events_arrays(splits: Mapping[str, list[Any]], **changes: Any) -> dict[str, Any]:
    """The arrays of an events npz; a change to None leaves one out."""
    arrays: dict[str, Any] = {"sensor": np.array(SENSOR)}
    for name, parts in splits.items():
        flat = np.concatenate(parts)
        for at, (field, kind) in enumerate((("t", "u4"), ("row", "u1"), ("col", "u1"), ("p", "u1"))):
            arrays[f"{field}_{name}"] = flat[:, at].astype(kind)
        arrays[f"offsets_{name}"] = np.cumsum([0, *map(len, parts)]).astype(np.int64)
        arrays[f"y_{name}"] = np.arange(len(parts)) % 2
    return {key: value for key, value in (arrays | changes).items() if value is not None}


def write_events(path: Path, splits: Mapping[str, list[Any]] | None = None, **changes: Any) -> None:
    with path.open("wb") as file:
        np.savez_compressed(file, **events_arrays(splits or samples(), **changes))


def bin_bytes(events: Any) -> bytes:
    """One N-MNIST file."""
    rows = [
        bytes([column, row, polarity << 7 | t >> 16, t >> 8 & 255, t & 255])
        for t, row, column, polarity in events.tolist()
    ]
    return b"".join(rows)


def write_zip(path: Path, members: Mapping[str, bytes]) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)


def nmnist_members(splits: Mapping[str, list[Any]] | None = None) -> dict[str, bytes]:
    parts = splits or samples()
    return {
        f"{name.title()}/{number % 2}/{number:05}.bin": bin_bytes(events)
        for name, some in parts.items()
        for number, events in enumerate(some)
    }


def write_nmnist(path: Path, splits: Mapping[str, list[Any]] | None = None) -> None:
    write_zip(path, nmnist_members(splits))


def write_shd(path: Any, parts: list[Any], labels: Any = None, **changes: Any) -> None:
    """Heidelberg layout: times in seconds (float32), units from the column."""
    with h5py.File(path, "w") as file:
        for field, kind, column in (("times", np.float32, 0), ("units", np.uint16, 2)):
            data = file.create_dataset(f"spikes/{field}", (len(parts),), h5py.vlen_dtype(kind))
            for number, events in enumerate(parts):
                values = events[:, column] / 1e6 if field == "times" else events[:, column]
                data[number] = changes.get(field, values)
        file["labels"] = np.arange(len(parts)) % 2 if labels is None else labels
        file.create_dataset("extra/keys", data=["zero", "one"], dtype=h5py.string_dtype())


def shd_bytes(parts: list[Any], **changes: Any) -> bytes:
    buffer = io.BytesIO()
    write_shd(buffer, parts, **changes)
    return buffer.getvalue()

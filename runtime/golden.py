"""Golden vectors: inputs with every layer's spikes and final states, to be replayed (docs/program.md)."""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ProgramError
from runtime.program import Program
from runtime.runner import Trace, run

Arrays = dict[str, NDArray[Any]]
LARGEST_GOLDEN = 1 << 30  # bytes inflated: 1 MiB of spikes compresses some 100:1
UNREADABLE = (  # all that NumPy, zipfile and zlib raise on bytes that are no npz, or claim too much
    ValueError, OSError, EOFError, KeyError, MemoryError, NotImplementedError, RuntimeError, struct.error,
    zipfile.BadZipFile, zlib.error,
)  # fmt: skip


def step_digests(spikes: NDArray[Any]) -> NDArray[np.uint8]:
    """SHA-256 of each step's spikes as little-endian uint16.

    Args:
        spikes: ``[sample, time, neuron...]``.

    Returns:
        uint8 ``[sample, time, 32]``.
    """
    words = spikes.astype("<u2")
    digests = [[hashlib.sha256(step.tobytes()).digest() for step in sample] for sample in words]
    return np.frombuffer(b"".join(d for sample in digests for d in sample), np.uint8).reshape(*spikes.shape[:2], 32)


def golden_arrays(program: Program, x: NDArray[Any], trace: Trace, hashed: bool = False) -> Arrays:
    """The arrays of a golden file for the samples ``x``; ``hashed`` keeps digests of the inner layers' spikes."""
    arrays: Arrays = {"input": x, "counts": trace.counts}
    for index, layer in enumerate(program.layers):
        if hashed:
            arrays[f"digests_{index}"] = step_digests(trace.spikes[layer.name])
            if layer.name == program.output:
                arrays["output_spikes"] = trace.spikes[layer.name]
            continue
        state = trace.states[layer.name]
        arrays[f"spikes_{index}"] = trace.spikes[layer.name]
        arrays[f"v_{index}"] = state.v.astype(np.int32)
        if state.i is not None:
            arrays[f"i_{index}"] = state.i.astype(np.int32)
    return arrays


def replay(program: Program, data: bytes) -> tuple[list[str], int, int]:
    """Run a golden file's inputs and compare.

    Returns:
        problems in words (none: all equal), samples, and spikes (neuron-steps) compared.

    Raises:
        ProgramError: the file is not a golden file of this program.
    """
    held = _load(data)
    if "input" not in held or "counts" not in held:
        raise ProgramError("golden.npz holds no input or no counts")
    x = held["input"]
    trace = run(program, x)
    hashed = "output_spikes" in held
    expected = golden_arrays(program, x, trace, hashed)
    if set(held) != set(expected):
        raise ProgramError(f"golden.npz: expected arrays {sorted(expected)}, found {sorted(held)}")
    names = [layer.name for layer in program.layers]
    problems = []
    for key in sorted(expected):
        if key != "input":
            problem = _difference(key, names, expected[key], held[key])
            problems += [problem] if problem else []
    return problems, len(x), sum(int(spikes.size) for spikes in trace.spikes.values())


def _load(data: bytes) -> Arrays:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as members:
            if sum(member.file_size for member in members.infolist()) > LARGEST_GOLDEN:
                raise ProgramError(f"golden.npz: expected at most {LARGEST_GOLDEN} bytes when inflated")
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            return {name: file[name] for name in file.files}
    except UNREADABLE as error:
        raise ProgramError(f"golden.npz cannot be read: {error}") from error


def _difference(key: str, names: list[str], found: NDArray[Any], expected: NDArray[Any]) -> str | None:
    """Where a replayed array parts from the recorded one, in words."""
    what, _, index = key.rpartition("_")
    label = f"{what} of layer {names[int(index)]!r}" if index.isdigit() else key
    if found.shape != expected.shape:
        return f"golden.npz: {label}: expected shape {found.shape}, found {expected.shape}"
    different = np.argwhere(found != expected)
    if not different.size:
        return None
    where = tuple(int(n) for n in different[0])
    axes = "sample, time, neuron" if what in ("spikes", "digests", "output") else "sample, neuron"
    return (
        f"golden.npz: {label} differs in {len(different)} places, first at [{axes}] {list(where)}: "
        f"recorded {expected[where]}, replayed {found[where]}"
    )

"""Golden vectors: inputs with every layer's spikes and final states, to be replayed (docs/program.md)."""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
import zlib
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtime.errors import ProgramError
from runtime.program import Program
from runtime.runner import Trace, run

Arrays = dict[str, NDArray[Any]]
LARGEST_FOUND = 1 << 26  # bytes of a file; ours are 1 MiB, more only where one step alone is larger
LARGEST_GOLDEN = 1 << 30  # bytes inflated: 1 MiB of spikes compresses some 100:1
MOST_STEPS = 1 << 16  # of a sample
MOST_VALUES = 1 << 28  # of the widest layer over a sample's steps: the runner holds 2 GiB of them
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


def longest_sample(program: Program) -> int:
    """Steps that a golden sample may have, so that replaying a file of a few bytes stays a matter of seconds."""
    widest = max(prod(shape) for shape in (program.input.shape, *(layer.shape for layer in program.layers)))
    return max(1, min(MOST_STEPS, MOST_VALUES // widest))


def replay(program: Program, data: bytes) -> tuple[list[str], int, int]:
    """Run a golden file's inputs and compare.

    Returns:
        problems in words (none: all equal), samples, and spikes (neuron-steps) compared.

    Raises:
        ProgramError: the file is not a golden file of this program.
    """
    held = _load(data)
    _check_arrays(program, held)
    x = held["input"]
    trace = run(program, x)
    expected = golden_arrays(program, x, trace, "output_spikes" in held)
    names = [layer.name for layer in program.layers]
    problems = []
    for key in sorted(expected):
        if key != "input":
            problem = _difference(key, names, expected[key], held[key])
            problems += [problem] if problem else []
    return problems, len(x), sum(int(spikes.size) for spikes in trace.spikes.values())


def _check_arrays(program: Program, held: Arrays) -> None:
    """Refuse, before anything runs, arrays that are none of this program's: their names, types and shapes."""
    if "input" not in held or "counts" not in held:
        raise ProgramError("golden.npz holds no input or no counts")
    most, shape = longest_sample(program), held["input"].shape
    if len(shape) < 2 or shape[2:] != program.input.shape or not shape[0] or not 1 <= shape[1] <= most:
        wanted = f"[sample, at most {most} steps, {program.input.shape}]"
        raise ProgramError(f"golden.npz: input: expected shape {wanted}, found {shape}")
    expected = _shapes(program, shape[0], shape[1], "output_spikes" in held)
    if set(held) - {"input"} != set(expected):
        raise ProgramError(f"golden.npz: expected arrays {sorted((*expected, 'input'))}, found {sorted(held)}")
    for name, array in held.items():
        if array.dtype.kind not in "iu":
            raise ProgramError(f"golden.npz: {name}: expected integers, found {array.dtype}")
        if name != "input" and array.shape != expected[name]:
            raise ProgramError(f"golden.npz: {name}: expected shape {expected[name]}, found {array.shape}")


def _shapes(program: Program, samples: int, steps: int, hashed: bool) -> dict[str, tuple[int, ...]]:
    """Name → shape of every array but the input's."""
    shapes: dict[str, tuple[int, ...]] = {"counts": (samples, prod(program.layer(program.output).shape))}
    if hashed:
        shapes["output_spikes"] = (samples, steps, *program.layer(program.output).shape)
    for index, layer in enumerate(program.layers):
        if hashed:
            shapes[f"digests_{index}"] = (samples, steps, 32)
            continue
        shapes[f"spikes_{index}"] = (samples, steps, *layer.shape)
        shapes[f"v_{index}"] = (samples, *layer.shape)
        if layer.leak_i is not None:
            shapes[f"i_{index}"] = (samples, *layer.shape)
    return shapes


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
    different = np.argwhere(found != expected)
    if not different.size:
        return None
    where = tuple(int(n) for n in different[0])
    axes = "sample, time, neuron" if what in ("spikes", "digests", "output") else "sample, neuron"
    return (
        f"golden.npz: {label} differs in {len(different)} places, first at [{axes}] {list(where)}: "
        f"recorded {expected[where]}, replayed {found[where]}"
    )

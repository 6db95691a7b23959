"""The self-test of the C99 export: a golden sample, and a checksum of every spike and state after every step."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from engine.exports.c99_text import Constants, flat
from engine.program.manifest import build_manifest
from engine.program.pack import payload
from engine.program.program import IntArray, IntegerProgram
from runtime.reader import parse_program
from runtime.runner import run

FNV_START, FNV_PRIME = 2166136261, 16777619  # Fowler-Noll-Vo 1a, 32 bits


@dataclass(frozen=True)
class GoldenSample:
    """Input ``[time, *input_shape]``, the readout ``[output]`` and one checksum per step."""

    x: IntArray
    counts: IntArray
    checksums: tuple[int, ...]


def golden_sample(program: IntegerProgram, x: IntArray) -> GoldenSample:
    """Run one sample ``[time, *input_shape]`` in the reference runner.

    A step's checksum is FNV-1a over every layer's spikes, membrane and current, each as four little-endian bytes.
    """
    trace = run(parse_program(build_manifest(program, {}), payload(program)), x[None], history=True)
    sums = []
    for t in range(len(x)):
        words: list[IntArray] = []
        for layer in program.layers:
            state = trace.history[layer.name][t]
            words += [part.reshape(-1) for part in (state.n, state.v, state.i) if part is not None]
        sums.append(_fnv(np.concatenate(words).astype("<i4").tobytes()))
    return GoldenSample(np.asarray(x, dtype=np.int64), trace.counts[0], tuple(sums))


def golden_text(program: IntegerProgram, golden: GoldenSample | None) -> list[str]:
    """The part of the source behind ``SPIKEBIT_SELF_TEST``; nothing without a sample."""
    if golden is None:
        return []
    constants = Constants()
    constants.array("golden_x", flat(golden.x), "spikebit_input")
    constants.array("golden_sums", golden.checksums, "uint32_t")
    constants.array("golden_counts", flat(golden.counts), "int64_t")
    words = []
    for k, layer in enumerate(program.layers):
        parts = [f"n{k}", f"v{k}", *([f"i{k}"] if layer.leak_i is not None else [])]
        words += [f"    for (j = 0; j < {layer.size}; ++j) sum = add(sum, (uint32_t)s->{part}[j]);" for part in parts]
    return [
        "#ifdef SPIKEBIT_SELF_TEST",
        *constants.lines,
        "",
        "static uint32_t add(uint32_t sum, uint32_t word)",
        "{",
        "    int b;",
        f"    for (b = 0; b < 32; b += 8) sum = (sum ^ (word >> b & 255u)) * {FNV_PRIME}u;",
        "    return sum;",
        "}",
        "",
        "static uint32_t checksum(const spikebit_state *s)",
        "{",
        f"    uint32_t sum = {FNV_START}u;",
        "    int32_t j;",
        *words,
        "    return sum;",
        "}",
        "",
        "int spikebit_self_test(void)",
        "{",
        "    static spikebit_state s;",
        "    int32_t t, j;",
        "    spikebit_start(&s);",
        f"    for (t = 0; t < {len(golden.x)}; ++t) {{",
        "        spikebit_step(&s, golden_x + t * SPIKEBIT_INPUTS);",
        "        if (checksum(&s) != golden_sums[t]) return (int)(1 + t);",
        "    }",
        f"    for (j = 0; j < SPIKEBIT_OUTPUTS; ++j) if (s.readout[j] != golden_counts[j]) return {len(golden.x) + 1};",
        "    return 0;",
        "}",
        "#endif",
    ]


def _fnv(data: bytes) -> int:
    value = FNV_START
    for byte in data:
        value = (value ^ byte) * FNV_PRIME % (1 << 32)
    return value

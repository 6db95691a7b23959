"""From which density on a matrix product is quicker than events: measured for a linear map and a convolution.

One thread, process CPU time, best of ``ROUNDS``. Both ways run the same layer of the native runner, so that what they
share cancels; the answer is the share of the product's multiply-adds that events add where both take equally long,
interpolated between densities (:mod:`engine.program.density` holds the answers).
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.frame import Absent, Finding, Measured, Row
from engine.kernels.event import event_library
from engine.program import dense_sums
from engine.program.event_tables import PreparedEvents, prepare_events
from engine.program.events import extract_events, run_prepared
from engine.program.program import INPUT, Connection, InputFormat, IntegerProgram, Layer

LEVELS = {"AVX512": "avx512", "AVX2": "avx2", "DEFAULT": "portable"}
DENSITIES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
ROUNDS = 5
SAMPLES, STEPS = 32, 20
FORMS = ("linear", "convolution")
NUMBERS = ("bytes", "float32")


def _name(form: str, numbers: str, level: str) -> str:
    return f"crossover_{form}_{numbers}_{LEVELS[level]}"


CROSSOVER_ROWS = tuple(
    Row(_name(form, numbers, level), "share", "higher") for level in LEVELS for form in FORMS for numbers in NUMBERS
)


def crossovers() -> Iterator[Finding]:
    """Every row; 1 where events stay quicker at every density."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for level in LEVELS:
            for form in FORMS:
                for numbers in NUMBERS:
                    yield _crossover(form, numbers, level)
    finally:
        torch.set_num_threads(threads)


def _crossover(form: str, numbers: str, level: str) -> Finding:
    name = _name(form, numbers, level)
    if event_library(level)[0] is None:
        return Absent(name, event_library(level)[1])
    if numbers == "bytes" and not dense_sums.bytes_are_fast():
        return Absent(name, "this processor has no instructions for products of bytes")
    program = _program(form)
    with patch.object(dense_sums, "bytes_are_fast", lambda: numbers == "bytes"):
        ways = [prepare_events(program, level, way) for way in ("never", "always")]
    connection = program.connections[0]
    taps, weights = ways[0].taps[connection.name], ways[1].dense[connection.name]
    shares, gains = [], []
    draw = np.random.default_rng(0)
    for density in DENSITIES:
        x = (draw.random((SAMPLES, STEPS, *program.input.shape)) < density).astype(np.uint8)
        events, _ = extract_events(ways[0], x)
        additions = events.count * taps.width * len(taps.target) / np.prod(program.input.shape)
        shares.append(additions / (weights.products * SAMPLES * STEPS))
        by_events, by_product = (_best_s(prepared, x) for prepared in ways)
        gains.append(np.log(by_events / by_product))
    detail = {"share": shares, "events_over_product": [float(np.exp(gain)) for gain in gains]}
    above = [k for k, gain in enumerate(gains) if gain > 0]
    if not above:
        return Measured(name, 1.0, detail=detail)
    k = above[0]
    found = shares[0] if k == 0 else float(np.interp(0, gains[k - 1 : k + 1], shares[k - 1 : k + 1]))
    return Measured(name, found, detail=detail)


def _best_s(prepared: PreparedEvents, x: NDArray[np.uint8]) -> float:
    events, _ = extract_events(prepared, x)
    times = []
    for _ in range(ROUNDS):
        began = time.process_time()
        run_prepared(prepared, events)
        times.append(time.process_time() - began)
    return min(times)


def _program(form: str) -> IntegerProgram:
    draw = np.random.default_rng(1)
    inside: tuple[int, ...]
    shape: tuple[int, ...]
    if form == "linear":
        inside, shape = (512,), (256,)
        weight = draw.integers(-127, 128, (256, 512))
        link = Connection("w", INPUT, "n", "linear", inside, shape, 8, weight)
    else:
        inside, shape = (16, 16, 16), (32, 14, 14)
        weight = draw.integers(-127, 128, (32, 16, 3, 3))
        link = Connection("w", INPUT, "n", "conv2d", inside, shape, 8, weight)
    level = np.full(shape, 1 << 20)
    layer = Layer("n", "if", shape, 24, 0, np.ones(1, np.float32), fire_at=level, reset="subtract", reset_sub=level)
    return IntegerProgram(InputFormat(inside), (layer,), (link,), "n")

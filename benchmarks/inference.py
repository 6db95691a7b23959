"""``make bench NAME=inference``: integer programs against snnTorch's float network on workloads A and B.

One process CPU thread each, contestants asked in turn; the same weights, 8 bits in the programs. Rows with AVX-512 and
with the portable level of the same source; with events given, and with events extracted from dense float frames. That
event kernel and dense path agree in every output is checked in the same run. :mod:`benchmarks.crossover` measures
from which density on products are quicker than events.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.contestants.ours import train_briefly
from benchmarks.crossover import CROSSOVER_ROWS, crossovers
from benchmarks.frame import Absent, Finding, Measured, Row
from benchmarks.peers import FRAMEWORKS, Peer, Timing, interleave, interpreter, ratio
from benchmarks.workloads import WORKLOADS
from engine.kernels.event import event_library

ROUNDS = 9
REPEAT = {"A": 2, "B": 2}
# (floor, stretch) of "times faster than snnTorch" by level, way and workload: what this benchmark has to reach
BOUNDS: dict[tuple[str, str, str], tuple[float | None, float | None]] = {
    ("AVX512", "given", "A"): (3.5, 8.0),
    ("AVX512", "given", "B"): (8.0, 20.0),
    ("AVX512", "extracted", "A"): (3.0, 6.0),
    ("AVX512", "extracted", "B"): (6.0, 12.0),
    ("DEFAULT", "given", "A"): (1.8, None),
    ("DEFAULT", "given", "B"): (1.6, None),
}


def _name(level: str, way: str, workload: str) -> str:
    return f"{workload}_events_{way}_{'avx512' if level == 'AVX512' else 'portable'}"


ROWS = (
    *(Row(_name(*key), "x", "higher", *bounds) for key, bounds in BOUNDS.items()),
    *(Row(f"{name}_dense", "x", "higher") for name in WORKLOADS),
    *(Row(f"{name}_snntorch_cpu", "ms", "lower") for name in WORKLOADS),
    *(Row(f"{name}_input_density", "share", "lower") for name in WORKLOADS),
    *(Row(f"{name}_differing_outputs", "outputs", "lower", must=0) for name in WORKLOADS),
    *(Row(f"{name}_two_threads", "x", "higher") for name in WORKLOADS),
    *CROSSOVER_ROWS,
)


def run() -> Iterator[Finding]:
    """Every row of both workloads."""
    python = interpreter(FRAMEWORKS)
    for name in WORKLOADS:
        if python is None:
            yield Absent(f"{name}_snntorch_cpu", "make frameworks was not run")
            continue
        with tempfile.TemporaryDirectory() as folder:
            weights = Path(folder) / "weights.npz"
            train_briefly(WORKLOADS[name], weights)
            yield from _workload(name, str(weights), python)
    yield from crossovers()


def _workload(name: str, weights: str, python: Path) -> Iterator[Finding]:
    ways = [(level, way) for level, way, workload in BOUNDS if workload == name]
    with ExitStack() as stack:
        theirs = stack.enter_context(
            Peer("snntorch", "benchmarks.contestants.snntorch_net", name, weights, python=python)
        )
        ours = {}
        for level, way in ways:
            if event_library(level)[0] is None:
                yield Absent(_name(level, way, name), event_library(level)[1])
                continue
            row = _name(level, way, name)
            ours[row] = stack.enter_context(_ours(row, name, weights, "--way", way, "--level", level))
        ours[f"{name}_dense"] = stack.enter_context(_ours(f"{name}_dense", name, weights, "--way", "dense"))
        answers = interleave([theirs, *ours.values()], "evaluate", rounds=ROUNDS, repeat=REPEAT[name])
        for row in ours:
            value, spread = ratio(answers["snntorch"], answers[row])
            milliseconds = 1e3 * Timing.of(answers[row]).median_s / REPEAT[name]
            yield Measured(row, value, spread, {"median_cpu_ms": milliseconds})
        timing = Timing.of(answers["snntorch"])
        yield Measured(f"{name}_snntorch_cpu", 1e3 * timing.median_s / REPEAT[name])
        found = {row: peer.ask("values") for row, peer in ours.items()}
        dense = found[f"{name}_dense"]["counts"]
        differing = sum(
            a != b
            for one in found.values()
            for x, y in zip(one["counts"], dense, strict=True)
            for a, b in zip(x, y, strict=True)
        )
        yield Measured(
            f"{name}_differing_outputs", differing, detail={"compared": len(found) * len(dense) * len(dense[0])}
        )
        workload = WORKLOADS[name]
        values = workload.steps * workload.batch
        for size in workload.input_shape:
            values *= size
        first = next(iter(found.values()))
        yield Measured(f"{name}_input_density", first["events"] / values, detail={"spikes": first["spikes"]})
        yield from _two_threads(name, weights, theirs, stack)


def _two_threads(name: str, weights: str, theirs: Peer, stack: ExitStack) -> Iterator[Finding]:
    """Wall clock of the event kernel on two threads against snnTorch on one; reported, contended."""
    both = stack.enter_context(_ours("two", name, weights, "--threads", "2"))
    answers = interleave([theirs, both], "evaluate", rounds=ROUNDS, repeat=REPEAT[name])
    wall = {who: sorted(float(a["wall_s"]) for a in answers[who])[ROUNDS // 2] for who in ("snntorch", "two")}
    yield Measured(f"{name}_two_threads", wall["snntorch"] / wall["two"], detail={"basis": "wall clock, snnTorch on 1"})


def _ours(row: str, name: str, weights: str, *options: str) -> Peer:
    return Peer(row, "benchmarks.contestants.program", name, weights, *options)

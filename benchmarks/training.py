"""``make bench NAME=training``: one training step beside snnTorch and SpikingJelly, and what it keeps in memory.

A step is forward, loss, backward and Adam; one thread, process CPU time, workloads A and B
(:mod:`benchmarks.workloads`) with the same weights everywhere. The quantized step is that of fine-tuning at 4 bits:
rounded weights, learned scales and thresholds, integer states.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator

from benchmarks.frame import Absent, Finding, Measured, Row
from benchmarks.peers import ROOT
from benchmarks.race import NO_PEERS, Race, compared, race

ROWS = (
    Row("step.A.snntorch", "x", "higher", 1.7, 2.5),
    Row("step.A.spikingjelly", "x", "higher", 1.3, 2.0),
    Row("step.B.snntorch", "x", "higher", 4.0, 6.0),
    Row("step.B.spikingjelly", "x", "higher", 2.5, 4.0),
    Row("step.A.quantized", "x", "lower", 1.35, 1.15),
    Row("step.B.quantized", "x", "lower", 1.35, 1.15),
    Row("saved.A.spikingjelly", "x", "lower", 1.0, 0.5),
    Row("saved.B.spikingjelly", "x", "lower", 1.0, 0.5),
    Row("large.peak", "GiB", "lower", 8.0),
)


def run() -> Iterator[Finding]:
    """Both workloads, then the large network."""
    for name in ("A", "B"):
        with race(name, quantized=True) as contest:
            values, ratios = contest.values(), contest.ratios("step")
            rows = {peer: f"step.{name}.{peer}" for peer in ("snntorch", "spikingjelly", "quantized")}
            yield from compared(rows, ratios, values)
            yield _saved(name, contest)
    yield _large()


def _saved(name: str, contest: Race) -> Finding:
    row = f"saved.{name}.spikingjelly"
    if "spikingjelly" not in contest.peers:
        return Absent(row, NO_PEERS)
    found = {peer: contest.peers[peer].ask("saved")["bytes"] for peer in contest.peers}
    return Measured(row, found["ours"] / found["spikingjelly"], None, {"bytes": found})


def _large() -> Finding:
    """Peak memory of one training step over 1,000 steps through 10 million parameters, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.contestants.large"], cwd=ROOT, capture_output=True, text=True, timeout=600
    )
    if done.returncode != 0:
        return Absent("large.peak", f"the step failed: {done.stderr.strip()[-300:]}")
    return Measured("large.peak", float(done.stdout.split()[-1]) / 2**30)

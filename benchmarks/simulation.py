"""``make bench NAME=simulation``: float evaluation beside snnTorch and SpikingJelly.

One thread, process CPU time, workloads A and B (:mod:`benchmarks.workloads`) with the inputs as they are and the same
weights everywhere; values are compared with snnTorch's in the same run. Other rows of this benchmark are parts of their
own: a module with ``ROWS`` and ``run()``, named in ``PARTS``.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator

from benchmarks.frame import Finding, Row
from benchmarks.race import compared, race

_SPEED = (
    Row("evaluate.A.snntorch", "x", "higher", 1.3, 2.6),
    Row("evaluate.A.spikingjelly", "x", "higher", 1.1, 2.2),
    Row("evaluate.B.snntorch", "x", "higher", 1.5, 3.0),
    Row("evaluate.B.spikingjelly", "x", "higher", 1.2, 2.4),
)
PARTS = ("benchmarks.simulation_fixtures", "benchmarks.bad_files")  # modules with more rows
_MODULES = tuple(importlib.import_module(name) for name in PARTS)
ROWS: tuple[Row, ...] = (*_SPEED, *(row for module in _MODULES for row in module.ROWS))


def run() -> Iterator[Finding]:
    """Speed first, then the parts in their order."""
    for name in ("A", "B"):
        with race(name) as contest:
            rows = {peer: f"evaluate.{name}.{peer}" for peer in ("snntorch", "spikingjelly")}
            values = contest.values()
            yield from compared(rows, contest.ratios("evaluate"), values)
    for module in _MODULES:
        yield from module.run()

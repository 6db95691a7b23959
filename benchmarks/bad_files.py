"""``make bench NAME=badfiles``: every bad file of the test corpus in the real intake child, one process a file.

Wall time is from the start of the process to its end; the slowest files are run twice more and their best counts, since
other work of the machine is not the file's. Peak memory is above that of an interpreter that does nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.frame import Finding, Measured, Row

ROOT = Path(__file__).resolve().parent.parent
CHILD = ("-m", "worker.intake_child")
AGAIN = 12  # files that are run twice more
ROWS = (
    Row("bad_files.refused", "", "higher", 1.0),
    Row("bad_files.child_wall", "s", "lower", 1.0),
    Row("bad_files.child_cpu", "s", "lower"),
    Row("bad_files.child_peak_above_idle", "MiB", "lower", 200.0),
)
# A child's peak starts at the resident size of whoever forked it: a small process stands between it and this one.
_MEASURE = (
    "import json, os, subprocess, sys, time\n"
    "began = time.perf_counter()\n"
    "process = subprocess.Popen(sys.argv[1:], stderr=subprocess.DEVNULL)\n"
    "_, status, usage = os.wait4(process.pid, 0)\n"
    "wall = time.perf_counter() - began\n"
    "print(json.dumps([wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024]), file=sys.stderr)\n"
)


def run() -> Iterator[Finding]:
    """All rows, in their order."""
    from tests.hostile.every import BadFile, bad_files

    found: dict[str, list[float]] = {}
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "upload"
        idle = min(_process(("-c", "pass"), "", folder)[3] for _ in range(3))

        def measure(bad: BadFile) -> list[float]:
            path.unlink(missing_ok=True)
            bad.build(path)
            answer, *figures = _process(
                CHILD, json.dumps({**bad.asked, "path": str(path), "out": f"{path}.out"}), folder
            )
            if answer.get("code") not in bad.codes:
                wrong.append(bad.name)
            return [figures[0], figures[1], (figures[2] - idle) / 2**20]

        files = {bad.name: bad for bad in bad_files()}
        found = {name: measure(bad) for name, bad in files.items()}
        for name in sorted(found, key=lambda one: -found[one][0])[:AGAIN] * 2:
            found[name] = min(found[name], measure(files[name]))
    detail = {"files": len(found), "idle_bytes": idle, "not refused as expected": wrong}
    yield Measured("bad_files.refused", 1 - len(wrong) / len(found), None, detail)
    for at, row in enumerate(("bad_files.child_wall", "bad_files.child_cpu", "bad_files.child_peak_above_idle")):
        ranked = sorted((figures[at], name) for name, figures in found.items())
        worst = {name: round(value, 3) for value, name in ranked[:-6:-1]}
        details = {"worst": worst, "median": ranked[len(ranked) // 2][0]}
        yield Measured(row, ranked[-1][0], (ranked[0][0], ranked[-1][0]), details)


def _process(arguments: tuple[str, ...], line: str, scratch: str) -> tuple[dict[str, Any], float, float, int]:
    """What it answers, wall and processor seconds, peak bytes; temporary files go to ``scratch``, as in the worker."""
    command = [sys.executable, "-S", "-c", _MEASURE, sys.executable, *arguments]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=ROOT, env={**os.environ, "TMPDIR": scratch}, **pipes) as process:  # type: ignore[call-overload]
        process.stdin.write(line.encode() + b"\n")
        process.stdin.flush()  # and left open: the child ends with its parent
        answer = process.stdout.read()
        wall, cpu, peak = json.loads(process.stderr.read())
    return (json.loads(answer) if answer.strip() else {"code": "unreadable"}), wall, cpu, peak

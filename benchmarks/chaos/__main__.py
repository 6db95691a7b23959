"""``make chaos``: run or resume slices of kills and faults, then judge the history that this code has so far.

``SLICE_S`` bounds one call (1,200 s); ``EVERY_S`` is the mean pause between faults on a stack in a storm. Histories lie
in ``out/chaos/CODE``, where CODE is a digest of the code that runs, so that a commit of pages or of other benchmarks
voids nothing. A call ends with the ``RESULT`` line of ``make bench``, whose rows are met only once this code has seen
1,000 kills over 300 jobs.
"""

from __future__ import annotations

import argparse
import os
import signal
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from benchmarks import frame
from benchmarks.chaos.checker import RULES, Verdict, judge
from benchmarks.chaos.commit import code_key
from benchmarks.chaos.history import History, read_history
from benchmarks.chaos.run import SETTINGS, Slice, run_slice
from benchmarks.environment import ROOT, describe
from benchmarks.frame import Finding, Measured, Row

KILLS, JOBS = 1000, 300
ROWS = (
    Row("SIGKILLs of API, worker, child and Redis", "", "higher", must=KILLS),
    Row("acknowledged jobs", "", "higher", must=JOBS),
    Row("acknowledged jobs lost", "", "lower", must=0),
    Row("failed as worker_lost", "", "lower", must=0),
    Row("failed otherwise", "", "lower", must=0),
    Row("published twice", "", "lower", must=0),
    Row("terminal states changed", "", "lower", must=0),
    Row("gaps in event ids", "", "lower", must=0),
    Row("orphan blobs", "", "lower", must=0),
    Row("jobs made twice for one key", "", "lower", must=0),
    Row("valid requests refused", "", "lower", must=0),
)


def main(arguments: list[str] | None = None) -> int:
    """Run one slice unless the code has enough, judge, write, print; returns the exit status."""
    parser = argparse.ArgumentParser(prog="benchmarks.chaos", description=__doc__.partition("\n")[0])
    parser.add_argument("--judge", action="store_true", help="run nothing, judge what there is")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # an orderly end: nothing that was started is left behind
    environment = describe() | {"code": code_key("benchmarks/chaos")}
    folder = ROOT / "out" / "chaos" / environment["code"]
    before = judge_folder(folder)
    if not options.judge and (before.kills < KILLS or before.jobs < JOBS):
        _one_more(folder, before, environment)
    verdict = judge_folder(folder)
    for line in verdict.found:
        print(line, file=sys.stderr)
    rows = frame.collect(ROWS, findings(verdict))
    if verdict.kills < KILLS or verdict.jobs < JOBS:
        rows = {name: row | {"ok": False, "reason": "too few kills or jobs so far"} for name, row in rows.items()}
    path = frame.write_result(frame.RESULTS, "chaos", rows, environment)
    print(f"written: {path.relative_to(ROOT)}", file=sys.stderr)
    print(frame.format_table(rows))
    print(frame.result_line(rows))
    return frame.exit_status(rows)


def judge_folder(folder: Path) -> Verdict:
    """All complete slices of one code as one verdict."""
    verdict = Verdict()
    for path in sorted(folder.glob("*.jsonl")):
        one = judge(read_history(path))
        if one is not None:
            verdict.add(one)
    return verdict


def findings(verdict: Verdict) -> Iterator[Finding]:
    """The verdict as rows; a count of violations is worth nothing before there were enough kills."""
    detail = {
        "faults": dict(verdict.faults),
        "attempts": verdict.attempts,
        "ended": dict(verdict.ended),
        "parts that ended by themselves": dict(verdict.died),
    }
    yield Measured(ROWS[0].name, verdict.kills, detail=detail)
    yield Measured(ROWS[1].name, verdict.jobs)
    for row, rule in zip(ROWS[2:], RULES, strict=True):
        found = [line for line in verdict.found if line.startswith(f"{rule}:")]
        yield Measured(row.name, verdict.violations[rule], detail={"found": found[:20]} if found else None)


def _one_more(folder: Path, before: Verdict, environment: Mapping[str, Any]) -> None:
    number = len(list(folder.glob("*.jsonl")))
    slice_ = Slice(
        seconds=float(os.environ.get("SLICE_S") or 1200),
        kills=max(1, KILLS - before.kills),
        jobs=max(0, JOBS - before.jobs),
        every_s=float(os.environ.get("EVERY_S") or 0.45),
        seed=number,
    )
    print(f"slice {number}: {before.kills} kills and {before.jobs} jobs so far", file=sys.stderr)
    history = History(folder / f"slice-{number:03d}.jsonl")
    try:
        history.write("begin", environment=environment, settings=SETTINGS, seed=number)
        run_slice(slice_, history)
    finally:
        history.close()


if __name__ == "__main__":
    raise SystemExit(main())

"""``make bench NAME=service``: recovery, volume, load and partition of the service, resumable by rows.

What was measured with this code lies in ``out/service/CODE`` (a digest of it) and is not measured again; remove it to
start over.
"""

from __future__ import annotations

import importlib
import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.chaos.commit import code_key
from benchmarks.environment import ROOT
from benchmarks.frame import Absent, Finding, Measured, Row

RECOVERED = "20 workers killed at default leases: kill to running again, longest"
REPEATED = "epochs repeated after a kill, most"
DIGESTS = "results that differ from the undisturbed run"
ONE_KEY = "50 submits at once with one key: jobs made"
ONE_KEY_S = "the last of the 50 answers after"
SUBMIT_SQLITE = "submit p99 with 100,000 queued rows, SQLite"
SUBMIT_POSTGRES = "submit p99 with 100,000 queued rows, PostgreSQL"
RINGS_SQLITE = "rings in Redis beyond idle workers meanwhile, SQLite"
RINGS_POSTGRES = "rings in Redis beyond idle workers meanwhile, PostgreSQL"
LIST_SQLITE = "list page p99 with 1,000,000 jobs, SQLite"
LIST_POSTGRES = "list page p99 with 1,000,000 jobs, PostgreSQL"
RATE_SQLITE = "submits per second, one API process, SQLite"
RATE_POSTGRES = "submits per second, one API process, PostgreSQL"
WATCHERS = "idle event watchers of one API process, all told of the end"
NOOP_1, NOOP_2, NOOP_4 = (f"no-op jobs per second, {n} worker{'s' * (n > 1)}" for n in (1, 2, 4))
HOSTS = "two worker hosts, one cut off in mid-job: results published"
REFUSED = "late writes of the cut-off worker that were accepted"
WORKER_MEMORY = "growth of a worker's memory over 200 jobs"
API_MEMORY = "growth of the API's memory over 200 jobs"

ROWS = (
    Row(RECOVERED, "s", "lower", must=75),
    Row(REPEATED, "", "lower", must=1),
    Row(DIGESTS, "", "lower", must=0),
    Row(ONE_KEY, "", "lower", must=1),
    Row(ONE_KEY_S, "s", "lower", must=1),
    Row(SUBMIT_SQLITE, "ms", "lower", must=100),
    Row(SUBMIT_POSTGRES, "ms", "lower", must=100),
    Row(RINGS_SQLITE, "", "lower", must=0),
    Row(RINGS_POSTGRES, "", "lower", must=0),
    Row(LIST_SQLITE, "ms", "lower", must=100),
    Row(LIST_POSTGRES, "ms", "lower", must=100),
    Row(RATE_SQLITE, "/s", "higher", must=300),
    Row(RATE_POSTGRES, "/s", "higher", must=300),
    Row(WATCHERS, "", "higher", must=500),
    Row(NOOP_1, "/s", "higher"),
    Row(NOOP_2, "/s", "higher"),
    Row(NOOP_4, "/s", "higher"),
    Row(HOSTS, "", "lower", must=1),
    Row(REFUSED, "", "lower", must=0),
    Row(WORKER_MEMORY, "MB", "lower", must=8),
    Row(API_MEMORY, "MB", "lower", must=8),
)
CODE = ("benchmarks/chaos/run.py", "benchmarks/noop_engine.py", "benchmarks/scale", "benchmarks/submit.py")
# rows → what measures them: a module of this package and its function
GROUPS: tuple[tuple[tuple[str, ...], str], ...] = (
    ((ONE_KEY, ONE_KEY_S), "load:one_key"),
    ((RATE_SQLITE,), "load:rate_sqlite"),
    ((RATE_POSTGRES,), "load:rate_postgres"),
    ((WATCHERS,), "watchers:watchers"),
    ((NOOP_1, NOOP_2, NOOP_4), "throughput:throughput"),
    ((WORKER_MEMORY, API_MEMORY), "throughput:memory"),
    ((SUBMIT_SQLITE, RINGS_SQLITE, LIST_SQLITE), "volume:sqlite"),
    ((SUBMIT_POSTGRES, RINGS_POSTGRES, LIST_POSTGRES), "volume:postgres"),
    ((HOSTS, REFUSED), "hosts:hosts"),
    ((RECOVERED, REPEATED, DIGESTS), "recovery:recovery"),
)


def run() -> Iterator[Finding]:
    """All rows; a group that fails becomes absent rows with its reason, and the next group runs."""
    folder = ROOT / "out" / "service" / code_key(*CODE)
    folder.mkdir(parents=True, exist_ok=True)
    for names, place in GROUPS:
        path = folder / f"{place.replace(':', '-')}.json"
        if not path.exists():
            began = time.monotonic()
            try:
                found = _function(place)()
            except Exception as error:  # the reason stands in the row
                yield from (Absent(name, f"{type(error).__name__}: {error}") for name in names)
                print(f"{place}: {error}", file=sys.stderr, flush=True)
                continue
            path.write_text(json.dumps([asdict(one) for one in found]))
            print(f"{place}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
        yield from _measured(path)


def _function(place: str) -> Callable[[], list[Measured]]:
    module, _, function = place.partition(":")
    measure: Callable[[], list[Measured]] = getattr(importlib.import_module(f"{__name__}.{module}"), function)
    return measure


def _measured(path: Path) -> list[Measured]:
    rows: list[dict[str, Any]] = json.loads(path.read_text())
    return [Measured(r["name"], r["value"], r["spread"] and tuple(r["spread"]), r["detail"]) for r in rows]

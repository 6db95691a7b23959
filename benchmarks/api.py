"""``make bench NAME=api``: submit latency, upload speed and memory, time to a computing child."""

from __future__ import annotations

import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

from benchmarks.frame import Absent, Finding, Measured, Row
from benchmarks.service import running_service
from benchmarks.start import REWARM_S, start_times
from benchmarks.submit import held_worker, start_finetune, submit_rounds, summarise, upload_digits
from benchmarks.upload import upload_rounds

MIB = 1 << 20
SUBMIT_IDLE = "submit to 202, worker idle, 20 requests/s, p99"
SUBMIT_BUSY = "submit to 202, fine-tune running, 20 requests/s, p99"
UPLOAD = "1 GiB upload, share of a bare ASGI app's speed"
UPLOAD_FSYNC = "1 GiB upload with fsync on both sides, share of a bare ASGI app's speed"
MEMORY = "growth of the API's memory during 1 GiB uploads"
COLD = "submit to child computing, idle worker, no warm child"
WARM = "submit to child computing, idle worker, warm child"

ROWS = (
    Row(SUBMIT_IDLE, "ms", "lower", must=50, stretch=15),
    Row(SUBMIT_BUSY, "ms", "lower"),
    Row(UPLOAD, "", "higher", must=0.60, stretch=0.90),
    Row(UPLOAD_FSYNC, "", "higher"),
    Row(MEMORY, "MB", "lower", must=64, stretch=16),
    Row(COLD, "s", "lower", must=3.0, stretch=2.0),
    Row(WARM, "s", "lower", must=0.3, stretch=0.1),
)


def run() -> Iterator[Finding]:
    """All rows; a group that fails becomes absent rows with its reason, and the next group runs."""
    groups: tuple[tuple[tuple[str, ...], Callable[[], list[Finding]]], ...] = (
        ((SUBMIT_IDLE,), _submit_idle),
        ((SUBMIT_BUSY,), _submit_busy),
        ((UPLOAD, MEMORY), partial(_upload, fsync=False)),
        ((UPLOAD_FSYNC,), partial(_upload, fsync=True)),
        ((COLD,), _cold),
        ((WARM,), _warm),
    )
    for names, measure in groups:
        began = time.monotonic()
        try:
            yield from measure()
        except Exception as error:  # the reason stands in the row
            for name in names:
                yield Absent(name, f"{type(error).__name__}: {error}")
        print(f"{names[0]}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)


def _submit_idle() -> list[Finding]:
    with running_service() as service:
        ids = upload_digits(service)
        with held_worker(service):
            p99, spread, detail = summarise(submit_rounds(service, ids))
    return [Measured(SUBMIT_IDLE, p99, spread, detail | {"worker": "held idle by SIGSTOP"})]


def _submit_busy() -> list[Finding]:
    with running_service() as service:
        ids = upload_digits(service)
        start_finetune(service, ids)
        p99, spread, detail = summarise(submit_rounds(service, ids))
    return [Measured(SUBMIT_BUSY, p99, spread, detail)]


def _upload(fsync: bool) -> list[Finding]:
    with running_service({"SPIKEBIT_FSYNC": str(fsync).lower()}) as service:
        rounds = upload_rounds(service, fsync=fsync)
    detail = {
        "ratios": rounds.ratios,
        "service_bytes_per_s": rounds.service,
        "bare_bytes_per_s": rounds.bare,
        "load": os.getloadavg()[0],
    }
    spread = min(rounds.ratios), max(rounds.ratios)
    ratio = statistics.median(rounds.ratios)
    if fsync:
        return [Measured(UPLOAD_FSYNC, ratio, spread, detail)]
    growth = [grown / MIB for grown in rounds.growth_bytes]
    memory = Measured(MEMORY, max(growth), (min(growth), max(growth)), {"median": statistics.median(growth)})
    return [Measured(UPLOAD, ratio, spread, detail), memory]


def _cold() -> list[Finding]:
    with running_service({"SPIKEBIT_WARM_CHILD": "false"}) as service:
        seconds = start_times(service, upload_digits(service))
    return [Measured(COLD, statistics.median(seconds), (min(seconds), max(seconds)), {"seconds": seconds})]


def _warm() -> list[Finding]:
    with running_service() as service:
        seconds = start_times(service, upload_digits(service), pause_s=REWARM_S)
    return [Measured(WARM, statistics.median(seconds), (min(seconds), max(seconds)), {"seconds": seconds})]

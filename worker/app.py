"""Celery's side of a worker: ``celery -A worker.app worker -Q compute --pool solo``, or ``python -m worker compute``.

Celery is a doorbell. Its task sets an event in this process and is done; the work itself is a row in the database
that the looker's thread claims. So nothing depends on acknowledgements, redelivery, results or Celery's pools, and
with Redis down the worker goes on, a little slower.
"""

from __future__ import annotations

import logging
import os
import signal
from typing import Any

from celery import Celery, signals

from jobs.logs import context, set_up
from jobs.queue import RING_TASK, make_app
from jobs.trace import HEADER, trace_id
from worker.runtime import WorkerRuntime
from worker.settings import WorkerSettings

CLASS_VARIABLE = "SPIKEBIT_WORKER_CLASS"

settings = WorkerSettings()
runtime = WorkerRuntime(settings, os.environ.get(CLASS_VARIABLE) or "compute")
app: Celery = make_app(settings.redis_url)


@app.task(name=RING_TASK, ignore_result=True, bind=True)  # type: ignore[untyped-decorator]
def ring(self: Any, job_class: str, job_id: str | None = None) -> None:
    """There is work: wake the looker. The id and the trace in the message's headers are for the log alone."""
    trace = getattr(self.request, HEADER, None) or (self.request.headers or {}).get(HEADER)
    with context(job_id=job_id, trace_id=trace_id(trace)):
        logging.getLogger(__name__).debug("rung for %s", job_class)
    runtime.bell.set()


@signals.setup_logging.connect(weak=False)  # type: ignore[untyped-decorator]
def set_up_logging(**_: Any) -> None:
    """Our own format, and none of Celery's redirection of stdout."""
    set_up(settings.log_level, settings.log_format)
    logging.getLogger("celery.worker.strategy").setLevel(logging.WARNING)  # a line for each ring
    logging.getLogger("celery.app.trace").setLevel(logging.WARNING)


@signals.worker_init.connect(weak=False)  # type: ignore[untyped-decorator]
def start(**_: Any) -> None:
    """Before Celery looks for its broker: work is found without it too, and SIGTERM already ends it in order."""
    signal.signal(signal.SIGTERM, _end_early)  # Celery replaces it once it has started
    try:
        runtime.start()
    except Exception as error:
        logging.getLogger(__name__).exception("the worker cannot start")
        raise SystemExit(1) from error  # Celery only logs what else a signal's receiver raises, and would go on


def _end_early(*_: Any) -> None:
    """SIGTERM while Celery starts, when its own handler is not there yet."""
    if not runtime.working:
        raise SystemExit(0)
    runtime.begin_stop()


@signals.worker_shutting_down.connect(weak=False)  # type: ignore[untyped-decorator]
def begin_stop(**_: Any) -> None:
    """SIGTERM: the job goes back to the queue at once."""
    runtime.begin_stop()


@signals.worker_shutdown.connect(weak=False)  # type: ignore[untyped-decorator]
def join(**_: Any) -> None:
    """Celery is done; wait for the job's child to be."""
    runtime.begin_stop()
    runtime.join()

"""``python -m worker compute|cuda|intake``: one worker process, with Celery as its doorbell where there is a Redis."""

from __future__ import annotations

import argparse
import os
import signal
from types import FrameType

from engine.kernels.build import main as build_kernels
from jobs.devices import CLASSES


def main() -> None:
    """Run until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="worker", description="Claims and supervises jobs of one class.")
    parser.add_argument("job_class", choices=CLASSES)
    parser.add_argument("--device", help="the one CUDA device of this worker's children (CUDA_VISIBLE_DEVICES)")
    options = parser.parse_args()
    job_class: str = options.job_class
    os.environ["SPIKEBIT_WORKER_CLASS"] = job_class
    if options.device is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = options.device
    elif job_class == "compute":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""  # a device belongs to its own worker's jobs
    from worker import app as application  # reads the class, so it is imported now

    application.set_up_logging()
    if job_class == "compute":
        build_kernels()  # here, for the confined children cannot
    if application.settings.redis_url:
        application.app.worker_main(_celery_arguments(job_class))
    else:
        _run_without_bell()


def _celery_arguments(job_class: str) -> list[str]:
    return [
        "worker",
        f"--queues={job_class}",
        "--pool=solo",
        "--concurrency=1",
        "--without-gossip",
        "--without-mingle",
        "--without-heartbeat",
        f"--hostname={job_class}-{os.getpid()}@%h",
        "--loglevel=warning",
    ]


def _run_without_bell() -> None:
    """No Redis: look by oneself, and end on a signal."""
    from worker import app as application

    def stop(_: int, __: FrameType | None) -> None:
        application.runtime.begin_stop()

    for sig in (signal.SIGTERM, signal.SIGINT):
        signal.signal(sig, stop)
    application.runtime.start()
    application.runtime.stopping.wait()
    application.runtime.join()


if __name__ == "__main__":
    main()

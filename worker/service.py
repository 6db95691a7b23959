"""What every part of a worker shares: its settings, the records, the blobs and its name."""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass, field

from jobs.blobs import Blobs
from jobs.database import Database, open_database
from jobs.idle import IdleWorkers
from jobs.queue import Doorbell
from worker.counts import Counts
from worker.settings import WorkerSettings


@dataclass(frozen=True)
class Service:
    """Handles of one worker process; ``worker`` is unique among all workers, also after a restart."""

    settings: WorkerSettings
    database: Database
    blobs: Blobs
    doorbell: Doorbell
    worker: str
    job_class: str = "compute"
    counts: Counts = field(default_factory=Counts)


def open_service(settings: WorkerSettings, job_class: str) -> Service:
    """Connect; the schema is brought up to date where it is not."""
    database = open_database(settings.sql_url, durable=settings.fsync)
    name = f"{job_class}@{socket.gethostname().replace(':', '-')}:{os.getpid()}:{secrets.token_hex(3)}"
    bell = Doorbell(settings.redis_url, most_rings=IdleWorkers(database, settings.worker_silent_s))
    return Service(settings, database, Blobs(settings, database), bell, name, job_class)

"""Is there a worker for the device that a job asks for."""

from __future__ import annotations

from api.problems import invalid
from jobs.database import Database
from jobs.devices import class_of
from jobs.settings import Settings
from jobs.store import list_workers


def check_device(device: str, database: Database, settings: Settings) -> None:
    """Refuse a job that nobody could run; jobs for the CPU are never refused, since their workers may just start.

    Raises:
        Problem: 422 ``device_unavailable``.
    """
    if device == "cpu" or not settings.require_device:
        return
    wanted = class_of(device)
    workers = list_workers(database, settings.worker_silent_s)
    if not any(worker.job_class == wanted for worker in workers):
        found = ", ".join(sorted({worker.job_class for worker in workers})) or "none"
        detail = f"no live worker has a device {device!r}; expected a worker of class {wanted}, found: {found}"
        raise invalid("device_unavailable", detail, "/device")

"""``python -m worker.health``: does a worker of this host still report to the register; 0 yes, 1 no."""

from __future__ import annotations

import socket
import sys

from sqlalchemy.exc import SQLAlchemyError

from jobs.database import Database
from jobs.settings import Settings
from jobs.store import list_workers


def healthy(settings: Settings) -> bool:
    """Whether a worker of this host was heard of within ``worker_silent_s``; a database that is away is no."""
    host = socket.gethostname().replace(":", "-")
    database = Database(settings.sql_url)
    try:
        return any(worker.host == host for worker in list_workers(database, settings.worker_silent_s))
    except SQLAlchemyError:
        return False
    finally:
        database.close()


if __name__ == "__main__":
    sys.exit(0 if healthy(Settings()) else 1)

"""``python -m serve``: the whole service on this machine, on loopback; ``make serve`` runs it."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
from types import FrameType

from pydantic import ValidationError
from sqlalchemy.exc import SQLAlchemyError

from jobs.settings import Settings
from serve.lock import FolderInUse
from serve.supervisor import EmbeddedService, StartFailed, StopFlag

EXIT_FAILED = 1
EXIT_USAGE = 2


def main() -> int:
    """Run until SIGINT, SIGTERM or SIGHUP; returns the exit status."""
    parser = argparse.ArgumentParser(prog="serve", description="API, workers and a private Redis on this machine.")
    parser.add_argument("--port", type=int, help="SPIKEBIT_PORT; by default any free port")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S", stream=sys.stderr)
    logging.getLogger("alembic").setLevel(logging.WARNING)
    os.umask(0o077)
    stop_flag = StopFlag()

    def stop(_: int, __: FrameType | None) -> None:
        stop_flag.raised = True

    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, stop)
    try:
        EmbeddedService(_settings(options.port), stop_flag).run()
    except (FolderInUse, StartFailed, OSError, SQLAlchemyError, ValueError, RuntimeError) as error:
        if isinstance(error, ValidationError):
            print(f"a setting is wrong: {error}", file=sys.stderr)
            return EXIT_USAGE
        print(f"the service cannot start: {error}", file=sys.stderr)
        return EXIT_FAILED
    return 0


def _settings(port: int | None) -> Settings:
    """The environment's settings; a port that nobody asked for is any free one."""
    chosen = port if port is not None else int(os.environ.get("SPIKEBIT_PORT") or 0)
    return Settings(port=chosen)


if __name__ == "__main__":
    raise SystemExit(main())

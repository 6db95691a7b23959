"""The wall clock of this host, with a step that tests of failing clocks can inject.

``SPIKEBIT_CLOCK_FILE`` names a file that holds seconds to add; nobody sets it outside of such a test. PostgreSQL's own
clock decides where there is one (``jobs.database``), so this is the clock of the embedded layout alone.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

CLOCK_VARIABLE = "SPIKEBIT_CLOCK_FILE"


def utc_now() -> datetime:
    """The instant that leases and deadlines are compared with.

    Example:
        >>> utc_now().tzinfo is UTC
        True
    """
    now = datetime.now(UTC)
    path = os.environ.get(CLOCK_VARIABLE)
    return now if path is None else now + timedelta(seconds=_step(Path(path)))


def _step(path: Path) -> float:
    try:
        return float(path.read_text())
    except (OSError, ValueError):  # not written yet, or just being written
        return 0.0

"""From submit to the child computing: the client's clock before the POST, the record's at the first progress."""

from __future__ import annotations

import time
from datetime import datetime

from benchmarks.service import Service

REPEATS = 5
REWARM_S = 6.0  # a child that imports torch beside nothing else is warm well before


def start_times(service: Service, ids: dict[str, str], *, repeats: int = REPEATS, pause_s: float = 0.0) -> list[float]:
    """Seconds of every repetition; both clocks are this machine's.

    Raises:
        RuntimeError: a job did not succeed, or left no progress event.
    """
    seconds = []
    with service.connect() as client:
        for number in range(repeats):
            time.sleep(pause_s)
            before = time.time()
            job = client.submit({**ids, "recipe": "evaluate", "label": f"start {number}"})
            job = client.wait_job(job.id, deadline=time.monotonic() + 120)
            if job.status != "succeeded":
                raise RuntimeError(f"the job ended as {job.status}: {job.problem}")
            events = client.job_page(job.id, "events").json()["items"]
            computing = [event["created_at"] for event in events if event["event"] == "progress"]
            if not computing:
                raise RuntimeError("the job left no progress event")
            seconds.append(datetime.fromisoformat(computing[0]).timestamp() - before)
    return seconds

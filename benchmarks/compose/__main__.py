"""``make compose-test``: the compose file built and run with podman, one worker killed, and a clean ``down``.

Skipped with the reason where podman is missing (exit status 0); any other failure is an error. The parts of the service
are started before what they need, a job goes through the published port, the worker that holds the next one is killed
with SIGKILL, the other finishes it, and nothing is left behind.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.chaos.run import upload_digits
from benchmarks.compose.images import provide
from benchmarks.compose.podman import missing, podman
from benchmarks.compose.stack import Composed
from spikebit.client import Client
from spikebit.endpoint import Endpoint

OURS = ("api", "worker-1", "worker-2", "intake")
SERVERS = ("redis", "postgres", "s3")
EARLY_S = 8.0  # so long our parts are alone, without any server
PATIENCE_S = 420.0
EPOCHS = 150
QUICK = {"min_probes": 2, "max_probes": 2, "max_samples": 32, "measure": "off"}
LONG = {"sensitivity": QUICK, "finetune": {"epochs": EPOCHS, "batch_size": 32, "float_control": False}}


def main() -> int:
    """Run it; returns the exit status."""
    reason = missing()
    if reason is not None:
        print(f"SKIPPED {reason}")
        return 0
    begun = time.monotonic()

    def say(what: str) -> None:
        print(f"{time.monotonic() - begun:6.0f} s  {what}", flush=True)

    say(provide())
    with Composed() as composed:
        composed.build()
        say("both images built")
        composed.up(*OURS)
        time.sleep(EARLY_S)
        composed.up()
        composed.wait_ready()
        say(f"{composed.url} is ready; our parts were started first")
        check_rights(composed)
        say("non-root, read-only root, no torch in the API's image, health checks pass")
        with Client(Endpoint(composed.url, composed.key, "make compose-test")) as client:
            run_jobs(composed, client, say)
    left = composed.left()
    if left:
        raise SystemExit(f"expected nothing after down, found {left}")
    say("down: no container, volume or network is left")
    return 0


def check_rights(composed: Composed) -> None:
    """What the files promise, asked of the running containers.

    Raises:
        RuntimeError: a container is root, may write its root, or is not healthy; the API's image holds torch.
    """
    for service in (*OURS, *SERVERS):
        name = composed.name(service)
        if podman("exec", name, "id", "-u").strip() == "0":
            raise RuntimeError(f"{service} runs as root")
        probe = podman("exec", name, "sh", "-c", "touch /etc/probe 2>/dev/null && echo written || echo refused")
        if probe.strip() != "refused":
            raise RuntimeError(f"{service}: the root file system can be written")
        wait_for(lambda name=name: _healthy(name), f"{service} to be healthy")  # type: ignore[misc]
    found = podman(
        "exec", composed.name("api"), "python", "-c", "import importlib.util as u; print(u.find_spec('torch'))"
    )
    if found.strip() != "None":
        raise RuntimeError("the API's image holds torch")


def run_jobs(composed: Composed, client: Client, say: Callable[[str], None]) -> None:
    """One job undisturbed, one whose worker is killed.

    Raises:
        RuntimeError: a job did not succeed, or the killed worker's job was not taken over.
    """
    with tempfile.TemporaryDirectory(prefix="spikebit-compose-") as folder:
        ids = upload_digits(client, Path(folder))
    first = client.wait_job(client.submit({**ids, "recipe": "evaluate"}).id, deadline=time.monotonic() + PATIENCE_S)
    if first.status != "succeeded":
        raise RuntimeError(f"the first job ended as {first.status}: {first.problem}")
    say("a job through the published port succeeded")
    job = client.submit({**ids, "recipe": "hessian-mixed", "mean_weight_bits": 4.0, "options": LONG}).id
    wait_for(lambda: _trains(client.show("jobs", job)), "the job to train")
    host = client.show("jobs", job)["attempts"][-1]["worker"].partition("@")[2].split(":")[0]
    held = composed.containers()
    service = next(name for name, one in held.items() if one["Id"].startswith(host))
    podman("kill", "--signal", "KILL", composed.name(service))
    killed_at = time.monotonic()
    wait_for(lambda: len(client.show("jobs", job)["attempts"]) > 1, "a second attempt")
    say(f"{service} killed in mid-job; the job runs again after {time.monotonic() - killed_at:.0f} s")
    last = client.wait_job(job, deadline=time.monotonic() + PATIENCE_S)
    outcomes = [one["outcome"] for one in client.show("jobs", job)["attempts"]]
    if last.status != "succeeded" or outcomes[-1] != "succeeded" or len(outcomes) != 2:
        raise RuntimeError(f"expected success by the second attempt, got {last.status} with attempts {outcomes}")
    say(f"it succeeded by attempt 2 ({len(client.artifacts(job))} files)")


def wait_for(true: Callable[[], bool], what: str) -> None:
    """Look twice a second.

    Raises:
        TimeoutError: it did not come true.
    """
    until = time.monotonic() + PATIENCE_S
    while not true():
        if time.monotonic() > until:
            raise TimeoutError(f"waited {PATIENCE_S:.0f} s for {what}")
        time.sleep(0.5)


def _trains(record: dict[str, Any]) -> bool:
    progress = record["progress"] or {}
    return str(progress.get("stage")).startswith("finetune") and progress["done"] >= 3


def _healthy(name: str) -> bool:
    """By hand: without systemd nothing calls a container's health check (and without one, nothing is said)."""
    try:
        podman("healthcheck", "run", name, patience_s=60.0)
    except (RuntimeError, subprocess.TimeoutExpired):
        return False
    return True


if __name__ == "__main__":
    sys.exit(main())

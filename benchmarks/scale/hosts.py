"""Two worker hosts, one database: one is cut off in the middle of a job, the other takes over, the first comes back."""

from __future__ import annotations

import re
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from benchmarks.bucket import run_bucket
from benchmarks.chaos.run import upload_inputs
from benchmarks.frame import Measured
from benchmarks.postgres import run_postgres
from benchmarks.scale import HOSTS, REFUSED
from benchmarks.scale.cut import two_hosts
from benchmarks.stack import Plan, Stack

EPOCHS = 60
SETTINGS = {"LEASE_S": "6", "HEARTBEAT_S": "2", "SWEEP_S": "2", "LOOK_S": "2"}
PATIENCE_S = 420.0


def hosts() -> list[Measured]:
    """Cut off the host that has the job, wait for the other's result, plug in, and see what the first one wrote."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spikebit-hosts-")))
        server = stack.enter_context(run_postgres("-c fsync=off"))
        _, variables = stack.enter_context(run_bucket())
        first, second = stack.enter_context(two_hosts())
        url = server.new_database()
        store = int(variables["SPIKEBIT_S3_ENDPOINT"].rpartition(":")[2])
        plan = Plan(folder / "stack", SETTINGS, url, compute=0, variables=variables)
        started = stack.enter_context(Stack(plan))
        ids = upload_inputs(started)
        for name, host in (("compute-1", first), ("compute-2", second)):
            own = {
                "DATA": str(folder / name),
                "DATABASE_URL": re.sub(r"@[^/]+/", f"@{host.address}:{host.port_for(server.port)}/", url),
                "REDIS_URL": f"redis://{host.address}:{host.port_for(started.redis_port)}/0",
                "S3_ENDPOINT": f"http://{host.address}:{host.port_for(store)}",
            }
            started.add(name, own, host.prefix)
        options = {
            "sensitivity": {"min_probes": 2, "max_probes": 2, "max_samples": 32, "measure": "off"},
            "finetune": {"epochs": EPOCHS, "batch_size": 32, "float_control": False},
        }
        with started.client() as client:
            job = client.submit({**ids, "recipe": "hessian-mixed", "mean_weight_bits": 4.0, "options": options}).id
            holder = _holder(started, job)
            cut = first if holder == "compute-1" else second
            cut.cut()
            result = client.wait_job(job, deadline=time.monotonic() + PATIENCE_S)
            before = client.job_page(job, "events").json()["items"], client.show("jobs", job), client.artifacts(job)
            cut.heal()
            late = _late(started, holder)
            after = client.show("jobs", job)
            artifacts = client.artifacts(job)
            events = client.job_page(job, "events").json()["items"]
    attempts = [(one["outcome"], one["code"]) for one in after["attempts"]]
    published = sum(outcome == "succeeded" for outcome, _ in attempts)
    seqs = [event["seq"] for event in events]
    paths = [artifact.path for artifact in artifacts]
    if result.status != "succeeded" or len(set(paths)) != len(paths) or seqs != list(range(1, len(seqs) + 1)):
        raise RuntimeError(f"expected one result, got {result.status} with {len(paths)} files and {len(seqs)} events")
    detail = {"attempts": attempts, "namespaces": cut.namespace is not None, "the cut-off worker said": late}
    written = sum(early != late for early, late in zip(before, (events, after, artifacts), strict=True))
    return [Measured(HOSTS, published, detail=detail), Measured(REFUSED, written, detail=detail)]


def _holder(stack: Stack, job: str) -> str:
    """The part that trains the job, once it has done a few epochs."""
    until = time.monotonic() + PATIENCE_S
    with stack.http() as http:
        while time.monotonic() < until:
            record = http.get(f"/v1/jobs/{job}").json()
            progress = record["progress"] or {}
            if str(progress.get("stage")).startswith("finetune") and progress["done"] >= 3:
                pid = int(record["attempts"][-1]["worker"].split(":")[1])
                return next(part for part in stack.processes if stack.pid(part) == pid)
            time.sleep(0.1)
    raise TimeoutError("the job did not start to train")


def _late(stack: Stack, part: str) -> str:
    """What the worker logged about its attempt after it was connected again."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        if found := re.findall(r"attempt ended: (\w+)", stack.log(part)):
            return str(found[-1])
        time.sleep(0.5)
    raise TimeoutError("the worker that was cut off did not end its attempt")

"""One slice: stacks side by side, users and faults on each, an orderly end, and the history of all of it."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.bucket import Bucket, run_bucket
from benchmarks.chaos.faults import CLOCK_STEP_S, Faults, clock_variable
from benchmarks.chaos.history import History
from benchmarks.chaos.records import write_objects, write_records, write_served
from benchmarks.chaos.users import Users
from benchmarks.postgres import Postgres, run_postgres
from benchmarks.stack import Plan, Stack
from examples.digits.data import arrays
from spikebit.client import Client

NETWORK = Path(__file__).resolve().parents[2] / "examples" / "digits" / "digits.nir"
GRACE_S = 15.0
TRAIN, TEST = 96, 40
COLLECTED_S = 2 * GRACE_S + 6.0  # the collector comes by once in the grace period, after a sweep
SETTINGS = {
    "LEASE_S": "3",
    "HEARTBEAT_S": "1",
    "SWEEP_S": "1",
    "LOOK_S": "1",
    "MAX_ATTEMPTS": "50",
    "RETRY_PAUSE_S": "0.05",
    "COLLECT_AFTER_S": str(GRACE_S),
    "STOP_GRACE_S": "0.5",
    "WARM_CHILD": "false",  # a child that nobody needs yet would be killed all the same
    "PROGRESS_S": "0.1",
    "CHILD_NICE": "0",
    "LOG_LEVEL": "warning",
}


@dataclass(frozen=True)
class Slice:
    """What one slice does.

    Args:
        seconds: in all, with its end.
        kills: end the faults early once this slice has so many (0: never).
        jobs: and so many acknowledged jobs.
        every_s: mean pause between two faults on one stack.
        seed: of all draws.
        layouts: ``sqlite`` and ``postgres``; one stack each, side by side.
        drain_s: kept of ``seconds`` for the end.
    """

    seconds: float
    kills: int
    jobs: int
    every_s: float
    seed: int
    layouts: tuple[str, ...] = ("sqlite", "postgres")
    drain_s: float = 240.0


@dataclass(frozen=True)
class Running:
    """A stack with its users and its faults."""

    name: str
    stack: Stack
    users: Users
    faults: Faults
    url: str
    bucket: Bucket | None

    @property
    def clock_step_s(self) -> float:
        """How far its clock is ahead after the faults."""
        return 0.0 if self.bucket is not None else CLOCK_STEP_S + 60


def run_slice(options: Slice, history: History) -> None:
    """Run it; the history gets its ``end`` only after everything was read."""
    until = time.monotonic() + options.seconds
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spikebit-chaos-")))
        running = [
            stack.enter_context(_layout(name, folder / name, options, number, history))
            for number, name in enumerate(options.layouts)
        ]
        for one in running:
            one.users.start()
            one.faults.start()
        while time.monotonic() < until - options.drain_s and not _enough(options, running):
            time.sleep(0.5)
        for one in running:
            one.users.no_more()
        for one in running:
            one.faults.stop()
        _settle(running, until - COLLECTED_S)
        for one in running:
            one.users.stop()
        time.sleep(COLLECTED_S)
        for one in running:
            _write_end(one, history)
    history.write("end")


def _enough(options: Slice, running: list[Running]) -> bool:
    kills = sum(one.faults.kills for one in running)
    jobs = sum(one.users.acknowledged for one in running)
    return options.kills > 0 and kills >= options.kills and jobs >= options.jobs


def _settle(running: list[Running], until: float) -> None:
    """Wait until every job has ended, as long as there is time; what has not is the checker's to judge."""
    while time.monotonic() < until and any(one.users.unfinished for one in running):
        time.sleep(0.5)
        for one in running:
            one.faults.keep_alive()


def _write_end(one: Running, history: History) -> None:
    history.write("drained", one.name, unfinished=one.users.unfinished, grace_s=COLLECTED_S - 1)
    write_records(history, one.name, one.url, one.clock_step_s)
    write_objects(history, one.name, one.bucket or one.stack.data / "blobs", one.clock_step_s)
    with one.stack.http() as http:
        write_served(history, one.name, http)


@contextmanager
def _layout(name: str, folder: Path, options: Slice, number: int, history: History) -> Iterator[Running]:
    """A stack of a layout with inputs, and threads that are not started yet."""
    seed = 1000 * options.seed + number
    with ExitStack() as stack:
        postgres: Postgres | None = None
        bucket: Bucket | None = None
        url, variables = "", clock_variable(folder)
        if name == "postgres":
            postgres = stack.enter_context(run_postgres("-c fsync=off -c full_page_writes=off"))
            bucket, variables = stack.enter_context(run_bucket(seed))
            url = postgres.new_database()
        own = {"compute-1": {"WARM_CHILD": "true"}} if name == "sqlite" else {}
        plan = Plan(folder, SETTINGS, url, own=own, compute=2, variables=variables)
        started = stack.enter_context(Stack(plan))
        inputs = upload_inputs(started)
        users = Users(name, started, inputs, history, seed)
        faults = Faults(name, started, history, options.every_s, seed, postgres, bucket, lambda: users.acknowledged)
        stack.callback(faults.halt)  # before the stack ends: nothing is to be revived behind its back
        yield Running(
            name,
            started,
            users,
            faults,
            url or f"sqlite:///{started.data / 'spikebit.db'}",
            bucket,
        )


def upload_inputs(stack: Stack, train: int = TRAIN, test: int = TEST) -> dict[str, str]:
    """The digits network with few samples, ready: the two ids of a job request."""
    with stack.client() as client:
        return upload_digits(client, stack.folder, train, test)


def upload_digits(client: Client, folder: Path, train: int = TRAIN, test: int = TEST) -> dict[str, str]:
    """The same through any client; the file of samples is made in ``folder``."""
    digits = arrays()
    sizes = {"x_train": train, "y_train": train, "x_test": test, "y_test": test}
    path = folder / "digits.npz"
    np.savez_compressed(path, **{name: array[: sizes.get(name, len(array))] for name, array in digits.items()})  # type: ignore[arg-type]
    model, dataset = client.add_model(NETWORK, dynamics="nir-paper"), client.add_dataset(path)
    deadline = time.monotonic() + 180
    client.wait_upload("models", model.id, deadline=deadline)
    client.wait_upload("datasets", dataset.id, deadline=deadline)
    return {"model": model.id, "dataset": dataset.id}

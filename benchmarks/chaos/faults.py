"""What is done to a stack: kills at random moments, and everything that a disk, a store or a clock may do."""

from __future__ import annotations

import contextlib
import heapq
import os
import random
import shutil
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path

import redis

from benchmarks.bucket import Bucket
from benchmarks.chaos.history import History
from benchmarks.postgres import Postgres
from benchmarks.stack import Stack
from jobs.clock import CLOCK_VARIABLE

CLOCK_STEP_S = 900.0
STORM_S, CALM_S = 12.0, 15.0  # kills come in storms: a process that restarts is hit too, and jobs get somewhere
KILLS_PER_JOB = 3.2  # a calm lasts until there are so many jobs for the kills, however fast the machine is now
DOWN_S = (0.0, 1.0)  # a killed part comes back after this
FAULT_S = (0.3, 2.5)  # how long a store fails
STEADY_S = 0.05


class Faults(threading.Thread):
    """Hurts one stack until ``stop``; its draws follow from a seed, what they meet does not.

    Args:
        name: the stack's name in the history.
        stack: to be hurt.
        history: where each fault is written.
        every_s: mean pause between faults in a storm.
        seed: of the draws.
        postgres: the stack's database server, or None.
        bucket: the stack's object store; None: a folder.
        jobs: how many the stack has acknowledged so far.
    """

    def __init__(
        self,
        name: str,
        stack: Stack,
        history: History,
        every_s: float,
        seed: int,
        postgres: Postgres | None,
        bucket: Bucket | None,
        jobs: Callable[[], int],
    ) -> None:
        super().__init__(name=f"faults-{name}", daemon=True)
        self._label, self._stack, self._history = name, stack, history
        self._every_s, self._postgres, self._bucket, self._jobs = every_s, postgres, bucket, jobs
        self._random = random.Random(seed)
        self._later: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0
        self._ending = threading.Event()
        self._down: set[str] = set()
        self.kills = 0
        kinds: list[tuple[Callable[[], None], float]] = [
            (self._kill_api, 4),
            (self._kill_compute, 4),
            (self._kill_child, 5),
            (self._kill_intake, 1),
            (self._kill_redis, 4),
            (self._flush_redis, 0.5),
            (self._break_store, 1.5),
            (self._step_clock if postgres is None else self._restart_postgres, 0.7),
        ]
        self._kinds, self._weights = [kind for kind, _ in kinds], [weight for _, weight in kinds]

    def run(self) -> None:
        """Faults at exponential distances; everything is mended in the end."""
        due, storm_ends = 0.0, time.monotonic() - CALM_S
        while not self._ending.wait(STEADY_S):
            self._mend(time.monotonic())
            self._revive_died()
            now = time.monotonic()
            if now > storm_ends + CALM_S and self.kills <= KILLS_PER_JOB * self._jobs():
                storm_ends = now + STORM_S
            if due <= now < storm_ends:
                self._random.choices(self._kinds, self._weights)[0]()
                due = time.monotonic() + self._random.expovariate(1 / self._every_s)
        self._mend(float("inf"))

    def stop(self) -> None:
        """No more faults; returns when everything runs again."""
        self._ending.set()
        self.join()
        self._revive_died()
        if self._postgres is None:  # all that was stamped while the clock was ahead is in the past from now on
            self._write_clock(CLOCK_STEP_S + 60)

    def halt(self) -> None:
        """End at once, also where the slice is broken off."""
        self._ending.set()
        if self.is_alive():
            self.join()

    def keep_alive(self) -> None:
        """After the faults: start again what ends by itself, and write it down."""
        self._revive_died()

    def _kill_api(self) -> None:
        self._kill("api")

    def _kill_compute(self) -> None:
        self._kill(self._random.choice(self._stack.computes))

    def _kill_intake(self) -> None:
        self._kill("intake-0")

    def _kill_redis(self) -> None:
        flushed = self._random.random() < 0.5
        if self._kill("redis", "redis flushed" if flushed else "redis") and flushed:
            shutil.rmtree(self._stack.folder / "appendonlydir", ignore_errors=True)
            (self._stack.folder / "appendonly.aof").unlink(missing_ok=True)

    def _kill_child(self) -> None:
        children = [pid for part in self._stack.computes if self._up(part) for pid in self._stack.children(part)]
        if not children:
            return
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._random.choice(children), signal.SIGKILL)
            self._note("child", "child", 1)

    def _flush_redis(self) -> None:
        with contextlib.suppress(redis.RedisError):
            redis.Redis(port=self._stack.redis_port, socket_timeout=1).flushall()
            self._note("flush", "redis", 0)

    def _break_store(self) -> None:
        seconds = self._random.uniform(*FAULT_S)
        if self._bucket is not None:
            self._bucket.faults = {"refuse": 0.3, "break": 0.2, "lose": 0.2}
            self._at(seconds, self._mend_bucket)
        else:
            blobs = self._stack.data / "blobs"
            if not blobs.is_dir():
                return
            blobs.rename(blobs.with_name("blobs.away"))
            blobs.write_text("not a folder")  # so that every access is an error, and nobody makes a new one
            self._at(seconds, self._mend_folder)
        self._note("store", "store", 0, seconds=round(seconds, 2))

    def _mend_bucket(self) -> None:
        if self._bucket is not None:
            self._bucket.faults = {}

    def _mend_folder(self) -> None:
        blobs = self._stack.data / "blobs"
        blobs.unlink()
        blobs.with_name("blobs.away").rename(blobs)

    def _step_clock(self) -> None:
        step = self._random.uniform(-CLOCK_STEP_S, CLOCK_STEP_S)
        self._write_clock(step)
        self._note("clock", "clock", 0, seconds=round(step, 1))

    def _write_clock(self, step: float) -> None:
        path = clock_file(self._stack.folder)
        fresh = path.with_suffix(".new")
        fresh.write_text(str(step))
        fresh.replace(path)

    def _restart_postgres(self) -> None:
        mode = self._random.choice(("immediate", "fast"))
        if self._postgres is None:
            return
        self._note(f"postgres {mode}", "postgres", 0)
        self._postgres.stop(mode)
        time.sleep(self._random.uniform(*DOWN_S))
        self._postgres.start()

    def _kill(self, part: str, what: str = "") -> bool:
        if not self._up(part):
            return False
        self._down.add(part)
        self._stack.kill(part)
        self._note(what or part.partition("-")[0], part, 1)
        self._at(self._random.uniform(*DOWN_S), lambda: self._revive(part))
        return True

    def _up(self, part: str) -> bool:
        return part not in self._down and self._stack.alive(part)

    def _revive(self, part: str) -> None:
        self._stack.start(part)
        self._down.discard(part)

    def _revive_died(self) -> None:
        for part in self._stack.parts:
            if part not in self._down and not self._stack.alive(part):
                self._history.write("died", self._label, part=part, code=self._stack.processes[part].returncode)
                self._stack.start(part)

    def _note(self, what: str, part: str, kills: int, **more: float) -> None:
        self.kills += kills
        self._history.write("fault", self._label, what=what, part=part, kills=kills, **more)

    def _at(self, seconds: float, act: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._later, (time.monotonic() + seconds, self._count, act))

    def _mend(self, now: float) -> None:
        while self._later and self._later[0][0] <= now:
            heapq.heappop(self._later)[2]()


def clock_file(folder: Path) -> Path:
    """Where the stack's clock reads its step."""
    return folder / "clock"


def clock_variable(folder: Path) -> dict[str, str]:
    """The environment variable by which it finds that file."""
    return {CLOCK_VARIABLE: str(clock_file(folder))}

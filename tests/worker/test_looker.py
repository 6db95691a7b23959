"""The looker: rung, by itself, and with a handler that fails."""

from __future__ import annotations

import threading
import time

from tests.worker.harness import until
from worker.looker import Looker


class Work:
    """Hands out numbers; some of them cannot be done."""

    def __init__(self, numbers: list[int]) -> None:
        self.waiting = numbers
        self.done: list[int] = []
        self.begun = self.ended = 0

    def begin(self) -> None:
        self.begun += 1

    def end(self) -> None:
        self.ended += 1

    def claim(self) -> int | None:
        return self.waiting.pop(0) if self.waiting else None

    def run(self, claim: int) -> None:
        if claim < 0:
            raise RuntimeError("cannot be done")
        self.done.append(claim)


def test_it_works_until_nothing_waits_then_waits_for_its_bell() -> None:
    work, bell, stopping, looked = Work([1, 2, -1, 3]), threading.Event(), threading.Event(), threading.Event()
    looker = Looker(work, bell, stopping, look_s=60, looked=looked.set)
    looker.start()
    assert looked.wait(5)
    until(lambda: work.done == [1, 2, 3], 5)
    time.sleep(0.1)
    work.waiting.append(4)
    bell.set()
    until(lambda: work.done == [1, 2, 3, 4], 5)
    stopping.set()
    bell.set()
    looker.join(5)
    assert (work.begun, work.ended) == (1, 1)


def test_it_looks_by_itself() -> None:
    work, bell, stopping = Work([]), threading.Event(), threading.Event()
    looker = Looker(work, bell, stopping, look_s=0.05)
    looker.start()
    time.sleep(0.1)
    work.waiting.append(7)
    until(lambda: work.done == [7], 5)
    stopping.set()
    bell.set()
    looker.join(5)

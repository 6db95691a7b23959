"""Users of a stack that is being hurt: they submit, look, cancel and watch, and write down what they were told."""

from __future__ import annotations

import random
import threading
import time
import uuid
from typing import Any

import httpx

from benchmarks.chaos.checker import TERMINAL
from benchmarks.chaos.history import History
from benchmarks.stack import Stack
from spikebit.errors import SpikebitError

OUTSTANDING = 6  # jobs that a stack has to do at any time
LOOK_S = 0.5
CANCEL_SHARE = 0.04
CANCEL_NOW = 0.05  # at each look at one of those
WATCH_SHARE = 0.3
TIMEOUT_S = 10.0
COMES_BACK = frozenset({429, 500, 502, 503, 504, 507})
FINETUNE = {
    "sensitivity": {"min_probes": 2, "max_probes": 2, "max_samples": 32, "measure": "off"},
    "finetune": {"epochs": 4, "batch_size": 32, "float_control": False},
}
REQUESTS: tuple[tuple[dict[str, Any], float], ...] = (
    ({"recipe": "evaluate"}, 14),
    ({"recipe": "sensitivity", "options": {"sensitivity": FINETUNE["sensitivity"]}}, 1),
    ({"recipe": "hessian-mixed", "mean_weight_bits": 4.0, "options": FINETUNE}, 2),
)


class Users(threading.Thread):
    """Keeps some jobs outstanding until ``no_more``, then waits for their ends.

    Args:
        name: the stack's name in the history.
        stack: where to submit.
        inputs: model and dataset, ready.
        history: where everything is written.
        seed: of the draws.
    """

    def __init__(self, name: str, stack: Stack, inputs: dict[str, str], history: History, seed: int) -> None:
        super().__init__(name=f"users-{name}", daemon=True)
        self._label, self._stack, self._inputs, self._history = name, stack, inputs, history
        self._random = random.Random(seed)
        self._seen: dict[str, tuple[str, str | None]] = {}
        self._open: set[str] = set()
        self._doomed: set[str] = set()
        self._watchers: list[threading.Thread] = []
        self._no_more = threading.Event()
        self._end = threading.Event()
        self.acknowledged = 0

    @property
    def unfinished(self) -> int:
        """Jobs whose end nobody has seen yet."""
        return len(self._open)

    def no_more(self) -> None:
        """Submit no further jobs."""
        self._no_more.set()

    def stop(self) -> None:
        """End, whatever is unfinished; watchers get a little longer."""
        self._end.set()
        self.join()
        for watcher in self._watchers:
            watcher.join(20)

    def run(self) -> None:
        """Submit and look in turns."""
        with self._stack.http(TIMEOUT_S) as http:
            while not self._end.is_set():
                if not self._no_more.is_set() and len(self._open) < OUTSTANDING:
                    self._submit(http)
                self._look(http)
                self._end.wait(LOOK_S * self._random.random())

    def _submit(self, http: httpx.Client) -> None:
        key = str(uuid.UUID(int=self._random.getrandbits(128)))
        request = self._random.choices(*zip(*REQUESTS, strict=True))[0]
        body = {**self._inputs, **request, "seed": 7, "label": key}
        while not self._end.is_set():
            answer = self._ask(http, "POST", "/v1/jobs", json=body, headers={"Idempotency-Key": key})
            if answer is None or answer.status_code in COMES_BACK:
                self._end.wait(0.1)
                continue
            if answer.status_code != 202:
                self._history.write(
                    "refused", self._label, key=key, status=answer.status_code, code=answer.json().get("code")
                )
                return
            job = answer.json()["id"]
            self._history.write("ack", self._label, key=key, job=job, request=str(request))
            self.acknowledged += 1
            self._open.add(job)
            if self._random.random() < CANCEL_SHARE:
                self._doomed.add(job)
            if self._random.random() < WATCH_SHARE:
                watcher = threading.Thread(target=self._watch, args=(job,), daemon=True)
                self._watchers.append(watcher)
                watcher.start()
            return

    def _look(self, http: httpx.Client) -> None:
        """One look at every open job, and now and then at one that has ended."""
        ended = [job for job, (status, _) in self._seen.items() if status in TERMINAL]
        for job in [*self._open, *self._random.sample(ended, min(1, len(ended)))]:
            answer = self._ask(http, "GET", f"/v1/jobs/{job}")
            if answer is None or answer.status_code in COMES_BACK:
                continue
            if answer.status_code != 200:
                self._history.write("refused", self._label, key=job, status=answer.status_code, code="of a look")
                continue
            record = answer.json()
            now = record["status"], record["verdict"]
            if self._seen.get(job) != now:
                self._seen[job] = now
                self._history.write("seen", self._label, job=job, status=now[0], verdict=now[1])
            if now[0] in TERMINAL:
                self._open.discard(job)
            elif job in self._doomed and self._random.random() < CANCEL_NOW:
                self._ask(http, "POST", f"/v1/jobs/{job}/cancel")

    def _watch(self, job: str) -> None:
        """The client library's own watcher, through every restart of the API."""
        ids: list[int] = []
        ended = False
        try:
            with self._stack.client() as client:
                for event in client.follow(job, deadline=time.monotonic() + 900):
                    ids.append(event.seq)
                    if self._end.is_set():
                        break
                else:
                    ended = True
        except SpikebitError as error:
            self._history.write("note", self._label, what=f"watcher: {error}")
        self._history.write("watched", self._label, job=job, ids=ids, ended=ended)

    def _ask(self, http: httpx.Client, method: str, path: str, **more: Any) -> httpx.Response | None:
        try:
            return http.request(method, path, **more)
        except httpx.TransportError:
            return None

"""Contestants of one benchmark, each in a process and interpreter of its own, asked in turn.

JSON lines over pipes: a request ``{"do": name, ...}`` on stdin, an answer ``{...}`` on stdout. A contestant is a module
with ``serve({name: function})``, run as ``python -m``; this file is the standard library alone, so that it can be
imported in every venv. "One interleaved run" is: every round asks each contestant once, in rotating order.
"""

from __future__ import annotations

import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FRAMEWORKS = ROOT / ".venv-frameworks"
SINABS = ROOT / ".venv-sinabs"
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


class PeerFailed(Exception):
    """A contestant could not start, answered with an error, or ended; the message holds its last words."""


def interpreter(venv: Path) -> Path | None:
    """The venv's Python, or None where ``make frameworks`` was not run."""
    python = venv / "bin" / "python"
    return python if python.exists() else None


class Peer:
    """A running contestant.

    Args:
        name: in tables.
        module: run as ``python -m module arguments``, from the checkout.
        python: its interpreter; None: this one.
    """

    def __init__(self, name: str, module: str, *arguments: str, python: Path | None = None) -> None:
        self.name = name
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115  (open as long as the process)
        self._process = subprocess.Popen(
            [str(python or sys.executable), "-m", module, *arguments],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors,
            cwd=ROOT, env={**os.environ, **_ONE_THREAD}, text=True,
        )  # fmt: skip

    def ask(self, do: str, **given: Any) -> dict[str, Any]:
        """One request, one answer; ``cpu_s`` and ``wall_s`` are what the handler took.

        Raises:
            PeerFailed: see there.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise PeerFailed(f"{self.name}: no pipes")
        try:
            stdin.write(json.dumps({"do": do, **given}) + "\n")
            stdin.flush()
        except BrokenPipeError as error:
            raise PeerFailed(f"{self.name} ended: {self._last_words()}") from error
        line = stdout.readline()
        if not line:
            raise PeerFailed(f"{self.name} ended: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise PeerFailed(f"{self.name}: {answer['error']}")
        return answer

    def close(self) -> None:
        """End it: its input ends, and it with that."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout is not None:
            self._process.stdout.close()
        self._errors.close()

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def _last_words(self) -> str:
        self._errors.seek(0)
        return self._errors.read().decode(errors="replace").strip()[-1500:]


def interleave(
    peers: Sequence[Peer], do: str, *, rounds: int = 9, warm_up: int = 2, **given: Any
) -> dict[str, list[dict[str, Any]]]:
    """Ask every contestant once a round, who begins rotates; answers by name, without those of the warm-up."""
    answers: dict[str, list[dict[str, Any]]] = {peer.name: [] for peer in peers}
    for number in range(warm_up + rounds):
        first = number % len(peers)
        for peer in (*peers[first:], *peers[:first]):
            answer = peer.ask(do, **given)
            if number >= warm_up:
                answers[peer.name].append(answer)
    return answers


@dataclass(frozen=True)
class Timing:
    """Process CPU seconds of one contestant over all rounds."""

    median_s: float
    min_s: float

    @classmethod
    def of(cls, answers: Sequence[Mapping[str, Any]]) -> Timing:
        """From the answers of :func:`interleave`."""
        seconds = [float(answer["cpu_s"]) for answer in answers]
        return cls(median(seconds), min(seconds))


def ratio(theirs: Sequence[Mapping[str, Any]], ours: Sequence[Mapping[str, Any]]) -> tuple[float, tuple[float, float]]:
    """How many times longer they took: the ratio of medians, and the lowest and highest ratio of a single round.

    Example:
        >>> ratio([{"cpu_s": 2.0}, {"cpu_s": 3.0}], [{"cpu_s": 1.0}, {"cpu_s": 1.0}])
        (2.5, (2.0, 3.0))
    """
    single = [float(t["cpu_s"]) / float(o["cpu_s"]) for t, o in zip(theirs, ours, strict=True)]
    return Timing.of(theirs).median_s / Timing.of(ours).median_s, (min(single), max(single))


def memory() -> dict[str, int]:
    """Resident bytes of this process now, and the most since the last call; Linux.

    Not ``getrusage``: its peak survives ``exec`` and would count what the coordinator held when it started this one.
    """
    lines = Path("/proc/self/status").read_text().splitlines()
    found = {line.split(":")[0]: int(line.split()[1]) * 1024 for line in lines if line.startswith(("VmHWM", "VmRSS"))}
    Path("/proc/self/clear_refs").write_text("5")  # the record starts anew
    return {"now": found["VmRSS"], "peak": found["VmHWM"]}


def serve(handlers: Mapping[str, Callable[..., Mapping[str, Any] | None]]) -> None:
    """The contestant's side: answer until the input ends. What handlers print goes to stderr."""
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any]
        try:
            handler = handlers[request.pop("do")]
            gc.collect()
            wall, cpu = time.perf_counter(), time.process_time()
            found = handler(**request)
            spent = {"cpu_s": time.process_time() - cpu, "wall_s": time.perf_counter() - wall}
            answer = {**spent, **(found or {})}
        except Exception as error:  # whatever went wrong is the coordinator's to tell
            answer = {"error": f"{type(error).__name__}: {error}"}
        out.write(json.dumps(answer) + "\n")
        out.flush()

"""The process that computes one job: ``python -m worker.child``. No database, no keys, no network.

It gives up what it does not need, imports torch, says ``ready`` and waits; so one can be kept warm. The first line on
stdin is the job. The engine's own prints go to stderr; the protocol's lines (worker.protocol) leave through a private
copy of stdout. It ends with its parent: by signal, and by the end of file on stdin.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import os
import queue
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from engine.errors import EngineError
from engine.specs.job import Job
from jobs.storage import FULL, is_full
from worker.isolation import die_with_parent, forbid_new_privileges, leave_network, set_limits, yield_cpu
from worker.landlock import confine
from worker.protocol import (
    ArtifactLine,
    CheckpointWritten,
    Done,
    Failed,
    JobLine,
    Log,
    Message,
    OutcomeLine,
    Progress,
    Ready,
    Started,
    encode,
)

ENGINE = "engine.run:run"
MIN_PROGRESS_INTERVAL_S = 0.05
DETAIL_CHARACTERS = 4000
_START_LIMITS = {"core_bytes": 0, "open_files": 1024}
_OUT_OF_MEMORY_WORDS = ("can't allocate memory", "out of memory", "cannot allocate memory", "bad_alloc")


class Pipe:
    """Both directions of the protocol; ``take_job`` and ``wait_ack`` block, ``send`` may be called by any thread."""

    def __init__(self) -> None:
        self._fd = os.dup(1)
        os.dup2(2, 1)  # whatever prints, natively too, prints into the log
        self._write = threading.Lock()
        self._lines: queue.Queue[bytes] = queue.Queue()

    def watch_parent(self) -> None:
        """Read stdin for good; its end means that nobody wants the result any more."""
        threading.Thread(target=self._read_stdin, name="stdin", daemon=True).start()

    def send(self, message: Message) -> None:
        """Write one whole line."""
        data = memoryview(encode(message))
        with self._write:
            while data:
                data = data[os.write(self._fd, data) :]

    def take_job(self) -> JobLine:
        """The job line; blocks until there is one."""
        return JobLine.model_validate_json(self._lines.get())

    def wait_ack(self, number: int) -> None:
        """Block until the supervisor has made checkpoint ``number`` visible."""
        while json.loads(self._lines.get()).get("ack") != number:
            pass

    def _read_stdin(self) -> None:
        with os.fdopen(os.dup(0), "rb") as stream:
            for line in stream:
                self._lines.put(line)
        os._exit(3)


class PipeEvents:
    """The engine's ``Events``: progress (thinned), checkpoints (acknowledged), log lines."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe
        self._checkpoints = 0
        self._stage = ""
        self._sent_at = -math.inf

    def progress(self, stage: str, done: int, total: int, message: str = "", **metrics: float) -> None:
        """Say where the run is; of a quick series only the first, the last and one every 50 ms are sent."""
        now = time.monotonic()
        if stage == self._stage and done < total and now - self._sent_at < MIN_PROGRESS_INTERVAL_S:
            return
        self._stage, self._sent_at = stage, now
        numbers = {name: _finite(value) for name, value in metrics.items()}
        self._pipe.send(
            Progress(stage=stage, done=int(done), total=int(total), message=str(message)[:2000], metrics=numbers)
        )

    def checkpoint(self, path: Path) -> None:
        """Hand a complete file to the supervisor and wait until it is safe."""
        self._checkpoints += 1
        self._pipe.send(CheckpointWritten(path=str(path), number=self._checkpoints))
        self._pipe.wait_ack(self._checkpoints)

    def log(self, message: str) -> None:
        """One line for the job's log."""
        self._pipe.send(Log(message=str(message)[:DETAIL_CHARACTERS]))


def main(arguments: list[str] | None = None) -> None:
    """Isolate, import, say ready, run one job, leave."""
    parser = argparse.ArgumentParser(prog="worker.child", description="Runs one job of the supervisor on its stdin.")
    parser.add_argument("--parent", type=int, default=os.getppid())
    parser.add_argument("--engine", default=ENGINE, help="module:function, for tests of the supervision")
    parser.add_argument("--nice", type=int, default=0, help="CPU priority is this much lower while it computes")
    parser.add_argument("--ahead", action="store_true", help="and already while it imports: nobody waits for it")
    options = parser.parse_args(arguments)
    if options.ahead:
        yield_cpu(options.nice)
    notes = set_limits(_START_LIMITS)
    reason = leave_network()  # before the first thread
    die_with_parent(options.parent)  # after the change of credentials in leave_network
    forbid_new_privileges()
    pipe = Pipe()
    pipe.watch_parent()
    if reason is not None:
        notes.append(f"network isolation is not available here ({reason}); the child runs with the host's network")
    try:
        module, run = load_engine(options.engine)
    except Exception as error:
        traceback.print_exc()
        pipe.send(_failure(error))
        _leave(1)
    pipe.send(Ready())
    _leave(run_job(pipe, module, run, notes, options.nice))


def load_engine(name: str) -> tuple[Any, Callable[..., Any]]:
    """Import the engine's entry (and with it torch).

    Example:
        >>> load_engine("os.path:join")[1]("a", "b")
        'a/b'
    """
    module_name, _, function = name.partition(":")
    module = importlib.import_module(module_name)
    run: Callable[..., Any] = getattr(module, function)
    return module, run


def run_job(pipe: Pipe, module: Any, run: Callable[..., Any], notes: list[str], nice: int = 0) -> int:
    """Read the job line, call the engine, say how it ended.

    Returns:
        The exit status: 0 done, 1 error that was reported.
    """
    try:
        line = pipe.take_job()
        yield_cpu(nice)
        out = Path(line.out)
        os.chdir(out)
        if line.trace is not None:
            os.environ["TRACEPARENT"] = line.trace  # where instrumented libraries look for their parent
        for note in [*notes, *_keep_to_own_files(line), *set_limits(line.limits), *_limit_device(line.limits)]:
            pipe.send(Log(message=note))
        job = Job.model_validate(line.job)
        files = line.inputs
        inputs = module.Inputs(**{name: Path(path) for name, path in files.model_dump(exclude_none=True).items()})
        pipe.send(Started())
        outcome = run(job, inputs, out, PipeEvents(pipe), Path(line.resume) if line.resume else None)
        artifacts = tuple(
            ArtifactLine(role=file.role, path=str(file.path), media_type=file.media_type) for file in outcome.artifacts
        )
        pipe.send(Done(outcome=OutcomeLine(artifacts=artifacts, verdict=outcome.verdict)))
    except Exception as error:
        if not isinstance(error, EngineError):  # those are the user's to read, the others ours
            traceback.print_exc()
        pipe.send(_failure(error))
        return 1
    return 0


def _keep_to_own_files(line: JobLine) -> list[str]:
    """From here on: the inputs to read, the attempt's folder to write; why not, where that cannot be had."""
    scratch = Path(line.out) / ".scratch"
    scratch.mkdir(exist_ok=True)
    os.environ.update(TMPDIR=str(scratch), MPLCONFIGDIR=str(scratch))
    given = (*line.inputs.model_dump().values(), line.resume)
    reason = confine([path for path in given if path], [line.out])
    return [] if reason is None else [f"file isolation is not available here ({reason}); the child sees what we see"]


def _limit_device(limits: Mapping[str, int]) -> list[str]:
    """Let torch take so much of the GPU's memory and no more; why not, where that cannot be had."""
    most = limits.get("device_memory_bytes")
    torch = sys.modules.get("torch")
    if most is None or torch is None or not torch.cuda.is_available():
        return []
    whole = torch.cuda.mem_get_info()[1]
    torch.cuda.set_per_process_memory_fraction(min(1.0, most / whole))
    return []


def _failure(error: Exception) -> Failed:
    """Map an exception to the record's words: the engine's own are final, memory and disk may be better next time."""
    if isinstance(error, EngineError):
        detail = error.detail[:DETAIL_CHARACTERS]
        return Failed(code=error.code, detail=detail, pointer=error.pointer, deterministic=True)
    detail = f"{type(error).__name__}: {error}"[:DETAIL_CHARACTERS]
    text = str(error).lower()
    if is_full(error):
        return Failed(code=FULL, detail=detail, deterministic=False)
    if isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(words in text for words in _OUT_OF_MEMORY_WORDS)
    ):
        return Failed(code="out_of_memory", detail=detail, deterministic=False)
    return Failed(code="internal_error", detail=detail, deterministic=not isinstance(error, OSError))


def _finite(value: float) -> float | None:
    """JSON has no NaN."""
    number = float(value)
    return number if math.isfinite(number) else None


def _leave(status: int) -> NoReturn:
    """End without torch's teardown: files are closed, the last line is written."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)


if __name__ == "__main__":
    main()

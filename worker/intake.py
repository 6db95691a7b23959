"""Checks uploads: ``python -m worker.intake_child`` reads the file, limited; this module records the result.

Torch-free, in a worker process of its own class, so that an upload never waits behind a fine-tune.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from jobs.logs import context
from jobs.store import (
    Beat,
    IntakeClaim,
    Problem,
    claim_intake,
    intake_heartbeat,
    intake_ready,
    intake_rejected,
    intake_release,
)
from worker.heartbeat import Heartbeat
from worker.persist import until_written, while_collected
from worker.process import child_environment, describe_status
from worker.service import Service
from worker.workspace import Workspace

INTAKE_COMMAND = (sys.executable, "-m", "worker.intake_child")
MAX_ANSWER_BYTES = 4 << 20
TICK_S = 0.02
BYTES_PER_S = 16 << 20  # what a large upload may take beyond that
_OPEN_FILES = 64

_log = logging.getLogger(__name__)


class Accepted(BaseModel):
    """The upload is sound; ``canonical`` is the file that is kept."""

    model_config = ConfigDict(extra="ignore")
    ok: Literal[True]
    canonical: str
    summary: dict[str, Any]


class Refused(BaseModel):
    """The upload is not."""

    model_config = ConfigDict(extra="ignore")
    ok: Literal[False]
    code: str
    detail: str
    pointer: str | None = None


@dataclass(frozen=True)
class GivenUp:
    """The check was ended from outside: ``released`` or ``lost``."""

    why: Literal["released", "lost"]


Answer = Accepted | Refused | GivenUp
_ANSWER: TypeAdapter[Accepted | Refused] = TypeAdapter(Accepted | Refused)


class IntakeSupervisor:
    """Checks one upload at a time, in the thread that calls :meth:`run`."""

    def __init__(
        self,
        service: Service,
        workspace: Workspace,
        stopping: threading.Event,
        command: tuple[str, ...] = INTAKE_COMMAND,
    ) -> None:
        self._command = command
        self._service = service
        self._workspace = workspace
        self._stopping = stopping

    def begin(self) -> None:
        """Nothing is kept warm: the child starts in a fraction of a second."""

    def end(self) -> None:
        """Nothing to give back."""

    def claim(self) -> IntakeClaim | None:
        """The oldest upload that waits."""
        return claim_intake(self._service.database, self._service.worker, self._service.settings.lease_s)

    def run(self, claim: IntakeClaim) -> None:
        """Check one upload and record the answer; a claim that is lost records nothing."""
        service = self._service

        def beat() -> Beat:
            return Beat(held=intake_heartbeat(service.database, claim, service.settings.lease_s))

        with (
            context(upload_id=claim.id),
            Heartbeat(beat, service.settings.heartbeat_s) as heart,
            self._workspace.folder("intake") as folder,
        ):
            answer = self._check(claim, folder, lambda: heart.lost)
            until_written(partial(self._record, claim, answer, folder), lambda: heart.lost or self._stopping.is_set())

    def _check(self, claim: IntakeClaim, folder: Path, lost: Callable[[], bool]) -> Answer:
        upload, canonical = self._service.blobs.local(claim.tenant_id, claim.blob, folder), folder / "canonical"
        timeout_s = self._service.settings.intake_s + upload.stat().st_size / BYTES_PER_S
        request = {
            "kind": claim.kind,
            "path": str(upload),
            "out": str(canonical),
            "dynamics": claim.dynamics,
            "repair": claim.repair,
            "format": claim.format,
            "transform": claim.transform,
            "framework": claim.framework,
            "snippet": claim.snippet,
            "source": claim.blob,
            "limits": self._limits(timeout_s),
        }
        return run_intake_child(request, folder, timeout_s, self._stopping.is_set, lost, self._command)

    def _limits(self, timeout_s: float) -> dict[str, int]:
        settings = self._service.settings
        return {
            "address_space_bytes": settings.intake_memory_bytes,
            "inflated_bytes": settings.max_inflated_bytes,
            "file_bytes": settings.max_inflated_bytes + (64 << 20),
            "cpu_s": int(timeout_s) + 1,
            "open_files": _OPEN_FILES,
            "core_bytes": 0,
        }

    def _record(self, claim: IntakeClaim, answer: Answer, folder: Path) -> None:
        service = self._service
        if isinstance(answer, GivenUp):
            if answer.why == "released":
                intake_release(service.database, claim)
            _log.info("%s %s: %s", claim.kind, claim.id, answer.why)
            return
        if isinstance(answer, Accepted):
            while_collected(partial(self._keep, claim, answer, folder / "canonical"))
            _log.info("%s %s: ready", claim.kind, claim.id)
            return
        refused = intake_rejected(service.database, claim, Problem(answer.code, answer.detail, answer.pointer))
        if refused and claim.kind != "export":  # whose blob is the model's
            service.blobs.drop(claim.tenant_id, claim.blob)
        _log.info("%s %s: rejected, %s", claim.kind, claim.id, answer.code)

    def _keep(self, claim: IntakeClaim, answer: Accepted, canonical: Path) -> None:
        blob = self._service.blobs.put_file(claim.tenant_id, canonical)
        intake_ready(self._service.database, claim, blob.digest, answer.summary)


def run_intake_child(
    request: dict[str, Any],
    folder: Path,
    timeout_s: float,
    stopping: Callable[[], bool] = lambda: False,
    lost: Callable[[], bool] = lambda: False,
    command: tuple[str, ...] = INTAKE_COMMAND,
) -> Answer:
    """Let a limited child read one upload.

    Its output goes to files in ``folder``, so that no pipe can fill up and block.

    Args:
        request: the child's one line of input.
        folder: private to this check.
        timeout_s: wall time, then the child is killed.
        stopping: the worker is told to end.
        lost: the claim is another worker's.
        command: the child.

    Returns:
        The child's answer. A child that dies, takes too long or says something else is an answer too: the file made
        the reader fail (``unreadable``) or take too long (``check_timeout``).
    """
    with (folder / "answer").open("wb") as out, (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=out,
            stderr=log,
            env=child_environment() | {"TMPDIR": str(folder)},
            cwd=folder,
            start_new_session=True,
        )
        try:
            _send(process, request)
            given_up = _wait(process, time.monotonic() + timeout_s, stopping, lost)
        finally:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            if process.stdin is not None:
                with contextlib.suppress(OSError):
                    process.stdin.close()
    return given_up if given_up is not None else _read_answer(folder / "answer", process.returncode)


def _send(process: subprocess.Popen[bytes], request: dict[str, Any]) -> None:
    """One line; stdin stays open, because its end tells the child that this worker died."""
    if process.stdin is not None:
        with contextlib.suppress(OSError):  # it died already; its status says how
            process.stdin.write(json.dumps(request).encode() + b"\n")
            process.stdin.flush()


def _wait(
    process: subprocess.Popen[bytes], deadline: float, stopping: Callable[[], bool], lost: Callable[[], bool]
) -> GivenUp | Refused | None:
    """None when the child ended by itself."""
    while process.poll() is None:
        if lost():
            return GivenUp("lost")
        if stopping():
            return GivenUp("released")
        if time.monotonic() > deadline:
            return Refused(ok=False, code="check_timeout", detail="the file could not be checked in the time allowed")
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(TICK_S)
    return None


def _read_answer(path: Path, status: int) -> Accepted | Refused:
    text = path.read_bytes()[: MAX_ANSWER_BYTES + 1]
    try:
        return _ANSWER.validate_json(text)
    except ValidationError:
        detail = f"the file made its reader fail ({describe_status(status)})"
        return Refused(ok=False, code="unreadable", detail=detail)

"""The service's API, one method per operation.

Example::

    from pathlib import Path
    from spikebit.client import Client
    from spikebit.endpoint import find_endpoint

    with Client(find_endpoint()) as client:
        model = client.add_model(Path("net.nir"), dynamics="nir-paper")
        data = client.add_dataset(Path("data.npz"))
        job = client.submit({"model": model.id, "dataset": data.id, "recipe": "hessian-mixed"})
        job = client.wait_job(job.id)
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote

import httpx

from spikebit.endpoint import Endpoint
from spikebit.errors import Problem, UsageError, WaitTimeout
from spikebit.events import PATIENCE_S, Event, follow_events
from spikebit.records import Artifact, Job, Upload, artifact_from, job_from, upload_from
from spikebit.transport import Transport

CHUNK = 1 << 20
LONG_POLL_S = 20.0  # the service caps a wait at 60 s; shorter keeps Ctrl-C and proxies happy
_MISSING = frozenset({404})
OnBytes = Callable[[int, int], None]  # bytes done, bytes in all


class Client:
    """A typed client; use it in a ``with`` statement.

    Args:
        endpoint: see :func:`spikebit.endpoint.find_endpoint`.
        transport: an httpx transport in place of the network, for tests.
        sleep: how to pause, for tests.
    """

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        transport: httpx.BaseTransport | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._http = Transport(endpoint, transport=transport, sleep=sleep)
        self._sleep = sleep
        self.endpoint = endpoint

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    # Blobs

    def upload(self, path: Path, on_bytes: OnBytes = lambda done, total: None) -> str:
        """Upload a file unless the service holds its content; returns ``sha256:…``.

        Raises:
            UsageError: the file cannot be read.
            Problem: the service refused it.
        """
        try:
            size, digest = path.stat().st_size, f"sha256:{file_digest(path)}"
        except OSError as error:
            raise UsageError(f"cannot read {path}: {error.strerror}", code="unreadable_file") from error
        url = f"/v1/blobs/{digest}"
        if self._http.request("HEAD", url, accept_status=_MISSING).status_code == 200:
            on_bytes(size, size)
            return digest

        def body() -> Iterator[bytes]:
            done = 0
            with path.open("rb") as file:
                while piece := file.read(CHUNK):
                    yield piece
                    done += len(piece)
                    on_bytes(done, size)

        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        self._http.request("PUT", url, headers=headers, content=body)
        return digest

    # Models and datasets

    def add_model(
        self,
        path: Path,
        *,
        dynamics: str,
        overrides: Mapping[str, Any] | None = None,
        repair: bool = False,
        name: str | None = None,
        on_bytes: OnBytes = lambda done, total: None,
    ) -> Upload:
        """Upload a NIR file and register it; the record may still be ``checking``."""
        body = {
            "blob": self.upload(path, on_bytes),
            "name": name or path.name,
            "dynamics": {"preset": dynamics, "set": dict(overrides or {})},
            "repair": repair,
        }
        return upload_from(self._http.request("POST", "/v1/models", json=body).json())

    def add_dataset(
        self,
        path: Path,
        *,
        format: str = "frames",
        transform: Mapping[str, Any] | None = None,
        name: str | None = None,
        on_bytes: OnBytes = lambda done, total: None,
    ) -> Upload:
        """Upload a file of samples and register it; the record may still be ``checking``.

        Args:
            path: the file.
            format: ``frames``, ``events``, ``shd``, ``nmnist`` or ``recordings`` (docs/data.md).
            transform: from events to frames; needed by every format but ``frames``.
            name: of the record; None: the file's.
            on_bytes: called with (bytes sent, bytes in all).
        """
        body: dict[str, Any] = {"blob": self.upload(path, on_bytes), "name": name or path.name, "format": format}
        if transform is not None:
            body["transform"] = dict(transform)
        return upload_from(self._http.request("POST", "/v1/datasets", json=body).json())

    def export_model(self, model_id: str, framework: str, *, snippet: bool = False) -> Upload:
        """Ask for a ready model as NIR for a framework's own importer; the record may still be ``checking``.

        Args:
            model_id: which model.
            framework: ``snntorch``, ``norse`` or ``spikingjelly``.
            snippet: allow what only lines after the import bring about; they are ``summary["snippet"]``.
        """
        body = {"model": model_id, "framework": framework, "snippet": snippet}
        return upload_from(self._http.request("POST", "/v1/exports", json=body).json())

    def export_content(self, export_id: str) -> Iterator[bytes]:
        """The bytes of a ready export, piece by piece; its ``digest`` is their SHA-256."""
        with self._http.stream(f"/v1/exports/{_part(export_id)}/content") as answer:
            yield from answer.iter_bytes(CHUNK)

    def show(self, noun: str, record_id: str, *, wait_s: float = 0.0) -> dict[str, Any]:
        """One record of ``models``, ``datasets``, ``exports`` or ``jobs`` as the service writes it."""
        return _document(self._http.request("GET", f"/v1/{noun}/{_part(record_id)}", wait_s=wait_s))

    def list(self, noun: str, *, limit: int = 50, cursor: str | None = None) -> dict[str, Any]:
        """One page of records: ``items`` and ``next_cursor``."""
        params: dict[str, str | int] = {"limit": limit}
        if cursor:
            params["cursor"] = cursor
        return _document(self._http.request("GET", f"/v1/{noun}", params=params))

    def delete(self, noun: str, record_id: str) -> None:
        """Delete a record that nothing needs."""
        self._http.request("DELETE", f"/v1/{noun}/{_part(record_id)}")

    def wait_upload(
        self, noun: str, record_id: str, *, deadline: float | None = None, file: str | None = None
    ) -> Upload:
        """The checked model or dataset, or the export that was made.

        Args:
            noun: ``models``, ``datasets`` or ``exports``.
            record_id: of the upload.
            deadline: on ``time.monotonic``.
            file: what the user calls it, for the message of a rejection; None: the id.

        Raises:
            Problem: it was rejected, with the reason.
            WaitTimeout: ``deadline`` (on ``time.monotonic``) passed before the check ended.
        """
        for record in self._poll(noun, record_id, deadline):
            upload = upload_from(record)
            if upload.settled:
                break
        if upload.problem:
            reason = upload.problem.get("detail") or upload.problem.get("code")
            raise Problem(None, {**upload.problem, "detail": f"{file or record_id} was rejected: {reason}"})
        return upload

    # Jobs

    def submit(self, request: Mapping[str, Any]) -> Job:
        """Submit a job."""
        return job_from(self._http.request("POST", "/v1/jobs", json=dict(request)).json())

    def dry_run(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Is the job valid, and what would it cost: ``valid``, ``spec``, ``estimate``."""
        return _document(self._http.request("POST", "/v1/jobs", json=dict(request), params={"dry_run": "true"}))

    def cancel(self, job_id: str) -> Job:
        """Ask a job to stop; the record may still be ``cancelling``."""
        return job_from(self._http.request("POST", f"/v1/jobs/{_part(job_id)}/cancel").json())

    def wait_job(
        self,
        job_id: str,
        *,
        deadline: float | None = None,
        on_change: Callable[[Job], None] = lambda job: None,
    ) -> Job:
        """The finished job, whatever its status.

        Raises:
            WaitTimeout: ``deadline`` (on ``time.monotonic``) passed first; the job goes on.
        """
        for record in self._poll("jobs", job_id, deadline):
            job = job_from(record)
            on_change(job)
            if job.settled:
                break
        return job

    def report(self, job_id: str, media_type: str = "application/json") -> bytes:
        """The job's report as JSON, HTML (``text/html``) or Markdown (``text/markdown``)."""
        answer = self._http.request("GET", f"/v1/jobs/{_part(job_id)}/report", headers={"Accept": media_type})
        return answer.content

    def job_page(self, job_id: str, what: str) -> httpx.Response:
        """``events`` (JSON) or ``logs`` (text) of a job."""
        headers = {"Accept": "application/json" if what == "events" else "*/*"}
        return self._http.request("GET", f"/v1/jobs/{_part(job_id)}/{what}", headers=headers)

    def follow(
        self, job_id: str, *, after: int = 0, deadline: float | None = None, patience_s: float = PATIENCE_S
    ) -> Iterator[Event]:
        """The job's events as they come, to its end; a lost connection is taken up where it broke.

        Args:
            job_id: which job.
            after: begin behind the event of this number.
            deadline: on ``time.monotonic``.
            patience_s: how long the service may be away.

        Raises:
            Unreachable: the service was away for longer.
            WaitTimeout: ``deadline`` passed first; the job goes on.
        """

        def connect(last: int) -> AbstractContextManager[httpx.Response]:
            headers = {"Accept": "text/event-stream", "Last-Event-ID": str(last)}
            return self._http.stream(f"/v1/jobs/{_part(job_id)}/events", headers)

        return follow_events(connect, after, deadline, patience_s, self._sleep)

    def operate(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """An operator's request (``/v1/keys``, ``/v1/admin/...``); ``{}`` where the answer has no body."""
        answer = self._http.request(method, path, json=None if body is None else dict(body))
        return _document(answer) if answer.content else {}

    def artifacts(self, job_id: str) -> tuple[Artifact, ...]:
        """The files that the job published."""
        listing = _document(self._http.request("GET", f"/v1/jobs/{_part(job_id)}/artifacts"))
        return tuple(artifact_from(item) for item in listing["items"])

    def content(self, artifact: Artifact) -> Iterator[bytes]:
        """The bytes of an artifact, piece by piece; the caller checks the digest."""
        with self._http.stream(f"/v1/artifacts/{_part(artifact.id)}/content") as answer:
            yield from answer.iter_bytes(CHUNK)

    def _poll(self, noun: str, record_id: str, deadline: float | None) -> Iterator[dict[str, Any]]:
        """The record now, and again after every long poll, without end; the caller leaves when it is settled."""
        wait = 0.0
        while True:
            asked = time.monotonic()
            yield self.show(noun, record_id, wait_s=wait)
            left = LONG_POLL_S if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise WaitTimeout(
                    f"{record_id} was not done in the given time and goes on",
                    code="timeout",
                    advice=f"Wait again: spikebit {noun} wait {record_id}",
                )
            if wait and time.monotonic() - asked < 0.2:
                self._sleep(min(0.3, left))  # the service answers at once: do not hammer it
            wait = max(1.0, min(LONG_POLL_S, left))


def file_digest(path: Path) -> str:
    """SHA-256 of a file, as lower-case hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _part(text: str) -> str:
    return quote(text, safe="")


def _document(answer: httpx.Response) -> dict[str, Any]:
    document = answer.json()
    if not isinstance(document, dict):
        raise Problem(answer.status_code, {"code": "unexpected_answer", "detail": "expected a JSON object"})
    return document

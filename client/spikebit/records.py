"""The service's records as the client reads them: lenient, with the whole document kept in ``raw``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

TERMINAL = frozenset({"succeeded", "failed", "cancelled", "expired"})


@dataclass(frozen=True)
class Upload:
    """A model or a dataset."""

    id: str
    status: str
    name: str | None
    summary: Mapping[str, Any]
    problem: Mapping[str, Any] | None
    raw: Mapping[str, Any] = field(repr=False)

    @property
    def settled(self) -> bool:
        """The check is over, one way or the other."""
        return self.status != "checking"


@dataclass(frozen=True)
class Progress:
    """How far a running job is."""

    stage: str
    done: int
    total: int
    message: str
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class Job:
    """A job."""

    id: str
    status: str
    verdict: str | None
    progress: Progress | None
    problem: Mapping[str, Any] | None
    label: str | None
    raw: Mapping[str, Any] = field(repr=False)

    @property
    def settled(self) -> bool:
        """The status will not change any more."""
        return self.status in TERMINAL


@dataclass(frozen=True)
class Artifact:
    """A file that a job published."""

    id: str
    role: str
    path: str
    size: int
    sha256: str
    media_type: str


def upload_from(record: Mapping[str, Any]) -> Upload:
    """A model or dataset record."""
    return Upload(
        id=str(record["id"]),
        status=str(record["status"]),
        name=record.get("name"),
        summary=record.get("summary") or {},
        problem=record.get("problem"),
        raw=record,
    )


def job_from(record: Mapping[str, Any]) -> Job:
    """A job record."""
    progress = record.get("progress") or None
    return Job(
        id=str(record["id"]),
        status=str(record["status"]),
        verdict=record.get("verdict"),
        progress=None
        if progress is None
        else Progress(
            stage=str(progress.get("stage") or ""),
            done=int(progress.get("done") or 0),
            total=int(progress.get("total") or 0),
            message=str(progress.get("message") or ""),
            metrics=progress.get("metrics") or {},
        ),
        problem=record.get("problem"),
        label=record.get("label"),
        raw=record,
    )


def artifact_from(record: Mapping[str, Any]) -> Artifact:
    """One entry of a job's list of artifacts."""
    return Artifact(
        id=str(record["id"]),
        role=str(record["role"]),
        path=str(record["path"]),
        size=int(record["size"]),
        sha256=str(record["sha256"]).removeprefix("sha256:"),
        media_type=str(record.get("media_type") or "application/octet-stream"),
    )

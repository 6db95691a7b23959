"""Submit a job: the checks on the records it names, its row and its idempotency key in one transaction."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, insert, select

from jobs.records import Dataset, Event, Job, JobLabel, Model
from jobs.store.blob_rows import touch
from jobs.store.errors import Conflict, NotFound
from jobs.store.idempotency import Answer, Key, place
from jobs.store.scope import Scoped, Tenant
from jobs.store.views import JobView, UploadView, upload_view


@dataclass(frozen=True)
class Draft:
    """A job that has passed every check which needs no database.

    ``request`` is what the user wrote, ``spec`` the resolved :class:`engine.specs.job.Job`; both as JSON.
    """

    model_id: str
    dataset_id: str
    request: dict[str, Any]
    spec: dict[str, Any]
    engine_version: str
    expected_counts: str | None = None
    expected_traces: str | None = None
    job_class: str = "compute"
    priority: int = 0
    label: str | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    queue_deadline_s: float | None = None
    run_deadline_s: float | None = None
    trace: str | None = None
    request_id: str | None = None


def job_inputs(tenant: Tenant, model_id: str, dataset_id: str) -> tuple[UploadView, UploadView]:
    """The ready model and dataset that a job names.

    Raises:
        NotFound: the tenant has no such record.
        Conflict: ``model_not_ready``, ``dataset_not_ready``, ``model_rejected`` or ``dataset_rejected``.
    """
    with tenant.read() as scoped:
        model = _ready(scoped, Model, model_id)
        dataset = _ready(scoped, Dataset, dataset_id)
        return upload_view(model), upload_view(dataset)


def submit(tenant: Tenant, draft: Draft, key: Key | None, render: Callable[[JobView], dict[str, Any]]) -> Answer:
    """Queue a job.

    The answer is known before anything is written, so with a key there are three inserts and one look at the inputs;
    all statements are built once, since this is the request that must never be slow.

    Args:
        tenant: who asks.
        draft: the job.
        key: the client's Idempotency-Key, or None.
        render: makes the answer's body, which is stored beside the key.

    Returns:
        The new job's answer, or the stored one.

    Raises:
        NotFound, Conflict: as :func:`job_inputs`; they are checked again, inside the transaction.
        KeyReused: the key came with another body before.
    """
    identity = "job_" + secrets.token_hex(12)
    with tenant.write() as scoped:
        answer = Answer(identity, render(_new_view(identity, draft, scoped.now)))
        if key is not None and (stored := place(scoped, key, answer)) is not None:
            return stored
        _check_inputs(scoped, draft)
        connection = scoped.session.connection()
        connection.execute(_INSERT_JOB, _new_row(scoped, identity, draft))
        event = {"tenant_id": scoped.tenant_id, "job_id": identity, "seq": 1, "kind": "state"}
        connection.execute(_INSERT_EVENT, event | {"data": _QUEUED, "created_at": scoped.now})
        if draft.labels:
            mine = {"tenant_id": scoped.tenant_id, "job_id": identity}
            connection.execute(_INSERT_LABEL, [mine | {"name": n, "value": v} for n, v in draft.labels.items()])
    return answer


_JOBS, _MODELS, _DATASETS = Job.__table__, Model.__table__, Dataset.__table__
_INSERT_JOB = insert(_JOBS)  # type: ignore[arg-type]
_INSERT_EVENT = insert(Event.__table__)  # type: ignore[arg-type]
_INSERT_LABEL = insert(JobLabel.__table__)  # type: ignore[arg-type]
_QUEUED = {"status": "queued", "attempt": 0}
# Locked, so that on PostgreSQL a deletion cannot slip in between this check and the commit.
_INPUTS = tuple(
    (
        what,
        select(table.c.status, table.c.problem)
        .where(table.c.tenant_id == bindparam("tenant"), table.c.id == bindparam("identity"))
        .with_for_update(read=True),
    )
    for what, table in (("model", _MODELS), ("dataset", _DATASETS))
)


def _check_inputs(scoped: Scoped, draft: Draft) -> None:
    connection = scoped.session.connection()
    for (what, query), identity in zip(_INPUTS, (draft.model_id, draft.dataset_id), strict=True):
        row = connection.execute(query, {"tenant": scoped.tenant_id, "identity": identity}).one_or_none()
        if row is None:
            raise NotFound(what, identity)
        _check_status(what, identity, row.status, row.problem)
    for blob in (draft.expected_counts, draft.expected_traces):
        if blob is not None and not touch(scoped.session, scoped.tenant_id, blob, scoped.now):
            raise NotFound("blob", blob)


def _new_row(scoped: Scoped, identity: str, draft: Draft) -> dict[str, Any]:
    wait = draft.queue_deadline_s
    return {
        "tenant_id": scoped.tenant_id,
        "id": identity,
        "status": "queued",
        "job_class": draft.job_class,
        "priority": draft.priority,
        "model_id": draft.model_id,
        "dataset_id": draft.dataset_id,
        "expected_counts": draft.expected_counts,
        "expected_traces": draft.expected_traces,
        "request": draft.request,
        "spec": draft.spec,
        "label": draft.label,
        "labels": dict(draft.labels) or None,
        "queued_at": scoped.now,
        "trace": draft.trace,
        "request_id": draft.request_id,
        "engine_version": draft.engine_version,
        "attempt": 0,
        "crashes": 0,
        "version": 1,
        "event_seq": 1,
        "log_count": 0,
        "queue_deadline_at": None if wait is None else scoped.now + timedelta(seconds=wait),
        "run_deadline_s": draft.run_deadline_s,
        "created_at": scoped.now,
    }


def _new_view(identity: str, draft: Draft, now: datetime) -> JobView:
    wait = draft.queue_deadline_s
    return JobView(
        id=identity,
        status="queued",
        verdict=None,
        model_id=draft.model_id,
        dataset_id=draft.dataset_id,
        request=draft.request,
        spec=draft.spec,
        label=draft.label,
        labels=dict(draft.labels),
        priority=draft.priority,
        job_class=draft.job_class,
        queue_deadline_at=None if wait is None else now + timedelta(seconds=wait),
        run_deadline_s=draft.run_deadline_s,
        engine_version=draft.engine_version,
        progress=None,
        problem=None,
        version=1,
        event_seq=1,
        created_at=now,
        started_at=None,
        finished_at=None,
    )


def _ready(scoped: Scoped, record: type[Model] | type[Dataset], identity: str) -> Model | Dataset:
    what = "model" if record is Model else "dataset"
    row: Model | Dataset | None
    row = scoped.find(Model, Model.id == identity) if record is Model else None
    if record is Dataset:
        row = scoped.find(Dataset, Dataset.id == identity)
    if row is None:
        raise NotFound(what, identity)
    _check_status(what, identity, row.status, row.problem)
    return row


def _check_status(what: str, identity: str, status: str, problem: dict[str, Any] | None) -> None:
    if status == "checking":
        raise Conflict(f"{what}_not_ready", f"{what} {identity} is still being checked; wait for status 'ready'")
    if status == "rejected":
        code = (problem or {}).get("code", "unknown")
        raise Conflict(f"{what}_rejected", f"{what} {identity} was rejected ({code}); see its problem")

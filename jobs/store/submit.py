"""Submit a job: the checks on the records it names, its row and its idempotency key in one transaction."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from jobs.records import Dataset, Job, Model
from jobs.store.blob_rows import touch
from jobs.store.claims import add_event
from jobs.store.errors import Conflict, NotFound
from jobs.store.idempotency import Answer, Key, once
from jobs.store.scope import Scoped, Tenant
from jobs.store.views import JobView, UploadView, job_view, upload_view


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
    job_class: str = "compute"
    priority: int = 0
    label: str | None = None
    queue_deadline_s: float | None = None
    run_deadline_s: float | None = None


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
    with tenant.write() as scoped:
        return once(scoped, key, lambda: _create(scoped, draft, render))


def _create(scoped: Scoped, draft: Draft, render: Callable[[JobView], dict[str, Any]]) -> tuple[str, dict[str, Any]]:
    # Locked, so that on PostgreSQL a deletion cannot slip in between this check and the commit.
    _ready(scoped, Model, draft.model_id, lock=True)
    _ready(scoped, Dataset, draft.dataset_id, lock=True)
    counts = draft.expected_counts
    if counts is not None and not touch(scoped.session, scoped.tenant_id, counts, scoped.now):
        raise NotFound("blob", counts)
    wait = draft.queue_deadline_s
    job = Job(
        tenant_id=scoped.tenant_id,
        id="job_" + secrets.token_hex(12),
        status="queued",
        job_class=draft.job_class,
        priority=draft.priority,
        model_id=draft.model_id,
        dataset_id=draft.dataset_id,
        expected_counts=counts,
        request=draft.request,
        spec=draft.spec,
        label=draft.label,
        engine_version=draft.engine_version,
        attempt=0,
        crashes=0,
        version=0,
        event_seq=0,
        log_count=0,
        queue_deadline_at=None if wait is None else scoped.now + timedelta(seconds=wait),
        run_deadline_s=draft.run_deadline_s,
        created_at=scoped.now,
    )
    scoped.session.add(job)
    add_event(scoped.session, job, scoped.now, "state", {"status": "queued", "attempt": 0})
    scoped.session.flush()
    return job.id, render(job_view(job))


def _ready(
    scoped: Scoped, record: type[Model] | type[Dataset], identity: str, *, lock: bool = False
) -> Model | Dataset:
    what = "model" if record is Model else "dataset"
    row: Model | Dataset | None
    row = scoped.find(Model, Model.id == identity, lock=lock) if record is Model else None
    if record is Dataset:
        row = scoped.find(Dataset, Dataset.id == identity, lock=lock)
    if row is None:
        raise NotFound(what, identity)
    if row.status == "checking":
        raise Conflict(f"{what}_not_ready", f"{what} {identity} is still being checked; wait for status 'ready'")
    if row.status == "rejected":
        code = (row.problem or {}).get("code", "unknown")
        raise Conflict(f"{what}_rejected", f"{what} {identity} was rejected ({code}); see its problem")
    return row

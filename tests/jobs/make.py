"""Short ways to records that tests start from."""

from __future__ import annotations

from typing import Any

from jobs.store import (
    Draft,
    JobClaim,
    NewDataset,
    NewModel,
    Tenant,
    claim_intake,
    claim_job,
    create_upload,
    hold_blob,
    intake_ready,
    submit,
)

MODEL_BLOB = "sha256:" + "a" * 64
DATA_BLOB = "sha256:" + "b" * 64
OTHER_BLOB = "sha256:" + "c" * 64


def ready_inputs(tenant: Tenant) -> tuple[str, str]:
    """A model and a dataset that passed intake."""
    hold_blob(tenant, MODEL_BLOB, 10)
    hold_blob(tenant, DATA_BLOB, 20)
    model = create_upload(tenant, NewModel(MODEL_BLOB, {"dt_s": 1}), None, lambda v: {"id": v.id})
    data = create_upload(tenant, NewDataset(DATA_BLOB), None, lambda v: {"id": v.id})
    for _ in range(2):
        claim = claim_intake(tenant.database, "w", 60)
        if claim is not None:
            assert intake_ready(tenant.database, claim, claim.blob, {"made": True})
    return model.resource_id, data.resource_id


def queued(tenant: Tenant, **values: Any) -> str:
    """A queued job on ready inputs."""
    model, data = ready_inputs(tenant)
    draft = Draft(model, data, {"seed": 0}, {"steps": []}, "0", **values)
    return submit(tenant, draft, None, lambda v: {"id": v.id}).resource_id


def claimed(tenant: Tenant, lease_s: float = 60) -> JobClaim:
    """The next job of class compute, claimed."""
    claim = claim_job(tenant.database, "compute", "worker-1", lease_s)
    assert claim is not None
    return claim

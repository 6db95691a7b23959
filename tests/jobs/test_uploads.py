from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from jobs.database import Database
from jobs.store import (
    Conflict,
    Draft,
    JobFilter,
    Key,
    KeyReused,
    NewDataset,
    NewModel,
    NotFound,
    Page,
    Problem,
    Tenant,
    UploadKind,
    acquire_lease,
    add_key,
    cancel_job,
    claim_intake,
    create_upload,
    delete_upload,
    generate_key,
    get_upload,
    hold_blob,
    intake_heartbeat,
    intake_ready,
    intake_rejected,
    intake_release,
    key_is_wellformed,
    list_jobs,
    list_uploads,
    release_lease,
    revoke_key,
    submit,
    sweep,
    verify_key,
    waiting,
)
from tests.jobs.make import DATA_BLOB, MODEL_BLOB, queued, ready_inputs


def add_model(tenant: Tenant, blob: str = MODEL_BLOB, key: Key | None = None) -> str:
    hold_blob(tenant, blob, 10)
    return create_upload(tenant, NewModel(blob, {"dt_s": 1}), key, lambda v: {"id": v.id}).resource_id


def test_the_same_content_is_the_same_record(tenant: Tenant) -> None:
    assert add_model(tenant) == add_model(tenant)
    assert len(list_uploads(tenant, "model", Page(10))) == 1
    other = create_upload(tenant, NewModel(MODEL_BLOB, {"dt_s": 2}), None, lambda v: {"id": v.id}).resource_id
    assert other != add_model(tenant)


def test_a_blob_must_be_held(tenant: Tenant) -> None:
    with pytest.raises(NotFound, match="blob"):
        create_upload(tenant, NewDataset(DATA_BLOB), None, lambda v: {"id": v.id})


def test_intake_oldest_first_and_fenced(tenant: Tenant, database: Database) -> None:
    first = add_model(tenant)
    hold_blob(tenant, DATA_BLOB, 1)
    create_upload(tenant, NewDataset(DATA_BLOB), None, lambda v: {"id": v.id})
    assert waiting(database) == {"intake": 2}
    stale = claim_intake(database, "w", 0.01)
    assert stale is not None
    assert (stale.id, stale.dynamics, stale.repair) == (first, {"dt_s": 1}, False)
    time.sleep(0.03)
    assert sweep(database, max_attempts=3).requeued == [first]
    fresh = claim_intake(database, "w2", 60)
    assert fresh is not None
    assert not intake_heartbeat(database, stale, 60)
    assert not intake_ready(database, stale, MODEL_BLOB, {})
    assert not intake_rejected(database, stale, Problem("x", "x"))
    assert intake_heartbeat(database, fresh, 60)
    assert intake_ready(database, fresh, MODEL_BLOB, {"nodes": 3})
    view = get_upload(tenant, "model", first)
    assert (view.status, view.canonical, view.summary) == ("ready", MODEL_BLOB, {"nodes": 3})
    assert not intake_rejected(database, fresh, Problem("x", "x"))


def test_intake_gives_up_on_poison(tenant: Tenant, database: Database) -> None:
    model = add_model(tenant)
    for _ in range(2):
        assert claim_intake(database, "w", 0.01) is not None
        time.sleep(0.03)
        swept = sweep(database, max_attempts=2)
    assert swept.rejected == [("default", MODEL_BLOB)]
    problem = get_upload(tenant, "model", model).problem
    assert problem is not None
    assert problem["code"] == "worker_lost"


def test_release_of_an_upload_counts_no_try(tenant: Tenant, database: Database) -> None:
    add_model(tenant)
    for _ in range(5):
        claim = claim_intake(database, "w", 60)
        assert claim is not None
        assert intake_release(database, claim)


def test_rejected_keeps_its_problem_for_a_while(tenant: Tenant, database: Database) -> None:
    model = add_model(tenant)
    claim = claim_intake(database, "w", 60)
    assert claim is not None
    assert intake_rejected(database, claim, Problem("not_nir", "expected HDF5, found text", "/"))
    sweep(database, max_attempts=3)
    assert get_upload(tenant, "model", model).status == "rejected"
    assert add_model(tenant) == model  # uploaded again: checked again
    assert get_upload(tenant, "model", model).status == "checking"
    claim = claim_intake(database, "w", 60)
    assert claim is not None
    assert intake_rejected(database, claim, Problem("not_nir", "again"))
    time.sleep(0.02)
    sweep(database, max_attempts=3, rejected_keep_s=0.01)
    with pytest.raises(NotFound):
        get_upload(tenant, "model", model)


def test_in_use_until_the_job_ends(tenant: Tenant, database: Database) -> None:
    job = queued(tenant)
    model, data = ready_inputs(tenant)
    kinds: list[tuple[UploadKind, str]] = [("model", model), ("dataset", data)]
    for kind, identity in kinds:
        with pytest.raises(Conflict, match="used by a job"):
            delete_upload(tenant, kind, identity)
    cancel_job(tenant, job)
    for kind, identity in kinds:
        delete_upload(tenant, kind, identity)
        with pytest.raises(NotFound):
            get_upload(tenant, kind, identity)


def test_submit_checks_inputs_inside_its_transaction(tenant: Tenant) -> None:
    model, data = ready_inputs(tenant)
    delete_upload(tenant, "model", model)
    with pytest.raises(NotFound):
        submit(tenant, Draft(model, data, {}, {}, "0"), None, lambda v: {})
    add_model(tenant)
    with pytest.raises(Conflict, match="still being checked") as caught:
        submit(tenant, Draft(model, data, {}, {}, "0"), None, lambda v: {})
    assert caught.value.code == "model_not_ready"
    counts = "sha256:" + "e" * 64
    with pytest.raises(Conflict):
        submit(tenant, Draft(model, data, {}, {}, "0", expected_counts=counts), None, lambda v: {})


def test_idempotent_submit(tenant: Tenant) -> None:
    model, data = ready_inputs(tenant)
    draft, key = Draft(model, data, {}, {}, "0"), Key("/v1/jobs", "k1", "f" * 64)
    first = submit(tenant, draft, key, lambda v: {"id": v.id, "status": v.status})
    cancel_job(tenant, first.resource_id)
    again = submit(tenant, draft, key, lambda v: {"id": v.id, "status": v.status})
    assert again.replayed
    assert again.body == first.body == {"id": first.resource_id, "status": "queued"}
    with pytest.raises(KeyReused, match="another body"):
        submit(tenant, draft, Key("/v1/jobs", "k1", "0" * 64), lambda v: {})
    other_route = submit(tenant, draft, Key("/v1/other", "k1", "0" * 64), lambda v: {})
    assert not other_route.replayed


def test_a_failed_submit_leaves_no_key(tenant: Tenant) -> None:
    model, data = ready_inputs(tenant)
    key = Key("/v1/jobs", "k", "f" * 64)
    with pytest.raises(NotFound):
        submit(tenant, Draft("mdl_none", data, {}, {}, "0"), key, lambda v: {})
    assert not submit(tenant, Draft(model, data, {}, {}, "0"), key, lambda v: {}).replayed


def test_concurrent_submits_with_one_key_make_one_job(tenant: Tenant) -> None:
    model, data = ready_inputs(tenant)
    draft, key = Draft(model, data, {}, {}, "0"), Key("/v1/jobs", "k", "f" * 64)
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda _: submit(tenant, draft, key, lambda v: {"id": v.id}), range(16)))
    assert len({answer.resource_id for answer in answers}) == 1
    assert sum(not answer.replayed for answer in answers) == 1
    assert len(list_jobs(tenant, Page(10), JobFilter())) == 1


def test_paging_is_stable_under_inserts(tenant: Tenant) -> None:
    jobs = [queued(tenant) for _ in range(7)]
    seen: list[str] = []
    page = Page(3)
    while True:
        rows = list_jobs(tenant, page, JobFilter())
        seen += [row.id for row in rows[:3]]
        queued(tenant)  # newer than everything: must not shift the pages behind
        if len(rows) <= 3:
            break
        page = Page(3, (rows[2].created_at, rows[2].id))
    assert seen == jobs[::-1]
    assert list_jobs(tenant, Page(10), JobFilter(status="running")) == []


def test_keys(tenant: Tenant, database: Database) -> None:
    key = generate_key()
    assert key_is_wellformed(key)
    assert not key_is_wellformed(key[:-1] + ("0" if key[-1] != "0" else "1"))
    assert verify_key(database, key) is None
    identity = add_key(tenant, key, "first")
    assert add_key(tenant, key, "again") == identity
    principal = verify_key(database, key)
    assert principal is not None
    assert principal.tenant_id == "default"
    assert not revoke_key(Tenant(database, "stranger"), identity)
    assert revoke_key(tenant, identity)
    assert verify_key(database, key) is None
    with pytest.raises(ValueError, match="form"):
        add_key(tenant, "secret", "bad")
    expired = generate_key()
    add_key(tenant, expired, "old", expires_at=datetime(2020, 1, 1, tzinfo=UTC))
    assert verify_key(database, expired) is None


def test_one_holder_per_duty(database: Database) -> None:
    assert acquire_lease(database, "sweep", "a", 60)
    assert acquire_lease(database, "sweep", "a", 60)
    assert not acquire_lease(database, "sweep", "b", 60)
    release_lease(database, "sweep", "b")
    release_lease(database, "sweep", "a")
    assert acquire_lease(database, "sweep", "b", 0.01)
    time.sleep(0.03)
    assert acquire_lease(database, "sweep", "a", 60)

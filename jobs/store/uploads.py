"""A user's side of models, datasets and exports: register a blob for intake, list, show, delete."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

from sqlalchemy import exists

from jobs.records import ACTIVE, Dataset, Export, Job, Model
from jobs.store.blob_rows import touch
from jobs.store.errors import Conflict, NotFound
from jobs.store.idempotency import Answer, Key, once
from jobs.store.scope import Page, Scoped, Tenant, newest_first
from jobs.store.views import UploadKind, UploadView, upload_view

U = TypeVar("U", Model, Dataset, Export)


@dataclass(frozen=True)
class NewModel:
    """A network to check: its blob and the resolved dynamics profile as JSON."""

    blob: str
    dynamics: dict[str, Any]
    repair: bool = False
    name: str | None = None


@dataclass(frozen=True)
class NewDataset:
    """Samples to check; ``transform`` is the resolved way from events to frames, None for frames."""

    blob: str
    format: str = "frames"
    name: str | None = None
    transform: dict[str, Any] | None = None


@dataclass(frozen=True)
class NewExport:
    """A ready model to be written for a framework; ``blob`` is its canonical form.

    ``engine`` is the engine's version: another one may write another file.
    """

    blob: str
    model_id: str
    framework: str
    snippet: bool
    dynamics: dict[str, Any]
    engine: str
    name: str | None = None


New = NewModel | NewDataset | NewExport


def create_upload(tenant: Tenant, new: New, key: Key | None, render: Callable[[UploadView], dict[str, Any]]) -> Answer:
    """Register a model, dataset or export for intake; the same content gives the same record.

    A rejected record is checked again where its blob has been uploaded anew, and answered as it is where not.

    Raises:
        NotFound: the tenant does not hold the blob.
        KeyReused: the Idempotency-Key came with another body before.
    """
    with tenant.write() as scoped:

        def create() -> tuple[str, dict[str, Any]]:
            held = touch(scoped.session, scoped.tenant_id, new.blob, scoped.now)
            row = _row(scoped, new, held)
            scoped.session.flush()
            return row.id, render(upload_view(row))

        return once(scoped, key, create)


def get_upload(tenant: Tenant, kind: UploadKind, identity: str) -> UploadView:
    """One model, dataset or export; NotFound where the tenant has none of this id."""
    with tenant.read() as scoped:
        return upload_view(_find(scoped, kind, identity))


def list_uploads(tenant: Tenant, kind: UploadKind, page: Page) -> list[UploadView]:
    """Newest first; one more than ``page.limit`` where the listing goes on."""
    with tenant.read() as scoped:
        if kind == "model":
            models = scoped.session.scalars(newest_first(scoped.select(Model), Model, page))
            return [upload_view(row) for row in models]
        if kind == "export":
            exports = scoped.session.scalars(newest_first(scoped.select(Export), Export, page))
            return [upload_view(row) for row in exports]
        datasets = scoped.session.scalars(newest_first(scoped.select(Dataset), Dataset, page))
        return [upload_view(row) for row in datasets]


def delete_upload(tenant: Tenant, kind: UploadKind, identity: str) -> None:
    """Forget a model, dataset or export; its blobs go with the next collection.

    Raises:
        NotFound: the tenant has no such record.
        Conflict: ``in_use``: a job that has not ended refers to it.
    """
    with tenant.write() as scoped:
        row = _find(scoped, kind, identity, lock=True)
        if kind != "export":  # no job names one
            column = Job.model_id if kind == "model" else Job.dataset_id
            used = exists().where(Job.tenant_id == tenant.id, column == identity, Job.status.in_(ACTIVE))
            if scoped.session.query(used).scalar():
                raise Conflict("in_use", f"{kind} {identity} is used by a job that has not ended; cancel the job first")
        scoped.session.delete(row)


def derived_id(tenant_id: str, new: New) -> str:
    """The id that content and meaning determine: same upload, same id."""
    if isinstance(new, NewModel):
        dynamics = json.dumps(new.dynamics, sort_keys=True, separators=(",", ":"))
        parts = [tenant_id, new.blob, dynamics, "repair" if new.repair else "as-is"]
        return "mdl_" + hashlib.sha256("|".join(parts).encode()).hexdigest()[:24]
    if isinstance(new, NewExport):
        dynamics = json.dumps(new.dynamics, sort_keys=True, separators=(",", ":"))
        alone = "snippet" if new.snippet else "alone"
        parts = [tenant_id, new.blob, dynamics, new.model_id, new.framework, alone, new.engine]
        return "exp_" + hashlib.sha256("|".join(parts).encode()).hexdigest()[:24]
    parts = [tenant_id, new.blob, new.format]
    if new.transform is not None:
        parts.append(json.dumps(new.transform, sort_keys=True, separators=(",", ":")))
    return "dat_" + hashlib.sha256("|".join(parts).encode()).hexdigest()[:24]


def _row(scoped: Scoped, new: New, held: bool) -> Model | Dataset | Export:
    if isinstance(new, NewModel):
        return _model(scoped, new, held)
    return _export(scoped, new, held) if isinstance(new, NewExport) else _dataset(scoped, new, held)


def _model(scoped: Scoped, new: NewModel, held: bool) -> Model:
    identity = derived_id(scoped.tenant_id, new)
    row = scoped.find(Model, Model.id == identity, lock=True)
    if row is not None:
        return _again(scoped, row, held)
    if not held:
        raise NotFound("blob", new.blob)
    row = Model(**_fresh(scoped, identity, new), dynamics=new.dynamics, repair=new.repair)
    scoped.session.add(row)
    return row


def _dataset(scoped: Scoped, new: NewDataset, held: bool) -> Dataset:
    identity = derived_id(scoped.tenant_id, new)
    row = scoped.find(Dataset, Dataset.id == identity, lock=True)
    if row is not None:
        return _again(scoped, row, held)
    if not held:
        raise NotFound("blob", new.blob)
    row = Dataset(**_fresh(scoped, identity, new), format=new.format, transform=new.transform)
    scoped.session.add(row)
    return row


def _export(scoped: Scoped, new: NewExport, held: bool) -> Export:
    identity = derived_id(scoped.tenant_id, new)
    row = scoped.find(Export, Export.id == identity, lock=True)
    if row is not None:
        return _again(scoped, row, held)
    if not held:
        raise NotFound("blob", new.blob)
    told = {"model_id": new.model_id, "framework": new.framework, "snippet": new.snippet, "dynamics": new.dynamics}
    row = Export(**_fresh(scoped, identity, new), **told)
    scoped.session.add(row)
    return row


def _fresh(scoped: Scoped, identity: str, new: New) -> dict[str, Any]:
    return {
        "tenant_id": scoped.tenant_id,
        "id": identity,
        "name": new.name,
        "status": "checking",
        "blob": new.blob,
        "created_at": scoped.now,
        "attempt": 0,
        "tries": 0,
    }


def _again(scoped: Scoped, row: U, held: bool) -> U:
    if row.status == "rejected" and held:
        row.status, row.problem, row.tries, row.checked_at = "checking", None, 0, None
    return row


def _find(scoped: Scoped, kind: UploadKind, identity: str, *, lock: bool = False) -> Model | Dataset | Export:
    row: Model | Dataset | Export | None
    if kind == "model":
        row = scoped.find(Model, Model.id == identity, lock=lock)
    elif kind == "export":
        row = scoped.find(Export, Export.id == identity, lock=lock)
    else:
        row = scoped.find(Dataset, Dataset.id == identity, lock=lock)
    if row is None:
        raise NotFound(kind, identity)
    return row

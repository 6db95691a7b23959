"""Models, datasets and exports: the same five routes each, and the bytes of an export."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response

from api import render
from api.content import blob_response
from api.context import Authenticated, Caller
from api.exchange import DEFAULT_LIMIT, MAX_LIMIT, idempotency_key, next_cursor, page_of, wait_seconds
from api.rules.exports import ExportRequest, new_export
from api.rules.models import DatasetRequest, ModelRequest, new_dataset, new_model
from api.waiting import wait_until
from jobs.store import (
    ArtifactView,
    Conflict,
    NewDataset,
    NewExport,
    NewModel,
    NotFound,
    UploadKind,
    UploadView,
    create_upload,
    delete_upload,
    find_blob,
    get_upload,
    list_uploads,
)

router = APIRouter()
Limit = Annotated[int, Query(ge=1, le=MAX_LIMIT)]


@router.post("/v1/models", status_code=202, tags=["models"])
async def post_model(body: ModelRequest, request: Request, caller: Authenticated) -> Response:
    """Register a NIR file with its dynamics; it is checked in the background."""
    return await _create(request, caller, "model", new_model(body), body.model_dump(mode="json"))


@router.post("/v1/datasets", status_code=202, tags=["datasets"])
async def post_dataset(body: DatasetRequest, request: Request, caller: Authenticated) -> Response:
    """Register a frames file; it is checked in the background."""
    return await _create(request, caller, "dataset", new_dataset(body), body.model_dump(mode="json"))


@router.post("/v1/exports", status_code=202, tags=["exports"])
async def post_export(body: ExportRequest, request: Request, caller: Authenticated) -> Response:
    """Write a ready model for a framework's own importer; it is made in the background."""
    model = await run_in_threadpool(get_upload, caller.tenant, "model", body.model)
    return await _create(request, caller, "export", new_export(body, model), body.model_dump(mode="json"))


@router.get("/v1/models", tags=["models"])
def list_models(caller: Authenticated, limit: Limit = DEFAULT_LIMIT, cursor: str | None = None) -> dict[str, Any]:
    """Models, newest first."""
    return _list(caller, "model", limit, cursor)


@router.get("/v1/datasets", tags=["datasets"])
def list_datasets(caller: Authenticated, limit: Limit = DEFAULT_LIMIT, cursor: str | None = None) -> dict[str, Any]:
    """Datasets, newest first."""
    return _list(caller, "dataset", limit, cursor)


@router.get("/v1/exports", tags=["exports"])
def list_exports(caller: Authenticated, limit: Limit = DEFAULT_LIMIT, cursor: str | None = None) -> dict[str, Any]:
    """Exports, newest first."""
    return _list(caller, "export", limit, cursor)


@router.get("/v1/models/{identity}", tags=["models"])
async def get_model(identity: str, request: Request, caller: Authenticated) -> Response:
    """One model; ``Prefer: wait=n`` waits while it is checked."""
    return await _show(request, caller, "model", identity)


@router.get("/v1/datasets/{identity}", tags=["datasets"])
async def get_dataset(identity: str, request: Request, caller: Authenticated) -> Response:
    """One dataset; ``Prefer: wait=n`` waits while it is checked."""
    return await _show(request, caller, "dataset", identity)


@router.get("/v1/exports/{identity}", tags=["exports"])
async def get_export(identity: str, request: Request, caller: Authenticated) -> Response:
    """One export; ``Prefer: wait=n`` waits while it is made."""
    return await _show(request, caller, "export", identity)


@router.get("/v1/exports/{identity}/content", tags=["exports"])
def get_export_content(identity: str, request: Request, caller: Authenticated) -> Response:
    """The NIR file; ``Range``, ``If-None-Match`` and ``If-Range`` are understood."""
    return blob_response(request, caller, _file(caller, identity))


@router.head("/v1/exports/{identity}/content", tags=["exports"])
def head_export_content(identity: str, request: Request, caller: Authenticated) -> Response:
    """The headers that GET would send."""
    return blob_response(request, caller, _file(caller, identity))


@router.delete("/v1/exports/{identity}", status_code=204, tags=["exports"])
def delete_export(identity: str, caller: Authenticated) -> None:
    """Forget an export."""
    delete_upload(caller.tenant, "export", identity)


@router.delete("/v1/models/{identity}", status_code=204, tags=["models"])
def delete_model(identity: str, caller: Authenticated) -> None:
    """Forget a model that no unfinished job uses."""
    delete_upload(caller.tenant, "model", identity)


@router.delete("/v1/datasets/{identity}", status_code=204, tags=["datasets"])
def delete_dataset(identity: str, caller: Authenticated) -> None:
    """Forget a dataset that no unfinished job uses."""
    delete_upload(caller.tenant, "dataset", identity)


async def _create(
    request: Request, caller: Caller, kind: UploadKind, new: NewModel | NewDataset | NewExport, body: dict[str, Any]
) -> Response:
    key = idempotency_key(request, f"/v1/{kind}s", body)
    answer = await run_in_threadpool(create_upload, caller.tenant, new, key, render.upload)
    caller.service.bell.ring("intake")
    content, seconds = answer.body, wait_seconds(request, caller.service.settings.wait_max_s)
    if seconds:
        content = render.upload(await _settled(request, caller, kind, answer.resource_id, seconds))
    headers = {"Location": f"/v1/{kind}s/{answer.resource_id}", "Retry-After": "1"}
    if answer.replayed:
        headers["Idempotency-Replayed"] = "true"
    return JSONResponse(content, 202, headers)


async def _show(request: Request, caller: Caller, kind: UploadKind, identity: str) -> Response:
    seconds = wait_seconds(request, caller.service.settings.wait_max_s)
    view = await _settled(request, caller, kind, identity, seconds)
    headers = {"Cache-Control": "no-store"} | ({"Retry-After": "1"} if view.status == "checking" else {})
    return JSONResponse(render.upload(view), headers=headers)


async def _settled(request: Request, caller: Caller, kind: UploadKind, identity: str, seconds: float) -> UploadView:
    def look() -> UploadView:
        return get_upload(caller.tenant, kind, identity)

    return await wait_until(request, caller.service, seconds, look, lambda view: view.status != "checking")


def _list(caller: Caller, kind: UploadKind, limit: int, cursor: str | None) -> dict[str, Any]:
    rows = list_uploads(caller.tenant, kind, page_of(cursor, limit))
    return {"items": [render.upload(row) for row in rows[:limit]], "next_cursor": next_cursor(rows, limit)}


def _file(caller: Caller, identity: str) -> ArtifactView:
    """The NIR file of an export as what :func:`blob_response` sends."""
    view = get_upload(caller.tenant, "export", identity)
    if view.status != "ready" or view.canonical is None:
        raise Conflict("export_not_ready", f"export {identity} is {view.status}, expected ready")
    blob = find_blob(caller.tenant, view.canonical)
    if blob is None:
        raise NotFound("blob", view.canonical)
    return ArtifactView(identity, "", "export", f"{view.framework}.nir", blob.size, blob.digest, "application/x-hdf5")

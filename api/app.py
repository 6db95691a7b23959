"""The application: parts, routes, errors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from starlette.concurrency import run_in_threadpool

from api import errors
from api.context import Service
from api.edge import Edge
from api.metrics import Metrics
from api.problems import RESPONSES
from api.routes import blobs, catalogue, events, health, jobs, operate, results, uploads
from api.watch import Hub
from jobs.blobs import Blobs
from jobs.database import open_patiently
from jobs.doorbell import Doorbell
from jobs.idle import IdleWorkers
from jobs.settings import Settings, engine_version
from jobs.store import Tenant, add_key


def create_app(settings: Settings) -> FastAPI:
    """The application over a database and a blob store, both made and upgraded at start.

    Args:
        settings: see :class:`jobs.settings.Settings`.
    """

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        service = await run_in_threadpool(_open, settings)
        app.state.service = service
        try:
            yield
        finally:
            service.stopping = True
            await service.hub.close()
            await run_in_threadpool(_close, service)

    app = FastAPI(
        title="Spikebit",
        summary="Quantization as a service for spiking networks",
        version=engine_version(),
        lifespan=lifespan,
        docs_url=None,  # they load scripts from elsewhere
        redoc_url=None,
        openapi_url="/openapi.json",
        redirect_slashes=False,
    )
    errors.install(app)
    for module in (blobs, uploads, jobs, events, results, catalogue, operate, health):
        app.include_router(module.router, responses=RESPONSES)
    app.add_middleware(Edge, max_json_bytes=settings.max_json_bytes)
    return app


def _open(settings: Settings) -> Service:
    settings.data.mkdir(parents=True, exist_ok=True, mode=0o700)
    database = open_patiently(settings.sql_url, durable=settings.fsync)
    try:
        if settings.bootstrap_key_file is not None:
            key = settings.bootstrap_key_file.read_text().strip()
            add_key(Tenant(database, settings.tenant), key, "bootstrap")
        bell = Doorbell(settings.redis_url, most_rings=IdleWorkers(database, settings.worker_silent_s))
        metrics = Metrics(database, settings.worker_silent_s, bell)
        return Service(settings, database, Blobs(settings, database), bell, Hub(database), metrics)
    except BaseException:
        database.close()
        raise


def _close(service: Service) -> None:
    service.bell.close()
    service.database.close()

"""The API's process: ``python -m api``."""

from __future__ import annotations

import signal
import socket
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.context import Service
from api.protocol import HalfCloseProtocol
from jobs.logs import set_up
from jobs.settings import Settings

GRACEFUL_S = 10  # uploads in flight get this long after SIGTERM


class Server(uvicorn.Server):
    """uvicorn's server that tells waiting requests and streams of its end at the signal, not after them."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """SIGTERM and SIGINT."""
        service = getattr(self._app.state, "service", None)
        if isinstance(service, Service):
            service.stopping = True
        super().handle_exit(sig, frame)


def server_config(app: Any, settings: Settings) -> uvicorn.Config:
    """How uvicorn serves; the upload benchmark's peer is served the same way."""
    return uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        http=HalfCloseProtocol,
        loop="uvloop",
        log_level=settings.log_level,
        log_config=None,  # uvicorn's own lines come in our form
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=GRACEFUL_S,
        timeout_keep_alive=30,
    )


def main() -> None:
    """Serve until SIGTERM or SIGINT; ends with 0 then, with 1 where the start failed."""
    settings = Settings()
    set_up(settings.log_level, settings.log_format)
    app = create_app(settings)
    server = Server(server_config(app, settings), app)
    sockets = None if settings.fd is None else [socket.socket(fileno=settings.fd)]
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises what it caught again after its orderly end
    try:
        server.run(sockets=sockets)
    except KeyboardInterrupt:  # the same for SIGINT
        return
    if not server.started:
        raise SystemExit(1)

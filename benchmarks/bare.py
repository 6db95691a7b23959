"""The peer of the upload row: an ASGI app that streams the body to a file and hashes it inline, and nothing else.

``python -m benchmarks.bare`` serves it with the very server, protocol class, loop and settings of the service's API.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Awaitable, Callable
from typing import Any

import uvicorn

from api.main import server_config
from jobs.settings import Settings

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
FOLDER = "SPIKEBIT_BARE_FOLDER"  # on the same file system as the service's data folder


async def app(scope: dict[str, Any], receive: Receive, send: Send) -> None:
    """``PUT``: the body's SHA-256; the file is removed after the answer."""
    if scope["type"] != "http":
        return
    running = hashlib.sha256()
    handle, path = tempfile.mkstemp(dir=os.environ[FOLDER])
    try:
        more = True
        while more:
            message = await receive()
            if message["type"] == "http.disconnect":
                return
            body = memoryview(message.get("body", b""))
            running.update(body)
            while body:
                body = body[os.write(handle, body) :]
            more = message.get("more_body", False)
        if os.environ.get("SPIKEBIT_FSYNC") == "true":
            os.fsync(handle)
        answer = running.hexdigest().encode()
        headers = [(b"content-length", str(len(answer)).encode())]
        await send({"type": "http.response.start", "status": 201, "headers": headers})
        await send({"type": "http.response.body", "body": answer})
    finally:  # after the answer: freeing a GiB of cache takes time that the service does not spend either
        os.close(handle)
        os.unlink(path)


if __name__ == "__main__":
    uvicorn.Server(server_config(app, Settings())).run()

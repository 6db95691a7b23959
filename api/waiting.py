"""Long polls: wait for a record to change, holding neither a thread nor a connection between looks."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

from fastapi import Request
from starlette.concurrency import run_in_threadpool

from api.context import Service

T = TypeVar("T")
FIRST_LOOK_S, SLOWEST_LOOK_S = 0.04, 0.5


async def wait_until(
    request: Request, service: Service, seconds: float, look: Callable[[], T], done: Callable[[T], bool]
) -> T:
    """Look again and again until ``done``, the time is over, the caller has left or the server ends.

    Args:
        request: whose connection is watched.
        service: whose ``stopping`` is watched.
        seconds: how long at most; 0: one look.
        look: a short read; runs on a thread.
        done: is that what the caller waits for.

    Returns:
        What the last look saw.
    """
    until = time.monotonic() + seconds
    pause = FIRST_LOOK_S
    while True:
        seen = await run_in_threadpool(look)
        left = until - time.monotonic()
        if done(seen) or left <= 0 or service.stopping or await request.is_disconnected():
            return seen
        await asyncio.sleep(min(pause, left))
        pause = min(pause * 1.5, SLOWEST_LOOK_S)

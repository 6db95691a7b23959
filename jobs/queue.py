"""Celery, used as a doorbell alone: the database is the queue (DESIGN 2).

Settings follow SERVICE 4 as far as they apply to a message that nobody waits for.
"""

from __future__ import annotations

from typing import Any

from celery import Celery
from kombu.entity import Exchange, Queue

from jobs.devices import CLASSES
from jobs.doorbell import RING_TASK, RING_TIMEOUT_S, BellState, Doorbell
from jobs.settings import Settings

__all__ = ["CLASSES", "RING_TASK", "BellState", "Doorbell", "celery_app", "make_app"]

_VISIBILITY_S = 3600  # a ring is acknowledged at once; redelivery is never relied on


def make_app(redis_url: str | None, *, answer_within_s: float | None = None) -> Celery:
    """The Celery app that API and workers share; ``None`` gives one that cannot ring (no broker).

    Args:
        redis_url: ``redis://...`` or ``redis+socket:///path``.
        answer_within_s: for senders alone: a Redis that is silent for longer counts as down.
    """
    transport: dict[str, Any] = {
        "visibility_timeout": _VISIBILITY_S,
        "global_keyprefix": "spikebit:",
        "socket_connect_timeout": RING_TIMEOUT_S,
        "health_check_interval": 25,
        "max_retries": 0,
    }
    if redis_url and redis_url.startswith(("redis://", "rediss://")):
        transport["socket_keepalive"] = True
    if answer_within_s is not None:
        transport["socket_timeout"] = answer_within_s
    app = Celery("spikebit", broker=redis_url or "memory://", set_as_current=False)
    app.conf.update(
        task_queues=[Queue(name, Exchange(name), routing_key=name) for name in CLASSES],  # type: ignore[no-untyped-call]
        task_default_queue=CLASSES[0],
        task_create_missing_queues=False,
        task_serializer="json",
        accept_content=["json"],
        task_ignore_result=True,
        result_backend=None,
        task_acks_late=False,  # a ring that is lost with its worker is replaced by the next look
        task_publish_retry=False,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=RING_TIMEOUT_S,
        worker_hijack_root_logger=False,
        worker_redirect_stdouts=False,
        task_store_eager_result=False,
        broker_transport_options=transport,
        visibility_timeout=_VISIBILITY_S,
    )
    return app


celery_app = make_app(Settings().redis_url)

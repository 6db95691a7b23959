"""The form of every reader: an open upload in, checked events (or frames) out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from engine.data.events import EventSource
from engine.data.zip_safe import ZipLimits

Opener = Callable[[Path, ZipLimits], AbstractContextManager[EventSource]]


@dataclass(frozen=True)
class Reader:
    """One format of events.

    Attributes:
        name: of the format, as requests say it.
        title: one line for a reader of the catalogue.
        opens: context manager that opens an upload; files stay open within it.
    """

    name: str
    title: str
    opens: Opener

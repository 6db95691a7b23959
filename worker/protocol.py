"""The lines between supervisor and child: one JSON object per line, both ways.

To the child: first the job line (:class:`JobLine`), later ``{"ack": n}`` after the n-th checkpoint is safe. End of
file on its stdin means that the supervisor is dead. From the child: ``ready started progress checkpoint log done
error``, each with the fields of :class:`Message`.
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

MAX_LINE_BYTES = 1 << 20  # a metrics line is a few hundred bytes; more is not our child speaking


class ProtocolError(ValueError):
    """A line that no child of ours would write."""


class _Message(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class InputFiles(_Message):
    """Canonical files on the local disk."""

    model: str
    dataset: str
    expected_counts: str | None = None
    expected_traces: str | None = None


class JobLine(_Message):
    """First line to the child: everything that it will ever know about its job."""

    job: dict[str, Any] = Field(description="engine.specs.job.Job as JSON")
    inputs: InputFiles
    out: str
    resume: str | None = None
    limits: dict[str, int] = Field(default_factory=dict)
    trace: str | None = Field(default=None, description="W3C traceparent of the request that made the job")


class Ready(_Message):
    """Libraries are imported, nothing has run."""

    event: Literal["ready"] = "ready"


class Started(_Message):
    """The job line was read, the engine is called next."""

    event: Literal["started"] = "started"


class Progress(_Message):
    """Where the engine is."""

    event: Literal["progress"] = "progress"
    stage: str = Field(max_length=100)
    done: int
    total: int
    message: str = Field(default="", max_length=2000)
    metrics: dict[str, float | None] = Field(default_factory=dict, max_length=64)


class CheckpointWritten(_Message):
    """A checkpoint is complete below the attempt's folder; the child waits for ``{"ack": number}``."""

    event: Literal["checkpoint"] = "checkpoint"
    path: str
    number: int


class Log(_Message):
    """A line for the job's log."""

    event: Literal["log"] = "log"
    message: str


class ArtifactLine(_Message):
    """A file below ``out`` that the job publishes."""

    role: str = Field(max_length=64)
    path: str = Field(max_length=512)
    media_type: str = Field(max_length=128)


class OutcomeLine(_Message):
    """What the engine produced; the report is one of the artifacts."""

    artifacts: tuple[ArtifactLine, ...] = Field(max_length=256)
    verdict: Literal["pass", "fail", "none"]


class Done(_Message):
    """The run is complete."""

    event: Literal["done"] = "done"
    outcome: OutcomeLine


class Failed(_Message):
    """The run ended with an error; ``deterministic`` ones are not tried again."""

    event: Literal["error"] = "error"
    code: str = Field(max_length=64)
    detail: str
    pointer: str | None = None
    deterministic: bool


Message = Ready | Started | Progress | CheckpointWritten | Log | Done | Failed
_MESSAGES: TypeAdapter[Message] = TypeAdapter(Annotated[Message, Field(discriminator="event")])


def encode(message: BaseModel) -> bytes:
    """One line, newline included.

    Example:
        >>> encode(Ready())
        b'{"event":"ready"}\\n'
    """
    return message.model_dump_json().encode() + b"\n"


def encode_ack(number: int) -> bytes:
    """The supervisor's answer to the checkpoint ``number``."""
    return json.dumps({"ack": number}).encode() + b"\n"


def decode(line: bytes) -> Message:
    """Read one line of a child.

    Raises:
        ProtocolError: not JSON, an unknown event, a field too many, too few or of the wrong type.

    Example:
        >>> decode(b'{"event": "log", "message": "hello"}').event
        'log'
    """
    if len(line) > MAX_LINE_BYTES:
        raise ProtocolError(f"line of {len(line)} bytes; at most {MAX_LINE_BYTES} expected")
    try:
        return _MESSAGES.validate_json(line)
    except ValidationError as error:
        raise ProtocolError(f"not a message of a child: {line[:120]!r} ({error.error_count()} errors)") from None

"""A dataset: checked value by value, and re-written in its canonical form."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from engine.data.canonicalise import canonicalise
from engine.data.frames import digest_file
from engine.data.zip_safe import ZipLimits
from engine.errors import InvalidDataset
from engine.specs.data import Transform
from worker.checks.fields import tell_fields


def check(request: Mapping[str, Any], path: Path, out: Path) -> tuple[str, dict[str, Any]]:
    """Digest of the canonical file, and facts about it.

    Raises:
        InvalidDataset: ``invalid_transform``, or whatever the format's reader refuses.
    """
    limits = ZipLimits()
    bound = (request.get("limits") or {}).get("inflated_bytes", limits.max_bytes)
    try:
        transform = Transform.model_validate(request.get("transform") or {})
    except ValidationError as error:
        detail, pointer = tell_fields(error, "/transform")
        raise InvalidDataset("invalid_transform", detail, pointer) from error
    source = str(request.get("source") or "").removeprefix("sha256:") or None
    name = str(request.get("format") or "frames")
    summary = canonicalise(path, out, name, transform, source, ZipLimits(max_bytes=int(bound)))
    return digest_file(out), summary

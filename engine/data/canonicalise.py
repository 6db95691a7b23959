"""An uploaded dataset of any format: checked, and re-written in the one form that is read later."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from engine.data.batches import Origin
from engine.data.canonical_events import canonicalise_events
from engine.data.frames import canonicalise_frames, digest_file
from engine.data.readers.registry import READERS
from engine.data.zip_safe import ZipLimits
from engine.errors import InvalidDataset
from engine.specs.data import Transform


def canonicalise(
    source: Path, target: Path, name: str, transform: Transform | None, digest: str | None, limits: ZipLimits
) -> dict[str, Any]:
    """Check an upload and write its canonical form.

    Args:
        source: the upload.
        target: the file to write.
        name: of the format.
        transform: from events to frames; None or empty for frames.
        digest: SHA-256 of the upload in hex, where it is known already.
        limits: bounds on members and declared bytes.

    Returns:
        The summary, JSON-ready.

    Raises:
        InvalidDataset: ``unsupported_format``, ``transform_not_applicable``, or what the format's reader refuses.
    """
    transform = transform or Transform()
    if name == "frames":
        given = sorted(transform.model_dump(exclude_defaults=True))
        if given:
            detail = f"expected no transform for the format frames (its samples are frames already), found {given}"
            raise InvalidDataset("transform_not_applicable", detail, "/transform")
        return canonicalise_frames(source, target, limits).as_json()
    if name not in READERS:
        known = ", ".join(("frames", *READERS))
        raise InvalidDataset("unsupported_format", f"expected one of {known}, found {name!r}", "/format")
    origin = Origin(name, digest or digest_file(source), transform.model_dump(mode="json"))
    with READERS[name].opens(source, limits) as events:
        return canonicalise_events(events, target, transform, origin).as_json()

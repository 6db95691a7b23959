"""Put what a job published into a folder, every file checked against the digest that the service names."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from spikebit.client import Client
from spikebit.errors import Damaged, UsageError
from spikebit.records import Artifact

SUMS = "SHA256SUMS"

# Where each role goes. The service's own path is never used as a path here, but for the last name of an export's file.
PLACES = {
    "report-json": "report.json",
    "report-html": "report.html",
    "report-md": "report.md",
    "plan": "plan.json",
    "program-payload": "program/payload.bin",
    "program-manifest": "program/manifest.json",
    "program-golden": "program/golden.npz",
    "finetuned-model": "network.nir",
    "counts-network": "counts-network.npz",
    "counts-program": "counts-program.npz",
}


def download(client: Client, artifacts: Iterable[Artifact], folder: Path) -> tuple[Path, ...]:
    """Download every artifact with a known role into ``folder`` and write ``SHA256SUMS`` over them.

    Returns:
        The files written, relative to ``folder``.

    Raises:
        Damaged: the bytes that came do not have the announced digest; the file is not kept.
        UsageError: the folder cannot be written.
    """
    written: dict[str, str] = {}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for artifact in artifacts:
            place = PLACES.get(artifact.role) or _export_place(artifact)
            if place is not None:
                fetch(client.content(artifact), folder / place, artifact.sha256, artifact.role)
                written[place] = artifact.sha256
        lines = [f"{digest}  {place}\n" for place, digest in sorted(written.items())]
        (folder / SUMS).write_text("".join(lines), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot write to {folder}: {error.strerror}", code="unwritable_folder") from error
    return tuple(Path(place) for place in sorted(written))


def _export_place(artifact: Artifact) -> str | None:
    """``exports/FORMAT/FILE`` for the role ``export-FORMAT``, where both are plain names.

    Example:
        >>> odd = {"id": "a", "size": 1, "sha256": "", "media_type": ""}
        >>> _export_place(Artifact(role="export-c99", path="exports/c99/spikebit_program.h", **odd))
        'exports/c99/spikebit_program.h'
        >>> _export_place(Artifact(role="export-c99", path="exports/c99/../../.bashrc", **odd)) is None
        True
    """
    role = re.fullmatch(r"export-([a-z0-9]{1,20})", artifact.role)
    name = artifact.path.rpartition("/")[2]
    if role is None or not re.fullmatch(r"[A-Za-z0-9_]{1,60}\.[a-z0-9]{1,20}", name):
        return None
    return f"exports/{role[1]}/{name}"


def fetch(pieces: Iterable[bytes], target: Path, sha256: str, what: str) -> None:
    """Write a file once all of it has come and has the digest that was announced.

    Raises:
        Damaged: it has another; nothing is kept.
        OSError: the file cannot be written.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f".{target.name}.part")
    running = hashlib.sha256()
    try:
        with partial.open("wb") as file:
            for piece in pieces:
                running.update(piece)
                file.write(piece)
        if running.hexdigest() != sha256:
            raise Damaged(
                f"{what}: expected sha256 {sha256}, received {running.hexdigest()}",
                code="digest_mismatch",
                advice="Download again; if it stays, the service's store is damaged.",
            )
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)

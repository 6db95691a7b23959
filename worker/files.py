"""Bytes between the blob store and an attempt's private folder."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from jobs.store import BlobView, JobClaim, NewArtifact
from worker.protocol import ArtifactLine, InputFiles, ProtocolError
from worker.service import Service


@dataclass(frozen=True)
class Prepared:
    """An attempt's folder, filled."""

    inputs: InputFiles
    out: Path
    resume: Path | None


def prepare(service: Service, claim: JobClaim, folder: Path) -> Prepared:
    """Have the canonical model, the dataset, expected counts and the last checkpoint on the local disk.

    What the blob store keeps on this disk is used in place (read-only there), the rest is fetched into ``folder``.

    Raises:
        OSError: the disk or the blob store does not work.
    """
    blobs, tenant = service.blobs, claim.tenant_id

    def local(digest: str, name: str) -> Path:
        place = folder / name
        place.mkdir(mode=0o700)
        return blobs.local(tenant, digest, place)

    def given(digest: str | None, name: str) -> str | None:
        return None if digest is None else str(local(digest, name))

    inputs = InputFiles(
        model=str(local(claim.model, "model")),
        dataset=str(local(claim.dataset, "dataset")),
        expected_counts=given(claim.expected_counts, "counts"),
        expected_traces=given(claim.expected_traces, "traces"),
    )
    out = folder / "out"
    out.mkdir(mode=0o700)
    return Prepared(inputs, out, None if claim.checkpoint is None else local(claim.checkpoint.digest, "resume"))


def keep_checkpoint(service: Service, claim: JobClaim, folder: Path, path: str) -> BlobView:
    """Copy a checkpoint that the child announced into a synced blob.

    Returns:
        The blob, with digest and size.

    Raises:
        ProtocolError: the path is not a regular file below the attempt's folder.
    """
    source = _regular_file(folder, Path(path))
    return service.blobs.put_file(claim.tenant_id, source, sync=True)


def stage(service: Service, claim: JobClaim, out: Path, lines: tuple[ArtifactLine, ...]) -> list[NewArtifact]:
    """Store the files that the child wants published; nothing is visible before the guarded write.

    Raises:
        ProtocolError: a path leaves ``out``, is no regular file, or comes twice.
    """
    staged = []
    seen: set[str] = set()
    for line in lines:
        relative = PurePosixPath(line.path)
        if relative.is_absolute() or ".." in relative.parts or str(relative) in seen:
            raise ProtocolError(f"artifact path {line.path!r}: a relative path below out/, named once, expected")
        seen.add(str(relative))
        source = _regular_file(out, out / relative)
        blob = service.blobs.put_file(claim.tenant_id, source)
        staged.append(NewArtifact(line.role, str(relative), blob.digest, blob.size, line.media_type))
    return staged


def _regular_file(root: Path, path: Path) -> Path:
    """The path, if it is a plain file (no link on the way) below ``root``: the child is not trusted with ours."""
    absolute = Path(os.path.abspath(root / path))
    if not absolute.is_relative_to(root) or absolute.resolve() != root.resolve() / absolute.relative_to(root):
        raise ProtocolError(f"{path}: a file below the attempt's folder expected")
    try:
        mode = absolute.lstat().st_mode
    except OSError as error:
        raise ProtocolError(f"{path}: {error.strerror}") from None
    if not stat.S_ISREG(mode):
        raise ProtocolError(f"{path}: a regular file expected")
    return absolute

"""Blobs: content-addressed bytes in a folder or an S3 bucket, under ``t/{tenant}/sha256/{hex}``.

A blob exists when its row (``jobs.store.blob_rows``) and its object do. Writing: a file of ours with a running digest,
then the object, create-only, then the row, then a look whether a collector took the object in between. Collecting: the
row first, if nothing refers to it, then the object; what a killed process left between the two is found by a look
through the store, and what was collected between staging and publishing is staged again (``BlobGone``).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import tempfile
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self
from urllib.parse import urlsplit

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, S3Store

from jobs.database import Database
from jobs.settings import Settings
from jobs.store.blob_rows import adopt_blobs, collectable, drop_blob_row, find_blob, hold_blob
from jobs.store.scope import Tenant
from jobs.store.views import BlobView

if TYPE_CHECKING:  # obstore exports this type to checkers alone
    from obstore.store import S3Config

CHUNK = 1 << 20
ONE_PUT_BYTES = 64 << 20  # above this S3 wants parts, and create-only is a look before the put
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_KEY = re.compile(r"t/([A-Za-z0-9_-]{1,64})/sha256/([0-9a-f]{64})")
_MOST_ERRORS = 5  # then the store is away
_PAGE = 1000  # objects of one look
_TENANT = re.compile(r"[A-Za-z0-9_-]{1,64}")


class BlobMissing(LookupError):
    """The tenant holds no blob of this digest."""


class BlobWriter:
    """A temporary file with a running SHA-256; removed on exit, whether it was placed or not.

    Args:
        folder: where the file is made, on the file system of the store.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file, name = tempfile.mkstemp(prefix="blob-", dir=folder)
        self.path = Path(name)
        self.size = 0
        self._hash = hashlib.sha256()

    def write(self, chunk: bytes) -> None:
        """Append; plain ``write`` and an inline hash beat threads (STACK 7)."""
        self._hash.update(chunk)
        self.size += len(chunk)
        view = memoryview(chunk)
        while view:
            view = view[os.write(self._file, view) :]

    def sync(self) -> None:
        """Wait until the bytes are on the disk."""
        os.fsync(self._file)

    @property
    def digest(self) -> str:
        """``sha256:{hex}`` of what was written so far."""
        return "sha256:" + self._hash.hexdigest()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)
        self.path.unlink(missing_ok=True)


class Blobs:
    """The blob store of this service.

    Args:
        settings: ``blob_url`` decides between the folder ``data/blobs`` and S3.
        database: where the rows of blobs are.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        self._fsync = settings.fsync
        self.temporary = settings.temporary
        self.temporary.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._root: Path | None = None
        self._store: LocalStore | S3Store
        if settings.blob_url:
            self._store = _s3(settings)
        else:
            self._root = settings.blobs_folder
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._store = LocalStore(prefix=self._root)

    def writer(self) -> BlobWriter:
        """A file to stream into, for :meth:`place`."""
        return BlobWriter(self.temporary)

    def place(self, tenant_id: str, written: BlobWriter, *, sync: bool = False) -> BlobView:
        """Put what was written into the store and record it; a second copy of the same bytes is not kept."""
        if sync or self._fsync:
            written.sync()
        tenant = Tenant(self._database, tenant_id)
        for _ in range(3):
            self._put(tenant_id, written, sync=sync or self._fsync)
            hold_blob(tenant, written.digest, written.size)
            if self._object_exists(tenant_id, written.digest):  # else a collector that began before took it
                return BlobView(written.digest, written.size)
        raise OSError(f"the store lost {written.digest} three times right after it was put")

    def put_file(self, tenant_id: str, path: Path, *, sync: bool = False) -> BlobView:
        """Copy a file into the store."""
        with path.open("rb") as source, self.writer() as written:
            while chunk := source.read(CHUNK):
                written.write(chunk)
            return self.place(tenant_id, written, sync=sync)

    def put_bytes(self, tenant_id: str, data: bytes) -> BlobView:
        """Put bytes into the store."""
        with self.writer() as written:
            written.write(data)
            return self.place(tenant_id, written)

    def find(self, tenant_id: str, digest: str) -> BlobView | None:
        """The held blob (row and object), or None."""
        if not _DIGEST.fullmatch(digest):
            return None
        view = find_blob(Tenant(self._database, tenant_id), digest)
        return view if view is not None and self._object_exists(tenant_id, digest) else None

    def exists(self, tenant_id: str, digest: str) -> bool:
        """Does the tenant hold the blob."""
        return self.find(tenant_id, digest) is not None

    def path_for(self, tenant_id: str, digest: str) -> Path | None:
        """The blob's own file, to be read only; None where the store is not a folder.

        Raises:
            BlobMissing: there is no such object.
        """
        if self._root is None:
            return None
        path = self._root / _key(tenant_id, digest)
        if not path.is_file():
            raise BlobMissing(digest)
        return path

    def local(self, tenant_id: str, digest: str, folder: Path) -> Path:
        """A local file with the blob's bytes: its own, or a copy in ``folder``."""
        path = self.path_for(tenant_id, digest)
        return path if path is not None else self.fetch(tenant_id, digest, folder / digest.removeprefix("sha256:"))

    def fetch(self, tenant_id: str, digest: str, target: Path) -> Path:
        """Copy the blob to a file, checking its digest.

        Raises:
            BlobMissing: there is no such object.
            OSError: the stored bytes do not have the digest that they are kept under.
        """
        running = hashlib.sha256()
        with target.open("wb") as file:
            for chunk in self.stream(tenant_id, digest):
                running.update(chunk)
                file.write(chunk)
        if "sha256:" + running.hexdigest() != digest:
            target.unlink()
            raise OSError(f"the stored object of {digest} has digest sha256:{running.hexdigest()}")
        return target

    def read(self, tenant_id: str, digest: str, start: int = 0, end: int | None = None) -> bytes:
        """Bytes ``start`` to ``end`` (exclusive; None: the blob's end)."""
        return b"".join(self.stream(tenant_id, digest, start, end))

    def stream(self, tenant_id: str, digest: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes of a range in chunks of up to 1 MiB.

        Raises:
            BlobMissing: there is no such object.
        """
        path = self.path_for(tenant_id, digest)
        if path is not None:
            yield from _read_file(path, start, end)
            return
        key = _key(tenant_id, digest)
        if end is not None and end <= start:
            return
        try:
            options: obstore.GetOptions = {"range": {"offset": start} if end is None else (start, end)}
            found = obstore.get(self._store, key, options=options)
        except FileNotFoundError as error:
            raise BlobMissing(digest) from error
        for chunk in found.stream(min_chunk_size=CHUNK):
            yield bytes(chunk)

    def drop(self, tenant_id: str, digest: str) -> bool:
        """Delete a blob at once if nothing refers to it; False: it is still needed, or was not held."""
        return self._drop(tenant_id, digest, None)

    def collect(self, older_than_s: float, *, strays: bool = True) -> int:
        """Delete blobs that nothing refers to and nobody touched for so long; returns how many.

        Args:
            older_than_s: by the database's clock, as ``touched_at``.
            strays: look through the whole store for objects without a row too, which a killed writer leaves.
        """
        with self._database.read() as session:
            before = self._database.now(session) - timedelta(seconds=older_than_s)
        if strays:
            self._adopt(before)
        gone, errors = 0, []
        for tenant, digest in collectable(self._database, before):
            try:
                gone += self._drop(tenant, digest, before)
            except (OSError, BaseError) as error:  # one that cannot be deleted does not keep the others
                errors.append(error)
                if len(errors) == _MOST_ERRORS:
                    break
        for stale in self.temporary.glob("blob-*"):  # what a killed process left
            with contextlib.suppress(FileNotFoundError):
                if stale.stat().st_mtime < time.time() - older_than_s:
                    stale.unlink()
        if errors:
            raise OSError(f"{len(errors)} blobs could not be deleted: {errors[0]}") from errors[0]
        return gone

    def check(self) -> None:
        """Raise OSError or an obstore error where the store does not answer."""
        if self._root is not None:
            if not os.access(self._root, os.W_OK):
                raise OSError(f"the blob folder {self._root} is not writable")
            return
        obstore.list_with_delimiter(self._store, prefix="t/readiness")

    def _adopt(self, before: datetime) -> None:
        """Give a row to every object that has none and is older, so that it is collected like the others."""
        for page in obstore.list(self._store, prefix="t", chunk_size=_PAGE):
            found: dict[str, dict[str, tuple[int, datetime]]] = {}
            for meta in page:
                match = _KEY.fullmatch(meta["path"])
                if match is not None and meta["last_modified"] < before:
                    of_tenant = found.setdefault(match[1], {})
                    of_tenant[f"sha256:{match[2]}"] = (meta["size"], meta["last_modified"])
            for tenant_id, blobs in found.items():
                adopt_blobs(self._database, tenant_id, blobs)

    def _drop(self, tenant_id: str, digest: str, before: datetime | None) -> bool:
        key = _key(tenant_id, digest)
        # Inside the transaction, for nothing undoes the deletion of an object that is put again in between. Not on
        # SQLite, where every writer would wait for the store.
        if self._root is None and not self._database.is_sqlite:
            delete = partial(obstore.delete, self._store, key)
            return drop_blob_row(self._database, tenant_id, digest, before, delete)
        if not drop_blob_row(self._database, tenant_id, digest, before):
            return False
        if self._root is None:
            obstore.delete(self._store, key)
            return True
        path, aside = self._root / key, self.temporary / f"blob-{os.urandom(8).hex()}"
        with contextlib.suppress(FileNotFoundError):
            path.rename(aside)
            if find_blob(Tenant(self._database, tenant_id), digest) is not None:  # uploaded anew in between
                with contextlib.suppress(FileExistsError):
                    os.link(aside, path)
            aside.unlink()
        return True

    def _put(self, tenant_id: str, written: BlobWriter, *, sync: bool) -> None:
        key = _key(tenant_id, written.digest)
        if self._root is None:
            with contextlib.suppress(AlreadyExistsError):
                if written.size <= ONE_PUT_BYTES:
                    obstore.put(self._store, key, written.path, mode="create", use_multipart=False)
                elif not self._object_exists(tenant_id, written.digest):
                    obstore.put(self._store, key, written.path)
            return
        path = self._root / key
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        written.path.chmod(0o400)
        with contextlib.suppress(FileExistsError):
            os.link(written.path, path)
            if sync:
                _sync_folder(path.parent)

    def _object_exists(self, tenant_id: str, digest: str) -> bool:
        key = _key(tenant_id, digest)
        if self._root is not None:
            return (self._root / key).is_file()
        try:
            obstore.head(self._store, key)
        except FileNotFoundError:
            return False
        return True


def _key(tenant_id: str, digest: str) -> str:
    if not _TENANT.fullmatch(tenant_id):
        raise ValueError(f"a tenant id has up to 64 letters, digits, '_' and '-', got {tenant_id!r}")
    if not _DIGEST.fullmatch(digest):
        raise ValueError(f"a digest is 'sha256:' and 64 lower-case hex digits, got {digest!r}")
    return f"t/{tenant_id}/sha256/{digest.removeprefix('sha256:')}"


def _read_file(path: Path, start: int, end: int | None) -> Iterator[bytes]:
    with path.open("rb") as file:
        file.seek(start)
        left = (path.stat().st_size if end is None else end) - start
        while left > 0 and (chunk := file.read(min(CHUNK, left))):
            left -= len(chunk)
            yield chunk


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _s3(settings: Settings) -> S3Store:
    """Credentials come from the usual AWS variables; the bucket and prefix from ``s3://bucket/prefix``."""
    parts = urlsplit(settings.blob_url)
    if parts.scheme != "s3" or not parts.netloc:
        raise ValueError(f"SPIKEBIT_BLOB_URL must be s3://bucket or s3://bucket/prefix, got {settings.blob_url!r}")
    endpoint = settings.s3_endpoint
    config: S3Config = {"region": settings.s3_region, "virtual_hosted_style_request": endpoint is None}
    if endpoint is not None:
        config["endpoint"] = endpoint
    insecure = endpoint is not None and endpoint.startswith("http://")
    return S3Store(
        parts.netloc, prefix=parts.path.strip("/") or None, config=config, client_options={"allow_http": insecure}
    )

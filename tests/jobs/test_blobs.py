from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path

import pytest
from sqlalchemy import delete

from jobs.blobs import BlobMissing, Blobs
from jobs.database import Database
from jobs.records import Blob
from jobs.settings import Settings
from jobs.store import NewModel, Tenant, create_upload, delete_upload, drop_blob_row, find_blob, hold_blob
from tests.jobs.make import OTHER_BLOB

DATA = b"0123456789" * 200_000


def test_put_read_range_fetch(blobs: Blobs, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(DATA)
    view = blobs.put_file("default", source, sync=True)
    assert view.digest == "sha256:" + hashlib.sha256(DATA).hexdigest()
    assert view.size == len(DATA)
    assert blobs.put_bytes("default", DATA) == view
    assert blobs.read("default", view.digest) == DATA
    assert blobs.read("default", view.digest, 5, 12) == DATA[5:12]
    assert blobs.read("default", view.digest, len(DATA) - 3) == DATA[-3:]
    assert blobs.fetch("default", view.digest, tmp_path / "copy").read_bytes() == DATA
    path = blobs.path_for("default", view.digest)
    assert path is not None
    assert path == blobs.local("default", view.digest, tmp_path)
    assert path.stat().st_mode & 0o777 == 0o400
    assert list(blobs.temporary.iterdir()) == []
    blobs.check()


def test_a_writer_leaves_no_file_behind(blobs: Blobs) -> None:
    with blobs.writer() as written:
        written.write(b"half")
        assert written.path.read_bytes() == b"half"
    assert list(blobs.temporary.iterdir()) == []


def test_tenants_do_not_share(blobs: Blobs) -> None:
    view = blobs.put_bytes("default", b"mine")
    assert blobs.exists("default", view.digest)
    assert not blobs.exists("stranger", view.digest)
    with pytest.raises(BlobMissing):
        blobs.read("stranger", view.digest)


@pytest.mark.parametrize("tenant_id", ["../x", "", "a/b", "a" * 65])
def test_keys_are_never_paths(blobs: Blobs, tenant_id: str) -> None:
    with pytest.raises(ValueError, match="tenant id"):
        blobs.path_for(tenant_id, OTHER_BLOB)
    with pytest.raises(ValueError, match="digest"):
        blobs.path_for("default", "sha256:../../etc/passwd")


def test_collector_takes_the_unreferenced_only(blobs: Blobs, tenant: Tenant) -> None:
    used, unused = blobs.put_bytes("default", b"used"), blobs.put_bytes("default", b"unused")
    model = create_upload(tenant, NewModel(used.digest, {}), None, lambda v: {"id": v.id}).resource_id
    assert blobs.collect(3600) == 0
    assert blobs.collect(-1) == 1
    assert blobs.exists("default", used.digest)
    assert not blobs.exists("default", unused.digest)
    assert not blobs.drop("default", used.digest)
    delete_upload(tenant, "model", model)
    assert blobs.drop("default", used.digest)
    assert not blobs.drop("default", used.digest)
    assert find_blob(tenant, used.digest) is None


def test_an_upload_during_collection_survives(blobs: Blobs, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
    view = blobs.put_bytes("default", b"contested")
    from jobs import blobs as module

    delete_row = module.drop_blob_row

    def delete_then_upload(*args: object) -> bool:
        gone = delete_row(*args)  # type: ignore[arg-type]
        hold_blob(tenant, view.digest, view.size)  # a client uploads the same bytes at the worst moment
        return gone

    monkeypatch.setattr(module, "drop_blob_row", delete_then_upload)
    blobs.collect(-1)
    assert blobs.read("default", view.digest) == b"contested"
    assert list(blobs.temporary.iterdir()) == []


def test_a_damaged_object_is_not_handed_out(blobs: Blobs, tmp_path: Path) -> None:
    view = blobs.put_bytes("default", b"right")
    path = blobs.path_for("default", view.digest)
    assert path is not None
    path.chmod(0o600)
    path.write_bytes(b"wrong")
    with pytest.raises(OSError, match="digest"):
        blobs.fetch("default", view.digest, tmp_path / "copy")


def test_a_wrong_blob_url_is_refused(settings: Settings, database: Database) -> None:
    with pytest.raises(ValueError, match="s3://bucket"):
        Blobs(settings.model_copy(update={"blob_url": "http://x"}), database)


def test_what_a_killed_writer_left_is_collected(blobs: Blobs, tenant: Tenant) -> None:
    """It was killed between the object and its row; and one that is needed gets its row back."""
    stray, needed = blobs.put_bytes("default", b"stray"), blobs.put_bytes("default", b"needed")
    create_upload(tenant, NewModel(needed.digest, {}), None, lambda v: {"id": v.id})
    with tenant.database.write() as session:
        session.execute(delete(Blob))
    assert blobs.collect(3600) == 0, "its writer may be about to write the row"
    assert blobs.collect(-5, strays=False) == 0
    assert blobs.collect(-5) == 1
    assert blobs.path_for("default", needed.digest) is not None
    assert blobs.exists("default", needed.digest)
    with pytest.raises(BlobMissing):
        blobs.path_for("default", stray.digest)


def test_a_row_stays_where_the_object_cannot_be_deleted(blobs: Blobs, tenant: Tenant) -> None:
    digest = blobs.put_bytes("default", b"kept").digest

    def refuse() -> None:
        raise OSError("the store is away")

    with pytest.raises(OSError, match="away"):
        drop_blob_row(tenant.database, "default", digest, None, refuse)
    assert blobs.exists("default", digest)


def test_one_that_cannot_be_deleted_keeps_no_other(blobs: Blobs, monkeypatch: pytest.MonkeyPatch) -> None:
    digests = [blobs.put_bytes("default", b"%d" % number).digest for number in range(3)]
    drop = blobs._drop

    def stubborn(tenant_id: str, digest: str, before: datetime | None) -> bool:
        if digest == digests[0]:
            raise OSError("read-only")
        return drop(tenant_id, digest, before)

    monkeypatch.setattr(blobs, "_drop", stubborn)
    with pytest.raises(OSError, match="1 blobs could not be deleted: read-only"):
        blobs.collect(-5)
    assert [blobs.exists("default", digest) for digest in digests] == [True, False, False]

"""Old and new code on one database while one replaces the other."""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import text

from jobs import migrations
from jobs.database import SCHEMA_VERSION, Database, open_database
from jobs.store import NewArtifact, Tenant, checkpoint, get_job, hold_blob, list_events, publish
from tests.conftest import ROOT
from tests.jobs.make import OTHER_BLOB, claimed, queued

FIRST_SCHEMA_COMMIT = "eb03696"  # the last commit whose code knows schema 0001 alone
OLD_CODE = """
import sys
from jobs.database import SCHEMA_VERSION, Database
from jobs.store import *
from tests.jobs.make import claimed, queued, OTHER_BLOB

assert SCHEMA_VERSION == "0001", SCHEMA_VERSION
database = Database(sys.argv[1])            # a process that was started before the upgrade
tenant = Tenant(database, "default")
first, second, third = queued(tenant), queued(tenant), queued(tenant)
claim = claimed(tenant)
assert heartbeat(database, claim, 60).held and progress(database, claim, "evaluate", 1, 2)
assert log(database, claim, "old", 10) and checkpoint(database, claim, OTHER_BLOB, 3)
assert publish(database, claim, [NewArtifact("plan", "plan.json", OTHER_BLOB, 3, "application/json")], "pass") == (
    "published")
assert fail(database, claimed(tenant), Problem("x", "x"), retry_up_to=2) == "requeued"
cancel_job(tenant, third)
sweep(database, max_attempts=3)
assert [event.seq for event in list_events(tenant, first, 0, 100)] == [1, 2, 3, 4, 5, 6]
key = generate_key()
add_key(tenant, key, "old")
assert verify_key(database, key)
print(first, second, third)
"""


def flow(database: Database) -> None:
    """What a running process does all day."""
    tenant = Tenant(database, "default")
    job = queued(tenant, labels={"a": "b"})
    claim = claimed(tenant)
    hold_blob(tenant, OTHER_BLOB, 3)
    assert checkpoint(database, claim, OTHER_BLOB, 3)
    files = [NewArtifact("plan", "plan.json", OTHER_BLOB, 3, "application/json")]
    assert publish(database, claim, files, "none") == "published"
    assert get_job(tenant, job).status == "succeeded"
    assert [event.seq for event in list_events(tenant, job, 0, 100)] == [1, 2, 3, 4]


@pytest.fixture
def old_tree(tmp_path: Path) -> Path:
    """The code before this schema, from the history."""
    archive = subprocess.run(
        ("git", "archive", FIRST_SCHEMA_COMMIT, "jobs", "engine/specs", "engine/__init__.py", "tests/jobs"),
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    if archive.returncode:
        pytest.skip(f"the history is not here: {archive.stderr.decode().strip()[:200]}")
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
        tar.extractall(tmp_path / "old", filter="data")
    return tmp_path / "old"


def test_old_code_works_on_the_new_schema(database: Database, database_url: str, old_tree: Path) -> None:
    """The process that is replaced last: it was started on the old schema, and the new one came under its feet."""
    done = subprocess.run(
        (sys.executable, "-c", OLD_CODE, database_url),
        cwd=old_tree,
        env={"PYTHONPATH": str(old_tree), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    first, second, third = done.stdout.split()
    tenant = Tenant(database, "default")
    assert get_job(tenant, first).status == "succeeded"
    assert get_job(tenant, third).status == "cancelled"
    assert claimed(tenant).job_id == second, "what the old code queued the new one runs"


def test_this_code_works_on_a_schema_that_says_so(database: Database, database_url: str) -> None:
    """The next migration, played: it adds, and names this version as the oldest code that still works."""
    with database.engine.begin() as connection:
        operations = Operations(MigrationContext.configure(connection))
        for table in ("jobs", "attempts", "events", "models", "artifacts", "workers"):
            operations.add_column(table, sa.Column("of_the_future", sa.String(20), nullable=True))
        operations.create_index("ix_future", "jobs", ["of_the_future"])
        connection.execute(text("UPDATE alembic_version SET version_num = '9998'"))
        connection.execute(text("UPDATE schema_info SET value = :ours"), {"ours": SCHEMA_VERSION})
    flow(database)  # a process that runs on
    assert database.fits()
    again = open_database(database_url)  # and one that starts now
    flow(again)
    assert again.check() == "9998"
    again.close()


def test_an_old_database_is_upgraded_with_its_rows_and_back(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'old.db'}"
    database = Database(url)
    config = Config()
    config.set_main_option("script_location", str(Path(migrations.__file__).parent))
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        connection.execute(
            text("INSERT INTO leases (name, holder, until) VALUES ('n', 'h', '2026-01-01 00:00:00.000000')")
        )
    flow(open_database(url))
    with database.engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0001")
        assert connection.execute(text("SELECT count(*) FROM leases WHERE name = 'n'")).scalar_one() == 1
        assert connection.execute(text("SELECT count(*) FROM jobs")).scalar_one() == 1
    database.close()


def test_every_migration_says_which_code_it_still_bears() -> None:
    for path in sorted((Path(migrations.__file__).parent / "versions").glob("v*.py"))[1:]:
        assert "OLDEST_CODE" in path.read_text(), f"{path.name}: old code runs beside it during a deployment"

"""``spikebit admin``: keys, the queue, drains, jobs that a worker does not let go (an operator's key), and backups."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import typer
from rich.table import Table

from spikebit.backup import Backup, back_up, restore
from spikebit.commands import common
from spikebit.commands.uploads import RecordId
from spikebit.display import print_json, stdout
from spikebit.endpoint import state_folder

app = typer.Typer(help="Operate the service.", no_args_is_help=True)
keys = typer.Typer(help="API keys.", no_args_is_help=True)
app.add_typer(keys, name="keys")
Data = Annotated[Path | None, typer.Option(help="The data folder; default: SPIKEBIT_DATA, else the user's.")]
Scope = Annotated[str, typer.Argument(help="*: every worker; or a host, or a worker's name.")]


@keys.command("list")
@common.guarded
def list_keys(as_json: common.AsJson = False) -> None:
    """Keys of all tenants; what they open is never shown again."""
    with common.connect() as client:
        page = client.operate("GET", "/v1/keys")
    _table(page["items"], ("id", "tenant", "name", "scope", "created_at", "expires_at", "revoked_at"), as_json)


@keys.command("add")
@common.guarded
def add_key(
    name: Annotated[str, typer.Argument(help="What it is for.")],
    tenant: Annotated[str | None, typer.Option(help="Whose records it opens; default: the caller's.")] = None,
    admin: Annotated[bool, typer.Option("--admin", help="It may operate the service.")] = False,
    days: Annotated[float | None, typer.Option(min=0.001, help="It opens nothing after so many days.")] = None,
    as_json: common.AsJson = False,
) -> None:
    """Make a key; this is the only time that it is shown."""
    body: dict[str, object] = {"name": name, "scope": "admin" if admin else "user"}
    body |= {} if tenant is None else {"tenant": tenant}
    body |= {} if days is None else {"expires_in_s": 86_400 * days}
    with common.connect() as client:
        made = client.operate("POST", "/v1/keys", body)
    if as_json:
        print_json(made)
    else:
        stdout().print(made["key"], markup=False, soft_wrap=True)


@keys.command("revoke")
@common.guarded
def revoke_key(key_id: RecordId) -> None:
    """End a key; it opens nothing after at most two seconds."""
    with common.connect() as client:
        client.operate("DELETE", f"/v1/keys/{quote(key_id, safe='')}")
    stdout().print(f"revoked {key_id}", markup=False)


@app.command("queue")
@common.guarded
def queue(as_json: common.AsJson = False) -> None:
    """Unfinished work by class, live workers, drains."""
    with common.connect() as client:
        found = client.operate("GET", "/v1/admin/queue")
    if as_json:
        print_json(found)
        return
    _table(found["queue"], ("class", "status", "number", "oldest_s"), False)
    _table(found["workers"], ("name", "class", "device", "state", "job", "seen_at"), False)
    _table(found["drains"], ("scope", "since"), False)


@app.command("requeue")
@common.guarded
def requeue(job_id: RecordId, as_json: common.AsJson = False) -> None:
    """Take a job from the worker that holds it; the next attempt resumes it from its last checkpoint."""
    with common.connect() as client:
        done = client.operate("POST", f"/v1/admin/jobs/{quote(job_id, safe='')}/requeue")
    if as_json:
        print_json(done)
    else:
        stdout().print(f"{done['id']} {done['status']}", markup=False)


@app.command("drain")
@common.guarded
def drain(scope: Scope = "*") -> None:
    """Let workers claim nothing more and give back what they run, until ``resume``."""
    with common.connect() as client:
        client.operate("POST", "/v1/admin/drains", {"scope": scope})
    stdout().print(f"drained {scope}", markup=False)


@app.command("resume")
@common.guarded
def resume(scope: Scope = "*") -> None:
    """End a drain."""
    with common.connect() as client:
        client.operate("DELETE", f"/v1/admin/drains/{quote(scope, safe='')}")
    stdout().print(f"resumed {scope}", markup=False)


@app.command("backup")
@common.guarded
def backup(
    target: Annotated[Path, typer.Argument(help="A new folder.")], data: Data = None, as_json: common.AsJson = False
) -> None:
    """Copy the data folder of an embedded service of this machine, which may go on running."""
    _say("backed up", back_up(data or state_folder(os.environ), target), target, as_json)


@app.command("restore")
@common.guarded
def restore_backup(
    source: Annotated[Path, typer.Argument(help="What ``backup`` has made.")],
    data: Data = None,
    as_json: common.AsJson = False,
) -> None:
    """Put a backup into a data folder that no service uses."""
    folder = data or state_folder(os.environ)
    _say("restored", restore(source, folder), folder, as_json)


def _say(done: str, what: Backup, folder: Path, as_json: bool) -> None:
    if as_json:
        print_json(asdict(what))
        return
    megabytes = what.blob_bytes / 1e6
    stdout().print(f"{done} {what.jobs} jobs and {what.blobs} blobs ({megabytes:.1f} MB): {folder}", markup=False)


def _table(rows: list[dict[str, object]], columns: tuple[str, ...], as_json: bool) -> None:
    if as_json:
        print_json({"items": rows})
        return
    table = Table(*columns)
    for row in rows:
        table.add_row(*("" if row.get(name) is None else str(row[name]) for name in columns))
    stdout().print(table)

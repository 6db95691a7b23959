"""``spikebit jobs``: submit, look at, wait for, fetch from, cancel and delete jobs."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from spikebit.commands import common
from spikebit.commands.main_job import succeeded_or_raise
from spikebit.commands.uploads import Cursor, Limit, RecordId
from spikebit.display import board, print_json, stdout
from spikebit.download import download as download_files
from spikebit.errors import GATE_FAILED, UsageError
from spikebit.records import Job, job_from
from spikebit.tables import record_table

app = typer.Typer(help="Jobs.", no_args_is_help=True)


class Format(StrEnum):
    """Renderings of a report."""

    json = "json"
    html = "html"
    markdown = "markdown"


_MEDIA = {Format.json: "application/json", Format.html: "text/html", Format.markdown: "text/markdown"}


@app.command("add")
@common.guarded
def add(
    model: Annotated[str | None, typer.Option(help="Id of a model.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Id of a dataset.")] = None,
    recipe: Annotated[str | None, typer.Option(help="A named list of steps.")] = None,
    request: Annotated[
        Path | None, typer.Option(metavar="FILE", help="A whole job request as JSON; the options above win.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and estimate; run nothing.")] = False,
    as_json: common.AsJson = False,
) -> None:
    """Submit a job and return at once."""
    body: Any = {} if request is None else common.read_json(request, "--request")
    if not isinstance(body, dict):
        raise UsageError("--request: expected a JSON object", code="usage")
    given = {"model": model, "dataset": dataset, "recipe": recipe}
    body |= {name: value for name, value in given.items() if value is not None}
    missing = [f"--{name}" for name in ("model", "dataset") if not body.get(name)]
    if missing:
        raise UsageError(f"a job needs {' and '.join(missing)}", code="usage")
    with common.connect() as client:
        record = client.dry_run(body) if dry_run else client.submit(body).raw
    if as_json or dry_run:
        print_json(record)
    else:
        stdout().print(record["id"], markup=False)


@app.command("list")
@common.guarded
def list_jobs(limit: Limit = 50, cursor: Cursor = None, as_json: common.AsJson = False) -> None:
    """The newest first."""
    with common.connect() as client:
        page = client.list("jobs", limit=limit, cursor=cursor)
    if as_json:
        print_json(page)
        return
    table = Table("id", "status", "verdict", "label", "created")
    for item in page["items"]:
        table.add_row(
            item["id"],
            item["status"],
            item.get("verdict") or "",
            item.get("label") or "",
            str(item.get("created_at") or ""),
        )
    stdout().print(table)
    if page.get("next_cursor"):
        stdout().print(f"more: --cursor {page['next_cursor']}", markup=False, soft_wrap=True)


@app.command("show")
@common.guarded
def show(job_id: RecordId, as_json: common.AsJson = False) -> None:
    """One job."""
    with common.connect() as client:
        record = client.show("jobs", job_id)
    _print_job(job_from(record), as_json)


@app.command("wait")
@common.guarded
def wait(job_id: RecordId, as_json: common.AsJson = False, timeout: common.Timeout = None) -> None:
    """Wait for the end; exit code 1 when a gate failed, 4 when the job did."""
    with common.connect() as client, board() as shown:
        job = client.wait_job(job_id, deadline=common.deadline_after(timeout), on_change=shown.job)
    if not as_json or job.status == "succeeded":
        _print_job(job, as_json)
    succeeded_or_raise(job)
    if job.verdict == "fail":
        raise typer.Exit(GATE_FAILED)


@app.command("watch")
@common.guarded
def watch(job_id: RecordId, as_json: common.AsJson = False, timeout: common.Timeout = None) -> None:
    """Follow a job with a progress bar, also across restarts of the service; exit codes as of ``wait``.

    With --json every event is one line on standard output.
    """
    deadline = common.deadline_after(timeout)
    with common.connect() as client, board() as shown:
        for event in client.follow(job_id, deadline=deadline):
            shown.event(event.kind, event.data)
            if as_json:
                typer.echo(json.dumps({"seq": event.seq, "event": event.kind, "data": event.data}, ensure_ascii=False))
        job = client.wait_job(job_id, deadline=deadline)
    if not as_json:
        _print_job(job, as_json)
    succeeded_or_raise(job)
    if job.verdict == "fail":
        raise typer.Exit(GATE_FAILED)


@app.command("cancel")
@common.guarded
def cancel(job_id: RecordId, as_json: common.AsJson = False) -> None:
    """Ask a job to stop."""
    with common.connect() as client:
        job = client.cancel(job_id)
    _print_job(job, as_json)


@app.command("delete")
@common.guarded
def delete(job_id: RecordId, as_json: common.AsJson = False) -> None:
    """Delete a finished job and what it published."""
    with common.connect() as client:
        client.delete("jobs", job_id)
    if as_json:
        print_json({"deleted": job_id})
    else:
        stdout().print(f"deleted {job_id}", markup=False)


@app.command("report")
@common.guarded
def report(
    job_id: RecordId,
    format: Annotated[Format, typer.Option("--format", help="Rendering.")] = Format.markdown,
    as_json: common.AsJson = False,
) -> None:
    """Print a job's report."""
    with common.connect() as client:
        text = client.report(job_id, _MEDIA[Format.json if as_json else format]).decode()
    typer.echo(text.rstrip("\n"))


@app.command("download")
@common.guarded
def download(
    job_id: RecordId,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for everything published.")],
    as_json: common.AsJson = False,
) -> None:
    """Download what a job published, every digest checked."""
    with common.connect() as client:
        files = download_files(client, client.artifacts(job_id), out)
    if as_json:
        print_json({"out": str(out), "files": [path.as_posix() for path in files]})
        return
    for path in files:
        stdout().print(str(out / path), markup=False, soft_wrap=True)


@app.command("logs")
@common.guarded
def logs(job_id: RecordId) -> None:
    """Print a job's log."""
    with common.connect() as client:
        typer.echo(client.job_page(job_id, "logs").text.rstrip("\n"))


@app.command("events")
@common.guarded
def events(job_id: RecordId, as_json: common.AsJson = False) -> None:
    """Print a job's events."""
    with common.connect() as client:
        page = client.job_page(job_id, "events").json()
    if as_json:
        print_json(page)
        return
    for event in page.get("items", []):
        typer.echo(json.dumps(event, ensure_ascii=False))


def _print_job(job: Job, as_json: bool) -> None:
    if as_json:
        print_json(job.raw)
        return
    stdout().print(record_table(job.raw, hidden=("request", "spec", "links")))

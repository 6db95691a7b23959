"""``spikebit models`` and ``spikebit datasets``: the same five verbs for both; ``models`` has ``export`` too."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from rich.table import Table

from spikebit.client import Client
from spikebit.commands import common
from spikebit.commands.data_options import with_data_options
from spikebit.commands.export import add_export
from spikebit.datasets import DataOptions, one_file
from spikebit.display import Board, board, print_json, stdout
from spikebit.records import Upload
from spikebit.tables import hints_table, record_table

RecordId = Annotated[str, typer.Argument(metavar="ID")]
Name = Annotated[str | None, typer.Option(help="A name; default: the file's.")]
Wait = Annotated[bool, typer.Option("--wait/--no-wait", help="Wait until the file is checked.")]
Limit = Annotated[int, typer.Option(min=1, max=200)]
Cursor = Annotated[str | None, typer.Option(help="next_cursor of the page before.")]


def models_app() -> typer.Typer:
    """``spikebit models``."""
    app = _noun_app("models", "Uploaded networks.")

    @app.command("add")
    @common.guarded
    def add(
        model: common.ModelFile,
        dynamics: common.Dynamics,
        dynamics_set: common.DynamicsSet = None,
        repair: common.Repair = False,
        name: Name = None,
        wait: Wait = True,
        as_json: common.AsJson = False,
        timeout: common.Timeout = None,
    ) -> None:
        """Upload a NIR file with its dynamics."""
        preset, overrides = common.profile(dynamics, dynamics_set)
        common.existing_file(model, "MODEL.nir")
        with common.connect() as client, board() as shown:
            record = client.add_model(
                model,
                dynamics=preset,
                overrides=overrides,
                repair=repair,
                name=name,
                on_bytes=shown.uploading(model.name),
            )
            record = _checked(client, shown, "models", record, model.name, wait, timeout)
        _print_record(record.raw, as_json)

    add_export(app)
    return app


def datasets_app() -> typer.Typer:
    """``spikebit datasets``."""
    app = _noun_app("datasets", "Uploaded samples and labels.")

    @app.command("add")
    @with_data_options
    @common.guarded
    def add(
        data: common.DataFile,
        name: Name = None,
        wait: Wait = True,
        as_json: common.AsJson = False,
        timeout: common.Timeout = None,
        data_options: DataOptions = DataOptions(),  # noqa: B008 (frozen)
    ) -> None:
        """Upload samples and labels: frames, or events and how frames are made of them."""
        transform = data_options.transform
        with common.connect() as client, board() as shown, one_file(data, data_options) as (file, kind):
            sent = shown.uploading(data.name)
            record = client.add_dataset(file, format=kind, transform=transform, name=name or data.name, on_bytes=sent)
            record = _checked(client, shown, "datasets", record, data.name, wait, timeout)
        _print_record(record.raw, as_json)

    return app


def _checked(
    client: Client, shown: Board, noun: str, record: Upload, file: str, wait: bool, timeout: float | None
) -> Upload:
    if not wait:
        return record
    shown.checking(file)
    return client.wait_upload(noun, record.id, deadline=common.deadline_after(timeout), file=file)


def _noun_app(noun: str, text: str) -> typer.Typer:
    app = typer.Typer(help=text, no_args_is_help=True)

    @app.command("list")
    @common.guarded
    def list_records(limit: Limit = 50, cursor: Cursor = None, as_json: common.AsJson = False) -> None:
        """The newest first."""
        with common.connect() as client:
            page = client.list(noun, limit=limit, cursor=cursor)
        if as_json:
            print_json(page)
            return
        table = Table("id", "status", "name", "created")
        for item in page["items"]:
            table.add_row(item["id"], item["status"], item.get("name") or "", str(item.get("created_at") or ""))
        stdout().print(table)
        if page.get("next_cursor"):
            stdout().print(f"more: --cursor {page['next_cursor']}", markup=False, soft_wrap=True)

    @app.command("show")
    @common.guarded
    def show(record_id: RecordId, as_json: common.AsJson = False) -> None:
        """One record."""
        with common.connect() as client:
            record = client.show(noun, record_id)
        _print_record(record, as_json)

    @app.command("wait")
    @common.guarded
    def wait(record_id: RecordId, as_json: common.AsJson = False, timeout: common.Timeout = None) -> None:
        """Wait until the file is checked."""
        with common.connect() as client, board() as shown:
            shown.checking(record_id)
            record = client.wait_upload(noun, record_id, deadline=common.deadline_after(timeout))
        _print_record(record.raw, as_json)

    @app.command("delete")
    @common.guarded
    def delete(record_id: RecordId, as_json: common.AsJson = False) -> None:
        """Delete a record that no unfinished job needs."""
        with common.connect() as client:
            client.delete(noun, record_id)
        if as_json:
            print_json({"deleted": record_id})
        else:
            stdout().print(f"deleted {record_id}", markup=False)

    return app


def _print_record(record: Any, as_json: bool) -> None:
    if as_json:
        print_json(record)
        return
    summary = dict(record.get("summary") or {})
    hints = summary.pop("preset_hints", None)
    stdout().print(record_table({**record, "summary": summary}))
    if hints:
        stdout().print(hints_table(hints))

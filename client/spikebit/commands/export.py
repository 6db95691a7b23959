"""``spikebit models export``: a model back into a framework."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from spikebit.client import Client
from spikebit.commands import common
from spikebit.display import board, print_json, stdout
from spikebit.download import fetch
from spikebit.errors import UsageError
from spikebit.records import Upload


class Framework(StrEnum):
    """Whose importer is to load a file."""

    SNNTORCH = "snntorch"
    NORSE = "norse"
    SPIKINGJELLY = "spikingjelly"


ModelId = Annotated[str, typer.Argument(metavar="MODEL_ID")]
For = Annotated[Framework, typer.Option("--framework", help="Whose importer is to load the file.")]
Out = Annotated[Path | None, typer.Option("-o", "--out", help="The NIR file; default: MODEL_ID-FRAMEWORK.nir.")]
Snippet = Annotated[
    Path | None,
    typer.Option(help="Python file to write lines for after the import to; allows what only they bring about."),
]


def add_export(app: typer.Typer) -> None:
    """Add the command to ``spikebit models``."""

    @app.command("export")
    @common.guarded
    def export(
        model_id: ModelId,
        framework: For,
        out: Out = None,
        snippet: Snippet = None,
        as_json: common.AsJson = False,
        timeout: common.Timeout = None,
    ) -> None:
        """Write a model as NIR that a framework's own importer loads, and that gives the same spikes there."""
        target = out or Path(f"{model_id}-{framework.value}.nir")
        deadline = common.deadline_after(timeout)
        with common.connect() as client, board() as shown:
            record = client.export_model(model_id, framework.value, snippet=snippet is not None)
            name = f"{model_id} for {framework.value}"
            shown.checking(name)
            record = client.wait_upload("exports", record.id, deadline=deadline, file=name)
            _save(client, record, target, snippet)
        if as_json:
            print_json({**record.raw, "file": str(target)})
            return
        stdout().print(f"wrote {target}", markup=False, soft_wrap=True)
        if snippet is not None:
            needed = bool(record.summary.get("needs_snippet"))
            why = (
                "needed: the importer alone would build another network"
                if needed
                else "not needed, shows how to run it"
            )
            stdout().print(f"wrote {snippet} ({why})", markup=False, soft_wrap=True)


def _save(client: Client, record: Upload, target: Path, snippet: Path | None) -> None:
    digest = str(record.raw["digest"]).removeprefix("sha256:")
    try:
        fetch(client.export_content(record.id), target, digest, target.name)
        if snippet is not None:
            snippet.write_text(str(record.summary["snippet"]), encoding="utf-8")
    except OSError as error:
        detail = f"cannot write {error.filename or target}: {error.strerror}"
        raise UsageError(detail, code="unwritable_file") from error

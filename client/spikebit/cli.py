"""The ``spikebit`` command."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from spikebit import __version__
from spikebit.commands import common
from spikebit.commands.admin import app as admin_app
from spikebit.commands.evaluate import evaluate
from spikebit.commands.jobs import app as jobs_app
from spikebit.commands.quantize import quantize
from spikebit.commands.run import run
from spikebit.commands.sensitivity import sensitivity
from spikebit.commands.uploads import datasets_app, models_app
from spikebit.commands.verify import verify
from spikebit.errors import INTERRUPTED

app = typer.Typer(
    help="Quantize spiking neural networks: client of the Spikebit service.",
    epilog="Exit codes: 0 done, 1 a gate failed or counts differ, 2 usage, 3 auth or quota, "
    "4 service or job error, 5 timeout, 130 interrupted.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for command in (quantize, sensitivity, evaluate, verify, run):
    app.command()(command)
app.add_typer(models_app(), name="models")
app.add_typer(datasets_app(), name="datasets")
app.add_typer(jobs_app, name="jobs")
app.add_typer(admin_app, name="admin")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"spikebit {__version__}")
        raise typer.Exit


@app.callback()
def _address(
    url: Annotated[str | None, typer.Option(help="Address of the service, before any found by itself.")] = None,
    api_key: Annotated[str | None, typer.Option(help="Key for --url; better: SPIKEBIT_API_KEY.")] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it and stop.")
    ] = False,
) -> None:
    common.address.set(common.Address(url, api_key))


def main() -> None:
    """Run the command; Ctrl-C outside a command ends with 130 too."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)

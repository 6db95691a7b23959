"""``spikebit verify``: replay the golden vectors offline and check every digest."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spikebit.commands import common
from spikebit.display import print_json, stdout
from spikebit.errors import GATE_FAILED, UsageError


@common.guarded
def verify(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The --out folder, or its program/.")],
    digest: Annotated[
        str | None, typer.Option(metavar="HEX", help="The program_digest that the service printed.")
    ] = None,
    as_json: common.AsJson = False,
) -> None:
    """Check a downloaded program without the service; exit code 1 when anything is wrong."""
    if not folder.is_dir():
        raise UsageError(f"expected a folder at {folder}", code="unreadable_folder")
    from runtime.verify import verify_folder  # NumPy: only this command needs it

    result = verify_folder(folder, digest)
    if as_json:
        print_json(
            {
                "ok": result.ok,
                "problems": list(result.problems),
                "samples": result.samples,
                "spikes_compared": result.spikes_compared,
                "program_digest": result.program_digest,
            }
        )
    else:
        console = stdout()
        for problem in result.problems:
            console.print(f"wrong: {problem}", markup=False, soft_wrap=True)
        console.print(f"program digest {result.program_digest or '–'}", markup=False, soft_wrap=True)
        replayed = f"{result.samples} golden samples, {result.spikes_compared:,} spikes compared"
        console.print(f"{'verified' if result.ok else 'NOT verified'}: {replayed}", markup=False)
    if not result.ok:
        raise typer.Exit(GATE_FAILED)

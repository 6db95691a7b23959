"""Options that several commands share, the session, and the one place that turns exceptions into exit codes."""

from __future__ import annotations

import functools
import inspect
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer

from spikebit.client import Client
from spikebit.display import print_error, print_json, stderr
from spikebit.endpoint import find_endpoint
from spikebit.errors import INTERRUPTED, SpikebitError, UsageError

Dynamics = Annotated[
    str,
    typer.Option(
        "--dynamics",
        metavar="PRESET",
        help="What NIR does not say (docs/dynamics.md); 'auto' tries all presets.",
    ),
]
DynamicsSet = Annotated[
    list[str] | None,
    typer.Option("--dynamics-set", metavar="FIELD=VALUE", help="Override one field of the preset; repeatable."),
]
Repair = Annotated[bool, typer.Option("--repair", help="Mend an inconsistent subgraph instead of refusing it.")]
Expect = Annotated[
    float | None,
    typer.Option(
        metavar="ACCURACY",
        min=0.0,
        max=1.0,
        help="The float network's test accuracy (a fraction); the job fails when it is missed by more than 0.0005.",
    ),
]
ExpectCounts = Annotated[
    Path | None, typer.Option(metavar="FILE.npz", help="Output spike counts to compare with, sample by sample.")
]
ExpectTraces = Annotated[
    Path | None,
    typer.Option(metavar="FILE.npz", help="Spikes of single layers to compare with; see docs/evaluate.md."),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of every random choice in the job.")]
Label = Annotated[str | None, typer.Option(help="A name for the job.")]
Out = Annotated[Path | None, typer.Option(metavar="DIR", help="Folder for the report and everything published.")]
AsJson = Annotated[bool, typer.Option("--json", help="JSON on standard output, and nothing else there.")]
Timeout = Annotated[
    float | None, typer.Option(metavar="SECONDS", min=0.0, help="Stop waiting after this long (exit code 5).")
]
ModelFile = Annotated[Path, typer.Argument(metavar="MODEL.nir", help="The trained network.")]
DataFile = Annotated[
    Path,
    typer.Argument(metavar="DATA", help="Samples and labels: a file or a folder; see docs/data.md."),
]


@dataclass(frozen=True)
class Address:
    """``--url`` and ``--api-key`` of the command line."""

    url: str | None = None
    key: str | None = None


address: ContextVar[Address] = ContextVar("address", default=Address())  # noqa: B039 (frozen)
F = TypeVar("F", bound=Callable[..., None])


@contextmanager
def connect() -> Iterator[Client]:
    """A client of the service that the user means."""
    chosen = address.get()
    with Client(find_endpoint(url=chosen.url, key=chosen.key)) as client:
        yield client


def guarded(command: F) -> F:
    """Explain every expected failure and end with its exit code; Ctrl-C is 130."""
    takes_json = "as_json" in inspect.signature(command).parameters

    @functools.wraps(command)
    def run(*args: Any, **options: Any) -> None:
        as_json = takes_json and bool(options.get("as_json"))
        try:
            command(*args, **options)
        except SpikebitError as error:
            _fail(error, as_json)
        except KeyboardInterrupt as stop:
            going_on = str(stop) or "what was submitted goes on: spikebit jobs list"
            stderr().print(f"interrupted; {going_on}", markup=False, soft_wrap=True)
            raise typer.Exit(INTERRUPTED) from None

    return run  # type: ignore[return-value]


def _fail(error: SpikebitError, as_json: bool) -> NoReturn:
    if as_json:
        print_json({"error": error.as_json(), "exit_code": error.exit_code})
    print_error(error)
    raise typer.Exit(error.exit_code)


def deadline_after(timeout_s: float | None) -> float | None:
    """The end of the user's patience on ``time.monotonic``."""
    return None if timeout_s is None else time.monotonic() + timeout_s


def parse_overrides(assignments: list[str] | None) -> dict[str, Any]:
    """``field=value`` pairs; a value that is not JSON is a string.

    Raises:
        UsageError: an assignment without ``=`` or without a field.

    Example:
        >>> parse_overrides(["dt_s=1e-3", "membrane_floor=none", "max_spikes=null"])
        {'dt_s': 0.001, 'membrane_floor': 'none', 'max_spikes': None}
    """
    fields: dict[str, Any] = {}
    for assignment in assignments or []:
        name, separator, text = assignment.partition("=")
        if not separator or not name.strip():
            raise UsageError(
                f"--dynamics-set: expected FIELD=VALUE, found {assignment!r}",
                code="usage",
                advice="For example: --dynamics-set dt_s=1e-3",
            )
        try:
            fields[name.strip()] = json.loads(text, parse_constant=_refuse_constant)
        except ValueError:
            fields[name.strip()] = text
    return fields


def profile(dynamics: str, assignments: list[str] | None) -> tuple[str, dict[str, Any]]:
    """Preset and overrides: a preset's name, or a ``dynamics.json`` as capture writes it; assignments come on top.

    Raises:
        UsageError: the file is missing or not a profile, or an assignment is malformed.
    """
    overrides = parse_overrides(assignments)
    if not dynamics.endswith(".json"):
        return dynamics, overrides
    document = read_json(Path(dynamics), "--dynamics")
    fields = document.get("set", {}) if isinstance(document, dict) else None
    if not isinstance(fields, dict) or not isinstance(document.get("preset"), str):
        raise UsageError(f'--dynamics: expected {{"preset": …, "set": {{…}}}} in {dynamics}', code="usage")
    return document["preset"], fields | overrides


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def existing_file(path: Path, what: str) -> Path:
    """The path, where it is a file.

    Raises:
        UsageError: it is not there.
    """
    if not path.is_file():
        found = "a folder" if path.is_dir() else "nothing"
        raise UsageError(f"{what}: expected a file at {path}, found {found}", code="unreadable_file")
    return path


def read_json(path: Path, what: str) -> Any:
    """The JSON document in a file.

    Raises:
        UsageError: no file, or not JSON.
    """
    try:
        return json.loads(existing_file(path, what).read_text(encoding="utf-8"))
    except (ValueError, OSError) as error:
        raise UsageError(f"{what}: {path} is not a JSON document: {error}", code="unreadable_file") from error

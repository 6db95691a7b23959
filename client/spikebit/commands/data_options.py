"""The options that say how data is to be read, shared by every command that takes data.

Typer reads a command's signature, so the options stand once here and are put into the command's.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from spikebit.datasets import DataOptions

PANEL = "Data"
FORMATS = "frames, events, shd, nmnist or recordings; by default by the file's name and contents"


def _option(kind: Any, flag: str, text: str, **more: Any) -> Any:
    return Annotated[kind, typer.Option(flag, help=text, rich_help_panel=PANEL, show_default=False, **more)]


OPTIONS: dict[str, Any] = {
    "format": _option(str | None, "--format", FORMATS, metavar="NAME"),
    "labels": _option(Path | None, "--labels", "Table path,label[,split] for a folder.", metavar="FILE.csv"),
    "bin_ms": _option(float | None, "--bin-ms", "Bin events by time: length of a step.", metavar="MS"),
    "count": _option(int | None, "--count", "Bin events by number: events in a step.", metavar="N", min=1),
    "bins": _option(int | None, "--bins", "Steps of a sample; default: what the longest needs.", metavar="N", min=1),
    "late": _option(str | None, "--late", "Events after the last step: drop (default) or last_step.", metavar="WHAT"),
    "polarity": _option(str | None, "--polarity", "keep (default), merge, on or off.", metavar="WHAT"),
    "crop": _option(str | None, "--crop", "Part of the sensor to keep, in pixels.", metavar="TOP,LEFT,HEIGHTxWIDTH"),
    "downsample": _option(int | None, "--downsample", "Pixels on a side that become one.", metavar="N", min=1),
    "values": _option(str | None, "--values", "counts (default) or binary.", metavar="WHAT"),
    "sensor": _option(str | None, "--sensor", "Size where the file does not say it.", metavar="ROWSxCOLUMNS"),
    "start": _option(str | None, "--start", "Time 0 of a sample: file or first_event.", metavar="WHAT"),
    "test_fraction": _option(float | None, "--test-fraction", "Hold out as test split.", metavar="SHARE"),
    "validation_fraction": _option(
        float | None, "--validation-fraction", "Hold out of training as validation split.", metavar="SHARE"
    ),
    "split_seed": _option(int | None, "--split-seed", "Seed of these two.", metavar="N", min=0),
}


def with_data_options(command: Callable[..., None]) -> Callable[..., None]:
    """The command with the data options in its signature in place of its parameter ``data_options``."""
    signature = inspect.signature(command, eval_str=True)

    @functools.wraps(command)
    def run(*args: Any, **given: Any) -> None:
        chosen = DataOptions(**{name: given.pop(name, None) for name in OPTIONS})
        command(*args, data_options=chosen, **given)

    own = [p for name, p in signature.parameters.items() if name != "data_options"]
    kind = inspect.Parameter.KEYWORD_ONLY
    added = [inspect.Parameter(name, kind, default=None, annotation=note) for name, note in OPTIONS.items()]
    run.__signature__ = signature.replace(parameters=[*own, *added])  # type: ignore[attr-defined]
    run.__annotations__ = {p.name: p.annotation for p in (*own, *added)}
    return run

"""What the user sees while waiting: everything here goes to standard error, standard output is for results."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from spikebit.errors import Problem, SpikebitError
from spikebit.records import Job


def stderr() -> Console:
    """A console on standard error."""
    return Console(stderr=True, highlight=False)


def stdout() -> Console:
    """A console on standard output; at least 100 columns wide where it is not a terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=max(100, console.width))


def print_json(document: Any) -> None:
    """One JSON document on standard output, in one piece."""
    sys.stdout.write(json.dumps(document, indent=2, sort_keys=False, ensure_ascii=False, default=str) + "\n")
    sys.stdout.flush()


def print_error(error: SpikebitError) -> None:
    """What went wrong, where, and what to do, on standard error."""
    console = stderr()
    console.print(f"[bold red]error[/] [dim]({escape(error.code)})[/] {escape(str(error))}", soft_wrap=True)
    if isinstance(error, Problem):
        if error.pointer and not error.errors:
            console.print(f"  at {escape(str(error.pointer))}", soft_wrap=True)
        for entry in error.errors:
            place, detail = str(entry.get("pointer") or ""), str(entry.get("detail") or entry.get("code") or "")
            if detail in str(error):  # said above
                if place not in str(error):
                    console.print(f"  at {escape(place)}", soft_wrap=True)
                continue
            console.print(f"  {escape(place)}: {escape(detail)}", soft_wrap=True)
        if error.request_id:
            console.print(f"  [dim]request {escape(str(error.request_id))}[/]", soft_wrap=True)
    if error.advice:
        console.print(f"  {escape(error.advice)}", soft_wrap=True)


class Board:
    """Progress bars on a terminal, a line per stage elsewhere."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._live = progress.console.is_terminal
        self._task = progress.add_task("", total=None)
        self._stage = ""

    def uploading(self, name: str) -> Callable[[int, int], None]:
        """A callback for the bytes of one file."""

        def on_bytes(done: int, total: int) -> None:
            self._show(f"upload {name}", done, total, "")

        return on_bytes

    def checking(self, what: str) -> None:
        """The service looks at an upload."""
        self._show(f"check {what}", 0, 0, "")

    def job(self, job: Job) -> None:
        """A change of a job."""
        if job.progress is None or job.status == "queued":
            self._show(job.status, 0, 0, "")
            return
        metrics = "  ".join(f"{name} {value:.4g}" for name, value in job.progress.metrics.items())
        message = "  ".join(part for part in (job.progress.message, metrics) if part)
        self._show(job.progress.stage or job.status, job.progress.done, job.progress.total, message)

    def event(self, kind: str, data: dict[str, Any]) -> None:
        """An event of a job's stream."""
        if kind == "state":
            self._show(str(data.get("status") or ""), 0, 0, "")
        elif kind == "progress":
            step = f"step {data['step']}/{data['steps']}" if data.get("steps") else ""
            left = "" if data.get("eta_s") is None else f"{data['eta_s']:.0f} s left"
            message = "  ".join(part for part in (step, left, str(data.get("message") or "")) if part)
            self._show(str(data.get("stage") or ""), int(data.get("done") or 0), int(data.get("total") or 0), message)

    def _show(self, stage: str, done: int, total: int, message: str) -> None:
        if not self._live:
            if stage != self._stage:
                self._progress.console.print(f"… {escape(stage)}", soft_wrap=True)
            self._stage = stage
            return
        text = escape(f"{stage}  {message}".strip())
        self._progress.update(self._task, description=text, completed=done, total=total or None)


@contextmanager
def board(quiet: bool = False) -> Iterator[Board]:
    """A board for as long as something is waited for."""
    columns = (SpinnerColumn(), BarColumn(bar_width=24), TimeElapsedColumn(), TextColumn("{task.description}"))
    console = Console(stderr=True, highlight=False, quiet=quiet)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        yield Board(progress)

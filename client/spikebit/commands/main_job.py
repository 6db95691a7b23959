"""What ``quantize``, ``sensitivity`` and ``evaluate`` have in common: upload, submit, wait, fetch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spikebit.client import Client
from spikebit.commands.common import existing_file, profile
from spikebit.datasets import DataOptions, one_file
from spikebit.display import Board
from spikebit.download import download
from spikebit.errors import Problem
from spikebit.records import Job


@dataclass(frozen=True)
class Inputs:
    """What the user names on the command line."""

    model: Path
    data: Path
    dynamics: str
    overrides: Mapping[str, Any]
    repair: bool
    expect_counts: Path | None
    data_options: DataOptions
    expect_traces: Path | None = None


@dataclass(frozen=True)
class Finished:
    """A succeeded job and its report."""

    job: Job
    report: Mapping[str, Any]
    files: tuple[Path, ...]


def inputs_from(
    model: Path,
    data: Path,
    dynamics: str,
    assignments: list[str] | None,
    repair: bool,
    counts: Path | None,
    data_options: DataOptions = DataOptions(),  # noqa: B008 (frozen)
    traces: Path | None = None,
) -> Inputs:
    """The inputs, each checked to be there before anything is sent.

    Raises:
        UsageError: a file is missing, or an assignment or an option of the data is malformed.
    """
    _ = data_options.transform
    preset, overrides = profile(dynamics, assignments)
    return Inputs(
        model=existing_file(model, "MODEL.nir"),
        data=data if data.is_dir() else existing_file(data, "DATA"),
        dynamics=preset,
        overrides=overrides,
        repair=repair,
        expect_counts=None if counts is None else existing_file(counts, "--expect-counts"),
        data_options=data_options,
        expect_traces=None if traces is None else existing_file(traces, "--expect-traces"),
    )


def upload_inputs(client: Client, board: Board, inputs: Inputs, deadline: float | None) -> dict[str, Any]:
    """Upload what the service does not hold, wait for both checks; the fields of a job request.

    Raises:
        Problem: the service rejected one of them.
        WaitTimeout: the deadline passed.
    """
    model = client.add_model(
        inputs.model,
        dynamics=inputs.dynamics,
        overrides=inputs.overrides,
        repair=inputs.repair,
        on_bytes=board.uploading(inputs.model.name),
    )
    with one_file(inputs.data, inputs.data_options) as (packed, kind):
        dataset = client.add_dataset(
            packed,
            format=kind,
            transform=inputs.data_options.transform,
            name=inputs.data.name,
            on_bytes=board.uploading(inputs.data.name),
        )
    fields: dict[str, Any] = {"model": model.id, "dataset": dataset.id}
    for name, expected in (("expected_counts", inputs.expect_counts), ("expected_traces", inputs.expect_traces)):
        if expected is not None:
            fields[name] = client.upload(expected, board.uploading(expected.name))
    board.checking(inputs.model.name)
    client.wait_upload("models", model.id, deadline=deadline, file=inputs.model.name)
    board.checking(inputs.data.name)
    client.wait_upload("datasets", dataset.id, deadline=deadline, file=inputs.data.name)
    return fields


def finish(client: Client, board: Board, job: Job, deadline: float | None, out: Path | None) -> Finished:
    """Wait for a job, fetch its report, and everything it published where a folder is given.

    Raises:
        Problem: the job did not succeed.
        WaitTimeout: the deadline passed; the job goes on.
        Damaged: a download does not have its digest.
    """
    try:
        job = client.wait_job(job.id, deadline=deadline, on_change=board.job)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"job {job.id} goes on; spikebit jobs wait|cancel {job.id}") from None
    succeeded_or_raise(job)
    report = json.loads(client.report(job.id))
    files = () if out is None else download(client, client.artifacts(job.id), out)
    return Finished(job, report, files)


def succeeded_or_raise(job: Job) -> None:
    """Return for a succeeded job.

    Raises:
        Problem: any other end, with its reason.
    """
    if job.status == "succeeded":
        return
    code = {"expired": "queue_deadline"}.get(job.status, job.status)
    document = dict(job.problem or {})
    document.setdefault("code", code)
    document["detail"] = f"job {job.id} {job.status}: {document.get('detail') or document['code']}"
    raise Problem(None, document)


def sections(report: Mapping[str, Any], kind: str, **fields: Any) -> list[Mapping[str, Any]]:
    """The report's sections of one kind, with the given field values."""
    return [
        section
        for section in report.get("sections", [])
        if section.get("kind") == kind and all(section.get(name) == value for name, value in fields.items())
    ]

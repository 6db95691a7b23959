"""``spikebit evaluate``: does the service run the network as its framework does."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import typer

from spikebit.commands import common
from spikebit.commands.main_job import Finished, finish, inputs_from, sections, upload_inputs
from spikebit.display import board, print_json, stdout
from spikebit.errors import GATE_FAILED, Problem


@common.guarded
def evaluate(
    model: common.ModelFile,
    data: common.DataFile,
    dynamics: common.Dynamics,
    dynamics_set: common.DynamicsSet = None,
    repair: common.Repair = False,
    expect_counts: common.ExpectCounts = None,
    expect: common.Expect = None,
    label: common.Label = None,
    out: common.Out = None,
    as_json: common.AsJson = False,
    timeout: common.Timeout = None,
) -> None:
    """Run the test split; compare with expected accuracy and expected output spike counts."""
    started, deadline = time.monotonic(), common.deadline_after(timeout)
    inputs = inputs_from(model, data, dynamics, dynamics_set, repair, expect_counts)
    request: dict[str, Any] = {"recipe": "evaluate", "label": label or model.stem}
    if expect is not None:
        request["expect"] = expect
    with common.connect() as client, board() as shown:
        body = request | upload_inputs(client, shown, inputs, deadline)
        finished = finish(client, shown, client.submit(body), deadline, out)
    document = _document(finished) | {
        "out": None if out is None else str(out),
        "seconds": round(time.monotonic() - started, 3),
    }
    if as_json:
        print_json(document)
    else:
        _print(document)
    if document["rows_equal"] != document["rows_total"] or finished.job.verdict == "fail":
        raise typer.Exit(GATE_FAILED)


def _document(finished: Finished) -> dict[str, Any]:
    found = sections(finished.report, "evaluate", of="network")
    if not found:
        raise Problem(None, {"code": "unexpected_answer", "detail": "the report holds no evaluate section"})
    accuracy, agreement = found[-1]["accuracy"], found[-1].get("agreement") or {}
    return {
        "job": finished.job.id,
        "accuracy": accuracy["value"],
        "correct": accuracy["correct"],
        "samples": accuracy["samples"],
        "interval": [accuracy["interval"]["low"], accuracy["interval"]["high"]],
        "rows_equal": agreement.get("rows_equal"),
        "rows_total": agreement.get("rows_total"),
        "first_difference": agreement.get("first_difference"),
    }


def _print(document: dict[str, Any]) -> None:
    console = stdout()
    low, high = document["interval"]
    console.print(
        f"accuracy {100 * document['accuracy']:.2f} %  ({document['correct']} of {document['samples']}; "
        f"95 % interval {100 * low:.2f} to {100 * high:.2f})",
        markup=False,
    )
    if document["rows_total"] is not None:
        console.print(
            f"expected counts: {document['rows_equal']} of {document['rows_total']} samples agree", markup=False
        )
    first = document["first_difference"]
    if first:
        console.print(
            f"first difference: sample {first['sample']}, output {first['output']}: "
            f"expected {first['expected']}, got {first['got']}",
            markup=False,
        )
    console.print(f"job {document['job']}", markup=False)
    if document["out"] is not None:
        console.print(f"report: {Path(document['out']) / 'report.html'}", markup=False, soft_wrap=True)

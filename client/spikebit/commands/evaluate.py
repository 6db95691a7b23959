"""``spikebit evaluate``: does the service run the network as its framework does."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import typer

from spikebit.commands import common
from spikebit.commands.data_options import with_data_options
from spikebit.commands.main_job import Finished, finish, inputs_from, sections, upload_inputs
from spikebit.datasets import DataOptions
from spikebit.display import board, print_json, stdout
from spikebit.errors import GATE_FAILED, Problem
from spikebit.tables import firing_table


@with_data_options
@common.guarded
def evaluate(
    model: common.ModelFile,
    data: common.DataFile,
    dynamics: common.Dynamics,
    dynamics_set: common.DynamicsSet = None,
    repair: common.Repair = False,
    expect_counts: common.ExpectCounts = None,
    expect_traces: common.ExpectTraces = None,
    expect: common.Expect = None,
    label: common.Label = None,
    out: common.Out = None,
    as_json: common.AsJson = False,
    timeout: common.Timeout = None,
    data_options: DataOptions = DataOptions(),  # noqa: B008 (frozen)
) -> None:
    """Run the test split: accuracy, firing, synaptic operations; compare with expected accuracy, counts and spikes."""
    started, deadline = time.monotonic(), common.deadline_after(timeout)
    inputs = inputs_from(model, data, dynamics, dynamics_set, repair, expect_counts, data_options, expect_traces)
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
        stdout().print(firing_table(found_section(finished)))
    if differs(document) or finished.job.verdict == "fail":
        raise typer.Exit(GATE_FAILED)


def differs(document: Mapping[str, Any]) -> bool:
    """Is there an expected count or spike that was not met."""
    traces = document["traces"] or {"layers": []}
    return document["rows_equal"] != document["rows_total"] or any(layer["differing"] for layer in traces["layers"])


def found_section(finished: Finished) -> Mapping[str, Any]:
    """The section of the float network.

    Raises:
        Problem: the report holds none.
    """
    found = sections(finished.report, "evaluate", of="network")
    if not found:
        raise Problem(None, {"code": "unexpected_answer", "detail": "the report holds no evaluate section"})
    return found[-1]


def _document(finished: Finished) -> dict[str, Any]:
    section = found_section(finished)
    accuracy, agreement = section["accuracy"], section.get("agreement") or {}
    return {
        "job": finished.job.id,
        "accuracy": accuracy["value"],
        "correct": accuracy["correct"],
        "samples": accuracy["samples"],
        "interval": [accuracy["interval"]["low"], accuracy["interval"]["high"]],
        "rows_equal": agreement.get("rows_equal"),
        "rows_total": agreement.get("rows_total"),
        "first_difference": agreement.get("first_difference"),
        "traces": section.get("traces"),
        "layers": [
            {name: layer.get(name) for name in ("layer", "neurons", "firing_rate", "dead", "saturated")}
            for layer in section["layers"]
        ],
        "operations_per_sample": section.get("operations_per_sample"),
        "confusion": section.get("confusion"),
        "dynamics_choice": finished.report.get("dynamics_choice"),
    }


def _print(document: dict[str, Any]) -> None:
    console = stdout()
    low, high = document["interval"]
    console.print(
        f"accuracy {100 * document['accuracy']:.2f} %  ({document['correct']} of {document['samples']}; "
        f"95 % interval {100 * low:.2f} to {100 * high:.2f})",
        markup=False,
    )
    choice = document["dynamics_choice"]
    if choice:
        ranked = ", ".join(f"{one['preset']} {one['met']}" for one in choice["ranking"] if one["met"] is not None)
        console.print(
            f"dynamics: {choice['chosen']}, by {choice['criterion']} on {choice['samples']} samples ({ranked})",
            markup=False,
            soft_wrap=True,
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
    traces = document["traces"]
    if traces:
        differing = sum(layer["differing"] for layer in traces["layers"])
        compared = sum(layer["compared"] for layer in traces["layers"])
        console.print(
            f"expected spikes: {differing:,} of {compared:,} neuron-steps differ ({traces['samples']} samples)",
            markup=False,
        )
        first = traces.get("first_difference")
        if first:
            console.print(
                f"first difference inside: sample {first['sample']}, layer {first['layer']}, step {first['step']}, "
                f"neuron {first['neuron']}: expected {first['expected']}, got {first['got']}",
                markup=False,
                soft_wrap=True,
            )
    if document["operations_per_sample"] is not None:
        console.print(f"synaptic operations: {document['operations_per_sample']:,.1f} per sample", markup=False)
    console.print(f"job {document['job']}", markup=False)
    if document["out"] is not None:
        console.print(f"report: {Path(document['out']) / 'report.html'}", markup=False, soft_wrap=True)

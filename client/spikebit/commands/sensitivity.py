"""``spikebit sensitivity``: how much the loss minds the precision of every layer, with error bars."""

from __future__ import annotations

import time

from rich.table import Table

from spikebit.commands import common
from spikebit.commands.data_options import with_data_options
from spikebit.commands.main_job import Finished, finish, inputs_from, sections, upload_inputs
from spikebit.datasets import DataOptions
from spikebit.display import board, print_json, stdout
from spikebit.tables import layer_table


@with_data_options
@common.guarded
def sensitivity(
    model: common.ModelFile,
    data: common.DataFile,
    dynamics: common.Dynamics,
    dynamics_set: common.DynamicsSet = None,
    repair: common.Repair = False,
    expect_counts: common.ExpectCounts = None,
    expect: common.Expect = None,
    seed: common.Seed = 0,
    label: common.Label = None,
    out: common.Out = None,
    as_json: common.AsJson = False,
    timeout: common.Timeout = None,
    data_options: DataOptions = DataOptions(),  # noqa: B008 (frozen)
) -> None:
    """Measure the curvature of the loss per weight layer; quantize nothing."""
    started, deadline = time.monotonic(), common.deadline_after(timeout)
    inputs = inputs_from(model, data, dynamics, dynamics_set, repair, expect_counts, data_options)
    request = {"recipe": "sensitivity", "seed": seed, "label": label or model.stem}
    if expect is not None:
        request["expect"] = expect
    with common.connect() as client, board() as shown:
        body = request | upload_inputs(client, shown, inputs, deadline)
        finished = finish(client, shown, client.submit(body), deadline, out)
    if as_json:
        print_json(
            {
                "job": finished.job.id,
                "status": finished.job.status,
                **(sections(finished.report, "sensitivity") or [{}])[-1],
                "out": None if out is None else str(out),
                "seconds": round(time.monotonic() - started, 3),
            }
        )
        return
    _print(finished)
    if out is not None:
        stdout().print(f"report: {out / 'report.html'}", markup=False, soft_wrap=True)


def _print(finished: Finished) -> None:
    console = stdout()
    console.print(layer_table(finished.report))
    for section in sections(finished.report, "sensitivity"):
        widths = sorted({width["bits"] for layer in section["layers"] for width in layer["widths"]}, reverse=True)
        table = Table(title="predicted loss increase, nats (measured)", title_justify="left")
        table.add_column("layer")
        for bits in widths:
            table.add_column(f"{bits} bit", justify="right")
        for layer in section["layers"]:
            cells = {width["bits"]: _cell(width) for width in layer["widths"]}
            table.add_row(layer["layer"], *(cells.get(bits, "–") for bits in widths))
        console.print(table)
        console.print(section["statement"], markup=False, soft_wrap=True)
    console.print(f"job {finished.job.id}", markup=False)


def _cell(width: dict[str, float]) -> str:
    measured = width.get("measured")
    return f"{width['predicted']:.2g}" + ("" if measured is None else f" ({measured:.2g})")

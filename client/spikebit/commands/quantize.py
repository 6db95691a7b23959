"""``spikebit quantize``: a trained network and its data in, a verified integer program and a report out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from spikebit.commands import common
from spikebit.commands.data_options import with_data_options
from spikebit.commands.main_job import Finished, finish, inputs_from, upload_inputs
from spikebit.datasets import DataOptions
from spikebit.display import board, print_json, stdout
from spikebit.errors import GATE_FAILED
from spikebit.tables import layer_rows, layer_table, summary, summary_table


@with_data_options
@common.guarded
def quantize(
    model: common.ModelFile,
    data: common.DataFile,
    dynamics: common.Dynamics,
    dynamics_set: common.DynamicsSet = None,
    repair: common.Repair = False,
    recipe: Annotated[str, typer.Option(help="A named list of steps.")] = "hessian-mixed",
    avg_bits: Annotated[
        float | None, typer.Option(min=1.0, help="Upper bound on the mean weight bits. [default: the recipe's]")
    ] = None,
    plan: Annotated[Path | None, typer.Option(metavar="FILE", help="Your own bits per layer, as in plan.json.")] = None,
    max_drop: Annotated[
        float | None, typer.Option(metavar="POINTS", help="Gate: most accuracy points that may be lost.")
    ] = None,
    max_bytes: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Budget and gate: most bytes of the program.")
    ] = None,
    expect_counts: common.ExpectCounts = None,
    target: Annotated[
        str | None, typer.Option(metavar="NAME", help="What the program has to fit, as GET /v1/targets lists them.")
    ] = None,
    flash: Annotated[
        int | None, typer.Option(metavar="BYTES", min=1, help="Of your machine, for --target c99.")
    ] = None,
    ram: Annotated[int | None, typer.Option(metavar="BYTES", min=1, help="Of your machine, for --target c99.")] = None,
    export: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FORMAT", help="Also write the program as c99, lava, nir, safetensors or verilog. Repeatable."
        ),
    ] = None,
    expect: common.Expect = None,
    seed: common.Seed = 0,
    label: common.Label = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and estimate; run nothing.")] = False,
    out: common.Out = None,
    as_json: common.AsJson = False,
    timeout: common.Timeout = None,
    data_options: DataOptions = DataOptions(),  # noqa: B008 (frozen)
) -> None:
    """Quantize a network: sensitivity, bits per layer, fine-tuning, integer program, report."""
    started, deadline = time.monotonic(), common.deadline_after(timeout)
    own_plan = None if plan is None else common.read_json(plan, "--plan")
    inputs = inputs_from(model, data, dynamics, dynamics_set, repair, expect_counts, data_options)
    request = _request(
        recipe=recipe, plan=own_plan, mean_weight_bits=avg_bits, program_bytes=max_bytes, max_drop=max_drop,
        target=target, flash=flash, ram=ram, exports=export or None, expect=expect, seed=seed,
        label=label or model.stem,
    )  # fmt: skip
    with common.connect() as client, board() as shown:
        body = request | upload_inputs(client, shown, inputs, deadline)
        estimate = client.dry_run(body) if dry_run else None
        finished = None if dry_run else finish(client, shown, client.submit(body), deadline, out)
    if finished is None:
        _print_estimate(estimate or {}, as_json)
    else:
        _tell(finished, out, time.monotonic() - started, as_json)


def _tell(finished: Finished, out: Path | None, seconds: float, as_json: bool) -> None:
    """Print what came out; a failed gate is the exit status."""
    if as_json:
        print_json(_document(finished, out, seconds))
    else:
        _print(finished, out)
    if finished.job.verdict == "fail":
        raise typer.Exit(GATE_FAILED)


def _request(**fields: Any) -> dict[str, Any]:
    """The job's fields but its uploads; options that were left out are left out."""
    most = {"max_accuracy_drop_points": fields.pop("max_drop"), "max_program_bytes": fields["program_bytes"]}
    machine = {"flash_bytes": fields.pop("flash"), "ram_bytes": fields.pop("ram")}
    gates = _given(**most, max_mean_weight_bits=fields["mean_weight_bits"])
    return _given(**fields, gates=gates, memory=_given(**machine) or None)


def _given(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _document(finished: Finished, out: Path | None, seconds: float) -> dict[str, Any]:
    return {
        "job": finished.job.id,
        "status": finished.job.status,
        "verdict": finished.job.verdict,
        **summary(finished.report),
        "gates": finished.report.get("gates", []),
        "layers": layer_rows(finished.report),
        "notes": finished.report.get("notes", []),
        "out": None if out is None else str(out),
        "seconds": round(seconds, 3),
    }


def _print(finished: Finished, out: Path | None) -> None:
    console = stdout()
    console.print(layer_table(finished.report))
    console.print(summary_table(finished.report))
    for note in finished.report.get("notes", []):
        console.print(f"note: {note}", markup=False, soft_wrap=True)
    console.print(f"job {finished.job.id}", markup=False)
    if out is not None:
        console.print(f"report: {out / 'report.html'}", markup=False, soft_wrap=True)


def _print_estimate(estimate: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print_json(estimate)
        return
    console = stdout()
    steps = [step["kind"] for step in (estimate.get("spec") or {}).get("steps", [])]
    console.print(f"valid: {' → '.join(steps)}", markup=False)
    cost = estimate.get("estimate") or {}
    for name, value in (
        ("seconds", f"about {cost.get('seconds') or 0:.0f}"),
        ("memory", f"{(cost.get('memory_bytes') or 0) / 1e6:,.0f} MB"),
        ("program", f"{cost.get('program_bytes') or 0:,} bytes"),
    ):
        console.print(f"  {name}: {value} ({cost.get('basis') or 'estimated'})", markup=False)

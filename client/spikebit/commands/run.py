"""``spikebit run``: a downloaded program on a file of samples, without the service."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spikebit.commands import common
from spikebit.display import print_json, stdout
from spikebit.errors import UsageError

if TYPE_CHECKING:
    from runtime.apply import Applied


@common.guarded
def run(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The --out folder, or its program/.")],
    data: Annotated[
        Path, typer.Argument(metavar="DATA", help="npz with x (or x_test, y_test), or npy [sample, time, ...].")
    ],
    samples: Annotated[int | None, typer.Option(min=1, help="Only the first ones.")] = None,
    out: Annotated[Path | None, typer.Option(help="Write the readout of every sample as npz (counts).")] = None,
    runner: Annotated[
        str, typer.Option(metavar="NAME", help="auto, numpy, or an installed one (native). All give the same.")
    ] = "auto",
    cost: Annotated[bool, typer.Option("--cost/--no-cost", help="Count operations and estimate energy.")] = True,
    as_json: common.AsJson = False,
) -> None:
    """Run a downloaded program on data, offline; prints accuracy where there are labels, else predictions."""
    from runtime.apply import apply_program, read_samples  # NumPy: only this command needs it
    from runtime.errors import ProgramError

    try:
        x, y = read_samples(data)
        x, y = x[:samples], None if y is None else y[:samples]
        result = apply_program(folder, x, y, runner, cost)
    except ProgramError as error:
        raise UsageError(str(error), code="unreadable_program") from error
    if out is not None:
        result.write(out)
    facts: dict[str, Any] = {
        "samples": len(x),
        "steps": int(x.shape[1]),
        "accuracy": result.accuracy,
        "clamped_inputs": result.clamped,
        "saturations": result.saturated,
        **_cost(result),
        "runner": result.runner,
        "predictions": result.predictions,
    }
    if as_json:
        print_json(facts)
        return
    console = stdout()
    console.print(f"{facts['samples']} samples of {facts['steps']} steps", markup=False)
    if result.accuracy is None:
        console.print("predictions " + " ".join(map(str, result.predictions)), markup=False, soft_wrap=True)
    else:
        console.print(f"accuracy {result.accuracy:.4f}", markup=False)
    console.print(f"clamped inputs {result.clamped}", markup=False)
    lost = {name: times for name, times in result.saturated.items() if times}
    console.print("saturated " + (", ".join(f"{k} {n}" for k, n in lost.items()) or "none"), markup=False)
    if result.operations is not None:
        console.print(
            f"per sample {result.operations.synaptic / len(x):,.0f} synaptic operations, "
            f"{result.operations.updates / len(x):,.0f} neuron updates, "
            f"{result.operations.needed / len(x):,.0f} of them by events",
            markup=False,
        )
    for one in result.energy or ():
        console.print(f"estimated {one.events_pj / len(x) / 1e3:,.3g} nJ per sample ({one.source})", markup=False)
    console.print(f"runner {result.runner}", markup=False)


def _cost(result: Applied) -> dict[str, Any]:
    """What was counted over all samples; nothing with --no-cost."""
    counted = result.operations
    if counted is None:
        return {}
    return {
        "synaptic_operations": counted.synaptic,
        "neuron_updates": counted.updates,
        "neuron_updates_by_events": counted.needed,
        "memory_bytes_by_events": counted.moved_bits // 8,
        "energy_estimated": [
            {"model": one.model, "source": one.source, "pj": one.events_pj, "dense_pj": one.dense_pj}
            for one in result.energy or ()
        ],
    }

"""A report as tables for the terminal and as the short JSON summary."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping
from typing import Any

from rich.markup import escape
from rich.table import Table

from spikebit.commands.main_job import sections

Report = Mapping[str, Any]


def layer_rows(report: Report) -> list[dict[str, Any]]:
    """One row per weight layer: parameters, trace and its standard error, bits, bytes; None where a step is absent."""
    sizes = dict(report["network"]["weight_layers"])
    traces = {layer["layer"]: layer for part in sections(report, "sensitivity") for layer in part["layers"]}
    packed = {layer["layer"]: layer for part in sections(report, "integerize") for layer in part["layers"]}
    rows = []
    for name, count in sizes.items():
        trace, program = traces.get(name, {}), packed.get(name, {})
        rows.append(
            {
                "layer": name,
                "parameters": count,
                "trace": trace.get("trace"),
                "trace_standard_error": trace.get("standard_error"),
                "trace_converged": trace.get("converged"),
                "bits": program.get("bits"),
                "bytes": program.get("bytes"),
            }
        )
    return rows


def layer_table(report: Report) -> Table:
    """The same as a table."""
    table = Table(title="layers", title_justify="left")
    table.add_column("layer")
    for heading in ("parameters", "trace ± error", "bits", "bytes"):
        table.add_column(heading, justify="right")
    for row in layer_rows(report):
        trace = "–"
        if row["trace"] is not None:
            mark = "" if row["trace_converged"] else " (not converged)"
            trace = f"{row['trace']:.4g} ± {row['trace_standard_error']:.2g}{mark}"
        table.add_row(
            row["layer"],
            f"{row['parameters']:,}",
            trace,
            "–" if row["bits"] is None else str(row["bits"]),
            "–" if row["bytes"] is None else f"{row['bytes']:,}",
        )
    return table


def summary(report: Report) -> dict[str, Any]:
    """The numbers that a caller of ``quantize`` wants first; a key is absent where its step is."""
    found: dict[str, Any] = {}
    for part in sections(report, "evaluate", of="network"):
        found["float_accuracy"] = part["accuracy"]["value"]
    for part in sections(report, "evaluate", of="program"):
        found["program_accuracy"] = part["accuracy"]["value"]
        found["samples"] = part["accuracy"]["samples"]
    comparison = report.get("comparison")
    if comparison:
        interval = comparison["drop_interval"]
        found["drop_points"] = comparison["drop_points"]
        found["drop_interval_points"] = [interval["low"], interval["high"]]
    for part in sections(report, "finetune"):
        if part.get("control_accuracy"):
            found["float_fine_tuned_accuracy"] = part["control_accuracy"]["value"]
    for part in sections(report, "integerize"):
        for name in (
            "float_bytes",
            "program_bytes",
            "reduction",
            "mean_weight_bits",
            "mismatched_spikes",
            "compared_spikes",
            "program_digest",
        ):
            found[name] = part[name]
    return found


def summary_table(report: Report) -> Table:
    """The summary as a table, with what each number was counted on."""
    numbers = summary(report)
    table = Table(title="summary", title_justify="left", show_header=False)
    table.add_column("what")
    table.add_column("value")
    for name, text in (
        ("float accuracy", _percent(numbers.get("float_accuracy"))),
        ("float, fine-tuned alike", _percent(numbers.get("float_fine_tuned_accuracy"))),
        ("program accuracy", _percent(numbers.get("program_accuracy"))),
        ("drop, points (95 %)", _drop(numbers)),
        ("program bytes", _bytes(numbers)),
        ("mean weight bits", _format(numbers.get("mean_weight_bits"), "{:.3f}")),
        ("mismatched spikes", _mismatches(numbers)),
        ("program digest", _format(numbers.get("program_digest"), "{}")),
    ):
        if text:
            table.add_row(name, text)
    for gate in report.get("gates", []):
        verdict = "[green]passed[/]" if gate["passed"] else "[bold red]FAILED[/]"
        table.add_row(f"gate {gate['gate']}", f"{gate['value']:g} against {gate['bound']:g}: {verdict}")
    return table


def firing_table(section: Mapping[str, Any]) -> Table:
    """Firing of every neuron layer on the test split, and the operations that its synapses cost per sample."""
    table = Table(title="firing on the test split", title_justify="left")
    table.add_column("layer")
    for column in ("neurons", "rate", "dead", "saturated", "operations into it"):
        table.add_column(column, justify="right")
    into: dict[str, float] = {}
    for one in section.get("operations") or []:
        into[one["target"]] = into.get(one["target"], 0.0) + one["per_sample"]
    for layer in section["layers"]:
        cost = into.get(layer["layer"])
        table.add_row(
            escape(layer["layer"]),
            f"{layer['neurons']:,}",
            f"{layer['firing_rate']:.4f}",
            str(layer["dead"]),
            str(layer["saturated"]),
            "–" if cost is None else f"{cost:,.1f}",
        )
    return table


def record_table(record: Mapping[str, Any], hidden: Container[str] = ()) -> Table:
    """A record of the service, a line per field; what is inside a field stands under ``field.inner``."""
    table = Table(show_header=False)
    table.add_column("field", no_wrap=True)
    table.add_column("value", overflow="fold")
    for name, value in _lines({name: value for name, value in record.items() if name not in hidden}):
        table.add_row(escape(name), escape(value))
    return table


def hints_table(hints: Iterable[Mapping[str, Any]]) -> Table:
    """Which presets a model's numbers fit, and why: for the user to confirm."""
    table = Table("preset", "fits", "why", title="what the file's numbers say about the presets", title_justify="left")
    words = {True: "yes", False: "no", None: "?"}
    for hint in hints:
        table.add_row(escape(str(hint["preset"])), words.get(hint["fits"], "?"), escape(str(hint["why"])))
    return table


def _lines(value: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Name and text of every leaf that says something."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _lines(inner, f"{name}.{key}" if name else str(key))
    elif isinstance(value, list) and any(isinstance(item, Mapping) for item in value):
        for index, item in enumerate(value, start=1):
            yield from _lines(item, f"{name}.{index}")
    elif isinstance(value, list):
        if value:
            yield name, ", ".join(" ".join(map(str, item)) if isinstance(item, list) else str(item) for item in value)
    elif value not in (None, ""):
        yield name, str(value)


def _format(value: Any, pattern: str) -> str:
    return "" if value is None else pattern.format(value)


def _percent(value: Any) -> str:
    return "" if value is None else f"{100 * value:.2f} %"


def _drop(numbers: Mapping[str, Any]) -> str:
    if "drop_points" not in numbers:
        return ""
    low, high = numbers["drop_interval_points"]
    return f"{numbers['drop_points']:.2f} ({low:.2f} to {high:.2f})"


def _bytes(numbers: Mapping[str, Any]) -> str:
    if "program_bytes" not in numbers:
        return ""
    after, before = numbers["program_bytes"], numbers["float_bytes"]
    return f"{after:,} of {before:,} (−{100 * numbers['reduction']:.1f} %)"


def _mismatches(numbers: Mapping[str, Any]) -> str:
    if "mismatched_spikes" not in numbers:
        return ""
    return f"{numbers['mismatched_spikes']} of {numbers['compared_spikes']:,} compared"

"""``make bench NAME=prediction``: does the predicted loss increase rank and size what rounding a layer really costs.

For every network of :mod:`benchmarks.networks` the recipe ``sensitivity`` runs as committed, on training samples, at 4,
3 and 2 bits; each layer alone is also rounded and measured. The prediction is the quadratic form of the rounding;
``½·trace/N·‖δW‖²`` stands beside it. Published are Spearman's correlation over (layer × width), at
each width over the layers (networks of three layers and more), both beside ``‖δW‖²`` alone, and how often a 3-bit
prediction is within a factor of ten. Pairs whose measured increase is below its own standard error are left out of the
factor and counted; the correlations use all pairs.
"""

from __future__ import annotations

import multiprocessing
import tempfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from benchmarks.events import Quiet
from benchmarks.frame import Absent, Finding, Measured, Row
from benchmarks.networks import ABSENT, NETWORKS, Case

WIDTHS = (4, 3, 2)
SIZED_AT = 3  # bits of the factor-of-ten rows
FACTOR = 10.0
SEED = 0
PROCESSES = 2

MEDIAN, ABOVE, WITHIN = "median_rank_correlation", "networks_above_trivial", "within_10x"
ROWS = (
    Row(MEDIAN, "", "higher", must=0.6, stretch=0.85),
    Row("median_trivial_rank_correlation", "", "higher"),
    Row(ABOVE, "", "higher", must=0.75),
    Row(WITHIN, "", "higher", must=0.80, stretch=0.95),
    Row("left_out_of_10x", "pairs", "lower"),
    Row("median_rank_correlation_of_trace", "", "higher"),
    Row("within_10x_of_trace", "", "higher"),
    *(Row(f"median_over_layers_at_{bits}", "", "higher") for bits in WIDTHS),
    *(Row(f"median_trivial_over_layers_at_{bits}", "", "higher") for bits in WIDTHS),
    *(Row(f"{case.name}.{kind}", "", "higher") for case in NETWORKS for kind in ("rank", "trace_rank", "trivial_rank")),
)


@dataclass(frozen=True)
class Pair:
    """One layer at one width: increases of the loss in nats, and the squared size of the rounding."""

    layer: str
    bits: int
    predicted: float
    by_trace: float
    measured: float
    error: float
    squared_distance: float

    @property
    def clear(self) -> bool:
        """Whether the measured increase is at least its own standard error."""
        return self.measured > 0 and self.measured >= self.error

    @property
    def within(self) -> bool:
        """Whether the prediction is within :data:`FACTOR` of the measurement."""
        return self.near(self.predicted)

    def near(self, value: float) -> bool:
        """Whether a value is within :data:`FACTOR` of the measurement."""
        return self.measured / FACTOR <= value <= self.measured * FACTOR


def run() -> Iterator[Finding]:
    """All networks, two at a time."""
    present = [case for case in NETWORKS if case.present]
    with (
        tempfile.TemporaryDirectory(prefix="spikebit-prediction-") as folder,
        ProcessPoolExecutor(PROCESSES, mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        results = list(pool.map(_analyse, [(case, folder) for case in present]))
    tables = {case.name: pairs for case, (pairs, _) in zip(present, results, strict=True)}
    details = {case.name: detail for case, (_, detail) in zip(present, results, strict=True)}
    for case in NETWORKS:
        if case.name not in tables:
            for kind in ("rank", "trace_rank", "trivial_rank"):
                yield Absent(f"{case.name}.{kind}", ABSENT)
    yield from summarise(tables, details)


def summarise(tables: dict[str, list[Pair]], details: dict[str, dict[str, Any]]) -> Iterator[Finding]:
    """Rows of all networks together and of each.

    Args:
        tables: network → its pairs at all widths.
        details: network → what else the result file keeps of it.
    """
    traces: list[float] = []
    ranks = {name: correlate(pairs) for name, pairs in tables.items()}
    for name, (ours, trivial) in ranks.items():
        if ours is None or trivial is None:
            for kind in ("rank", "trace_rank", "trivial_rank"):
                yield Absent(f"{name}.{kind}", "too few or too alike pairs")
            continue
        by_width = {bits: correlate(_at(tables[name], bits)) for bits in WIDTHS}
        rows = {"pairs": [vars(pair) for pair in tables[name]], "over_layers": by_width, **details.get(name, {})}
        yield Measured(f"{name}.rank", ours, detail=rows)
        yield Measured(f"{name}.trivial_rank", trivial)
        by_trace = rank([pair.by_trace for pair in tables[name]], tables[name])
        if by_trace is None:
            yield Absent(f"{name}.trace_rank", "too alike predictions")
        else:
            traces.append(by_trace)
            yield Measured(f"{name}.trace_rank", by_trace)
    judged = {
        name: (ours, trivial) for name, (ours, trivial) in ranks.items() if ours is not None and trivial is not None
    }
    if not judged:
        return
    yield _middle(MEDIAN, [ours for ours, _ in judged.values()])
    yield _middle("median_trivial_rank_correlation", [trivial for _, trivial in judged.values()])
    if traces:
        yield _middle("median_rank_correlation_of_trace", traces)
    above = sum(ours > trivial for ours, trivial in judged.values())
    yield Measured(ABOVE, above / len(judged), detail={"networks": len(judged), "above": above})
    for bits in WIDTHS:
        both = [correlate(_at(pairs, bits)) for pairs in tables.values()]
        for name, side in (("over_layers", 0), ("trivial_over_layers", 1)):
            values = [value for pair in both if (value := pair[side]) is not None]
            if values:
                yield _middle(f"median_{name}_at_{bits}", values)
    yield from _sizes([pair for pairs in tables.values() for pair in _at(pairs, SIZED_AT)])


def correlate(pairs: Sequence[Pair]) -> tuple[float | None, float | None]:
    """Spearman's correlation of the prediction, and of ``‖δW‖²``, with the measured increase."""
    return rank([p.predicted for p in pairs], pairs), rank([p.squared_distance for p in pairs], pairs)


def rank(values: Sequence[float], pairs: Sequence[Pair]) -> float | None:
    """Spearman's correlation of values with the measured increase of their pairs."""
    from engine.curvature.ranking import rank_correlation

    return rank_correlation(values, [pair.measured for pair in pairs])


def _at(pairs: Sequence[Pair], bits: int) -> list[Pair]:
    return [pair for pair in pairs if pair.bits == bits]


def _middle(name: str, values: Sequence[float]) -> Measured:
    return Measured(name, median(values), (min(values), max(values)), {"networks": len(values)})


def _sizes(pairs: Sequence[Pair]) -> Iterator[Finding]:
    clear = [pair for pair in pairs if pair.clear]
    if clear:
        share = sum(pair.within for pair in clear) / len(clear)
        yield Measured(WITHIN, share, detail={"pairs": len(clear), "left_out": len(pairs) - len(clear)})
        yield Measured("within_10x_of_trace", sum(pair.near(pair.by_trace) for pair in clear) / len(clear))
    yield Measured("left_out_of_10x", len(pairs) - len(clear), detail={"pairs": len(pairs)})


def _analyse(task: tuple[Case, str]) -> tuple[list[Pair], dict[str, Any]]:
    """The sensitivity step of one network in a process of its own."""
    import torch

    from engine.curvature.analyse import analyse
    from engine.data.load import load
    from engine.network.canonical import read_canonical
    from engine.network.discretise import discretise
    from engine.specs.recipes import expand_recipe
    from engine.specs.steps import SensitivityStep

    torch.set_num_threads(1)
    case, folder = task
    inputs = case.prepare(Path(folder) / case.name)
    network = discretise(read_canonical(inputs.model), case.dynamics)
    train = load(inputs.dataset).with_validation(SEED).train
    options = {"sensitivity": {"widths": WIDTHS, "measure": "on"}}
    (step,) = [s for s in expand_recipe("sensitivity", options) if isinstance(s, SensitivityStep)]
    if train is None:
        raise RuntimeError(f"{case.name}: the frames file has no training split")
    section = analyse(network, train.x, train.y, step, seed=SEED, events=Quiet())
    pairs = [
        Pair(
            layer.layer,
            cell.bits,
            float("nan") if cell.quadratic is None else cell.quadratic,
            cell.predicted,
            float("nan") if cell.measured is None else cell.measured,
            cell.measured_error or 0.0,
            cell.squared_distance,
        )
        for layer in section.layers
        for cell in layer.widths
    ]
    kept = {"seconds", "statement", "logit_scale", "surrogate_slope", "reset_gradient", "quantity", "samples"}
    return pairs, section.model_dump(include=kept)

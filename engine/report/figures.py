"""The report's figures; each returns inline SVG, and the table under it in the page holds the same numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from engine.report.canvas import FIRST, GRID, MUTED, PAPER, SECOND, draw, short
from engine.specs.evaluated import Accuracy, EvaluateSection
from engine.specs.planned import AllocateSection, SensitivitySection
from engine.specs.trained import FinetuneSection

ROW_IN = 0.3
Named = Sequence[tuple[str, float]]


def _height(rows: int) -> float:
    return 1.0 + ROW_IN * max(rows, 2)


def _rows(axes: Axes, names: Sequence[str]) -> None:
    """One row per name, the first at the top."""
    axes.set_yticks(range(len(names)), [short(name) for name in names])
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x")


def _plain(value: float, _position: int) -> str:
    return f"{value:g}"


def traces(section: SensitivitySection) -> str:
    """Curvature trace per layer with its standard error, logarithmic where every trace is positive."""
    layers = section.layers
    values = np.array([layer.trace for layer in layers])
    errors = np.array([layer.standard_error for layer in layers])

    def paint(axes: Axes) -> None:
        lower = errors
        if (values > 0).all():
            axes.set_xscale("log")
            narrow = values.max() < 50 * values.min()  # fewer than two decades: more than one labelled tick
            axes.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,)))
            axes.xaxis.set_major_formatter(FuncFormatter(_plain))
            axes.xaxis.set_minor_formatter(NullFormatter())
            lower = np.minimum(errors, values * 0.999)  # a bar to zero has no end on a logarithmic axis
        rows = np.arange(len(layers))
        axes.errorbar(values, rows, xerr=np.stack([lower, errors]), fmt="o", color=FIRST, markersize=5)
        for row, layer in enumerate(layers):
            label = f"{layer.trace:.3g} ± {layer.standard_error:.2g}"
            axes.annotate(label, (layer.trace, row), (0, 6), textcoords="offset points", ha="center")
            if not layer.converged:
                axes.plot(layer.trace, row, "o", color=PAPER, markeredgecolor=FIRST, markersize=5, zorder=3)
        _rows(axes, [layer.layer for layer in layers])
        axes.set_ylim(len(layers) - 0.4, -0.8)
        axes.margins(x=0.12)
        axes.set_xlabel(f"trace of the {section.quantity} ± standard error (hollow: not converged)")

    return draw("trace", "Curvature trace per layer with standard error", 1.0 + 0.4 * max(len(layers), 2), paint)


def front(section: AllocateSection) -> str:
    """Pareto front of predicted loss over mean weight bits, the chosen plan marked."""
    points = sorted(section.front, key=lambda point: point.mean_weight_bits)
    bits = [point.mean_weight_bits for point in points]
    losses = [point.predicted_loss for point in points]

    def paint(axes: Axes) -> None:
        axes.plot(bits, losses, "-o", color=FIRST, markersize=3.5, linewidth=1.2, label="Pareto-optimal plans")
        if section.predicted_loss is not None:
            chosen = (section.mean_weight_bits, section.predicted_loss)
            axes.plot(*chosen, "D", color=SECOND, markersize=8, markeredgecolor=PAPER, linestyle="", label="this plan")
        if section.budget_mean_weight_bits is not None:
            axes.axvline(section.budget_mean_weight_bits, color=MUTED, linestyle="--", linewidth=1, label="budget")
        if min(losses) > 0:
            axes.set_yscale("log")
            axes.yaxis.set_major_formatter(FuncFormatter(_plain))
            axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid()
        axes.set_xlabel("mean weight bits")
        axes.set_ylabel("predicted loss increase, nats")
        axes.legend(loc="best")

    return draw("front", "Pareto front of mean weight bits and predicted loss", 3.4, paint)


def bits(layers: Sequence[tuple[str, int]]) -> str:
    """Bits per weight layer."""

    def paint(axes: Axes) -> None:
        rows = range(len(layers))
        bars = axes.barh(rows, [width for _, width in layers], height=0.62, color=FIRST)
        axes.bar_label(bars, padding=3)
        _rows(axes, [name for name, _ in layers])
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlabel("bits per weight")

    return draw("bits", "Bits per weight layer", _height(len(layers)), paint)


def accuracies(entries: Sequence[tuple[str, Accuracy]]) -> str:
    """Accuracies with their Wilson intervals, one row each."""

    def paint(axes: Axes) -> None:
        values = np.array([100 * accuracy.value for _, accuracy in entries])
        low = np.array([100 * accuracy.interval.low for _, accuracy in entries])
        high = np.array([100 * accuracy.interval.high for _, accuracy in entries])
        for row, (name, _) in enumerate(entries):
            colour = SECOND if name == "program" else FIRST
            spread = [[values[row] - low[row]], [high[row] - values[row]]]
            axes.errorbar(values[row], row, xerr=spread, fmt="o", color=colour, markersize=6)
            axes.annotate(f"{values[row]:.2f}", (values[row], row), (0, 7), textcoords="offset points", ha="center")
        _rows(axes, [name for name, _ in entries])
        axes.set_ylim(len(entries) - 0.4, -0.7)
        axes.set_xlabel("test accuracy, % (95 % Wilson interval)")

    return draw("accuracy", "Accuracy before and after", 1.0 + 0.42 * max(len(entries), 2), paint)


def before_after(name: str, title: str, axis: str, before: Named, after: Named | None, *, whole: bool = False) -> str:
    """One value per layer of the network and, where there is one, of the program."""
    names = [layer for layer, _ in before]
    later = dict(after or ())

    def paint(axes: Axes) -> None:
        for row, (layer, value) in enumerate(before):
            if layer in later:
                axes.plot([value, later[layer]], [row, row], color=GRID, linewidth=2.5, zorder=1)
        axes.plot([v for _, v in before], range(len(names)), "o", color=FIRST, markersize=6.5, label="network")
        pairs = [(later[layer], row) for row, layer in enumerate(names) if layer in later]
        if pairs:
            places, rows = zip(*pairs, strict=True)
            axes.plot(places, rows, "D", color=SECOND, markersize=5, label="program")
            axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
        _rows(axes, names)
        axes.set_xlim(left=0 if not whole else -0.2)
        axes.xaxis.set_major_locator(MaxNLocator(integer=whole, min_n_ticks=1))
        axes.set_xlabel(axis)

    return draw(name, title, _height(len(names)) + 0.25, paint)


def distances(values: Named) -> str:
    """Distance between the neurons' firing rates before and after, per layer."""

    def paint(axes: Axes) -> None:
        bars = axes.barh(range(len(values)), [value for _, value in values], height=0.62, color=FIRST)
        axes.bar_label(bars, fmt="%.3g", padding=3)
        _rows(axes, [name for name, _ in values])
        axes.set_xlim(left=0)
        axes.set_xlabel("Wasserstein-1 distance, spikes per step")

    return draw("distance", "Distance between firing distributions per layer", _height(len(values)), paint)


def training(section: FinetuneSection) -> str:
    """Validation accuracy per epoch of the quantized network and of the float network beside it."""

    def paint(axes: Axes) -> None:
        curves = [("program's arithmetic", section.quantized, SECOND)]
        if section.control is not None:
            curves.insert(0, ("float, same schedule", section.control, FIRST))
        for label, curve, colour in curves:
            epochs = [epoch.epoch for epoch in curve.epochs]
            axes.plot(epochs, [100 * epoch.validation_accuracy for epoch in curve.epochs], color=colour, label=label)
            kept = [epoch for epoch in curve.epochs if epoch.epoch == curve.best_epoch]
            for epoch in kept:
                axes.plot(epoch.epoch, 100 * epoch.validation_accuracy, "o", color=colour, markersize=6)
        axes.grid()
        axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
        axes.set_xlabel("epoch (dot: kept)")
        axes.set_ylabel("validation accuracy, %")
        axes.legend(loc="lower right")

    return draw("training", "Validation accuracy per epoch", 3.0, paint)


def confusion(section: EvaluateSection, classes: Sequence[str]) -> str:
    """Share of each label's samples per prediction."""
    counts = np.array(section.confusion, dtype=float)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    labels = list(classes) if len(classes) == len(counts) else [str(index) for index in range(len(counts))]

    def paint(axes: Axes) -> None:
        for (row, column), share in np.ndenumerate(shares):
            if share > 0:
                colour, alpha = FIRST if row == column else SECOND, 0.15 + 0.85 * float(share)
                corner = (column - 0.46, row - 0.46)
                axes.add_patch(Rectangle(corner, 0.92, 0.92, facecolor=colour, alpha=alpha, linewidth=0))
        axes.set_xticks(range(len(labels)), [short(label) for label in labels], rotation=0 if len(labels) < 12 else 90)
        axes.set_yticks(range(len(labels)), [short(label) for label in labels])
        axes.set_xlim(-0.5, len(labels) - 0.5)
        axes.set_ylim(len(labels) - 0.5, -0.5)
        axes.set_aspect("equal")
        axes.tick_params(length=0)
        axes.set_xlabel("predicted")
        axes.set_ylabel("label")

    return draw("confusion", "Confusion matrix; the stronger the colour, the larger the share", 3.6, paint)

"""One function per step: its section of the report as a block."""

from __future__ import annotations

import math

from engine.report import figures
from engine.report.blocks import Block, Figure, count, number, percent, table
from engine.specs.evaluated import Accuracy
from engine.specs.planned import AllocateSection, Prediction, SensitivitySection, WidthLoss
from engine.specs.programmed import ExportSection, ProgramSection
from engine.specs.trained import FinetuneSection, PtqSection, SweepSection, TrainingCurve


def accuracy_row(name: str, accuracy: Accuracy) -> tuple[str, ...]:
    """Name, value, counts, interval, method."""
    interval = accuracy.interval
    spread = f"{percent(interval.low)} to {percent(interval.high)}"
    return name, percent(accuracy.value), f"{count(accuracy.correct)} of {count(accuracy.samples)}", spread


def sensitivity(section: SensitivitySection) -> Block:
    """Traces, and what every width costs in loss and accuracy."""
    rows = [
        (
            layer.layer,
            count(layer.parameters),
            number(layer.trace),
            number(layer.standard_error, 2),
            number(layer.trace_per_parameter),
            "exact" if layer.exact else count(layer.probes),
            percent(layer.exact_share),
            "yes" if layer.converged else "NO: cap reached",
        )
        for layer in section.layers
    ]
    widths = [
        (
            layer.layer,
            str(width.bits),
            number(width.predicted, 3),
            number(width.quadratic, 3),
            number(width.measured, 3)
            + ("" if width.measured_error is None else f" ± {number(width.measured_error, 2)}"),
            _accuracy(section, width),
            number(width.squared_distance, 3),
        )
        for layer in section.layers
        for width in layer.widths
    ]
    return Block(
        "sensitivity",
        "Sensitivity",
        (section.statement,),
        (Figure("Curvature trace per layer with standard error (estimated).", lambda: figures.traces(section)),),
        (
            table(
                "Curvature trace per layer",
                ("layer", "parameters", "trace", "std. error", "trace / parameter", "probes", "exact", "converged"),
                rows,
                "estimated by random probes, exact where it says so",
            ),
            table(
                "When one layer alone is rounded: increase of the loss in nats, and accuracy",
                ("layer", "bits", "by trace", "quadratic form", "measured", "accuracy (points)", "squared error"),
                widths,
                "by trace and quadratic form: estimated; measured and accuracy: on training samples",
                collapsed=True,
            ),
            table("How it was measured", ("what", "value"), _method(section), collapsed=True),
        ),
    )


def _method(section: SensitivitySection) -> tuple[tuple[str, str], ...]:
    """What was computed, on what, and how well the predictions hold."""
    return (
        ("quantity", section.quantity),
        ("loss", f"{section.loss.replace('_', ' ')} of the readout times {number(section.logit_scale)}"),
        ("loss of the network as it is", f"{number(section.baseline_loss)} nats"),
        (
            "right of the training samples as it is",
            "–" if section.baseline_accuracy is None else percent(section.baseline_accuracy),
        ),
        ("training samples", count(section.samples)),
        ("surrogate", f"{section.surrogate_kind}, slope {number(section.surrogate_slope)}"),
        ("reset gradient", section.reset_gradient),
        ("slope chosen among", _slopes(section)),
        ("rank correlation, predicted and measured, 4/3/2 bits", number(section.rank_correlation, 3)),
        ("the same for the quadratic form", number(section.by_quadratic.rank_correlation, 3)),
        ("the same for the squared weight error alone", number(section.trivial_rank_correlation, 3)),
        ("predicted over measured, by trace", _calibration(section.by_trace)),
        ("the same for the quadratic form", _calibration(section.by_quadratic)),
        ("prediction that holds", section.holds),
        ("peak memory of the process, bytes", "–" if section.peak_bytes is None else count(section.peak_bytes)),
        ("seed", str(section.seed)),
    )


def _accuracy(section: SensitivitySection, width: WidthLoss) -> str:
    """Of the rounded network, with the change from the network as it is and its standard error."""
    if width.accuracy is None or section.baseline_accuracy is None:
        return "–"
    change = 100 * (width.accuracy - section.baseline_accuracy)
    error = "" if width.accuracy_error is None else f" ± {number(100 * width.accuracy_error, 2)}"
    return f"{percent(width.accuracy)} ({change:+.1f}{error})".replace("-", "−")


def _calibration(prediction: Prediction) -> str:
    """The median over pairs above noise, and how many are near."""
    if prediction.calibration is None or prediction.within_ten is None:
        return "–"
    near = f"{percent(prediction.within_ten)} of {prediction.clear_pairs} pairs above noise within a factor of 10"
    return f"{number(prediction.calibration, 2)} in the median; {near}"


def _slopes(section: SensitivitySection) -> str:
    """Candidates with their mean |log(predicted / measured)|."""
    if not section.slope_checks:
        return "given, or nothing stood clear of its noise"
    return ", ".join(
        f"{number(c.slope, 3)} (off by a factor {number(math.exp(c.log_error), 2)})" for c in section.slope_checks
    )


def allocation(section: AllocateSection) -> Block:
    """The plan, and the front that it was taken from."""
    chosen = [(name, layer.bits) for name, layer in section.plan.weights.items()]
    drawn = [Figure("Bits per weight layer in the plan (chosen).", lambda: figures.bits(chosen))]
    tables = [
        table(
            "The plan",
            ("layer", "bits", "quantizer", "scale per"),
            [(n, str(w.bits), w.quantizer, w.granularity) for n, w in section.plan.weights.items()],
        )
    ]
    if section.front:
        drawn.append(Figure("Predicted loss over mean weight bits (estimated).", lambda: figures.front(section)))
        names = list(section.front[0].bits)
        tables.append(
            table(
                "Pareto front",
                ("mean bits", "weight bytes", "program bytes", "predicted loss, nats", *names),
                [
                    (
                        number(point.mean_weight_bits),
                        count(point.weight_bytes),
                        count(point.program_bytes),
                        number(point.predicted_loss, 3),
                        *(str(point.bits.get(name, "–")) for name in names),
                    )
                    for point in section.front
                ],
                "estimated",
                collapsed=True,
            )
        )
    budgets = [
        f"at most {number(section.budget_mean_weight_bits)} mean weight bits"
        if section.budget_mean_weight_bits is not None
        else "",
        f"at most {count(section.budget_program_bytes)} bytes" if section.budget_program_bytes is not None else "",
    ]
    budget = " and ".join(part for part in budgets if part) or "none"
    source = (
        "The plan was given by the user."
        if section.source == "user"
        else f"Chosen by {section.solver} from the {section.predictor} loss increases; budget: {budget}."
    )
    result = f"Mean weight bits: {number(section.mean_weight_bits)}"
    if section.predicted_loss is not None:
        result += f"; predicted loss increase before fine-tuning: {number(section.predicted_loss, 3)} nats (estimated)"
    said = (source, result + ".", *([section.caution] if section.caution else []))
    return Block("plan", "Bits per layer", said, tuple(drawn), tuple(tables))


def post_training(section: PtqSection) -> Block:
    """What calibration did, without labels or a gradient step."""
    text = (
        f"Weights were quantized without training: {section.calibration.replace('_', ' ')} calibration on "
        f"{count(section.samples)} training samples, no label and no gradient step used."
    )
    if section.plain:
        text += f" Rounded to the nearest level instead: {', '.join(section.plain)}."
    rows = [
        ("calibrated", percent(section.agreement)),
        ("plain rounding at MSE-optimal scales", percent(section.agreement_before)),
    ]
    header = ("weights", "samples with the float network's class")
    compared = table("Calibration samples", header, rows, "measured")
    return Block("ptq", "Post-training quantization", (text,), (), (compared,))


def sweep(section: SweepSection) -> Block:
    """All programs of a sweep, which ones others dominate, and how one was chosen."""
    bound, one = number(section.within_points, 3), number(section.sample_points, 3)
    interval = f"{number(section.drop_interval.low, 3)} to {number(section.drop_interval.high, 3)} points"
    how = (
        f"the smallest that loses at most {bound} points on the validation split"
        if section.kept
        else f"none loses at most {bound} points on the validation split, so the one that loses least"
    )
    said = [
        f"Chosen: {section.chosen}, {how}: it loses {number(section.drop_points, 3)} points there (95 % {interval}, "
        f"{section.drop_interval.method}); the float network reaches {percent(section.float_validation.value)}. "
        "The test split was not looked at; how the chosen program does there is in the summary."
    ]
    if not section.decidable:
        said.append(
            f"The data cannot decide a bound of {bound} points: one of {count(section.float_validation.samples)} "
            f"validation samples is worth {one} points."
        )
    rows = [
        (
            ("chosen: " if point.name == section.chosen else "") + point.name,
            count(point.program_bytes),
            percent(point.reduction, 1),
            number(point.mean_weight_bits),
            percent(point.validation.value),
            number(point.operations_per_sample, 6),
            count(point.state_bytes),
            "dominated" if point.dominated else "on the front",
        )
        for point in section.points
    ]
    header = (
        "program",
        "bytes",
        "smaller by",
        "mean bits",
        "validation",
        "operations / sample",
        "state bytes",
        "front",
    )
    tables = [table("Programs of the sweep", header, rows, "measured")]
    if section.infeasible:
        tables.append(table("Budgets that no plan meets", ("variant", "why"), tuple(section.infeasible.items())))
    return Block("sweep", "Sweep", tuple(said), (), tuple(tables))


def finetuning(section: FinetuneSection) -> Block:
    """What training did, and what the same training does for the float network."""
    curves = [("program's arithmetic", section.quantized)]
    if section.control is not None:
        curves.append(("float, same schedule", section.control))
    sentences = [_curve_sentence(name, curve) for name, curve in curves]
    if section.control_accuracy is not None:
        sentences.append(
            f"The float network fine-tuned with the same schedule reaches {percent(section.control_accuracy.value)} "
            f"on the test split: what the program gains up to there is a gain from training, not from quantization."
        )
    if section.wider:
        sentences.append(f"Before it, trained with more bits: {len(section.wider)} times, one bit fewer each time.")
    if section.seed is not None:
        others = ", ".join(_accuracy_kept(curve) for curve in section.other_seeds)
        sentences.append(
            f"Trained by {len(section.other_seeds) + 1} seeds; {section.seed} is kept with "
            f"{_accuracy_kept(section.quantized)} on validation, the others reach {others}."
        )
    if section.resumed_from_epoch is not None:
        sentences.append(f"Resumed from the checkpoint of epoch {section.resumed_from_epoch}.")
    rows = [
        (
            name,
            str(epoch.epoch),
            number(epoch.train_loss),
            number(epoch.validation_loss),
            percent(epoch.validation_accuracy),
            number(epoch.learning_rate, 3),
        )
        for name, curve in curves
        for epoch in curve.epochs
    ]
    drawn = (Figure("Validation accuracy per epoch (measured).", lambda: figures.training(section)),) if rows else ()
    header = ("network", "epoch", "training loss", "validation loss", "validation accuracy", "learning rate")
    tables = (table("Epochs", header, rows, "measured on the validation part", collapsed=True),) if rows else ()
    return Block("training", "Fine-tuning", tuple(sentences), drawn, tables)


def _accuracy_kept(curve: TrainingCurve) -> str:
    kept = next((epoch for epoch in curve.epochs if epoch.epoch == curve.best_epoch), None)
    return "no better than before" if kept is None else percent(kept.validation_accuracy)


def _curve_sentence(name: str, curve: TrainingCurve) -> str:
    why = {"schedule": "the schedule's end", "patience": "no further gain", "time": "the time limit"}[curve.stopped]
    kept = f"epoch {curve.best_epoch} kept" if curve.best_epoch else "the state before training kept"
    return (
        f"{name[0].upper()}{name[1:]}: {len(curve.epochs)} epochs, {kept} by validation on "
        f"{count(curve.validation_samples)} samples; ended by {why}."
    )


def _cost(section: ProgramSection) -> tuple[tuple[str, str], ...]:
    """Counts per sample, and energy, which is an estimate."""
    cost = section.cost
    if cost is None:
        return ()
    energy = "; ".join(f"{number(one.events_pj / 1e3)} nJ ({one.source})" for one in cost.energy)
    return (
        (
            "neuron updates / sample",
            f"{number(cost.neuron_updates_dense)}, by events {number(cost.neuron_updates_events)}",
        ),
        ("memory traffic / sample", f"{number(cost.memory_bytes_events)} bytes by events"),
        ("counted on", f"{count(cost.samples)} test samples"),
        ("energy / sample, estimated", energy),
    )


def program(section: ProgramSection) -> Block:
    """Sizes, digest and what the program needs of a machine."""
    facts = (
        ("program digest (SHA-256)", section.program_digest),
        ("check a download with", f"spikebit verify DIR --digest {section.program_digest}"),
        ("golden samples in the program", count(section.golden_samples)),
        ("state bytes", count(section.state_bytes)),
        ("clamped inputs", count(section.clamped_inputs)),
        (
            "saturated states",
            "; ".join(f"{layer}: {count(n)} neuron-steps" for layer, n in section.saturations.items()) or "none",
        ),
        ("multiplications needed", "; ".join(section.multiplications) or "none"),
        *_cost(section),
    )
    return Block(
        "program",
        "Integer program",
        (
            f"{count(section.mismatched_spikes)} of {count(section.compared_spikes)} neuron-steps differ between the "
            f"service's simulation and the NumPy reference runner on the whole test split.",
        ),
        (),
        (
            table("Program", ("what", "value"), facts, section.basis),
            table(
                "Weight layers in the program",
                ("layer", "bits", "weights", "bytes", "multiplications", "accumulator bound"),
                [
                    (
                        layer.layer,
                        str(layer.bits),
                        count(layer.weights),
                        count(layer.bytes),
                        "yes" if layer.multiplications else "none",
                        count(layer.accumulator_bound),
                    )
                    for layer in section.layers
                ],
                section.basis,
            ),
        ),
    )


def exports(section: ExportSection) -> Block:
    """The files for targets, and what they need."""
    files = table(
        "Exported files",
        ("format", "file", "bytes"),
        [(file.format, file.path, count(file.bytes)) for file in section.files],
        section.basis,
    )
    facts = [(name, what, value) for name, known in section.facts.items() for what, value in known.items()]
    needs = (table("Needs of the exports", ("format", "what", "value"), facts, section.basis),) if facts else ()
    return Block("exports", "Exports", (), (), (files, *needs))

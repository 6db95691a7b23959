"""``sweep``: many budgets and recipes in one job, their Pareto front, and the smallest program within a bound."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engine.allocate.choice import Outcome, dominated, smallest_within
from engine.data.batches import Split
from engine.errors import EngineError, InvalidDataset
from engine.network.measure import measure
from engine.network.operations import synaptic_operations
from engine.network.prepare import prepare
from engine.program.inputs import encoded, integer_side
from engine.program.program import IntegerProgram
from engine.program.quantized import QuantizedForm, start_training, to_program
from engine.program.runners import measure_program
from engine.program.simulate import prepare_program
from engine.program.sizes import float_bytes, mean_weight_bits, program_bytes, state_bytes
from engine.report.statistics import accuracy_of, paired_drop
from engine.specs.plan import Plan
from engine.specs.planned import SensitivitySection
from engine.specs.recipes import expand_recipe
from engine.specs.steps import AllocateStep, FinetuneStep, PtqStep, SensitivityStep, SweepStep
from engine.specs.targets import TARGETS, fit_steps
from engine.specs.trained import SweepPoint, SweepSection
from engine.steps.allocate import allocate_step
from engine.steps.checkpoint import save_checkpoint
from engine.steps.context import ArtifactFile, Context, Events, Work
from engine.steps.finetune import finetune_step
from engine.steps.ptq import ptq_step
from engine.steps.sensitivity import sensitivity_step


@dataclass(frozen=True)
class _Variant:
    """One recipe at one budget."""

    recipe: str
    budget: float

    @property
    def name(self) -> str:
        return f"{self.recipe} at {self.budget:g} bits"


@dataclass(frozen=True)
class _Inner:
    """What a variant's steps say, under the sweep's name; their own checkpoints are not the job's."""

    events: Events
    name: str

    def progress(self, stage: str, done: int, total: int, message: str = "", **metrics: float) -> None:
        self.events.progress(f"sweep:{stage}", done, total, self.name, **metrics)

    def checkpoint(self, path: Path) -> None:
        """A variant is begun anew where an attempt ends within it."""

    def log(self, message: str) -> None:
        self.events.log(f"{self.name}: {message}")


def sweep_step(spec: SweepStep, work: Work, context: Context) -> Work:
    """Run every variant, judge all on the validation split, and go on with the chosen one; a checkpoint per variant.

    Raises:
        InvalidDataset: there is no training split.
        EngineError: no variant could be carried out; the code is the last one's.
    """
    began = time.perf_counter()
    if work.data.val is None:
        raise InvalidDataset("only_test_split", "sweep needs training samples, the file has the test split alone")
    variants = [_Variant(recipe, budget) for recipe in spec.recipes for budget in spec.mean_weight_bits]
    saved = dict(context.saved or {}) if context.saved_step == work.index else {}
    done: dict[str, Any] = dict(saved.get("variants", {}))
    known = {key: SensitivitySection.model_validate_json(text) for key, text in saved.get("sensitivities", {}).items()}
    problem = None
    for number, variant in enumerate(variants):
        context.events.progress("sweep", number, len(variants), variant.name)
        if variant.name not in done:
            try:
                done[variant.name] = _carry_out(variant, work, known, context)
            except EngineError as error:
                if error.code != "budget_infeasible":
                    raise
                problem, done[variant.name] = error, {"problem": error.detail}
            kept = {key: section.model_dump_json() for key, section in known.items()}
            save_checkpoint(context, work, {"variants": done, "sensitivities": kept})
    context.events.progress("sweep", len(variants), len(variants))
    if problem is not None and all("problem" in found for found in done.values()):
        raise problem
    work = replace(work, sections=(*work.sections, *known.values()))
    return _conclude(spec, work, context, [(v, done[v.name]) for v in variants], began, bool(saved))


def _carry_out(variant: _Variant, work: Work, known: dict[str, SensitivitySection], context: Context) -> dict[str, Any]:
    """The variant's steps up to its quantized network.

    ``known``: what sensitivity steps found, by what was asked; used again where the same is asked, and added to.
    """
    steps = expand_recipe(variant.recipe, {}, mean_weight_bits=variant.budget)
    folder = context.out / "sweep"
    folder.mkdir(exist_ok=True)
    inner = replace(context, out=folder, events=_Inner(context.events, variant.name), saved=None, saved_step=-1)
    for step in fit_steps(TARGETS[context.job.target], steps):
        if isinstance(step, SensitivityStep):
            asked = step.model_dump_json()
            if asked not in known:
                found = sensitivity_step(step, work, inner).sections[-1]
                if not isinstance(found, SensitivitySection):
                    raise TypeError("the step 'sensitivity' ends with its section")
                known[asked] = found
            work = replace(work, sections=(*work.sections, known[asked]))
        elif isinstance(step, AllocateStep):
            work = allocate_step(step, work, inner)
        elif isinstance(step, PtqStep):
            work = ptq_step(step, work, inner)
        elif isinstance(step, FinetuneStep):
            work = finetune_step(step.model_copy(update={"float_control": False}), work, inner)
    if work.quantized is None or work.plan is None:
        raise ValueError(f"recipe {variant.recipe!r} quantizes nothing")  # resolve_job lets none through
    form, parameters = work.quantized
    return {"form": _packed(form), "plan": form.plan.model_dump_json(), "parameters": dict(parameters)}


def _conclude(
    spec: SweepStep,
    work: Work,
    context: Context,
    found: list[tuple[_Variant, dict[str, Any]]],
    began: float,
    resumed: bool,
) -> Work:
    val = work.data.val
    if val is None:
        raise InvalidDataset("only_test_split", "sweep needs training samples, the file has the test split alone")
    before = measure(prepare(work.network, device=context.device), val).counts.argmax(1) == val.y
    points, quantized, rights = [], [], []
    for variant, one in found:
        if "problem" in one:
            continue
        form = _unpacked(work, one, context.device)
        program = to_program(form, one["parameters"])
        point, right = _judge(variant, program, form.plan, work, val, context.device)
        points.append(point)
        quantized.append((form, one["parameters"]))
        rights.append(right)
    outcomes = [Outcome(p.program_bytes, p.validation.correct, p.operations_per_sample) for p in points]
    chosen, kept = smallest_within(outcomes, int(before.sum()), len(val), spec.within_points)
    drop, interval = paired_drop(before, rights[chosen])
    worse = dominated(outcomes)
    one_sample = 100.0 / len(val)
    section = SweepSection(
        points=tuple(p.model_copy(update={"dominated": w}) for p, w in zip(points, worse, strict=True)),
        infeasible={variant.name: one["problem"] for variant, one in found if "problem" in one},
        within_points=spec.within_points,
        chosen=points[chosen].name,
        kept=kept,
        float_validation=accuracy_of(int(before.sum()), len(val)),
        drop_points=drop,
        drop_interval=interval,
        sample_points=one_sample,
        decidable=one_sample <= spec.within_points,
        resumed=resumed,
        seconds=time.perf_counter() - began,
    )
    plan = quantized[chosen][0].plan
    (context.out / "plan.json").write_text(plan.model_dump_json(indent=2) + "\n")
    return replace(
        work,
        plan=plan,
        quantized=quantized[chosen],
        sections=(*work.sections, section),
        artifacts=(*work.artifacts, ArtifactFile("plan", "plan.json", "application/json")),
    )


def _judge(
    variant: _Variant, program: IntegerProgram, plan: Plan, work: Work, val: Split, device: torch.device
) -> tuple[SweepPoint, np.ndarray[Any, np.dtype[np.bool_]]]:
    prepared = prepare_program(program, device)
    seen = encoded(val, integer_side(work.network, work.data, plan).scale)
    activity = measure_program(program, seen.clamped(program.input.lo, program.input.hi), device).activity
    right = activity.counts.argmax(1) == val.y
    size = program_bytes(program)
    operations = synaptic_operations(prepared, activity.busy, val.x.shape[1])
    point = SweepPoint(
        name=variant.name,
        recipe=variant.recipe,
        budget_mean_weight_bits=variant.budget,
        bits={name: entry.bits for name, entry in plan.weights.items()},
        mean_weight_bits=mean_weight_bits(program),
        program_bytes=size,
        reduction=1.0 - size / float_bytes(work.network),
        state_bytes=state_bytes(program),
        validation=accuracy_of(int(right.sum()), len(right)),
        operations_per_sample=sum(one.per_sample for one in operations),
    )
    return point, right


def _packed(form: QuantizedForm) -> dict[str, Any]:
    """What a form holds beyond network and plan, as a checkpoint can say it."""
    return {
        "exponents": {name: torch.as_tensor(np.asarray(value)) for name, value in form.exponents.items()},
        "fixed_scales": dict(form.fixed_scales),
        "per_row": sorted(form.per_row),
    }


def _unpacked(work: Work, one: Mapping[str, Any], device: torch.device) -> QuantizedForm:
    plan, kept = Plan.model_validate_json(one["plan"]), one["form"]
    side = integer_side(work.network, work.data, plan)
    form, _ = start_training(side.network, plan, side.limits, device)
    return replace(
        form,
        exponents={name: value.numpy() for name, value in kept["exponents"].items()},
        fixed_scales=kept["fixed_scales"],
        per_row=frozenset(kept["per_row"]),
    )

"""Recipes: named lists of steps with defaults, one per published method."""

from __future__ import annotations

from typing import Any

from engine.specs.base import Spec
from engine.specs.plan import MulShiftLeak, NeuronPlan, Plan, ShiftLeak
from engine.specs.steps import (
    AllocateStep,
    EvaluateStep,
    ExportStep,
    FinetuneStep,
    IntegerizeStep,
    PtqStep,
    SensitivityStep,
    Step,
    Surrogate,
    SweepStep,
)


class Recipe(Spec):
    """Steps in order, with the source of the method they follow."""

    name: str
    title: str
    source: str
    steps: tuple[Step, ...]


RECIPES: dict[str, Recipe] = {
    recipe.name: recipe
    for recipe in (
        Recipe(
            name="hessian-mixed",
            title="Mixed precision by curvature, fine-tuned in integer arithmetic",
            source="Lui & Neftci 2021, arXiv:2104.14117; LSQ: Esser et al. 2020, arXiv:1902.08153; start: "
            "Frantar & Alistarh 2022, arXiv:2208.11580, and Shi et al. 2025, arXiv:2506.03996",
            steps=(
                EvaluateStep(),
                SensitivityStep(surrogate=Surrogate()),  # slope 6, not chosen per network: the same note
                AllocateStep(
                    predictor="trace"
                ),  # what fine-tuning cannot repair; docs/adr/0007-plans-before-fine-tuning.md
                FinetuneStep(),
                IntegerizeStep(),
                EvaluateStep(of="program"),
            ),
        ),
        Recipe(
            name="hessian-paper",
            title="Fixed point of 4, 8 or 16 bits by curvature, rounded at random in training",
            source="Lui & Neftci 2021, arXiv:2104.14117",
            steps=(
                EvaluateStep(),
                SensitivityStep(surrogate=Surrogate(), widths=(4, 8, 16), granularity="layer", measure="off"),
                AllocateStep(
                    widths=(4, 8, 16),
                    mean_weight_bits=13.3,
                    predictor="trace",
                    quantizer="fixed_point",
                    granularity="layer",
                ),
                FinetuneStep(start="mse", distillation=0.0, weight_average=0.0),
                IntegerizeStep(),
                EvaluateStep(of="program"),
            ),
        ),
        Recipe(
            name="lsq",
            title="Uniform width with learned step sizes, down to one bit",
            source="Shymyrbay, Fouda & Eltawil 2022, Asilomar; Esser et al. 2020, arXiv:1902.08153",
            steps=(
                EvaluateStep(),
                AllocateStep(widths=(4,), mean_weight_bits=None),
                FinetuneStep(start="mse", distillation=0.0),
                IntegerizeStep(),
                EvaluateStep(of="program"),
            ),
        ),
        Recipe(
            name="soft-sigmoid",
            title="Annealed sigmoids instead of a straight-through gradient",
            source="Shymyrbay, Fouda & Eltawil 2023, arXiv:2305.19295",
            steps=(
                EvaluateStep(),
                AllocateStep(widths=(2,), mean_weight_bits=None, quantizer="soft_sigmoid"),
                FinetuneStep(start="mse", distillation=0.0),
                IntegerizeStep(),
                EvaluateStep(of="program"),
            ),
        ),
        Recipe(
            name="loihi-qat",
            title="Learned scales with a random part of the layers quantized in each step, for 8-bit weights of a chip",
            source="Liu, Mohammadi & Yi 2024, doi:10.1109/TGCN.2023.3337748",
            steps=(
                EvaluateStep(),
                AllocateStep(
                    widths=(8,),
                    mean_weight_bits=None,
                    granularity="layer",
                    neuron=NeuronPlan(
                        state_bits=23, fraction_bits=6, leak=MulShiftLeak(shift_bits=12, rounding="toward_zero")
                    ),
                ),
                FinetuneStep(start="mse", distillation=0.0, layer_probability=0.5),
                IntegerizeStep(),
                EvaluateStep(of="program"),
            ),
        ),
        Recipe(
            name="squat",
            title="Weights and membranes quantized in training: saturating states of few bits",
            source="Venkatesh, Marinescu & Eshraghian 2024, arXiv:2404.19668",
            steps=(
                EvaluateStep(),
                AllocateStep(
                    widths=(4,),
                    mean_weight_bits=None,
                    neuron=NeuronPlan(state_bits=8, fraction_bits=7, range_thresholds=1.25),
                ),
                FinetuneStep(),
                IntegerizeStep(),
                EvaluateStep(of="program"),
            ),
        ),
        Recipe(
            name="mint",
            title="No multiplication: weights and membrane share one scale, leaks are shifts",
            source="Yin, Li, Moitra & Panda 2024, arXiv:2305.09850",
            steps=(
                EvaluateStep(),
                AllocateStep(
                    widths=(4,),
                    mean_weight_bits=None,
                    granularity="layer",
                    neuron=NeuronPlan(state_bits=8, fraction_bits=0, leak=ShiftLeak(), range_thresholds=1.25),
                ),
                FinetuneStep(),
                IntegerizeStep(),
                EvaluateStep(of="program"),
            ),
        ),
        Recipe(
            name="ptq",
            title="Post-training quantization: no gradient step and no labels, some training samples calibrate",
            source="our own combination (not a reproduction of Li et al. 2025, NeuronQuant, whose method could not be "
            "looked up): Frantar & Alistarh 2022, arXiv:2208.11580, and Shi et al. 2025, arXiv:2506.03996",
            steps=(
                EvaluateStep(),
                SensitivityStep(surrogate=Surrogate(), measure="off"),
                AllocateStep(mean_weight_bits=5.0, predictor="trace"),
                PtqStep(),
                IntegerizeStep(),
                EvaluateStep(of="program"),
            ),
        ),
        Recipe(
            name="sweep",
            title="Many budgets in one job: Pareto front, and the smallest program within 0.2 points on validation",
            source="-",
            steps=(EvaluateStep(), SweepStep(), IntegerizeStep(), EvaluateStep(of="program")),
        ),
        Recipe(
            name="microcontroller",
            title="Mixed precision by curvature, fine-tuned, as C99 with a self-test",
            source="Lui & Neftci 2021, arXiv:2104.14117; LSQ: Esser et al. 2020, arXiv:1902.08153; start: "
            "Frantar & Alistarh 2022, arXiv:2208.11580, and Shi et al. 2025, arXiv:2506.03996",
            steps=(
                EvaluateStep(),
                SensitivityStep(surrogate=Surrogate()),
                AllocateStep(predictor="trace"),
                FinetuneStep(),
                IntegerizeStep(),
                EvaluateStep(of="program"),
                ExportStep(),
            ),
        ),
        Recipe(
            name="sensitivity",
            title="Curvature report only",
            source="Lui & Neftci 2021, arXiv:2104.14117",
            steps=(EvaluateStep(), SensitivityStep(logit_scale=None)),
        ),
        Recipe(
            name="evaluate", title="Accuracy and activity of the network as it is", source="-", steps=(EvaluateStep(),)
        ),
    )
}


def needs_labels(step: Step) -> bool:
    """Whether a step needs the labels of training samples.

    Without them the float network's own predictions take their place, which is what distillation alone learns from.

    Example:
        >>> needs_labels(FinetuneStep()), needs_labels(FinetuneStep(distillation=1.0)), needs_labels(PtqStep())
        (True, False, False)
    """
    if isinstance(step, SweepStep):
        return any(needs_labels(one) for name in step.recipes if name in RECIPES for one in RECIPES[name].steps)
    return isinstance(step, FinetuneStep) and step.distillation < 1.0


def expand_recipe(
    name: str,
    options: dict[str, dict[str, Any]],
    *,
    plan: Plan | None = None,
    mean_weight_bits: float | None = None,
    program_bytes: int | None = None,
) -> tuple[Step, ...]:
    """The recipe's steps with the user's options merged in.

    Args:
        name: a key of ``RECIPES``.
        options: step kind → field → value; the same field set applies to every step of that kind.
        plan: the user's own plan for ``allocate``.
        mean_weight_bits: budget for ``allocate``; None keeps the recipe's unless a byte budget is given alone.
        program_bytes: byte budget for ``allocate``.

    Raises:
        KeyError: unknown recipe, or options for a kind that the recipe does not hold.
        ValueError: an option's field or value is wrong (pydantic's message names it).

    Example:
        >>> [s.kind for s in expand_recipe("sensitivity", {"sensitivity": {"max_probes": 16}})]
        ['evaluate', 'sensitivity']
    """
    if name not in RECIPES:
        raise KeyError(f"unknown recipe {name!r}; known: {', '.join(sorted(RECIPES))}")
    steps = RECIPES[name].steps
    strangers = sorted(set(options) - {step.kind for step in steps})
    if strangers:
        raise KeyError(f"recipe {name!r} has no step of kind {', '.join(strangers)}")
    budget: dict[str, Any] = {}
    if plan is not None:
        budget["plan"] = plan.model_dump()
    if mean_weight_bits is not None or program_bytes is not None:
        budget["mean_weight_bits"] = mean_weight_bits
        budget["program_bytes"] = program_bytes
    merged = []
    for step in steps:
        fields = step.model_dump() | (budget if step.kind == "allocate" else {}) | options.get(step.kind, {})
        merged.append(type(step).model_validate(fields))
    return tuple(merged)

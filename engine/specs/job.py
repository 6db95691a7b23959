"""A job as the user writes it, and as the server resolves it once and keeps beside it."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from engine.specs.base import Spec
from engine.specs.dynamics import AutoDynamics, Dynamics
from engine.specs.plan import Plan
from engine.specs.recipes import RECIPES, expand_recipe
from engine.specs.steps import ExportFormat, ExportStep, Step, SweepStep
from engine.specs.target_memory import UNSAID, Memory
from engine.specs.targets import TARGETS, fit_steps, plan_violations, told

LabelName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._/-]{0,62}$")]
LabelValue = Annotated[str, StringConstraints(max_length=200)]


class Gates(Spec):
    """Bounds that turn the report into a verdict; accuracy gates are judged on the test split."""

    max_accuracy_drop_points: float | None = Field(default=None, description="100·(float − program)")
    min_accuracy: float | None = Field(default=None, ge=0, le=1)
    max_program_bytes: int | None = Field(default=None, gt=0)
    max_mean_weight_bits: float | None = Field(default=None, gt=0)


class Deadlines(Spec):
    """Seconds waiting and seconds running, counted apart."""

    queue_s: float | None = Field(default=None, gt=0)
    run_s: float | None = Field(default=None, gt=0)


class JobRequest(Spec):
    """Body of POST /v1/jobs: a recipe or explicit steps, exactly one of them."""

    model: str
    dataset: str
    recipe: str | None = None
    steps: tuple[Step, ...] | None = None
    options: dict[str, dict[str, Any]] = Field(
        default_factory=dict, description="Step kind → field → value, recipes only"
    )
    plan: Plan | None = None
    mean_weight_bits: float | None = Field(default=None, gt=0, description="Budget of allocate (--avg-bits)")
    program_bytes: int | None = Field(default=None, gt=0, description="Budget of allocate (--max-bytes)")
    gates: Gates = Gates()
    expect: float | None = Field(default=None, ge=0, le=1, description="The float network's accuracy on the test split")
    expected_counts: str | None = Field(default=None, pattern="^sha256:[0-9a-f]{64}$", description="Blob with counts")
    expected_traces: str | None = Field(
        default=None, pattern="^sha256:[0-9a-f]{64}$", description="Blob with spikes of single layers"
    )
    dynamics: AutoDynamics | None = Field(
        default=None,
        description="Preset 'auto': chosen when the job runs; None: the model's",
    )
    seed: int = Field(default=0, ge=0, le=2**31 - 1)
    device: Literal["cpu", "cuda"] = "cpu"
    target: str = Field(default="generic", description="What the program has to fit: a name of GET /v1/targets")
    memory: Memory = Field(default=UNSAID, description="Of your machine, for a target that takes it (c99)")
    exports: tuple[ExportFormat, ...] = Field(
        default=(), description="Written after integerize, beside those of the steps and the target's own"
    )
    deadlines: Deadlines = Deadlines()
    label: str | None = Field(default=None, max_length=200)
    labels: dict[LabelName, LabelValue] = Field(default_factory=dict, max_length=16, description="To find jobs by")
    priority: int = Field(default=0, ge=-10, le=10, description="Higher first; within one priority the oldest first")

    @model_validator(mode="after")
    def _one_of(self) -> Self:
        if (self.recipe is None) == (self.steps is None):
            raise ValueError("give exactly one of recipe and steps")
        recipe_only = {"options": self.options, "plan": self.plan, "mean_weight_bits": self.mean_weight_bits}
        if self.steps is not None and any(recipe_only.values()):
            raise ValueError("options, plan and budgets belong to a recipe; write them into the steps instead")
        return self


class Job(Spec):
    """A resolved job: what the engine runs. Names of records are left to the service."""

    steps: tuple[Step, ...] = Field(min_length=1)
    dynamics: Dynamics | None = Field(default=None, description="The model's; None before it is known or chosen")
    auto: AutoDynamics | None = Field(default=None, description="How the dynamics are chosen when the job runs")
    gates: Gates = Gates()
    expect: float | None = None
    seed: int = 0
    device: Literal["cpu", "cuda"] = "cpu"
    target: str = "generic"
    memory: Memory = UNSAID

    @property
    def state_bits(self) -> int:
        """The narrowest states that the job's allocate steps ask for; 8 where there are none."""
        asked = [step.neuron.state_bits for step in self.steps if step.kind == "allocate" and step.plan is None]
        plans = [step.plan for step in self.steps if step.kind == "allocate" and step.plan is not None]
        asked += [neuron.state_bits for plan in plans for neuron in plan.neurons.values()]
        return min(asked, default=8)


class ContradictoryJob(ValueError):
    """Gates and budgets that no result can satisfy together."""

    def __init__(self, detail: str, pointer: str) -> None:
        super().__init__(detail)
        self.detail = detail
        self.pointer = pointer


def resolve_job(request: JobRequest, dynamics: Dynamics | None = None) -> Job:
    """Fill in the recipe's steps and defaults, and refuse contradictions before anything is queued.

    Args:
        request: as the user wrote it.
        dynamics: the profile in the model's record.

    Raises:
        KeyError: unknown recipe or option.
        ContradictoryJob: gates that exclude each other, steps in an order that cannot work.
        ValueError: a field of a step is wrong.

    Example:
        >>> job = resolve_job(JobRequest(model="m", dataset="d", recipe="evaluate"))
        >>> [step.kind for step in job.steps]
        ['evaluate']
    """
    if request.recipe is not None:
        steps = expand_recipe(
            request.recipe,
            request.options,
            plan=request.plan,
            mean_weight_bits=request.mean_weight_bits,
            program_bytes=request.program_bytes,
        )
    else:
        steps = request.steps or ()
    steps = _for_target(request.target, _with_exports(request.exports, steps))
    if request.memory != UNSAID and not TARGETS[request.target].user_memory:
        takers = ", ".join(target.name for target in TARGETS.values() if target.user_memory)
        raise ContradictoryJob(f"memory belongs to targets that take it: {takers}", "/memory")
    _check_order(steps)
    _check_gates(request.gates, steps)
    return Job(
        steps=steps,
        dynamics=dynamics if request.dynamics is None else None,
        auto=request.dynamics,
        gates=request.gates,
        expect=request.expect,
        seed=request.seed,
        device=request.device,
        target=request.target,
        memory=request.memory,
    )


_NEEDS = {
    "finetune": ("allocate",),
    "ptq": ("allocate",),
    "integerize": ("allocate", "sweep"),
    "export": ("integerize",),
}


def _with_exports(formats: tuple[ExportFormat, ...], steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps and what ``exports`` asks for besides."""
    there = {name for step in steps if isinstance(step, ExportStep) for name in step.formats}
    wanted = tuple(name for name in dict.fromkeys(formats) if name not in there)
    return (*steps, ExportStep(formats=wanted)) if wanted else steps


def _for_target(name: str, steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """Steps cut to the target's limits; a user's own plan is refused where it does not keep them."""
    if name not in TARGETS:
        raise ContradictoryJob(f"unknown target {name!r}; known: {', '.join(TARGETS)}", "/target")
    target = TARGETS[name]
    for step in steps:
        found = plan_violations(target, step.plan) if step.kind == "allocate" and step.plan is not None else ()
        if found:
            raise ContradictoryJob(f"the plan does not fit target {name!r}: {told(found)}", "/target")
    fitted = fit_steps(target, steps)
    if any(step.kind == "allocate" and step.plan is None and not step.widths for step in fitted):
        raise ContradictoryJob(f"target {name!r} holds weights of at most {target.weight_bits} bits", "/target")
    return fitted


def _check_order(steps: tuple[Step, ...]) -> None:
    seen: list[str] = []
    for index, step in enumerate(steps):
        needs = _NEEDS.get(step.kind, ())
        if step.kind == "evaluate" and step.of == "program":
            needs = ("integerize",)
        if step.kind == "allocate" and step.plan is None and len(set(step.widths)) > 1:
            needs = ("sensitivity",)
        if needs and not set(needs) & set(seen):
            wanted = " or ".join(map(repr, needs))
            raise ContradictoryJob(f"step {step.kind!r} needs an earlier step {wanted}", f"/steps/{index}")
        if step.kind == "sweep":
            _check_sweep(step, f"/steps/{index}")
        seen.append(step.kind)


def _check_sweep(step: SweepStep, pointer: str) -> None:
    """Recipes that allocate and quantize, and budgets that can be met at all."""
    for name in step.recipes:
        if name not in RECIPES:
            raise ContradictoryJob(f"unknown recipe {name!r}; known: {', '.join(RECIPES)}", pointer)
        steps = RECIPES[name].steps
        if not any(one.kind == "allocate" for one in steps) or not {"ptq", "finetune"} & {one.kind for one in steps}:
            raise ContradictoryJob(f"sweep runs recipes with allocate and ptq or finetune, {name!r} has none", pointer)


def _check_gates(gates: Gates, steps: tuple[Step, ...]) -> None:
    makes_program = any(step.kind == "integerize" for step in steps)
    compares = any(step.kind == "evaluate" and step.of == "program" for step in steps)
    for field, possible in (
        ("max_program_bytes", makes_program),
        ("max_mean_weight_bits", makes_program),
        ("max_accuracy_drop_points", compares and any(s.kind == "evaluate" and s.of == "network" for s in steps)),
        ("min_accuracy", any(step.kind == "evaluate" for step in steps)),
    ):
        if getattr(gates, field) is not None and not possible:
            raise ContradictoryJob(f"gate {field} can never be judged: no step produces its number", f"/gates/{field}")
    for step in steps:
        if step.kind != "allocate" or step.plan is not None:
            continue
        least = min(step.widths)
        for name, bound in (("mean_weight_bits", step.mean_weight_bits), ("gate", gates.max_mean_weight_bits)):
            if bound is not None and bound < least:
                pointer = "/gates/max_mean_weight_bits" if name == "gate" else "/mean_weight_bits"
                raise ContradictoryJob(
                    f"{bound} mean weight bits cannot be met: the narrowest width is {least}", pointer
                )

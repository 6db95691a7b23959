"""What may be submitted: the request resolved, and checked against the two summaries before anything is queued."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from api.errors import validation_problem
from api.problems import Problem, invalid
from api.rules.budget import check_budgets
from api.rules.fit import check_fit
from api.rules.plan import check_plans
from api.rules.target import check_target
from engine.specs.dynamics import AUTO, AutoDynamics, Dynamics, not_programmable
from engine.specs.job import ContradictoryJob, Job, JobRequest, resolve_job
from engine.specs.recipes import RECIPES
from engine.specs.steps import STEPS
from jobs.devices import class_of
from jobs.settings import Settings, engine_version
from jobs.store import Draft, UploadView


def resolve(request: JobRequest) -> Job:
    """The job that the request stands for.

    Raises:
        Problem: ``unknown_recipe``, ``invalid_step``, ``contradictory_gates`` or ``validation_failed``.
    """
    try:
        return resolve_job(request)
    except KeyError as error:
        known = request.recipe in RECIPES
        code, pointer = ("invalid_step", "/options") if known else ("unknown_recipe", "/recipe")
        raise invalid(code, str(error.args[0]), pointer) from error
    except ContradictoryJob as error:
        codes = {"/steps": "invalid_step", "/target": "target_violated", "/memory": "target_violated"}
        code = next((code for start, code in codes.items() if error.pointer.startswith(start)), "contradictory_gates")
        raise invalid(code, error.detail, error.pointer) from error
    except ValidationError as error:  # an option of a recipe's step
        kind, spec = next((kind, spec) for kind, spec in STEPS.items() if spec.__name__ == error.title)
        found = [dict(one) for one in error.errors()]
        raise validation_problem(found, ("options", kind), spec.model_fields) from error
    except ValueError as error:
        raise Problem(422, "validation_failed", str(error)) from error


def check(job: Job, model: UploadView, dataset: UploadView, counts: bool = False) -> Job:
    """Refuse a job that its inputs already contradict; ``counts``: there are expected counts.

    Returns:
        The job with the model's dynamics in it: what the engine runs.

    Raises:
        Problem: ``sample_shape_mismatch``, ``labels_out_of_range``, ``only_test_split``, ``invalid_plan``,
            ``budget_infeasible``, ``dynamics_needs_counts``, ``dynamics_not_representable`` or ``contradictory_gates``.
    """
    check_fit(job, model.summary or {}, dataset.summary or {})
    check_plans(job, model.summary or {})
    check_budgets(job, model.summary or {})
    check_target(job, model.summary or {})
    job = with_dynamics(job, model.dynamics or {})
    reason = None if job.dynamics is None else not_programmable(job.dynamics)
    if reason is not None and any(step.kind == "integerize" for step in job.steps):
        raise invalid("dynamics_not_representable", reason, "/dynamics")
    splits = (dataset.summary or {}).get("splits") or {}
    if job.auto is not None and splits and not splits.get("train") and not counts:
        detail = "the dataset has a test split alone, on which nothing is chosen; give expected counts or a preset"
        raise invalid("dynamics_needs_counts", detail, "/dynamics")
    return job


def with_dynamics(job: Job, dynamics: Mapping[str, Any]) -> Job:
    """The job with the model's profile, or with how it is to be found, in it; the job's own wish comes first."""
    if job.auto is not None:
        return job
    if dynamics.get("preset") == AUTO:
        return job.model_copy(update={"auto": AutoDynamics.model_validate(dynamics)})
    return job.model_copy(update={"dynamics": Dynamics.model_validate(dynamics)})


def draft(
    request: JobRequest, job: Job, settings: Settings, trace: str | None = None, request_id: str | None = None
) -> Draft:
    """The job's row to be; ``trace`` and ``request_id`` are those of the HTTP request."""
    wait, run = request.deadlines.queue_s, request.deadlines.run_s
    return Draft(
        model_id=request.model,
        dataset_id=request.dataset,
        request=_as_json(request),
        spec=job.model_dump(mode="json"),
        engine_version=engine_version(),
        expected_counts=request.expected_counts,
        expected_traces=request.expected_traces,
        job_class=class_of(request.device),
        priority=request.priority,
        label=request.label,
        labels=request.labels,
        trace=trace,
        request_id=request_id,
        queue_deadline_s=settings.queue_deadline_s if wait is None else wait,
        run_deadline_s=settings.run_deadline_s if run is None else run,
    )


def _as_json(request: JobRequest) -> dict[str, Any]:
    return request.model_dump(mode="json", exclude_unset=True)

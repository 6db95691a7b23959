"""What can be asked for: recipes, steps, targets and dynamics, each with the JSON schema of what a request writes."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter

from api.context import Authenticated
from engine.specs.dynamics import PRESETS, Dynamics, DynamicsRequest
from engine.specs.job import JobRequest
from engine.specs.recipes import RECIPES
from engine.specs.steps import STEPS
from engine.specs.targets import TARGETS, Target

router = APIRouter(prefix="/v1", tags=["catalogue"])


@router.get("/recipes")
def get_recipes(caller: Authenticated) -> dict[str, Any]:
    """Named lists of steps with their defaults; ``schema`` is that of a job."""
    items = [recipe.model_dump(mode="json") for recipe in RECIPES.values()]
    return {"items": items, "schema": JobRequest.model_json_schema()}


@router.get("/steps")
def get_steps(caller: Authenticated) -> dict[str, Any]:
    """Kinds of steps, each with its schema."""
    return {
        "items": [
            {"kind": kind, "title": (spec.__doc__ or "").splitlines()[0], "schema": spec.model_json_schema()}
            for kind, spec in STEPS.items()
        ]
    }


@router.get("/targets")
def get_targets(caller: Authenticated) -> dict[str, Any]:
    """What programs can be made to fit, limit by limit with their sources."""
    items = [target.model_dump(mode="json") for target in TARGETS.values()]
    return {"items": items, "schema": Target.model_json_schema()}


@router.get("/dynamics")
def get_dynamics(caller: Authenticated) -> dict[str, Any]:
    """Presets, field by field; ``schema`` is that of a profile, ``request_schema`` of what a request writes."""
    items = [{"preset": name, "fields": profile.model_dump(mode="json")} for name, profile in PRESETS.items()]
    schemas = {"schema": Dynamics.model_json_schema(), "request_schema": DynamicsRequest.model_json_schema()}
    return {"items": items} | schemas

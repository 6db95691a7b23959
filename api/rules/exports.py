"""What may be asked of exports: a ready model, for a framework."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from api.problems import invalid
from engine.specs.dynamics import AUTO
from engine.specs.frameworks import Framework
from jobs.settings import engine_version
from jobs.store import Conflict, NewExport, UploadView


class ExportRequest(BaseModel):
    """Body of POST /v1/exports."""

    model_config = ConfigDict(extra="forbid")
    model: str = Field(description="Id of a ready model")
    framework: Framework = Field(description="Whose importer is to load the file")
    snippet: bool = Field(default=False, description="Allow what only lines after the import can bring about")


def new_export(request: ExportRequest, model: UploadView) -> NewExport:
    """The export to make.

    Raises:
        Conflict: ``model_not_ready`` or ``model_rejected``.
        Problem: ``invalid_dynamics``: how the model runs is left to each job.
    """
    if model.status != "ready" or model.canonical is None:
        code = "model_rejected" if model.status == "rejected" else "model_not_ready"
        raise Conflict(code, f"model {model.id} is {model.status}, expected ready")
    dynamics = model.dynamics or {}
    if dynamics.get("preset") == AUTO:
        detail = (
            f"model {model.id} has dynamics 'auto': expected a preset, since a file for a framework runs in one way"
        )
        raise invalid("invalid_dynamics", detail, "/model")
    return NewExport(
        blob=model.canonical,
        model_id=model.id,
        framework=request.framework,
        snippet=request.snippet,
        dynamics=dynamics,
        engine=engine_version(),
        name=model.name,
    )

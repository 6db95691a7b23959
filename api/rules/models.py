"""What may be asked of models and datasets."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from api.errors import validation_problem
from api.problems import Problem, invalid
from engine.specs.data import Format, Transform
from engine.specs.dynamics import AUTO, AutoDynamics, Dynamics, DynamicsRequest, resolve_dynamics
from jobs.store import NewDataset, NewModel

DIGEST = r"^sha256:[0-9a-f]{64}$"


class ModelRequest(BaseModel):
    """Body of POST /v1/models."""

    model_config = ConfigDict(extra="forbid")
    blob: str = Field(pattern=DIGEST, description="A NIR file that was uploaded as a blob")
    name: str | None = Field(default=None, max_length=200)
    dynamics: DynamicsRequest
    repair: bool = Field(default=False, description="Mend a known inconsistency instead of refusing it")


class DatasetRequest(BaseModel):
    """Body of POST /v1/datasets."""

    model_config = ConfigDict(extra="forbid")
    blob: str = Field(pattern=DIGEST, description="A file that was uploaded as a blob")
    name: str | None = Field(default=None, max_length=200)
    format: Format = "frames"
    transform: Transform | None = Field(
        default=None, description="From events to frames; part of the dataset's identity; none for the format frames"
    )


def new_model(request: ModelRequest) -> NewModel:
    """The model to check, with its dynamics resolved.

    Raises:
        Problem: ``unknown_preset`` or ``invalid_dynamics``.
    """
    dynamics = _dynamics(request.dynamics).model_dump(mode="json", exclude_defaults=request.dynamics.preset == AUTO)
    if request.dynamics.preset == AUTO:
        dynamics |= {"preset": AUTO}
    return NewModel(request.blob, dynamics, request.repair, request.name)


def new_dataset(request: DatasetRequest) -> NewDataset:
    """The dataset to check, with its transform's defaults filled in.

    Raises:
        Problem: ``binning_required`` or ``transform_not_applicable``.
    """
    transform = request.transform
    if request.format == "frames":
        if transform is not None and transform != Transform():
            detail = "the format frames takes no transform: its samples are frames already"
            raise invalid("transform_not_applicable", detail, "/transform")
        return NewDataset(request.blob, request.format, request.name)
    if transform is None or transform.binning is None:
        detail = f"the format {request.format} holds events: expected a binning by time or by count, found none"
        raise invalid("binning_required", detail, "/transform/binning")
    return NewDataset(request.blob, request.format, request.name, transform.model_dump(mode="json"))


def _dynamics(request: DynamicsRequest) -> Dynamics | AutoDynamics:
    try:
        if request.preset == AUTO:
            return AutoDynamics(set=request.set)
        return resolve_dynamics(request)
    except KeyError as error:
        raise invalid("unknown_preset", str(error.args[0]), "/dynamics/preset") from error
    except ValidationError as error:
        found = [dict(one) for one in error.errors()]
        raise validation_problem(found, ("dynamics", "set"), Dynamics.model_fields) from error
    except ValueError as error:
        raise Problem(422, "invalid_dynamics", str(error), pointer="/dynamics") from error

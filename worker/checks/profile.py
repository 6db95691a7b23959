"""The dynamics profile of a request to the limited child."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from engine.errors import InvalidModel
from engine.specs.dynamics import AUTO, Dynamics, DynamicsRequest, resolve_dynamics
from worker.checks.fields import tell_fields


def read_profile(value: Any) -> Dynamics | None:
    """A resolved profile, a preset with overrides, or None (``auto``, or none given).

    Raises:
        InvalidModel: ``unknown_preset``, ``invalid_dynamics``.
    """
    if value is None or value.get("preset") == AUTO:  # the job finds them
        return None
    try:
        if "preset" in value:
            return resolve_dynamics(DynamicsRequest.model_validate(value))
        return Dynamics.model_validate(value)
    except KeyError as error:
        raise InvalidModel("unknown_preset", str(error.args[0]), "dynamics") from error
    except ValidationError as error:
        own = "/dynamics/set" if "preset" in value and error.title == Dynamics.__name__ else "/dynamics"
        detail, pointer = tell_fields(error, own)
        raise InvalidModel("invalid_dynamics", detail, pointer) from error
    except TypeError as error:
        raise InvalidModel("invalid_dynamics", str(error)[:500], "/dynamics") from error

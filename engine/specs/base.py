"""The one configuration all specs share: frozen, and strict about unknown fields."""

from pydantic import BaseModel, ConfigDict


class Spec(BaseModel):
    """Immutable; an unknown field is an error, so a typo never becomes a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

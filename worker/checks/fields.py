"""Pydantic's errors in the child's words: which field, what was expected, what was found."""

from __future__ import annotations

from pydantic import ValidationError

SHOWN = 5  # wrong fields that are told in full


def tell_fields(error: ValidationError, prefix: str) -> tuple[str, str]:
    """What is wrong in one sentence a field, and a pointer to the first of them.

    Args:
        error: of a model that is ``prefix`` in the request.
        prefix: a JSON pointer.
    """
    found = error.errors(include_url=False, include_context=False)
    told = []
    for one in found[:SHOWN]:
        detail = str(one["msg"]).removeprefix("Value error, ")
        if one["type"] == "extra_forbidden":
            detail = "unknown field"
        elif isinstance(one.get("input"), str | int | float | bool) and one["type"] != "value_error":
            detail = f"{detail}, found {str(one['input'])[:80]!r}"
        told.append(f"{_pointer(prefix, one['loc'])}: {detail}")
    if len(found) > SHOWN:
        told.append(f"and {len(found) - SHOWN} more")
    return "; ".join(told)[:500], _pointer(prefix, found[0]["loc"])


def _pointer(prefix: str, place: tuple[int | str, ...]) -> str:
    return "/".join([prefix, *(str(part)[:80].replace("~", "~0").replace("/", "~1") for part in place)])

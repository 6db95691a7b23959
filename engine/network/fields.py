"""Fields of NIR primitives: each returns a dataclass field that knows how to read and check its own value."""

from __future__ import annotations

from dataclasses import MISSING, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

Shape = tuple[int, ...]
Pair = tuple[int, int]
Real = NDArray[np.floating[Any]]

MAX_RANK = 8
MAX_SIZE = 2**31 - 1  # elements of one shape and largest geometry number: keeps every product within int64


class BadField(ValueError):
    """A value that a primitive does not take."""

    def __init__(self, field_name: str, detail: str, code: str = "invalid_parameter") -> None:
        super().__init__(detail)
        self.field = field_name
        self.code = code


def real_field(
    *, ndim: int | None = None, positive: bool = False, least: float | None = None, default: Any = MISSING
) -> Any:
    """An array of finite reals, kept as read-only float32 or float64; ``positive``: every value > 0; ``least``: ≥."""

    def read(name: str, value: Any) -> Real:
        array = _as_array(name, value)
        if array.dtype.kind not in "fiu":
            raise BadField(name, f"expected real numbers, found {array.dtype}")
        if (ndim is not None and array.ndim != ndim) or array.ndim > MAX_RANK:
            wanted = f"{ndim}" if ndim is not None else f"at most {MAX_RANK}"
            raise BadField(name, f"expected {wanted} axes, found shape {array.shape}", "shape_conflict")
        if 0 in array.shape:
            raise BadField(name, f"expected at least one value, found shape {array.shape}")
        kept = np.float32 if array.dtype.itemsize <= 4 and array.dtype.kind == "f" else np.float64
        array = np.array(array, dtype=kept, order="C")
        if not np.isfinite(array).all():
            where = tuple(int(i) for i in np.argwhere(~np.isfinite(array))[0])
            raise BadField(name, f"expected finite numbers, found {array[where]} at {where}", "non_finite_weights")
        if positive and not (array > 0).all():
            where = tuple(int(i) for i in np.argwhere(~(array > 0))[0])
            raise BadField(name, f"expected numbers above 0, found {array[where]} at {where}")
        if least is not None and not (array >= least).all():
            where = tuple(int(i) for i in np.argwhere(~(array >= least))[0])
            raise BadField(name, f"expected numbers of at least {least:g}, found {array[where]} at {where}")
        array.flags.writeable = False
        return array

    return _field(read, default)


def shape_field(*, default: Any = MISSING) -> Any:
    """A shape: one to eight sizes of at least 1."""

    def read(name: str, value: Any) -> Shape:
        sizes = tuple(_whole(name, item) for item in _as_array(name, value).ravel()[: MAX_RANK + 1])
        if not 0 < len(sizes) <= MAX_RANK:
            raise BadField(name, f"expected 1 to {MAX_RANK} axes, found {_as_array(name, value).size}")
        total = 1
        for size in sizes:
            total *= size
        if min(sizes) < 1 or total > MAX_SIZE:
            raise BadField(name, f"expected sizes of at least 1 and at most {MAX_SIZE} elements, found {sizes}")
        return sizes

    return _field(read, default)


def pair_field(*, least: int, default: Any = MISSING) -> Any:
    """Two whole numbers (height, width); one number stands for both."""
    return _field(lambda name, value: _pair(name, value, least), default)


def padding_field(axes: int = 2) -> Any:
    """Two whole numbers (one for both), one where there is one axis, or the words ``same`` and ``valid``."""

    def read(name: str, value: Any) -> Pair | int | str:
        text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        if isinstance(text, str):
            if text not in ("same", "valid"):
                raise BadField(name, f"expected numbers, 'same' or 'valid', found {text[:32]!r}")
            return text
        return _pair(name, value, 0) if axes == 2 else _index(name, value, 0)

    return _field(read, (0, 0) if axes == 2 else 0)


def index_field(*, default: int | None, least: int = -MAX_RANK) -> Any:
    """One whole number of at least ``least``."""
    return _field(lambda name, value: _index(name, value, least), default)


def _as_array(name: str, value: Any) -> NDArray[Any]:
    try:
        return np.asarray(value)
    except (ValueError, OverflowError) as error:
        raise BadField(name, "expected a number or an array of numbers, found a ragged list") from error


def _field(read: Any, default: Any) -> Any:
    if default is MISSING:
        return field(metadata={"read": read})
    return field(default=default, metadata={"read": read})


def _pair(name: str, value: Any, least: int) -> Pair:
    array = _as_array(name, value)
    if array.size not in (1, 2):
        raise BadField(name, f"expected one or two numbers, found shape {array.shape}")
    numbers = [_whole(name, item) for item in array.ravel()]
    if min(numbers) < least:
        raise BadField(name, f"expected at least {least}, found {numbers}")
    return (numbers[0], numbers[-1])


def _index(name: str, value: Any, least: int) -> int:
    array = _as_array(name, value)
    if array.size != 1:
        raise BadField(name, f"expected one number, found shape {array.shape}")
    number = _whole(name, array.ravel()[0])
    if number < least:
        raise BadField(name, f"expected at least {least}, found {number}")
    return number


def _whole(name: str, value: Any) -> int:
    if not isinstance(value, int | float | np.integer | np.floating) or isinstance(value, bool):
        raise BadField(name, f"expected a whole number, found {str(value)[:32]!r}")
    number: Any = value  # an int of any length, or a float that may be nan
    if not abs(number) <= MAX_SIZE or int(number) != number:
        raise BadField(name, f"expected a whole number of at most {MAX_SIZE}, found {str(value)[:32]}")
    return int(value)

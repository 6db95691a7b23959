"""Typed reading of a JSON object: what is missing, unknown or of the wrong kind is refused by its place."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from runtime.errors import ProgramError

LARGEST = 1 << 62


class Fields:
    """One JSON object; every field must be read exactly once, then :meth:`done`.

    Example:
        >>> fields = Fields({"a": 3}, "here")
        >>> fields.integer("a", 0, 9)
        3
        >>> fields.done()
    """

    def __init__(self, value: object, where: str) -> None:
        if not isinstance(value, Mapping):
            raise ProgramError(f"{where}: expected an object, found {type(value).__name__}")
        self.left: dict[str, Any] = dict(value)
        self.where = where

    def take(self, name: str) -> Any:
        """Any value; ProgramError where there is none."""
        if name not in self.left:
            raise ProgramError(f"{self.where}: field {name!r} is missing")
        return self.left.pop(name)

    def text(self, name: str) -> str:
        """A string."""
        value = self.take(name)
        if not isinstance(value, str):
            raise self._wrong(name, "a string", value)
        return value

    def choice(self, name: str, *allowed: str | None) -> Any:
        """One of a few strings (or null)."""
        value = self.take(name)
        if not any(type(value) is type(option) and value == option for option in allowed):
            raise self._wrong(name, " or ".join(map(repr, allowed)), value)
        return value

    def flag(self, name: str) -> bool:
        """True or false."""
        value = self.take(name)
        if not isinstance(value, bool):
            raise self._wrong(name, "true or false", value)
        return value

    def integer(self, name: str, lo: int = -LARGEST, hi: int = LARGEST) -> int:
        """An integer within ``[lo, hi]``."""
        value = self.take(name)
        if not isinstance(value, int) or isinstance(value, bool) or not lo <= value <= hi:
            raise self._wrong(name, f"an integer in [{lo}, {hi}]", value)
        return value

    def integers(self, name: str, lo: int, hi: int, length: int | None = None) -> tuple[int, ...]:
        """A list of integers, optionally of one length."""
        value = self.take(name)
        fits = isinstance(value, list) and (length is None or len(value) == length) and len(value) <= 32
        if not fits or any(not isinstance(n, int) or isinstance(n, bool) or not lo <= n <= hi for n in value):
            raise self._wrong(name, f"a list of {'' if length is None else length} integers in [{lo}, {hi}]", value)
        return tuple(value)

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings."""
        value = self.take(name)
        if not isinstance(value, list) or any(not isinstance(entry, str) for entry in value):
            raise self._wrong(name, "a list of strings", value)
        return tuple(value)

    def objects(self, name: str) -> list[Fields]:
        """A list of objects."""
        value = self.take(name)
        if not isinstance(value, list):
            raise self._wrong(name, "a list", value)
        return [Fields(entry, f"{self.where}.{name}[{index}]") for index, entry in enumerate(value)]

    def inside(self, name: str) -> Fields:
        """A nested object."""
        return Fields(self.take(name), f"{self.where}.{name}")

    def done(self) -> None:
        """Refuse what nobody asked for."""
        if self.left:
            raise ProgramError(f"{self.where}: unknown fields {', '.join(sorted(self.left))}")

    def _wrong(self, name: str, expected: str, found: object) -> ProgramError:
        return ProgramError(f"{self.where}.{name}: expected {expected}, found {str(found)[:80]!r}")

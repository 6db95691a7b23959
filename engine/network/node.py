"""What all NIR primitives share: fields that read themselves, and the inference of shapes."""

from __future__ import annotations

from dataclasses import dataclass, fields

from engine.network.fields import BadField, Shape

ONE_NUMBER = ((), (1,))  # shapes of a parameter that holds for all elements


class ShapeMismatch(ValueError):
    """A node was given a shape it does not take; the caller knows the node's name."""

    def __init__(self, expected: str, found: Shape) -> None:
        super().__init__(f"expected {expected}, found {found}")
        self.expected = expected
        self.found = found


@dataclass(frozen=True, eq=False)
class Node:
    """What all primitives share: fields are read by their own reader, then checked together."""

    def __post_init__(self) -> None:
        for entry in fields(self):
            value = getattr(self, entry.name)
            if value is not None:
                object.__setattr__(self, entry.name, entry.metadata["read"](entry.name, value))
        self.check()

    def check(self) -> None:
        """Check fields against each other; :class:`BadField` where they disagree."""

    def infer(self, given: Shape) -> Shape:
        """The shape that leaves the node when ``given`` enters; :class:`ShapeMismatch` where it cannot."""
        raise NotImplementedError

    @property
    def kind(self) -> str:
        """The primitive's name in a NIR file."""
        return type(self).__name__


@dataclass(frozen=True, eq=False)
class Elementwise(Node):
    """A node whose parameters have the shape of what passes, or are one number for all (shape ``()``, ``(1,)``)."""

    @property
    def shape(self) -> Shape | None:
        """The shape of what passes; None where all parameters are single numbers."""
        for entry in fields(self):
            value = getattr(self, entry.name)
            if value is not None and value.shape not in ONE_NUMBER:
                return tuple(value.shape)
        return None

    def check(self) -> None:
        """All parameters agree on the shape."""
        for entry in fields(self):
            value = getattr(self, entry.name)
            if value is not None and value.shape not in ONE_NUMBER and self.shape is not None:
                same_field(entry.name, value.shape, self.shape)

    def infer(self, given: Shape) -> Shape:
        """What enters, checked."""
        return given if self.shape is None else same(self.shape, given)


def same(expected: Shape, given: Shape) -> Shape:
    """``given``; :class:`ShapeMismatch` where it is not ``expected``."""
    if expected != given:
        raise ShapeMismatch(str(expected), given)
    return expected


def same_field(name: str, found: Shape, expected: Shape) -> None:
    """:class:`BadField` where a parameter's shape is not ``expected``."""
    if found != expected:
        raise BadField(name, f"expected shape {expected}, found {found}", "shape_conflict")

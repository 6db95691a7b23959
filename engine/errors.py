"""What the engine can refuse: one small tree, each with a stable code that reaches the user unchanged."""

from __future__ import annotations


class EngineError(Exception):
    """A request or an upload that cannot be carried out.

    Args:
        code: stable machine-readable word, for example ``shape_conflict``.
        detail: what was expected and what was found, with the node, array or field's name.
        pointer: JSON pointer into the request, or the name of the node or array.

    Example:
        >>> str(InvalidModel("unknown_node", "node 'x' has type 'Foo'", "x"))
        "node 'x' has type 'Foo'"
    """

    def __init__(self, code: str, detail: str, pointer: str | None = None) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.pointer = pointer


class InvalidModel(EngineError):
    """The uploaded graph is not one that this service can simulate."""


class InvalidDataset(EngineError):
    """The uploaded data cannot be read, or does not fit the model."""


class InvalidSpec(EngineError):
    """A step, plan, gate or profile contradicts itself or the network."""


class ExpectationMissed(EngineError):
    """The float network misses the accuracy that the user stated."""


class AmbiguousDynamics(EngineError):
    """``dynamics: auto`` finds no single best preset; the message holds the ranking."""


class NotRepresentable(EngineError):
    """The network cannot be written as an integer program; the message names the node."""

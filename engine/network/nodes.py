"""The NIR primitives that can be read: one small frozen class each, checked when constructed.

Source: Pedersen et al. 2024, "Neuromorphic intermediate representation", Nature Communications 15, 8122. Shapes have
neither a time nor a batch axis. Times are seconds, except where the exporter wrote time steps (Sinabs).

A class is one entry of :data:`NODE_TYPES`; its fields carry the function that reads them, so that the NIR reader, the
canonical form and the writer need no list of their own.
"""

# ruff: noqa: RUF009 - the called functions return dataclass fields, as dataclasses.field does

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from typing import Any

import numpy as np

from engine.errors import InvalidModel
from engine.network.cells import IF, LI, LIF, CubaLI, CubaLIF, I, Neuron, Threshold
from engine.network.fields import (
    BadField,
    Pair,
    Real,
    Shape,
    index_field,
    padding_field,
    pair_field,
    real_field,
    shape_field,
)
from engine.network.node import Elementwise, Node, ShapeMismatch, same, same_field

__all__ = [
    "IF", "LI", "LIF", "NODE_TYPES", "Affine", "AvgPool2d", "Conv1d", "Conv2d", "CubaLI", "CubaLIF", "Delay",
    "Elementwise", "Flatten", "I", "Input", "Linear", "Neuron", "Node", "Output", "Scale", "ShapeMismatch",
    "SumPool2d", "Threshold", "make_node",
]  # fmt: skip

IGNORED_FIELDS = frozenset({"type", "metadata", "output_type"})


@dataclass(frozen=True, eq=False)
class Input(Node):
    """Where data enters: ``y = x``."""

    shape: Shape = shape_field()

    def infer(self, given: Shape) -> Shape:
        """The declared shape."""
        return same(self.shape, given)


@dataclass(frozen=True, eq=False)
class Output(Node):
    """What is read out: ``y = x``."""

    shape: Shape = shape_field()

    def infer(self, given: Shape) -> Shape:
        """The declared shape."""
        return same(self.shape, given)


@dataclass(frozen=True, eq=False)
class Linear(Node):
    """``y = W·x`` with ``W`` of shape ``[out, in]``."""

    weight: Real = real_field(ndim=2)

    def infer(self, given: Shape) -> Shape:
        """``(in,)`` to ``(out,)``."""
        out, fan_in = self.weight.shape
        same((fan_in,), given)
        return (out,)


@dataclass(frozen=True, eq=False)
class Affine(Linear):
    """``y = W·x + b`` with ``W`` of shape ``[out, in]`` and ``b`` of ``[out]``."""

    bias: Real = real_field(ndim=1)

    def check(self) -> None:
        """One bias per output."""
        same_field("bias", self.bias.shape, self.weight.shape[:1])


@dataclass(frozen=True, eq=False)
class Conv2d(Node):
    """``y[o] = Σ_i W[o,i] ⋆ x[i] + b[o]``, ``W`` of shape ``[out, in/groups, height, width]``.

    ``padding`` is zeros on either side; the words ``same`` and ``valid`` are resolved when read. ``input_shape``
    (height, width) is a hint that many files lack; where it is there, it is checked.
    """

    weight: Real = real_field(ndim=4)
    stride: Pair = pair_field(least=1, default=(1, 1))
    padding: Pair = padding_field()
    dilation: Pair = pair_field(least=1, default=(1, 1))
    groups: int = index_field(default=1, least=1)
    bias: Real | None = real_field(ndim=1, default=None)
    input_shape: Pair | None = pair_field(least=1, default=None)

    def check(self) -> None:
        """Bias per output channel, groups that divide, text padding resolved."""
        _check_convolution(self.weight, self.bias, self.groups)
        if isinstance(self.padding, str):
            padding = _text_padding(self.padding, self.weight.shape[2:], self.stride, self.dilation)
            object.__setattr__(self, "padding", padding)

    def infer(self, given: Shape) -> Shape:
        """``(in, h, w)`` to ``(out, h', w')``."""
        channels = self.weight.shape[1] * self.groups
        if len(given) != 3 or given[0] != channels:
            raise ShapeMismatch(f"({channels}, height, width)", given)
        if self.input_shape is not None:
            same((channels, *self.input_shape), given)
        kernel = (self.weight.shape[2], self.weight.shape[3])
        return (self.weight.shape[0], *_windows(given, kernel, self.stride, self.padding, self.dilation))


@dataclass(frozen=True, eq=False)
class Conv1d(Node):
    """``y[o] = Σ_i W[o,i] ⋆ x[i] + b[o]``, ``W`` of shape ``[out, in/groups, length]``; the rest as for Conv2d."""

    weight: Real = real_field(ndim=3)
    stride: int = index_field(default=1, least=1)
    padding: int = padding_field(axes=1)
    dilation: int = index_field(default=1, least=1)
    groups: int = index_field(default=1, least=1)
    bias: Real | None = real_field(ndim=1, default=None)
    input_shape: int | None = index_field(default=None, least=1)

    def check(self) -> None:
        """Bias per output channel, groups that divide, text padding resolved."""
        _check_convolution(self.weight, self.bias, self.groups)
        if isinstance(self.padding, str):
            (padding,) = _text_padding(self.padding, self.weight.shape[2:], (self.stride,), (self.dilation,))
            object.__setattr__(self, "padding", padding)

    def infer(self, given: Shape) -> Shape:
        """``(in, length)`` to ``(out, length')``."""
        channels = self.weight.shape[1] * self.groups
        if len(given) != 2 or given[0] != channels:
            raise ShapeMismatch(f"({channels}, length)", given)
        if self.input_shape is not None:
            same((channels, self.input_shape), given)
        kernel = self.weight.shape[2:]
        sizes = _windows(given, kernel, (self.stride,), (self.padding,), (self.dilation,))
        return (self.weight.shape[0], *sizes)


@dataclass(frozen=True, eq=False)
class SumPool2d(Node):
    """``y = Σ x`` over windows of ``kernel_size`` (height, width); ``stride`` defaults to the kernel."""

    kernel_size: Pair = pair_field(least=1)
    stride: Pair | None = pair_field(least=1, default=None)
    padding: Pair = padding_field()

    def check(self) -> None:
        """Fill in the stride; padding at most half of the kernel."""
        if self.stride is None:
            object.__setattr__(self, "stride", self.kernel_size)
        if str(self.padding) == "valid":
            object.__setattr__(self, "padding", (0, 0))
        if isinstance(self.padding, str):
            raise BadField("padding", f"expected numbers, found {self.padding!r}")
        if any(2 * p > k for p, k in zip(self.padding, self.kernel_size, strict=True)):
            raise BadField("padding", f"expected at most half of the kernel {self.kernel_size}, found {self.padding}")

    def infer(self, given: Shape) -> Shape:
        """``(c, h, w)`` to ``(c, h', w')``."""
        if len(given) != 3:
            raise ShapeMismatch("(channels, height, width)", given)
        stride = self.kernel_size if self.stride is None else self.stride
        return (given[0], *_windows(given, self.kernel_size, stride, self.padding, (1, 1)))


@dataclass(frozen=True, eq=False)
class AvgPool2d(SumPool2d):
    """``y = Σ x / (k_h·k_w)`` over windows; zeros of the padding count, as in torch."""


@dataclass(frozen=True, eq=False)
class Flatten(Node):
    """Joins axes ``start_dim..end_dim`` (inclusive, negative from the end); neither time nor batch is counted."""

    start_dim: int = index_field(default=1)
    end_dim: int = index_field(default=-1)
    input_type: Shape | None = shape_field(default=None)

    def axes(self, rank: int) -> tuple[int, int]:
        """Start and end as non-negative axes of an input of ``rank`` axes."""
        start = self.start_dim + rank if self.start_dim < 0 else self.start_dim
        end = self.end_dim + rank if self.end_dim < 0 else self.end_dim
        if not 0 <= start <= end < rank:
            raise BadField(
                "start_dim", f"axes {self.start_dim}..{self.end_dim} do not exist in an input of {rank} axes"
            )
        return start, end

    def infer(self, given: Shape) -> Shape:
        """The joined shape."""
        if self.input_type is not None:
            same(self.input_type, given)
        start, end = self.axes(len(given))
        return (*given[:start], int(np.prod(given[start : end + 1])), *given[end + 1 :])


@dataclass(frozen=True, eq=False)
class Scale(Elementwise):
    """``y = s ⊙ x``, element by element."""

    scale: Real = real_field()


@dataclass(frozen=True, eq=False)
class Delay(Elementwise):
    """``y(t) = x(t − delay)``, a delay in seconds per element."""

    delay: Real = real_field(least=0.0)


NODE_TYPES: dict[str, type[Node]] = {
    kind.__name__: kind
    for kind in (
        *(Input, Output, Linear, Affine, Scale, Conv1d, Conv2d, SumPool2d, AvgPool2d, Flatten, Delay),
        *(IF, LIF, CubaLIF, I, LI, CubaLI, Threshold),
    )
}


def make_node(name: str, kind: str, values: Mapping[str, Any]) -> Node:
    """One node from the fields of a file.

    Args:
        name: the node's name, for messages.
        kind: a key of :data:`NODE_TYPES`.
        values: field name → array, number or text. Absent optional fields take their defaults.

    Raises:
        InvalidModel: ``unknown_node``, ``missing_parameter``, ``invalid_parameter``, ``non_finite_weights`` or
            ``shape_conflict`` (parameters of one node that disagree), naming the node.

    Example:
        >>> make_node("pool", "SumPool2d", {"kernel_size": 2}).stride
        (2, 2)
    """
    if kind not in NODE_TYPES:
        known = ", ".join(sorted([*NODE_TYPES, "NIRGraph"]))
        raise InvalidModel("unknown_node", f"node {name!r} has the unknown type {kind[:64]!r}; known: {known}", name)
    cls = NODE_TYPES[kind]
    values = {key: value for key, value in values.items() if value is not None}
    entries = {entry.name: entry for entry in fields(cls)}
    for field_name, entry in entries.items():
        if field_name not in values and entry.default is MISSING:
            detail = f"node {name!r} ({kind}) lacks the parameter {field_name!r}; found: {', '.join(sorted(values))}"
            raise InvalidModel("missing_parameter", detail, name)
    extra = sorted(set(values) - set(entries) - IGNORED_FIELDS - {"input_type"})
    if extra:
        detail = f"node {name!r} ({kind}) has the unknown parameter {extra[0]!r}; known: {', '.join(entries)}"
        raise InvalidModel("invalid_parameter", detail, name)
    try:
        return cls(**{key: value for key, value in values.items() if key in entries})
    except BadField as error:
        raise InvalidModel(error.code, f"node {name!r} ({kind}), parameter {error.field!r}: {error}", name) from error


def _check_convolution(weight: Real, bias: Real | None, groups: int) -> None:
    out = weight.shape[0]
    if bias is not None:
        same_field("bias", bias.shape, (out,))
    if out % groups:
        raise BadField("groups", f"{groups} groups do not divide {out} output channels")


def _text_padding(text: str, kernel: Shape, stride: Shape, dilation: Shape) -> Shape:
    if text == "valid":
        return (0,) * len(kernel)
    if any(step != 1 for step in stride):
        raise BadField("padding", f"'same' needs a stride of 1, found {stride}")
    total = tuple(d * (k - 1) for d, k in zip(dilation, kernel, strict=True))
    if any(t % 2 for t in total):
        raise BadField("padding", f"'same' with kernel {kernel} pads one side more; not supported")
    return tuple(t // 2 for t in total)


def _windows(given: Shape, kernel: Shape, stride: Shape, padding: Shape, dilation: Shape) -> Shape:
    """``(size + 2·padding − dilation·(kernel − 1) − 1) div stride + 1`` per axis behind the channels."""
    sizes = []
    for axis, span in enumerate(kernel):
        room = given[1 + axis] + 2 * padding[axis] - dilation[axis] * (span - 1) - 1
        if room < 0:
            raise ShapeMismatch(f"at least a window of {kernel} behind the channels with padding {padding}", given)
        sizes.append(room // stride[axis] + 1)
    return tuple(sizes)

"""Layers, connections and input of a manifest, field by field, in the words of the long form (docs/program-2.md).

Manifests of version 3 are brought to these words by :mod:`runtime.compact` first.
"""

from __future__ import annotations

from math import prod

import numpy as np
from numpy.typing import NDArray

from runtime.arrays import Arrays
from runtime.errors import ProgramError
from runtime.fields import Fields
from runtime.program import UNDECLARED, Connection, Flatten, InputFormat, IntArray, Layer, Leak, Map, SumPool
from runtime.scales import base64_scales, read_scale

LARGEST_SIZE = 1 << 26  # neurons of a program, weights of a connection: their arrays are held in int64


def read_input(fields: Fields, version: int) -> InputFormat:
    """The input format; version 1 has no ``scale``."""
    scale = None if version == 1 else fields.take("scale")
    if scale is not None:
        scale = _scales(scale, (1,), f"{fields.where}.scale", version)[0]
        if not np.isfinite(scale) or scale <= 0:
            raise ProgramError(f"{fields.where}.scale: expected a positive number, found {scale}")
    made = InputFormat(read_shape(fields, "shape"), fields.integer("lo"), fields.integer("hi"), scale)
    fields.done()
    return made


def read_layer(fields: Fields, index: int, arrays: Arrays, version: int) -> Layer:
    """One layer with its arrays; a version 3 manifest declares no bounds."""
    shape = read_shape(fields, "shape")
    here = ("layer", index)
    fire_at = arrays.take(here, "fire_at", shape)
    delta = arrays.take(here, "reset_delta", shape)
    if delta is not None and fire_at is None:
        raise ProgramError(f"{fields.where}: reset_delta without fire_at")
    leak_i = fields.take("leak_i")
    bounds = _bounds(fields, version, "input", "inner")
    made = Layer(
        name=fields.text("name"),
        kind=fields.choice("kind", "if", "lif", "cubalif", "li", "cubali"),
        shape=shape,
        state_bits=fields.integer("state_bits", 2, 32),
        fraction_bits=fields.integer("fraction_bits", 0, 16),
        scale=_scales(fields.take("scale"), shape, f"{fields.where}.scale", version),
        leak_v=_leak(fields.inside("leak_v"), arrays.take(here, "leak_v", shape)),
        leak_i=None
        if leak_i is None
        else _leak(Fields(leak_i, f"{fields.where}.leak_i"), arrays.take(here, "leak_i", shape)),
        bias=arrays.take(here, "bias", shape),
        bias_i=arrays.take(here, "bias_i", shape),
        fire_at=fire_at,
        reset=fields.choice("reset", "subtract", "to_value", "none"),
        reset_sub=None if delta is None or fire_at is None else fire_at - delta,
        reset_to=arrays.take(here, "reset_to", shape),
        reset_timing=fields.choice("reset_timing", "same_step", "next_step"),
        reset_order=fields.choice("reset_order", "before_leak", "after_leak", None),
        drop_reset_input=fields.flag("drop_reset_input"),
        current=fields.choice("current", "new", "old"),
        floor=arrays.take(here, "floor", shape),
        start=arrays.take(here, "start", shape),
        max_spikes=fields.integer("max_spikes", 1, 65535),
        largest_input=bounds["input"],
        largest_inner=bounds["inner"],
    )
    fields.done()
    return made


def _bounds(fields: Fields, version: int, *names: str) -> dict[str, int]:
    """What a manifest declares; from version 3 on nothing: :mod:`runtime.check` finds it."""
    if version >= 3:
        return dict.fromkeys(names, UNDECLARED)
    inside = fields.inside("bounds")
    found = {name: inside.integer(name, *([] if name in ("lo", "hi") else [0])) for name in names}
    inside.done()
    return found


def _scales(value: object, shape: tuple[int, ...], where: str, version: int) -> NDArray[np.float32]:
    return read_scale(value, shape, where) if version >= 3 else base64_scales(value, shape, where)


def _leak(fields: Fields, values: IntArray | None) -> Leak:
    made = Leak(
        kind=fields.choice("kind", "none", "shift", "mul_shift"),
        values=values,
        shift_bits=fields.integer("shift_bits", 0, 31),
        rounding=fields.choice("rounding", "floor", "toward_zero", "half_up"),
    )
    fields.done()
    if (made.kind == "none") != (values is None):
        raise ProgramError(f"{fields.where}: leak {made.kind!r} {'without' if values is None else 'with'} values")
    if made.kind == "shift" and values is not None and (values.min() < 0 or values.max() > 31):
        raise ProgramError(f"{fields.where}: shifts must be within 0 to 31")
    return made


def read_connection(fields: Fields, index: int, arrays: Arrays, version: int) -> Connection:
    """One connection with its arrays; a version 3 manifest declares no bounds."""
    here = ("connection", index)
    kind = fields.choice("kind", "linear", "conv1d", "conv2d", "identity")
    axes = 1 if kind == "conv1d" else 2
    source_shape = read_shape(fields, "source_shape")
    bits = fields.integer("bits", 0, 16)
    shape = fields.take("weight_shape")
    weight = None
    if kind != "identity":
        sizes = Fields({"weight_shape": shape}, fields.where).integers(
            "weight_shape", 1, LARGEST_SIZE, {"linear": 2, "conv1d": 3, "conv2d": 4}[kind]
        )
        weight = arrays.take_weights(here, sizes, bits, fields.where)
    elif shape is not None or bits != 0:
        raise ProgramError(f"{fields.where}: identity has no weights, found bits {bits} and weight_shape {shape}")
    bounds = _bounds(fields, version, "lo", "hi", "accumulator")
    made = Connection(
        name=fields.text("name"),
        source=fields.text("source"),
        target=fields.text("target"),
        kind=kind,
        source_shape=source_shape,
        target_shape=read_shape(fields, "target_shape"),
        bits=bits,
        weight=weight,
        exponent=arrays.take_flat(here, "exponent", fields.where),
        before=tuple(_map(entry) for entry in fields.objects("before")),
        after=tuple(_map(entry) for entry in fields.objects("after")),
        delayed=fields.flag("delayed"),
        delay=arrays.take(here, "delay", source_shape),
        stride=fields.integers("stride", 1, LARGEST_SIZE, axes),
        padding=fields.integers("padding", 0, LARGEST_SIZE, axes),
        dilation=fields.integers("dilation", 1, LARGEST_SIZE, axes),
        groups=fields.integer("groups", 1, LARGEST_SIZE),
        values=(bounds["lo"], bounds["hi"]),
        accumulator=bounds["accumulator"],
    )
    fields.done()
    return made


def _map(fields: Fields) -> Map:
    made: Map
    if fields.choice("kind", "sum_pool", "flatten") == "flatten":
        made = Flatten(fields.integer("start", 0, 31), fields.integer("end", 0, 31))
    else:
        made = SumPool(_pair(fields, "kernel", 1), _pair(fields, "stride", 1), _pair(fields, "padding", 0))
    fields.done()
    return made


def read_shape(fields: Fields, name: str) -> tuple[int, ...]:
    """Neuron axes; at least one, and no more neurons than fit memory."""
    shape = fields.integers(name, 1, LARGEST_SIZE)
    if not shape or prod(shape) > LARGEST_SIZE:
        raise ProgramError(f"{fields.where}.{name}: expected 1 to {LARGEST_SIZE} neurons, found {list(shape)}")
    return shape


def _pair(fields: Fields, name: str, lo: int) -> tuple[int, int]:
    first, second = fields.integers(name, lo, LARGEST_SIZE, 2)
    return first, second

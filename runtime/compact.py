"""Manifests of version 3 in the words of the long form: shared fields merged, defaults put in, arrays laid out.

docs/program.md, Manifest. Only words are exchanged here; :mod:`runtime.parts` checks every field, by its place.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from math import prod
from typing import Any

from runtime.bits import packed_bytes
from runtime.errors import ProgramError
from runtime.fields import Fields
from runtime.parts import LARGEST_SIZE, read_shape
from runtime.program import INPUT

LAYER_ROLES = ("leak_v", "leak_i", "bias", "bias_i", "fire_at", "reset_delta", "reset_to", "floor", "start")
CONNECTION_ROLES = ("weight", "delay", "exponent")
LAYER = {
    "fraction_bits": 0, "leak_v": {"kind": "none"}, "leak_i": None, "reset": "none", "reset_timing": "same_step",
    "reset_order": None, "drop_reset_input": False, "current": "new", "max_spikes": 1,
}  # fmt: skip
CONNECTION = {"kind": "linear", "bits": 0, "before": [], "after": [], "groups": 1}
TYPE = re.compile(r"([us])([1-9]|[12][0-9]|3[0-2])(?:\*([1-9][0-9]{0,8}))?", re.ASCII)
ENCODINGS = {"u": "unsigned", "s": "signed"}


class Compact:
    """A version 3 manifest's ``shared``, ``layers`` and ``connections`` as the long form's objects.

    ``layers`` and ``connections`` hold long-form objects, ``arrays`` the array table; each keeps the place that it has
    in the manifest.
    """

    def __init__(self, fields: Fields, input_shape: tuple[int, ...]) -> None:
        self.shared = [entry.left for entry in fields.objects("shared")]
        self.used: set[int] = set()
        self.arrays: list[Fields] = []
        self.offset = 0
        self.input_shape = input_shape
        self.names: list[Any] = []
        self.shapes: list[tuple[int, ...]] = []
        self.layers = [self._layer(entry, index) for index, entry in enumerate(fields.objects("layers"))]
        self.connections = [self._connection(entry, index) for index, entry in enumerate(fields.objects("connections"))]
        unused = set(range(len(self.shared))) - self.used
        if unused:
            raise ProgramError(f"{fields.where}.shared[{min(unused)}]: no layer or connection is like it")

    def _layer(self, entry: Fields, index: int) -> Fields:
        long = Fields({**LAYER, **self._merged(entry)}, entry.where)
        self.names.append(long.left.get("name"))
        self.shapes.append(read_shape(Fields({"shape": long.left.get("shape")}, entry.where), "shape"))
        for role in ("leak_v", "leak_i"):
            if isinstance(long.left[role], Mapping):
                long.left[role] = {"shift_bits": 0, "rounding": "floor", **long.left[role]}
        types = _types(long)
        if long.left["reset"] == "subtract" or long.left["max_spikes"] != 1:
            types.setdefault("reset_delta", "u1")
        self._lay_out(types, LAYER_ROLES, ("layer", index), entry.where)
        return long

    def _connection(self, entry: Fields, index: int) -> Fields:
        where, long = entry.where, Fields({**CONNECTION, **self._merged(entry)}, entry.where)
        source = -1 if "from" not in long.left else long.integer("from", 0, len(self.names) - 1)
        target = long.integer("to", 0, len(self.names) - 1)
        shape = self.input_shape if source < 0 else self.shapes[source]
        axes = 1 if long.left["kind"] == "conv1d" else 2
        geometry = {"stride": [1] * axes, "padding": [0] * axes, "dilation": [1] * axes}
        long.left = {**geometry, "delayed": source >= target, **long.left}
        long.left |= {
            "source": INPUT if source < 0 else self.names[source],
            "target": self.names[target],
            "source_shape": list(shape),
            "target_shape": list(self.shapes[target]),
        }
        for side in ("before", "after"):
            long.left[side] = [_map(part) for part in long.objects(side)]
        identity = long.left["kind"] == "identity"
        if "weights" in long.left or identity:
            long.left["weight_shape"] = long.left.pop("weights", None)
        else:
            long.left["weight_shape"] = _linear_shape(long, shape, self.shapes[target])
        types = _types(long)
        encoding = types.pop("weight", None)
        if not identity:
            self._lay_out_weights(long, encoding, index)
        self._lay_out({"exponent": "u1", **types}, CONNECTION_ROLES, ("connection", index), where)
        return long

    def _merged(self, entry: Fields) -> dict[str, Any]:
        """A layer's or connection's own fields over those of ``shared`` that it is ``like``."""
        if "like" not in entry.left:
            return entry.left
        like = entry.integer("like", 0, len(self.shared) - 1)
        self.used.add(like)
        return {**self.shared[like], **entry.left}

    def _lay_out(self, types: dict[str, str], roles: tuple[str, ...], owner: tuple[str, int], where: str) -> None:
        unknown = sorted(set(types) - set(roles))
        if unknown:
            raise ProgramError(f"{where}.arrays: unknown arrays {', '.join(unknown)[:200]}")
        for role in roles:
            if role in types:
                found = TYPE.fullmatch(types[role])
                if found is None:
                    raise ProgramError(
                        f"{where}.arrays.{role}: expected u or s, a width of 1 to 32 and perhaps *COUNT, found "
                        f"{types[role][:80]!r}"
                    )
                self._add(owner, role, int(found[3] or 1), int(found[2]), ENCODINGS[found[1]], where)

    def _lay_out_weights(self, long: Fields, encoding: str | None, index: int) -> None:
        """As many weights as the shape says, at the connection's width."""
        if encoding not in (None, "ternary"):
            raise ProgramError(f"{long.where}.arrays.weight: expected 'ternary', found {encoding[:80]!r}")
        bits = Fields({"bits": long.left["bits"]}, long.where).integer("bits", 1, 16)
        shape = Fields({"weights": long.left["weight_shape"]}, long.where).integers("weights", 1, LARGEST_SIZE)
        default = "plus_minus_one" if bits == 1 else "signed"
        self._add(("connection", index), "weight", prod(shape), bits, encoding or default, long.where)

    def _add(self, owner: tuple[str, int], role: str, count: int, width: int, encoding: str, where: str) -> None:
        size = packed_bytes(count, width, encoding)
        entry = {
            "of": owner[0], "index": owner[1], "role": role, "count": count, "width": width, "encoding": encoding,
            "offset": self.offset, "bytes": size,
        }  # fmt: skip
        self.arrays.append(Fields(entry, f"{where}.arrays.{role}"))
        self.offset += size


def input_words(fields: Fields) -> Fields:
    """``input`` with its defaults: spikes, that is 0 or 1, without a scale."""
    return Fields({"lo": 0, "hi": 1, "scale": None, **fields.left}, fields.where)


def _types(long: Fields) -> dict[str, str]:
    """``arrays``: role to type."""
    inside = Fields(long.left.pop("arrays", {}), f"{long.where}.arrays")
    return {role: inside.text(role) for role in tuple(inside.left)}


def _map(part: Fields) -> Any:
    """``{"sum_pool": kernel}`` with ``stride`` (else the kernel) and ``padding`` (else 0); ``{"flatten": [a, b]}``."""
    if "flatten" in part.left:
        start, end = part.integers("flatten", 0, 31, 2)
        part.done()
        return {"kind": "flatten", "start": start, "end": end}
    kernel = part.take("sum_pool")
    return {"kind": "sum_pool", "kernel": kernel, "stride": kernel, "padding": [0, 0], **part.left}


def _linear_shape(long: Fields, source: tuple[int, ...], target: tuple[int, ...]) -> list[int]:
    """What may be left out: all of the source's values onto all of the target's neurons."""
    pooled = any(part["kind"] == "sum_pool" for part in long.left["before"])
    if long.left["kind"] != "linear" or long.left["after"] or pooled:
        raise ProgramError(f"{long.where}: field 'weights' is missing")
    return [target[0], prod(source)]

"""The array table of a manifest: slices of the payload, unpacked and brought to full shape."""

from __future__ import annotations

from math import prod

import numpy as np

from runtime.bits import packed_bytes, unpack_bits
from runtime.errors import ProgramError
from runtime.fields import Fields
from runtime.program import IntArray

Owner = tuple[str, int]


class Arrays:
    """Arrays by owner and role; they must tile the payload without gap, and each must be taken once."""

    def __init__(self, entries: list[Fields], payload: bytes) -> None:
        self.left: dict[tuple[Owner, str], IntArray] = {}
        self.widths: dict[tuple[Owner, str], tuple[int, str]] = {}
        offset = 0
        for entry in entries:
            key = ((entry.choice("of", "layer", "connection"), entry.integer("index", 0)), entry.text("role"))
            count, width = entry.integer("count", 1), entry.integer("width", 1, 32)
            encoding = entry.choice("encoding", "unsigned", "signed", "plus_minus_one", "ternary")
            start, size = entry.integer("offset", 0), entry.integer("bytes", 1)
            entry.done()
            if start != offset or size != packed_bytes(count, width, encoding) or start + size > len(payload):
                raise ProgramError(f"{entry.where}: expected bytes from {offset} on, within {len(payload)}")
            if key in self.left:
                raise ProgramError(f"{entry.where}: a second {key[1]!r} of {key[0][0]} {key[0][1]}")
            self.left[key] = unpack_bits(payload[start : start + size], width, count, encoding)
            self.widths[key] = (width, encoding)
            offset += size
        if offset != len(payload):
            raise ProgramError(f"the arrays take {offset} bytes, the payload has {len(payload)}")

    def take(self, owner: Owner, role: str, shape: tuple[int, ...]) -> IntArray | None:
        """An array of full ``shape``, from one entry, one per channel (first axis) or one per neuron."""
        flat = self.left.pop((owner, role), None)
        return None if flat is None else spread(flat, shape, f"{role} of {owner[0]} {owner[1]}")

    def take_flat(self, owner: Owner, role: str, where: str) -> IntArray:
        """An array as it is written: shape ``()`` for one entry, else flat."""
        flat = self.left.pop((owner, role), None)
        if flat is None:
            raise ProgramError(f"{where}: no array {role!r}")
        return flat.reshape(()) if flat.size == 1 else flat

    def take_weights(self, owner: Owner, shape: tuple[int, ...], bits: int, where: str) -> IntArray:
        """Weights: exactly as many as the shape says, of the declared width."""
        flat = self.left.pop((owner, "weight"), None)
        if flat is None or flat.size != prod(shape):
            raise ProgramError(f"{where}: expected {prod(shape)} weights, found {0 if flat is None else flat.size}")
        width, encoding = self.widths[owner, "weight"]
        expected = {1: ("plus_minus_one",), 2: ("signed", "ternary")}.get(bits, ("signed",))
        if width != bits or encoding not in expected:
            raise ProgramError(
                f"{where}: expected weights of {bits} bits as {' or '.join(expected)}, found {width} as {encoding}"
            )
        return flat.reshape(shape)

    def done(self) -> None:
        """Refuse arrays that nobody asked for."""
        if self.left:
            (owner, index), role = next(iter(self.left))
            raise ProgramError(f"unknown array {role!r} of {owner} {index}")


def spread(flat: IntArray, shape: tuple[int, ...], what: str) -> IntArray:
    """Entries at full shape: one for all, one per channel (first axis) or one per neuron."""
    if flat.size == prod(shape):
        return flat.reshape(shape)
    if flat.size == 1:
        return np.broadcast_to(flat[0], shape)  # a view: a few bytes of payload must not become gigabytes
    if flat.size == shape[0]:
        return np.broadcast_to(flat.reshape(-1, *[1] * (len(shape) - 1)), shape)
    raise ProgramError(f"{what}: expected 1, {shape[0]} or {prod(shape)} entries, found {flat.size}")

"""Pieces of C99 text: constant arrays in the narrowest type, literals, and the arithmetic helpers."""

from __future__ import annotations

from collections.abc import Iterable
from math import prod

import numpy as np

from engine.program.pack import shrink
from engine.program.program import IntArray

TYPES = (("int8_t", 7), ("int16_t", 15), ("int32_t", 31))
PER_LINE = 16

HELPERS = {
    "sat": """static {T} sat_{T}({T} x, {T} lo, {T} hi) {{ return x < lo ? lo : x > hi ? hi : x; }}""",
    "floor": """/* floor(x / 2^b): never shifts a negative number */
static {T} floor_{T}({T} x, int b) {{ return x < 0 ? ~(~x >> b) : x >> b; }}""",
    "toward_zero": """static {T} toward_zero_{T}({T} x, int b) {{ return x < 0 ? -(-x >> b) : x >> b; }}""",
    "half_up": """static {T} half_up_{T}({T} x, int b)
{{
    const {T} y = b > 0 ? x + (({T})1 << (b - 1)) : x;
    return y < 0 ? ~(~y >> b) : y >> b;
}}""",
}


def integer_type(lo: int, hi: int) -> str:
    """The narrowest of C's signed types that holds both.

    Example:
        >>> integer_type(-128, 127), integer_type(0, 128), integer_type(0, 2**31)
        ('int8_t', 'int16_t', 'int64_t')
    """
    for name, bits in TYPES:
        if -(1 << bits) <= lo and hi < 1 << bits:
            return name
    return "int64_t"


def size_of(type_name: str) -> int:
    """Bytes of a type of stdint.h.

    Example:
        >>> size_of("uint16_t")
        2
    """
    return int("".join(c for c in type_name if c.isdigit())) // 8


def literal(value: int) -> str:
    """An integer as C writes it; what int does not hold gets a macro of stdint.h.

    Example:
        >>> literal(-5), literal(-(2**31))
        ('-5', '(-INT64_C(2147483648))')
    """
    if abs(value) < 1 << 15:  # an int has at least 16 bits
        return str(value)
    text = f"INT64_C({abs(value)})" if abs(value) >= 1 << 31 else f"INT32_C({abs(value)})"
    return text if value >= 0 else f"(-{text})"


class Constants:
    """The constant arrays of a source file, and the bytes that they take in flash."""

    def __init__(self) -> None:
        self.lines: list[str] = []
        self.size = 0

    def array(self, name: str, values: Iterable[int], type_name: str | None = None) -> str:
        """Declare an array; returns its name."""
        flat = [int(value) for value in values]
        type_name = type_name or integer_type(min(flat), max(flat))
        self.size += len(flat) * (size_of(type_name) if type_name.endswith("_t") else 0)
        self.lines.append(f"static const {type_name} {name}[{len(flat)}] = {{")
        for start in range(0, len(flat), PER_LINE):
            self.lines.append("    " + ", ".join(literal(v) for v in flat[start : start + PER_LINE]) + ",")
        self.lines.append("};")
        return name

    def value(self, name: str, values: IntArray, index: str) -> str:
        """An expression for one neuron's value: a literal, one entry per channel, or one per neuron."""
        entries = shrink(values)
        if entries.size == 1:
            return literal(int(entries[0]))
        self.array(name, entries)
        if entries.size == values.size:
            return f"{name}[{index}]"
        return f"{name}[{index} / {prod(values.shape[1:])}]"


def helpers(used: Iterable[tuple[str, str]]) -> list[str]:
    """The helper functions ``(name, type)`` that the code calls, each once."""
    return [HELPERS[name].format(T=type_name) for name, type_name in sorted(set(used))]


def comment(text: str) -> str:
    """A name from an upload as it may stand in a comment.

    Example:
        >>> comment("a*/ b")
        'a__ b'
    """
    return "".join(c if c.isascii() and (c.isalnum() or c in " _.@-") else "_" for c in text)[:80]


def flat(values: IntArray) -> list[int]:
    """C order."""
    return [int(v) for v in np.asarray(values).reshape(-1)]

"""One step of one neuron layer as C99: the seven points of docs/program.md in their order."""

from __future__ import annotations

from engine.exports.c99_text import Constants, integer_type, literal
from engine.program.program import IntArray, Layer, Leak

INT32_INNER = 1 << 30  # half_up adds up to 2^30 before it shifts


def working_type(inner: int) -> str:
    """The type of a step's numbers, from their proved bound.

    Example:
        >>> working_type(1 << 29), working_type(1 << 40)
        ('int32_t', 'int64_t')
    """
    return "int32_t" if inner < INT32_INNER else "int64_t"


def spike_type(layer: Layer) -> str:
    """The type of a layer's spike counts."""
    return "uint8_t" if layer.max_spikes < 256 else "uint16_t"


def state_type(layer: Layer) -> str:
    """The type of membrane and current."""
    return integer_type(*layer.limits)


class LayerText:
    """Writes the neuron loop of layer ``index``; ``used`` collects the helper functions that it calls."""

    def __init__(self, layer: Layer, index: int, inner: int, constants: Constants) -> None:
        self.layer, self.index, self.constants = layer, index, constants
        self.type = working_type(inner)
        self.used: set[tuple[str, str]] = set()
        self._named: dict[str, str] = {}  # constants that are declared already

    def neuron_loop(self) -> list[str]:
        """From ``acc[j]`` to the new state and spikes of every neuron."""
        layer, k = self.layer, self.index
        body = [f"{self.type} v = s->v{k}[j];"]
        late = layer.reset_timing == "next_step" and layer.reset != "none"
        if late or layer.drop_reset_input:
            body.append(f"const {self.type} late = s->n{k}[j];")
        if late and layer.reset_order == "before_leak":
            body += self._reset("late")
        enters = f"({self.type})acc[j]"
        if layer.leak_i is not None:
            body += self._current(enters, layer.leak_i)
            enters = "i" if layer.current == "new" else "old"
        body.append(f"v = {self._leak(layer.leak_v, 'v', 'lv')};")
        if late and layer.reset_order == "after_leak":
            body += self._reset("late")
        moved = f"v + {enters}{self._plus(layer.bias, 'bias')}"
        body.append(f"v = {self._sat(moved)};")
        if layer.drop_reset_input:
            body.append(f"if (late > 0) v = {self._value('reset_to', layer.reset_to)};")
        if layer.floor is not None:
            floor = self._value("floor", layer.floor)
            body.append(f"if (v < {floor}) v = {floor};")
        body += self._spikes()
        body.append(f"s->v{k}[j] = ({state_type(layer)})v;")
        if layer.leak_i is not None:
            body.append(f"s->i{k}[j] = ({state_type(layer)})i;")
        return [f"for (j = 0; j < {layer.size}; ++j) {{", *(f"    {line}" for line in body), "}"]

    def _current(self, enters: str, leak: Leak) -> list[str]:
        moved = f"{self._leak(leak, 'old', 'li')} + {enters}{self._plus(self.layer.bias_i, 'bias_i')}"
        return [
            f"const {self.type} old = s->i{self.index}[j];",
            f"const {self.type} i = {self._sat(moved)};",
        ]

    def _spikes(self) -> list[str]:
        layer, k = self.layer, self.index
        if layer.fire_at is None:
            return []
        fire = self._value("fire_at", layer.fire_at)
        lines = [f"{self.type} n = v >= {fire} ? 1 : 0;"]
        if layer.max_spikes > 1 and layer.reset_sub is not None:
            sub = self._value("reset_sub", layer.reset_sub)
            lines += [
                "if (n != 0) {",
                f"    n += (v - {fire}) / {sub};",
                f"    if (n > {literal(layer.max_spikes)}) n = {literal(layer.max_spikes)};",
                "}",
            ]
        if layer.reset_timing == "same_step":
            lines += self._reset("n")
            if layer.reset == "subtract":
                lines.append(f"v = {self._sat('v')};")
        return [*lines, f"s->n{k}[j] = ({spike_type(layer)})n;"]

    def _reset(self, n: str) -> list[str]:
        layer = self.layer
        if layer.reset == "subtract" and layer.reset_sub is not None:
            sub = self._value("reset_sub", layer.reset_sub)
            return [f"v -= {n} * {sub};" if layer.max_spikes > 1 else f"if ({n} != 0) v -= {sub};"]
        if layer.reset == "to_value" and layer.reset_to is not None:
            return [f"if ({n} != 0) v = {self._value('reset_to', layer.reset_to)};"]
        return []

    def _leak(self, leak: Leak, s: str, name: str) -> str:
        if leak.values is None:
            return s
        self.used.add((leak.rounding, self.type))
        values = self._value(name, leak.values)
        if leak.kind == "shift":
            return f"{s} - {leak.rounding}_{self.type}({s}, {values})"
        return f"{leak.rounding}_{self.type}(({self.type}){values} * {s}, {leak.shift_bits})"

    def _sat(self, value: str) -> str:
        self.used.add(("sat", self.type))
        lo, hi = self.layer.limits
        return f"sat_{self.type}({value}, {literal(lo)}, {literal(hi)})"

    def _plus(self, values: IntArray | None, name: str) -> str:
        return "" if values is None else f" + {self._value(name, values)}"

    def _value(self, role: str, values: IntArray | None) -> str:
        if values is None:
            raise ValueError(f"layer {self.layer.name!r} lacks {role}")
        name = f"{role}{self.index}"
        if name in self._named:
            return self._named[name]
        self._named[name] = self.constants.value(name, values, "j")
        return self._named[name]

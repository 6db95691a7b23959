"""Every refusal of an integer program, by its message."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from engine.errors import NotRepresentable
from engine.program.bounds import multiplications, program_bounds
from engine.program.program import INPUT, Connection, Flatten, InputFormat, IntegerProgram, Layer, Leak, SumPool

LIF = Layer(
    "n", "lif", (2,), 8, 2, np.float32(1), Leak("shift", np.array(3)), fire_at=np.array(9), reset="subtract",
    reset_sub=np.array(8),
)  # fmt: skip
FC = Connection("fc", INPUT, "n", "linear", (3,), (2,), 4, np.array([[1, -2, 3], [7, -7, 0]]))


def _program(layer: Layer = LIF, connection: Connection = FC, **more: Any) -> IntegerProgram:
    return IntegerProgram(
        **{"input": InputFormat((3,)), "layers": (layer,), "connections": (connection,), "output": "n"} | more
    )


BAD_LAYERS = [
    ({"state_bits": 33}, "2 to 32"),
    ({"fire_at": np.array([9, 200]), "reset_sub": np.array([8, 200])}, r"fire_at of neuron n\[1\] is 200, outside"),
    ({"bias": np.array(-300)}, r"bias of neuron n\[0\]"),
    ({"reset_sub": np.array(4)}, r"fire_at - reset_sub in \{0, 1\}"),
    ({"reset_sub": np.array(0), "fire_at": np.array(1), "max_spikes": 4}, "reset_sub >= 1"),
    ({"reset_sub": None}, "reset_sub belongs"),
    ({"reset": "to_value", "reset_sub": None}, "reset_to belongs"),
    ({"reset": "to_value", "reset_to": np.array(0), "max_spikes": 3}, "several spikes"),
    ({"reset_timing": "next_step"}, "reset_order belongs"),
    ({"drop_reset_input": True, "reset_to": np.array(0)}, "drop_reset_input belongs"),
    ({"kind": "li"}, "li and cubali alone have no threshold"),
    ({"kind": "cubalif"}, "current leak belongs to cubalif"),
    ({"bias_i": np.array(1)}, "no current bias"),
    ({"leak_v": Leak("shift")}, "has no values"),
    ({"leak_v": Leak("shift", np.array(40))}, r"outside \[0, 31\]"),
    ({"max_spikes": 70000}, "within 1 to 65535"),
]
BAD_CONNECTIONS = [
    ({"bits": 3}, r"weights outside \[-4, 3\]"),
    ({"bits": 1}, "1-bit weights are -1 or 1"),
    ({"bits": 17}, "expected 1 to 16"),
    ({"exponent": np.array(16)}, "within 0 to 15"),
    ({"exponent": np.array([1, 2, 3])}, "3 exponents for 2 outputs"),
    ({"source": "x"}, "no such layer"),
    ({"source": "n", "source_shape": (2,)}, "not delayed"),
    ({"source_shape": (4,)}, "the source has"),
    ({"target_shape": (3,)}, "yields shape"),
    ({"weight": np.zeros((2, 5), int)}, "found input shape"),
    ({"weight": None, "bits": 0}, "identity alone has no weights"),
    ({"before": (SumPool((2, 2), (2, 2), (0, 0)),)}, "needs rows and columns"),
    ({"before": (Flatten(0, 3),)}, "does not fit shape"),
    ({"after": (SumPool((1, 1), (1, 1), (0, 0), 0.25),)}, "belongs into the scale"),
]


@pytest.mark.parametrize(("change", "message"), BAD_LAYERS)
def test_bad_layers_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(NotRepresentable, match=message):
        _program(replace(LIF, **change))


@pytest.mark.parametrize(("change", "message"), BAD_CONNECTIONS)
def test_bad_connections_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(NotRepresentable, match=message):
        _program(connection=replace(FC, **change))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"output": "m"}, "no layer 'm'"),
        ({"input": InputFormat((3,), 2, 1)}, "is empty"),
        ({"connections": (FC, FC)}, "used more than once"),
        ({"readout": "membrane_sum", "layers": (replace(LIF, scale=np.array([1, 2], np.float32)),)}, "need one scale"),
        ({"input": InputFormat((3,), 0, 1 << 50)}, "not exact in 53 bits"),
        ({"layers": (Layer("n", "li", (2,), 8, 0, np.float32(1)),)}, "its membrane must be read out"),
    ],
)
def test_bad_programs_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(NotRepresentable, match=message):
        _program(**change)


def test_floats_that_are_no_integers_are_refused() -> None:
    with pytest.raises(NotRepresentable, match="must hold integers"):
        replace(FC, weight=np.array([[0.5, 1, 1], [1, 1, 1]]))
    assert replace(FC, weight=np.ones((2, 3))).weight.dtype == np.int64  # type: ignore[union-attr]


def test_bounds_are_the_worst_case() -> None:
    bounds = program_bounds(_program(input=InputFormat((3,), -2, 5)))
    assert bounds.connections[0].accumulator == 14 * 5
    assert bounds.connections[0].values == (-2, 5)
    assert bounds.connections[0].float32_exact
    assert bounds.layers[0].input == 70 << 2


def test_every_multiplication_is_listed() -> None:
    assert multiplications(_program()) == ()
    several = replace(LIF, max_spikes=3, leak_v=Leak("mul_shift", np.array(7), 3))
    found = multiplications(_program(several, input=InputFormat((3,), 0, 4)))
    assert [sentence.split(":")[0] for sentence in found] == ["connection fc", "layer n", "layer n", "layer n"]

"""Verilog export: two generic modules, a top module with the program's parameters, and one ``.mem`` file per array.

Fully connected layers of all neuron kinds (docs/exports/verilog.md); one input value a clock and connection, exact
integers of the widths that the program's bounds prove. A test bench with a golden sample checks every spike, membrane
and current after every step.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from importlib import resources
from math import prod

import numpy as np

from engine.errors import NotRepresentable
from engine.program.bounds import edge_range, program_bounds
from engine.program.manifest import build_manifest
from engine.program.pack import payload
from engine.program.program import INPUT, Connection, Flatten, IntArray, IntegerProgram, Layer, Leak
from runtime.reader import parse_program
from runtime.runner import Trace, run

MODULES = ("spikebit_synapses.v", "spikebit_neurons.v")
TOP, BENCH = "spikebit_program.v", "spikebit_testbench.v"
LEAKS = {"none": 0, "shift": 1, "mul_shift": 2}
ROUNDINGS = {"floor": 0, "toward_zero": 1, "half_up": 2}
RESETS = {"none": 0, "subtract": 1, "to_value": 2}
HALF = 32  # half_up adds up to 2^30 before it shifts


@dataclass(frozen=True)
class Verilog:
    """File name → text, and what it needs: bits of read-only memory and of state, clocks of one step."""

    files: dict[str, str]
    rom_bits: int
    state_bits: int
    clocks: int


def export_verilog(program: IntegerProgram, sample: IntArray | None = None) -> Verilog:
    """Write a program as Verilog-2005.

    Args:
        program: what to write.
        sample: ``[time, *input_shape]`` within the input's range; the test bench runs it.

    Raises:
        NotRepresentable: ``export_not_representable``: all that the modules do not know, one sentence each.
    """
    faults = [fault for c in program.connections for fault in _connection_faults(c)]
    for layer in program.layers:
        if layer.max_spikes > 1:
            faults.append(f"layer {layer.name!r}: up to {layer.max_spikes} spikes a step, which needs a division")
    if faults:
        detail = "the Verilog modules cannot hold this program: " + "; ".join(faults)
        raise NotRepresentable("export_not_representable", detail)
    folder = resources.files("engine.exports") / "modules"
    files = {name: (folder / name).read_text(encoding="ascii") for name in MODULES}
    memories = _Memories()
    files[TOP] = "\n".join(_top(program, memories)) + "\n"
    rom = memories.bits
    if sample is not None:
        files[BENCH] = "\n".join(_bench(program, sample, memories)) + "\n"
    states = sum(la.size * (la.state_bits * (1 + (la.leak_i is not None)) + 2) for la in program.layers)
    return Verilog(files | memories.files, rom, states, _clocks(program))


def _connection_faults(connection: Connection) -> Iterator[str]:
    if connection.kind != "linear":
        yield f"connection {connection.name!r}: expected linear, found {connection.kind}"
    elif connection.after or not all(isinstance(part, Flatten) for part in connection.before):
        yield f"connection {connection.name!r}: a pool"
    if connection.delay is not None:
        yield f"connection {connection.name!r}: delays"


class _Memories:
    """``.mem`` files: hexadecimal words, two's complement."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}
        self.bits = 0

    def add(self, name: str, values: IntArray, width: int) -> str:
        """One word a line; returns the file's name as Verilog writes a string."""
        words = (int(value) & ((1 << width) - 1) for value in values.reshape(-1))
        self.files[f"{name}.mem"] = "".join(f"{word:0{-(-width // 4)}x}\n" for word in words)
        self.bits += values.size * width
        return f'"{name}.mem"'


def _signed_bits(bound: int) -> int:
    """Bits that hold −bound … bound."""
    return bound.bit_length() + 1


def _value_format(program: IntegerProgram, source: str) -> tuple[int, bool]:
    """Bits of one value of a source, and whether it is two's complement."""
    lo, hi = (program.input.lo, program.input.hi) if source == INPUT else (0, 1)
    if lo >= 0:
        return max(1, hi.bit_length()), False
    return max((-lo - 1).bit_length(), max(hi, 0).bit_length()) + 1, True


def _top(program: IntegerProgram, memories: _Memories) -> list[str]:
    """Layers in their order, each with its connections, and the machine that starts one after the other."""
    inputs, (bits, _) = prod(program.input.shape), _value_format(program, INPUT)
    count = len(program.layers)
    out = next(k for k, layer in enumerate(program.layers) if layer.name == program.output)
    output = program.layers[out]
    lines = [
        "// A Spikebit program. Generated; the meaning of every number is in docs/program.md.",
        "// restart sets the state before a sample; start runs one step with the values x, which must stay until done.",
        f"// Input values are within [{program.input.lo}, {program.input.hi}]; nothing clamps them here.",
        "module spikebit_program (",
        "    input wire clk, input wire restart, input wire start,",
        f"    input wire [{inputs * bits - 1}:0] x,",
        "    output reg done,",
        f"    output wire [{output.size - 1}:0] spikes,",
        f"    output wire [{output.size * output.state_bits - 1}:0] membranes",
        ");",
        f"    reg [{inputs * bits - 1}:0] x_before;",
        f"    reg [{count - 1}:0] begins;",
        f"    wire [{count - 1}:0] finished;",
        "    reg [15:0] stage;",
        "    reg waiting;",
        "    initial begin x_before = 0; begins = 0; stage = 0; waiting = 1'b0; done = 1'b1; end",
        "",
    ]
    for index, layer in enumerate(program.layers):
        lines += [
            f"    wire [{layer.size - 1}:0] spikes_{index}, before_{index};",
            f"    wire [{layer.size * layer.state_bits - 1}:0] membranes_{index};",
            f"    wire [31:0] row_{index};",
            f"    wire ask_{index};",
        ]
    lines.append("")
    for index in range(count):
        lines += [f"    {line}" for line in _layer(program, index, memories)]
        lines.append("")
    return [
        *lines,
        f"    assign spikes = spikes_{out};",
        f"    assign membranes = membranes_{out};",
        "",
        "    always @(posedge clk) begin",
        "        begins <= 0;",
        "        if (restart) begin",
        f"            x_before <= 0; done <= 1'b0; waiting <= 1'b1; stage <= {count - 1};",
        "        end else if (done && start) begin",
        "            done <= 1'b0; waiting <= 1'b1; stage <= 0; begins[0] <= 1'b1;",
        "        end else if (waiting && begins == 0 && &finished) begin",
        f"            if (stage == {count - 1}) begin",
        "                waiting <= 1'b0; done <= 1'b1;",
        "                x_before <= x;" if any(c.source == INPUT and c.delayed for c in program.connections) else "",
        "            end else begin",
        "                stage <= stage + 1;",
        "                begins[stage + 1] <= 1'b1;",
        "            end",
        "        end",
        "    end",
        "endmodule",
    ]


def _layer(program: IntegerProgram, index: int, memories: _Memories) -> list[str]:
    layer, bounds = program.layers[index], program_bounds(program)
    wide = max(_signed_bits(bounds.layers[index].inner), HALF) + 1
    into = [(k, c) for k, c in enumerate(program.connections) if c.target == layer.name]
    lines = []
    for k, connection in into:
        lines += [f"wire ready_{k};", f"wire signed [{wide - 1}:0] sum_{k};"]
        lines += _instance("spikebit_synapses", f"synapses_{k}", _synapses(program, k, layer, wide, memories))
        values = _values(program, index, connection)
        lines += [
            f"    .clk(clk), .ask(ask_{index}), .row(row_{index}), .values({values}), .ready(ready_{k}), .sum(sum_{k})",
            ");",
        ]
    lines += _instance("spikebit_neurons", f"layer_{index}", _neurons(layer, index, wide, memories))
    sums = " + ".join(f"sum_{k}" for k, _ in into) or f"{wide}'sd0"
    ready = " & ".join(f"ready_{k}" for k, _ in into) or "1'b1"
    return [
        *lines,
        f"    .clk(clk), .restart(restart), .start(begins[{index}]), .done(finished[{index}]), .ask(ask_{index}),",
        f"    .row(row_{index}), .ready({ready}), .sums({sums}), .spikes(spikes_{index}), .before(before_{index}),",
        f"    .membranes(membranes_{index})",
        ");",
    ]


def _instance(module: str, name: str, parameters: dict[str, str]) -> list[str]:
    """The head of an instance, up to its ports."""
    text = ", ".join(f".{key}({value})" for key, value in parameters.items())
    return [f"{module} #({text}) {name} ("]


def _values(program: IntegerProgram, index: int, connection: Connection) -> str:
    """What the connection reads: values of this step, or of the step before."""
    if connection.source == INPUT:
        return "x_before" if connection.delayed else "x"
    source = next(k for k, layer in enumerate(program.layers) if layer.name == connection.source)
    return f"before_{source}" if connection.delayed and source <= index else f"spikes_{source}"


def _synapses(program: IntegerProgram, k: int, layer: Layer, wide: int, memories: _Memories) -> dict[str, str]:
    connection = program.connections[k]
    if connection.weight is None:
        raise ValueError(f"connection {connection.name!r} has no weights")
    bits, signed = _value_format(program, connection.source)
    width = max(2, connection.bits)  # ±1 as two's complement
    exponents = connection.exponents.reshape(-1)
    lo, hi = edge_range(program, connection)
    accumulator = int(np.abs(connection.weight).sum(axis=1).max()) * max(abs(lo), abs(hi), 1)
    return {
        "INPUTS": str(connection.weight.shape[1]), "OUTPUTS": str(layer.size), "VALUE_BITS": str(bits),
        "SIGNED_VALUES": str(int(signed)), "WEIGHT_BITS": str(width), "EXPONENTS": str(exponents.size),
        "FRACTION_BITS": str(layer.fraction_bits), "SUM_BITS": str(_signed_bits(accumulator)), "WIDE": str(wide),
        "WEIGHT_FILE": memories.add(f"weights_{k}", connection.weight, width),
        "EXPONENT_FILE": memories.add(f"exponents_{k}", exponents, 4),
    }  # fmt: skip


def _neurons(layer: Layer, index: int, wide: int, memories: _Memories) -> dict[str, str]:
    found = {
        "NEURONS": layer.size, "STATE_BITS": layer.state_bits, "WIDE": wide, "CURRENT": int(layer.leak_i is not None),
        "OLD_CURRENT": int(layer.current == "old"), "SPIKES": int(layer.fire_at is not None),
        "RESET": RESETS[layer.reset], "NEXT_STEP": int(layer.reset_timing == "next_step"),
        "AFTER_LEAK": int(layer.reset_order == "after_leak"), "DROP_INPUT": int(layer.drop_reset_input),
        "FLOORED": int(layer.floor is not None),
    }  # fmt: skip
    parameters = {name: str(number) for name, number in found.items()}
    width = 2
    for letter, leak in (("V", layer.leak_v), ("I", layer.leak_i or Leak())):
        parameters[f"LEAK_{letter}"] = str(LEAKS[leak.kind])
        parameters[f"ROUND_{letter}"] = str(ROUNDINGS[leak.rounding])
        parameters[f"SHIFT_{letter}"] = str(leak.shift_bits)
        if leak.values is not None:
            width = max(width, _signed_bits(int(np.abs(leak.values).max())))
    parameters["FACTOR_BITS"] = str(width)
    delta = None if layer.fire_at is None or layer.reset_sub is None else layer.fire_at - layer.reset_sub
    arrays = (
        ("LEAK_V", layer.leak_v.values, width), ("LEAK_I", (layer.leak_i or Leak()).values, width),
        ("BIAS", layer.bias, layer.state_bits), ("BIAS_I", layer.bias_i, layer.state_bits),
        ("FIRE_AT", layer.fire_at, layer.state_bits), ("RESET_DELTA", delta, 1),
        ("RESET_TO", layer.reset_to, layer.state_bits), ("FLOOR", layer.floor, layer.state_bits),
        ("START", layer.start, layer.state_bits),
    )  # fmt: skip
    for name, values, bits in arrays:
        if values is not None:
            parameters[f"{name}_FILE"] = memories.add(f"{name.lower()}_{index}", values, bits)
    return parameters


def _clocks(program: IntegerProgram) -> int:
    """Of one step: per neuron, its longest connection and what the layer does around it."""
    total = 1
    for layer in program.layers:
        longest = max((c.weight_shape[1] for c in program.into(layer.name)), default=0)
        total += 2 + layer.size * (longest + 4)
    return total


def _bench(program: IntegerProgram, sample: IntArray, memories: _Memories) -> list[str]:
    """Runs the sample and compares every spike, membrane and current with the reference runner's."""
    trace = run(parse_program(build_manifest(program, {}), payload(program)), sample[None], history=True)
    bits, _ = _value_format(program, INPUT)
    steps, inputs = len(sample), prod(program.input.shape)
    words = [_joined(step.reshape(-1), bits) for step in sample]
    memories.files["golden_x.mem"] = "".join(f"{word:0{-(-inputs * bits // 4)}x}\n" for word in words)
    declared, loads, compared = [f"    reg [{inputs * bits - 1}:0] golden_x [0:{steps - 1}];"], [], []
    for k, layer in enumerate(program.layers):
        for part, width, found in _golden(trace, layer, k):
            name = f"golden_{part}{k}"
            memories.add(name, found, width)
            sign = "" if part == "n" else "signed "
            declared.append(f"    reg {sign}[{width - 1}:0] {name} [0:{steps * layer.size - 1}];")
            loads.append(f'        $readmemh("{name}.mem", {name});')
            held = f"dut.spikes_{k}[j]" if part == "n" else f"dut.layer_{k}.{part}[j]"
            compared.append(
                f"            for (j = 0; j < {layer.size}; j = j + 1) if ({name}[t * {layer.size} + j] !== {held}) "
                "wrong = wrong + 1;"
            )
    return [
        "// Runs the golden sample: prints PASS, or FAIL with the number of spikes and states that differ.",
        "module spikebit_testbench;",
        "    reg clk, restart, start;",
        f"    reg [{inputs * bits - 1}:0] x;",
        "    wire done;",
        "    integer t, j, wrong, clocks;",
        *declared,
        "    spikebit_program dut (",
        "        .clk(clk), .restart(restart), .start(start), .x(x), .done(done), .spikes(), .membranes()",
        "    );",
        "    always #5 clk = !clk;",
        "    always @(posedge clk) clocks = clocks + 1;",
        "    initial begin",
        "        clk = 1'b0; restart = 1'b0; start = 1'b0; wrong = 0; clocks = 0; x = 0;",
        '        $readmemh("golden_x.mem", golden_x);',
        *loads,
        "        @(negedge clk) restart = 1'b1;",
        "        @(negedge clk) restart = 1'b0;",
        "        wait (done);",
        f"        for (t = 0; t < {steps}; t = t + 1) begin",
        "            @(negedge clk) x = golden_x[t]; start = 1'b1;",
        "            @(negedge clk) start = 1'b0;",
        "            wait (done);",
        *compared,
        "        end",
        f'        if (wrong == 0) $display("PASS %0d steps, %0d clocks", {steps}, clocks);',
        '        else $display("FAIL %0d spikes or states differ", wrong);',
        "        $finish;",
        "    end",
        "endmodule",
    ]


def _golden(trace: Trace, layer: Layer, index: int) -> Iterator[tuple[str, int, IntArray]]:
    """Spikes ``n``, membrane ``v`` and current ``i`` of every step, with their widths."""
    states = trace.history[layer.name]
    yield "n", 1, np.stack([state.n[0] for state in states])
    yield "v", layer.state_bits, np.stack([state.v[0] for state in states])
    currents = [state.i[0] for state in states if state.i is not None]
    if currents:
        yield "i", layer.state_bits, np.stack(currents)


def _joined(values: IntArray, bits: int) -> int:
    """Values as one word, value k in bits k·bits and up."""
    word = 0
    for k, value in enumerate(values):
        word |= (int(value) & ((1 << bits) - 1)) << (k * bits)
    return word

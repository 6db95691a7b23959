"""C99 export: one header, one source, no heap, nothing of libc beyond stdint.h and string.h (docs/exports/c99.md)."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from engine.exports.c99_connection import Source, connection_block
from engine.exports.c99_golden import GoldenSample, golden_text
from engine.exports.c99_layer import LayerText, spike_type, state_type
from engine.exports.c99_text import Constants, comment, helpers, integer_type, literal, size_of
from engine.program.bounds import program_bounds
from engine.program.program import INPUT, IntegerProgram
from engine.program.sizes import steps_held

HEADER, SOURCE = "spikebit_program.h", "spikebit_program.c"


@dataclass(frozen=True)
class C99:
    """The two files and what they need: constants in flash (code apart), state in RAM, deepest stack arrays."""

    header: str
    source: str
    constant_bytes: int
    state_bytes: int
    stack_bytes: int


def export_c99(program: IntegerProgram, golden: GoldenSample | None = None) -> C99:
    """Write a program as C.

    ``spikebit_start`` sets the state, ``spikebit_step`` runs one time step; the state is a struct that the caller
    keeps. Every number has the narrowest type that the program's proved bounds allow; negative numbers are never
    shifted.

    Args:
        program: what to write.
        golden: a sample with its spikes and states; compiled in with ``-DSPIKEBIT_SELF_TEST``.
    """
    constants = Constants()
    fields, state_size = _state_fields(program)
    layers: list[str] = []
    used: set[tuple[str, str]] = set()
    deepest = 0
    for index, layer in enumerate(program.layers):
        text = LayerText(layer, index, program_bounds(program).layers[index].inner, constants)
        lines, stack = _layer_function(program, index, text, constants)
        layers += [*lines, ""]
        used |= text.used
        deepest = max(deepest, stack)
    start = _start_function(program, constants)
    step = _step_function(program)
    top = [f'#include "{HEADER}"', "#include <string.h>", "", *constants.lines, "", *helpers(used), ""]
    source = [*top, *layers, *start, "", *step, "", *golden_text(program, golden)]
    header = _header(program, fields, constants.size, state_size, deepest)
    return C99("\n".join(header) + "\n", "\n".join(source) + "\n", constants.size, state_size, deepest)


def input_type(program: IntegerProgram) -> str:
    """A signed type with room on both sides of the range, so that what is outside can be given and clamped."""
    lo, hi = program.input.lo, program.input.hi
    return max("int16_t", integer_type(lo - 1, hi + 1), key=size_of)


def _sources(program: IntegerProgram) -> dict[str, Source]:
    """Name → where its values are; the number of past steps that its ring holds."""
    kind = integer_type(min(program.input.lo, 0), max(program.input.hi, 0))
    found = {INPUT: Source("s->x", "hx", steps_held(program, INPUT), kind)}
    for k, layer in enumerate(program.layers):
        found[layer.name] = Source(f"s->n{k}", f"h{k}", steps_held(program, layer.name), spike_type(layer))
    return found


def _state_fields(program: IntegerProgram) -> tuple[list[str], int]:
    """Members of the state struct and their bytes (padding apart)."""
    fields, size = [], 0

    def add(type_name: str, name: str, count: int, what: str) -> None:
        nonlocal size
        fields.append(f"    {type_name} {name}[{count}]; /* {what} */")
        size += count * size_of(type_name)

    sources = _sources(program)
    out = program.layer(program.output)
    # 2^31 steps of one spike are out of reach, 2^31/65,535 steps of many are not
    wide = program.readout == "membrane_sum" or (program.readout == "spike_count" and out.max_spikes > 1)
    add("int64_t" if wide else "int32_t", "readout", out.size, program.readout)
    for k, layer in enumerate(program.layers):
        add(state_type(layer), f"v{k}", layer.size, f"membrane of {comment(layer.name)}")
        if layer.leak_i is not None:
            add(state_type(layer), f"i{k}", layer.size, "its current")
        add(spike_type(layer), f"n{k}", layer.size, "its spikes of the last step")
    add(sources[INPUT].type_name, "x", prod(program.input.shape), "the last step's input, clamped")
    for source in sources.values():
        if source.steps:
            count = len_of(program, source)
            add(source.type_name, source.ring, source.steps * count, "ring of past steps")
            fields.append(f"    int32_t {source.ring}_at; /* where this step goes */")
            size += 4
    fields += ["    uint32_t steps; /* run so far */", "    uint32_t clamped; /* input values outside the range */"]
    return fields, size + 8


def len_of(program: IntegerProgram, source: Source) -> int:
    """Neurons of a source."""
    names = {f"h{k}": layer.size for k, layer in enumerate(program.layers)}
    return names.get(source.ring, prod(program.input.shape))


def _header(program: IntegerProgram, fields: list[str], constants: int, state: int, stack: int) -> list[str]:
    out = program.layer(program.output)
    return [
        "/* A Spikebit program as C99. Generated; the meaning of every number is in docs/program.md.",
        f" * Constants: {constants} bytes (flash). State: {state} bytes, arrays on the stack: {stack} bytes (RAM). */",
        "#ifndef SPIKEBIT_PROGRAM_H",
        "#define SPIKEBIT_PROGRAM_H",
        "#include <stdint.h>",
        "",
        f"#define SPIKEBIT_INPUTS {prod(program.input.shape)}",
        f"#define SPIKEBIT_OUTPUTS {out.size}",
        f"#define SPIKEBIT_INPUT_MIN {literal(program.input.lo)}",
        f"#define SPIKEBIT_INPUT_MAX {literal(program.input.hi)}",
        f"#define SPIKEBIT_CONSTANT_BYTES {constants}",
        f"#define SPIKEBIT_STATE_BYTES {state}",
        f"#define SPIKEBIT_STACK_BYTES {stack}",
        "",
        f"typedef {input_type(program)} spikebit_input;",
        "typedef struct {",
        *fields,
        "} spikebit_state;",
        "",
        "void spikebit_start(spikebit_state *s); /* before the first step of a sample */",
        "void spikebit_step(spikebit_state *s, const spikebit_input *x); /* one time step of SPIKEBIT_INPUTS values */",
        "int32_t spikebit_prediction(const spikebit_state *s); /* index of the largest readout, lowest among equals */",
        "#ifdef SPIKEBIT_SELF_TEST",
        "int spikebit_self_test(void); /* 0: every spike and state of the golden sample agrees; else 1 + the step */",
        "#endif",
        "#endif",
    ]


def _layer_function(
    program: IntegerProgram, index: int, text: LayerText, constants: Constants
) -> tuple[list[str], int]:
    """The function of one layer, and the bytes of its arrays on the stack."""
    layer = program.layers[index]
    sources = _sources(program)
    bound = program_bounds(program).layers[index].input
    acc_type = "int32_t" if bound < 1 << 31 else "int64_t"
    lines = [
        f"/* {comment(layer.name)}: {layer.kind}, {layer.size} neurons */",
        f"static void layer_{index}(spikebit_state *s)",
        "{",
        f"    {acc_type} acc[{layer.size}];",
        "    int32_t j;",
        f"    for (j = 0; j < {layer.size}; ++j) acc[j] = 0;",
    ]
    deepest = 0
    for position, connection in enumerate(program.connections):
        if connection.target == layer.name:
            source = sources[connection.source]
            block = connection_block(program, position, source, layer, acc_type, constants)
            deepest = max(deepest, block.stack)
            lines += [f"    {{ /* {comment(connection.name)} */", *(f"        {line}" for line in block.lines), "    }"]
    lines += [f"    {line}" for line in text.neuron_loop()]
    return [*lines, "}"], deepest + layer.size * size_of(acc_type)


def _start_function(program: IntegerProgram, constants: Constants) -> list[str]:
    body = []
    for k, layer in enumerate(program.layers):
        if layer.start is not None:
            value = constants.value(f"start{k}", layer.start, "j")
            body.append(f"    for (j = 0; j < {layer.size}; ++j) s->v{k}[j] = {value};")
    if program.readout == "membrane_max":
        body.append("    for (j = 0; j < SPIKEBIT_OUTPUTS; ++j) s->readout[j] = INT32_MIN;")
    declared = ["    int32_t j;"] if body else []
    return ["void spikebit_start(spikebit_state *s)", "{", *declared, "    memset(s, 0, sizeof *s);", *body, "}"]


def _step_function(program: IntegerProgram) -> list[str]:
    sources = _sources(program)
    out = [layer.name for layer in program.layers].index(program.output)
    read = {
        "spike_count": f"s->readout[j] += s->n{out}[j];",
        "membrane_sum": f"s->readout[j] += s->v{out}[j];",
        "membrane_max": f"if (s->v{out}[j] > s->readout[j]) s->readout[j] = s->v{out}[j];",
        "membrane_last": f"s->readout[j] = s->v{out}[j];",
    }[program.readout]
    lines = [
        "void spikebit_step(spikebit_state *s, const spikebit_input *x)",
        "{",
        "    int32_t j;",
        "    for (j = 0; j < SPIKEBIT_INPUTS; ++j) {",
        "        spikebit_input value = x[j];",
        "        if (value < SPIKEBIT_INPUT_MIN) { value = SPIKEBIT_INPUT_MIN; ++s->clamped; }",
        "        if (value > SPIKEBIT_INPUT_MAX) { value = SPIKEBIT_INPUT_MAX; ++s->clamped; }",
        f"        s->x[j] = ({sources[INPUT].type_name})value;",
        "    }",
        *(f"    layer_{k}(s);" for k in range(len(program.layers))),
        f"    for (j = 0; j < SPIKEBIT_OUTPUTS; ++j) {{ {read} }}",
    ]
    for source in sources.values():
        if source.steps:
            count = len_of(program, source)
            size = f"sizeof {source.now}"
            lines.append(f"    memcpy(s->{source.ring} + s->{source.ring}_at * {count}, {source.now}, {size});")
            lines.append(f"    s->{source.ring}_at = (s->{source.ring}_at + 1) % {source.steps};")
    lines += ["    ++s->steps;", "}", ""]
    return [
        *lines,
        "int32_t spikebit_prediction(const spikebit_state *s)",
        "{",
        "    int32_t j, best = 0;",
        "    for (j = 1; j < SPIKEBIT_OUTPUTS; ++j) if (s->readout[j] > s->readout[best]) best = j;",
        "    return best;",
        "}",
    ]

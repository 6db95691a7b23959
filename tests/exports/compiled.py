"""The C99 export built and run: every spike and state after every step, as the reference runner has them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from engine.exports.c99 import HEADER, SOURCE, export_c99
from engine.exports.c99_golden import golden_sample
from engine.program.manifest import build_manifest
from engine.program.pack import payload
from engine.program.program import IntArray, IntegerProgram
from runtime import parse_program, run

CC = shutil.which("gcc") or shutil.which("cc")
STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror")
SANE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1", "-g0")


def driver(program: IntegerProgram, steps: int) -> str:
    """A main that reads one sample and prints every layer's spikes and states after every step."""
    lines = []
    for k, layer in enumerate(program.layers):
        for part in ("n", "v", *(["i"] if layer.leak_i is not None else [])):
            lines.append(f'for (j = 0; j < {layer.size}; ++j) printf("%ld ", (long)s.{part}{k}[j]);')
    return "\n".join(
        [
            "#include <stdio.h>", f'#include "{HEADER}"', "int main(void) {",
            "static spikebit_state s; static spikebit_input x[SPIKEBIT_INPUTS]; long value; int t, j;",
            "spikebit_start(&s);", f"for (t = 0; t < {steps}; ++t) {{",
            'for (j = 0; j < SPIKEBIT_INPUTS; ++j) { if (scanf("%ld", &value) != 1) return 1;',
            "x[j] = (spikebit_input)value; }",
            "spikebit_step(&s, x);", *lines, "}",
            'for (j = 0; j < SPIKEBIT_OUTPUTS; ++j) printf("%lld ", (long long)s.readout[j]);',
            'printf("%ld %d\\n", (long)s.clamped, spikebit_self_test()); return 0; }',
        ]
    )  # fmt: skip


def reference(program: IntegerProgram, x: IntArray) -> list[int]:
    """The same numbers from the reference runner; ``x`` is ``[time, *input_shape]``."""
    trace = run(parse_program(build_manifest(program, {}), payload(program)), x[None], history=True)
    numbers: list[int] = []
    for t in range(len(x)):
        for layer in program.layers:
            state = trace.history[layer.name][t]
            for part in (state.n, state.v, state.i):
                numbers += [] if part is None else [int(value) for value in part.reshape(-1)]
    return [*numbers, *(int(value) for value in trace.counts[0]), trace.clamped, 0]


def compiled(program: IntegerProgram, x: IntArray, folder: Path) -> list[int]:
    """The numbers of the exported program, its self-test's result last."""
    folder.mkdir(exist_ok=True)
    made = export_c99(program, golden_sample(program, x))
    (folder / HEADER).write_text(made.header)
    (folder / SOURCE).write_text(made.source)
    (folder / "main.c").write_text(driver(program, len(x)))
    command = [str(CC), *STRICT, *SANE, "-DSPIKEBIT_SELF_TEST", SOURCE, "main.c", "-o", "program"]
    built = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    text = " ".join(str(int(value)) for value in x.reshape(-1))
    ran = subprocess.run(["./program"], cwd=folder, input=text, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    return [int(word) for word in ran.stdout.split()]

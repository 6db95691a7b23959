"""Export format → what writes it. The catalogue test compares it with the spec and the pages."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.exports.c99 import HEADER, SOURCE, export_c99
from engine.exports.c99_golden import golden_sample
from engine.exports.lava import NETWORK, export_lava
from engine.exports.nir import export_nir
from engine.exports.tensors import MANIFEST, TENSORS, export_tensors
from engine.exports.verilog import export_verilog
from engine.program.program import IntArray, IntegerProgram
from engine.specs.target_memory import UNSAID, Memory

GOLDEN_VALUES = 1 << 16  # input values of the self-test's sample: its steps are cut to that


@dataclass(frozen=True)
class Exported:
    """Files that were written (name below the format's folder → media type), and what to know of them."""

    files: dict[str, str]
    facts: dict[str, str]
    memory: Memory = UNSAID  # least flash and RAM that the result takes, where the format knows


Exporter = Callable[[IntegerProgram, IntArray, Path], Exported]


def write_c99(program: IntegerProgram, samples: IntArray, folder: Path) -> Exported:
    """One header and one source; the first of the ``samples`` becomes the self-test."""
    sample = samples[0]
    steps = max(1, min(len(sample), GOLDEN_VALUES // max(1, sample[0].size)))
    made = export_c99(program, golden_sample(program, sample[:steps]))
    (folder / HEADER).write_text(made.header, encoding="ascii")
    (folder / SOURCE).write_text(made.source, encoding="ascii")
    facts = {
        "constants, bytes of flash": str(made.constant_bytes),
        "state, bytes of RAM": str(made.state_bytes),
        "arrays on the stack, bytes of RAM": str(made.stack_bytes),
        "steps of the self-test": str(steps),
    }
    least = Memory(flash_bytes=max(1, made.constant_bytes), ram_bytes=made.state_bytes + made.stack_bytes)
    return Exported({HEADER: "text/x-c", SOURCE: "text/x-c"}, facts, least)


def write_tensors(program: IntegerProgram, samples: IntArray, folder: Path) -> Exported:
    """Integers as safetensors, the graph as JSON."""
    made = export_tensors(program)
    (folder / TENSORS).write_bytes(made.tensors)
    (folder / MANIFEST).write_text(made.manifest, encoding="utf-8")
    return Exported({TENSORS: "application/octet-stream", MANIFEST: "application/json"}, {})


def write_lava(program: IntegerProgram, samples: IntArray, folder: Path) -> Exported:
    """Loihi's numbers as netx HDF5."""
    made = export_lava(program)
    (folder / NETWORK).write_bytes(made.network)
    states = "no state can leave its width (proved)" if made.proved else "as long as no state leaves its width"
    biased = any(layer.bias is not None for layer in program.layers)
    facts = {
        "equal to the program": states + ("; biases act while the first steps are on their way" if biased else ""),
        "steps until the first answer": str(len(program.layers)),
    }
    return Exported({NETWORK: "application/x-hdf5"}, facts)


def write_nir(program: IntegerProgram, samples: IntArray, folder: Path) -> Exported:
    """A NIR file and the Python that loads and runs it, for every framework that can be given the program."""
    made = export_nir(program, samples)
    files: dict[str, str] = {}
    for framework, written in made.made.items():
        written.write(folder / f"{framework}.nir")
        (folder / f"{framework}.py").write_text(written.snippet, encoding="utf-8")
        files |= {f"{framework}.nir": "application/x-hdf5", f"{framework}.py": "text/x-python"}
    told = "as long as no state saturates" if made.exact else "nearly: floats do not round what leaks"
    facts = {
        "equal to the program": told,
        "samples with the program's counts": f"{made.equal_samples} of {made.samples} (measured)",
    } | {f"not for {framework}": why for framework, why in made.refused.items()}
    return Exported(files, facts)


def write_verilog(program: IntegerProgram, samples: IntArray, folder: Path) -> Exported:
    """Modules, memories, and a test bench that runs the first of the ``samples``, cut as for C99."""
    sample = samples[0]
    steps = max(1, min(len(sample), GOLDEN_VALUES // max(1, sample[0].size)))
    made = export_verilog(program, sample[:steps])
    for name, text in made.files.items():
        (folder / name).write_text(text, encoding="ascii")
    facts = {
        "read-only memory, bits": str(made.rom_bits),
        "states, bits": str(made.state_bits),
        "clocks of one step": str(made.clocks),
        "steps of the test bench": str(steps),
    }
    return Exported(dict.fromkeys(made.files, "text/plain"), facts)


EXPORTS: dict[str, Exporter] = {
    "c99": write_c99,
    "lava": write_lava,
    "nir": write_nir,
    "safetensors": write_tensors,
    "verilog": write_verilog,
}

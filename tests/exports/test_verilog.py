"""The Verilog export in Icarus Verilog: its test bench finds every spike, membrane and current of the reference."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.errors import NotRepresentable
from engine.exports.verilog import export_verilog
from engine.program.program import IntArray, IntegerProgram
from engine.program.quantized import start_training, to_program
from tests.program.networks import convolutional, plan_of, recurrent
from tests.program.programs import adversarial_program, random_input, random_program

IVERILOG = shutil.which("iverilog")
needs_simulator = pytest.mark.skipif(IVERILOG is None, reason="Icarus Verilog (iverilog) is not installed")


def fitted(program: IntegerProgram) -> IntegerProgram:
    """The same program with one spike a step and without delays."""
    layers = tuple(
        replace(la, max_spikes=1, reset_sub=la.reset_sub if la.reset == "subtract" else None) for la in program.layers
    )
    connections = tuple(replace(c, delay=None) for c in program.connections)
    return replace(program, layers=layers, connections=connections)


def linear_seeds(count: int) -> list[int]:
    """Seeds whose random program is fully connected."""
    found = []
    for seed in range(1000):
        if all(c.kind == "linear" and not c.before and not c.after for c in random_program(seed).connections):
            found.append(seed)
            if len(found) == count:
                break
    return found


def simulated(files: dict[str, str], folder: Path) -> str:
    """What the test bench prints; warnings are errors."""
    for name, text in files.items():
        (folder / name).write_text(text)
    sources = sorted(name for name in files if name.endswith(".v"))
    built = subprocess.run(
        [str(IVERILOG), "-g2005", "-Wall", "-o", "test", *sources],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (built.returncode, built.stderr) == (0, "")
    ran = subprocess.run(["vvp", "test"], cwd=folder, capture_output=True, text=True, check=False)
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout.strip()


def inside(program: IntegerProgram, x: IntArray) -> IntArray:
    return np.clip(x, program.input.lo, program.input.hi)


SEEDS = linear_seeds(60)


@needs_simulator
@pytest.mark.parametrize("seed", [*SEEDS[:12], *(pytest.param(n, marks=pytest.mark.slow) for n in SEEDS[12:])])
def test_every_spike_and_state_of_random_programs(seed: int, tmp_path: Path) -> None:
    program = fitted(random_program(seed))
    made = export_verilog(program, inside(program, random_input(program, seed, samples=1, steps=10)[0]))
    assert simulated(made.files, tmp_path).startswith("PASS 10 steps")


@needs_simulator
@pytest.mark.parametrize("kind", ["lif", "cubalif"])
def test_adversarial_programs_at_the_edge_of_every_width(kind: str, tmp_path: Path) -> None:
    program = fitted(adversarial_program(kind))
    made = export_verilog(program, np.full((6, *program.input.shape), program.input.hi))
    assert simulated(made.files, tmp_path).startswith("PASS 6 steps")


@needs_simulator
@pytest.mark.parametrize(("preset", "kind", "bits"), [("snntorch-leaky", "lif", 4), ("lava", "cubalif", 1)])
def test_a_whole_quantized_network_in_the_clocks_that_are_told(
    preset: str, kind: str, bits: int, tmp_path: Path
) -> None:
    network = recurrent(preset, kind)
    program = to_program(*start_training(network, plan_of(network, bits), (0, 1)))
    x = (np.random.default_rng(0).random((20, 12)) < 0.4).astype(np.int64)
    made = export_verilog(program, x)
    told = simulated(made.files, tmp_path)
    assert told.startswith("PASS 20 steps")
    clocks = int(told.split()[3])
    restart = max(layer.size for layer in program.layers)
    assert 20 * made.clocks <= clocks <= 20 * made.clocks + restart + 10
    weights = sum(c.weight.size * max(2, c.bits) for c in program.connections if c.weight is not None)
    assert made.rom_bits >= weights


@needs_simulator
def test_the_test_bench_finds_a_changed_weight(tmp_path: Path) -> None:
    network = recurrent("snntorch-leaky", "lif")
    program = to_program(*start_training(network, plan_of(network), (0, 1)))
    made = export_verilog(program, (np.random.default_rng(0).random((9, 12)) < 0.4).astype(np.int64))
    words = made.files["weights_0.mem"].splitlines()
    words[5] = "7" if words[5] != "7" else "8"
    files = made.files | {"weights_0.mem": "\n".join(words)}
    assert simulated(files, tmp_path).startswith("FAIL")


def test_what_the_modules_lack_is_refused_with_every_reason() -> None:
    network = convolutional("sinabs")
    program = to_program(*start_training(network, plan_of(network), (0, 1)))
    with pytest.raises(NotRepresentable) as refused:
        export_verilog(program)
    assert refused.value.code == "export_not_representable"
    for words in ("expected linear, found conv2d", "connection 'fc': a pool", "spikes a step"):
        assert words in refused.value.detail

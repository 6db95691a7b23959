"""A program's quantized values in floats: the same spikes where nothing leaks, in the frameworks themselves too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from engine.errors import NotRepresentable
from engine.exports.dequantize import dequantize, exact
from engine.exports.nir import export_nir
from engine.network.discretise import discretise
from engine.network.model import Network
from engine.network.prepare import prepare
from engine.network.simulate import run as simulate
from engine.program.manifest import build_manifest
from engine.program.pack import payload
from engine.program.program import IntArray, IntegerProgram
from engine.program.quantized import start_training, to_program
from engine.specs.frameworks import FRAMEWORKS
from runtime import parse_program, run
from tests.frameworks.test_tutorials import HERE, in_venv
from tests.program.networks import convolutional, plan_of, recurrent

WIDE = {"state_bits": 24, "fraction_bits": 3}


def whole(network: Network) -> Network:
    """Without leaks; thresholds that are no multiples of anything."""
    layers = tuple(
        replace(la, kind="if", decay_v=np.ones(la.shape), threshold=np.full(la.shape, 0.973)) for la in network.layers
    )
    return replace(network, layers=layers)


def program_of(network: Network, bits: int = 4, **neuron: Any) -> IntegerProgram:
    return to_program(*start_training(network, plan_of(network, bits, **{**WIDE, **neuron}), (0, 1)))


def frames(program: IntegerProgram, samples: int = 20, steps: int = 30) -> IntArray:
    x = np.random.default_rng(3).random((samples, steps, *program.input.shape)) < 0.3
    return x.astype(np.int64)


def counts_of(program: IntegerProgram, x: IntArray) -> IntArray:
    return run(parse_program(build_manifest(program, {}), payload(program)), x).counts


def floats_of(program: IntegerProgram, x: IntArray) -> np.ndarray[Any, Any]:
    network = discretise(*dequantize(program))
    found: np.ndarray[Any, Any] = simulate(prepare(network), torch.as_tensor(np.moveaxis(x, 0, 1))).counts.numpy()
    return found


def unpooled(network: Network) -> Network:
    """A pool stays before the linear layer; a bias before a pool differs at its edges."""
    conv, fc = network.connections
    maps = network.layers[0]
    layer = replace(
        maps,
        shape=(4, 8, 8),
        **{
            name: np.full((4, 8, 8), getattr(maps, name).flat[0])
            for name in ("decay_v", "gain", "drive", "v_leak", "v_reset", "threshold")
        },
    )
    weight = np.random.default_rng(0).normal(size=(4, 64))
    return replace(
        network,
        layers=(layer, network.layers[1]),
        connections=(
            replace(conv, target_shape=(4, 8, 8), after=()),
            replace(fc, source_shape=(4, 8, 8), weight=weight),
        ),
    )


WHOLE = {
    "zero": whole(recurrent("lava", "lif")),
    "subtract_gt": whole(recurrent("nir-paper", "lif")),
    "subtract_ge": whole(recurrent("spikingjelly", "lif", reset="subtract")),
    "subtract_late": whole(recurrent("snntorch-leaky", "lif")),
    "images": whole(unpooled(convolutional("lava"))),
}


@pytest.mark.parametrize("name", WHOLE)
def test_counts_are_equal_where_nothing_leaks(name: str) -> None:
    program = program_of(WHOLE[name])
    if name.startswith("subtract"):  # one comparison for all neurons, as a file has to have it
        delta = int(name == "subtract_gt" or name == "subtract_late")
        layers = tuple(replace(la, fire_at=la.reset_sub + delta) for la in program.layers if la.reset_sub is not None)
        program = replace(program, layers=layers)
    x = frames(program)
    assert exact(program)
    wanted = counts_of(program, x)
    assert np.ptp(wanted) > 2
    np.testing.assert_array_equal(floats_of(program, x), wanted)
    made = export_nir(program, x)
    assert (made.equal_samples, made.samples, made.exact) == (20, 20, True)


@pytest.mark.parametrize(("preset", "kind"), [("lava", "lif"), ("lava", "cubalif"), ("snntorch-leaky", "lif")])
def test_leaky_programs_agree_more_the_more_fraction_bits_they_have(preset: str, kind: str) -> None:
    network = recurrent(preset, kind)
    told = []
    for bits in (0, 10):
        program = program_of(network, fraction_bits=bits)
        assert not exact(program)
        x = frames(program)
        made = export_nir(program, x)
        assert made.equal_samples == int((floats_of(program, x) == counts_of(program, x)).all(axis=1).sum())
        told.append(made.equal_samples)
    assert told[0] <= told[1]
    assert told[1] >= 18


def test_what_floats_or_importers_cannot_be_told_is_refused() -> None:
    program = program_of(recurrent("sinabs", "lif"))
    with pytest.raises(NotRepresentable, match=r"up to 65535 spikes a step.*a membrane floor") as refused:
        export_nir(program, frames(program))
    assert refused.value.code == "export_not_representable"
    analogue = program_of(recurrent("lava", "lif"))
    analogue = replace(analogue, input=replace(analogue.input, scale=np.float32(0.5)))
    with pytest.raises(NotRepresentable, match="analogue inputs"):
        export_nir(analogue, frames(analogue))
    late = program_of(recurrent("snntorch-leaky", "lif"))
    assert set(export_nir(late, frames(late)).refused) == {"norse", "spikingjelly"}


@pytest.mark.frameworks
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_the_frameworks_give_the_program_s_counts(framework: Any, tmp_path: Path) -> None:
    """All of them where nothing leaks; where something does, those of the float network that was measured with."""
    written = []
    leaky = {"leaky": recurrent("lava", "lif"), "current": recurrent("lava", "cubalif")}
    for name, network in (WHOLE | leaky).items():
        program = program_of(network)
        x = frames(program)
        made = export_nir(program, x)
        if framework in made.made and (made.exact or name in leaky):
            file = made.made[framework]
            file.write(tmp_path / f"{name}.nir")
            (tmp_path / f"{name}.py").write_text(file.snippet)
            counts = counts_of(program, x) if made.exact else floats_of(program, x)
            np.savez(tmp_path / f"{name}.npz", x=x, counts=counts)
            written.append(name)
    assert len(written) >= 3
    printed = in_venv(framework, HERE / "run_export.py", tmp_path).split()
    assert [line for line in printed if line in written] == sorted(written)

"""NIR export: a program's quantized values as files that the importers of snnTorch, Norse and SpikingJelly load."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from engine.errors import NotRepresentable
from engine.exports.dequantize import dequantize, exact
from engine.exports.frameworks.rewrite import ForFramework, rewrite_for
from engine.network.discretise import discretise
from engine.network.prepare import prepare
from engine.network.simulate import run as simulate
from engine.program.manifest import build_manifest
from engine.program.pack import payload
from engine.program.program import IntArray, IntegerProgram
from engine.specs.frameworks import FRAMEWORKS, Framework
from runtime.reader import parse_program
from runtime.runner import run


@dataclass(frozen=True)
class ForFrameworks:
    """Files by framework, why the others get none, and how the float network's counts compare with the program's."""

    made: dict[Framework, ForFramework]
    refused: dict[Framework, str]
    exact: bool
    equal_samples: int
    samples: int


def export_nir(program: IntegerProgram, samples: IntArray) -> ForFrameworks:
    """Write a program for every framework that can be given it.

    The counts are compared by running the float network of the quantized values beside the program.

    Args:
        program: what to write.
        samples: ``[sample, time, *input_shape]`` within the input's range.

    Raises:
        NotRepresentable: NIR cannot hold it (``export_not_representable``), or no framework can be given it.
    """
    graph, dynamics = dequantize(program)
    made: dict[Framework, ForFramework] = {}
    refused: dict[Framework, str] = {}
    for framework in FRAMEWORKS:
        try:
            made[framework] = rewrite_for(graph, dynamics, framework, snippet=True)
        except NotRepresentable as error:
            refused[framework] = error.detail
    if not made:
        told = "; ".join(f"{framework}: {why}" for framework, why in refused.items())
        raise NotRepresentable("export_not_representable", f"no framework can be given this program: {told}")
    network = discretise(graph, dynamics)
    with torch.no_grad():
        floats = simulate(prepare(network), torch.as_tensor(np.moveaxis(samples, 0, 1))).counts.cpu().numpy()
    counts = run(parse_program(build_manifest(program, {}), payload(program)), samples).counts
    equal = int((floats == counts).all(axis=1).sum())
    return ForFrameworks(made, refused, exact(program), equal, len(samples))

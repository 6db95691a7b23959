"""A folder without golden vectors takes little beyond its payload, at any depth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from engine.program.manifest import build_manifest, seal
from engine.program.pack import payload
from engine.program.write import write_program
from runtime import parse_program
from runtime.reader import load_manifest
from tests.program.deep import KINDS, deep_program

DEPTHS = (1, 8, 20, 50)
MARGIN = 2048  # bytes of the 8 KiB that stay free, also where no two layers are alike (`mixed`)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("depth", DEPTHS)
def test_manifest_fits_200_bytes_a_layer_and_4_a_scale(kind: str, depth: int) -> None:
    program = deep_program(kind, depth)
    packed = payload(program)
    sealed = seal(build_manifest(program, {"engine": "0.1.0", "seed": "0"}), packed, b"golden")
    scales = sum(np.unique(layer.scale).size for layer in program.layers)
    assert len(program.layers) == depth
    assert len(sealed) <= 8192 + 200 * depth + 4 * scales - MARGIN
    manifest = load_manifest(sealed)
    manifest.pop("digests")
    held = parse_program(manifest, packed)
    for mine, theirs in zip(program.layers, held.layers, strict=True):
        np.testing.assert_array_equal(mine.scale, theirs.scale)


def test_one_layer_more_costs_at_most_200_bytes() -> None:
    """The part that grows, apart from what is there once, with the layer's own connection."""
    for kind in ("dense", "conv"):
        sizes = [len(seal(build_manifest(deep_program(kind, depth), {}), b"", b"")) for depth in (20, 50)]
        assert (sizes[1] - sizes[0]) / 30 <= 200


def test_the_folder_on_disk_has_that_size(tmp_path: Path) -> None:
    program = deep_program("recurrent", 8)
    x = np.zeros((1, 2, *program.input.shape), np.int64)
    written = write_program(program, tmp_path, x, {"engine": "0.1.0"})
    files = {file.name: file.stat().st_size for file in tmp_path.iterdir()}
    assert files.pop("golden.npz") > 0
    assert set(files) == {"payload.bin", "manifest.json"}
    assert files["payload.bin"] == written.program_bytes
    assert sum(files.values()) <= written.program_bytes + 8192 + 200 * 8 + 4 * 8 - MARGIN

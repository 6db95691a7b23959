"""One network as every released ``nir`` package wrote it, flat and nested: the same graph, or a refusal with advice."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from engine.errors import InvalidModel
from engine.network.canonical import digest
from engine.network.nir_reader import read_nir
from engine.network.nir_writer import write_nir

FOLDER = Path(__file__).parent.parent / "fixtures" / "nir_versions"
NEWEST = "1.0.8"
NUMBERED = {"0.0.3", "0.0.4", "0.0.5", "0.0.6"}  # nodes have no names, so that the digest is another
PORTLESS = {"0.0.1", "0.0.2"}


def versions(form: str) -> list[str]:
    return sorted(path.stem.partition("-")[2] for path in FOLDER.glob(f"{form}-*.nir"))


def parameters(path: Path) -> list[tuple[str, dict[str, list[float]]]]:
    """Types and arrays of the nodes in the order of the chain."""
    graph = read_nir(path)
    name, found = graph.input, []
    while True:
        node = graph.nodes[name]
        arrays = {k: v.tolist() for k, v in vars(node).items() if isinstance(v, np.ndarray)}
        found.append((node.kind, arrays))
        if name == graph.output:
            return found
        (name,) = graph.successors(name)


def test_the_files_cover_all_releases() -> None:
    assert len(versions("flat")) == 16
    assert set(versions("nested")) == set(versions("flat")) - PORTLESS - {"0.0.3", "0.0.4", "0.0.5"}


@pytest.mark.parametrize("form", ["flat", "nested"])
def test_every_release_means_the_same_network(form: str, tmp_path: Path) -> None:
    newest = FOLDER / f"{form}-{NEWEST}.nir"
    for version in versions(form):
        path = FOLDER / f"{form}-{version}.nir"
        if version in PORTLESS:
            with pytest.raises(InvalidModel, match=r"no Input or no Output.*0\.0\.3 or newer"):
                read_nir(path)
            continue
        assert parameters(path) == parameters(newest), version
        if version not in NUMBERED:
            assert digest(read_nir(path)) == digest(read_nir(newest)), version
        write_nir(read_nir(path), tmp_path / "again.nir")
        assert digest(read_nir(tmp_path / "again.nir")) == digest(read_nir(path)), version


def test_an_early_output_whose_shape_nothing_fixes_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.nir"
    shutil.copy(FOLDER / "flat-0.0.5.nir", path)
    with h5py.File(path, "r+") as file:
        for name in ("tau", "r", "v_leak", "v_threshold"):
            del file[f"nodes/4/{name}"]
            file[f"nodes/4/{name}"] = np.array(1.0)
    with pytest.raises(InvalidModel) as caught:
        read_nir(path)
    assert "node '5'" in caught.value.detail
    assert "shape" in caught.value.detail


@pytest.mark.parametrize("edges", [np.zeros((2, 3), int), np.array([0, 1]), np.array([[0, 99]])])
def test_damaged_early_edges_are_refused(tmp_path: Path, edges: np.ndarray) -> None:
    path = tmp_path / "x.nir"
    shutil.copy(FOLDER / "flat-0.0.5.nir", path)
    with h5py.File(path, "r+") as file:
        del file["edges"]
        file["edges"] = edges
    with pytest.raises(InvalidModel):
        read_nir(path)

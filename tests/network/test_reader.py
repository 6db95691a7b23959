"""What released exporters wrote is read; what is wrong is refused by name, or mended on request."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import h5py
import nir
import numpy as np
import pytest

from engine.errors import InvalidModel
from engine.network.canonical import digest, from_canonical, read_canonical, to_canonical, write_canonical
from engine.network.graph import Graph
from engine.network.nir_reader import read_nir
from engine.network.nir_writer import write_nir
from engine.network.nodes import IF, NODE_TYPES, AvgPool2d, Conv2d, make_node
from engine.network.shapes import infer_shapes
from tests.hostile.corpus import EDGES, graph, lif, write_graph

PORTS = {"input": {"type": "Input", "shape": np.array([1, 6, 6])}, "output": {"type": "Output", "shape": np.array([4])}}


def read(tmp_path: Path, nodes: dict[str, Any], edges: Any, repair: bool = False) -> Graph:
    write_graph(tmp_path / "x.nir", nodes, edges)
    return read_nir(tmp_path / "x.nir", repair)


def chain(*names: str) -> list[tuple[str, str]]:
    return list(pairwise(names))


def test_conv_with_scalars_text_padding_and_no_hints(tmp_path: Path) -> None:
    nodes = PORTS | {
        "conv": {"type": "Conv2d", "weight": np.ones((1, 1, 3, 3)), "stride": 1, "padding": "same"},
        "pool": {"type": "AvgPool2d", "kernel_size": 3},
        "flat": {"type": "Flatten", "start_dim": 0},
        "if": {"type": "IF", "r": np.array(2.0), "v_threshold": np.array(1.0)},
    }
    read_graph = read(tmp_path, nodes, chain("input", "conv", "if", "pool", "flat", "output"))
    conv, pool, cell = (read_graph.nodes[name] for name in ("conv", "pool", "if"))
    assert isinstance(conv, Conv2d)
    assert (conv.padding, conv.dilation, conv.groups) == ((1, 1), (1, 1), 1)
    assert conv.bias is not None
    assert not conv.bias.any()
    assert isinstance(pool, AvgPool2d)
    assert (pool.kernel_size, pool.stride, pool.padding) == ((3, 3), (3, 3), (0, 0))
    assert isinstance(cell, IF)
    assert cell.shape is None
    assert float(cell.v_reset) == 0.0  # type: ignore[arg-type]
    assert infer_shapes(read_graph).leaving["pool"] == (1, 2, 2)


def test_version_and_metadata_mean_nothing(tmp_path: Path) -> None:
    write_graph(tmp_path / "x.nir")
    with h5py.File(tmp_path / "x.nir", "r+") as file:
        del file["version"]
        file.create_group("node/nodes/lif/metadata").create_dataset("note", data="x")
    write_graph(tmp_path / "y.nir")
    assert digest(read_nir(tmp_path / "x.nir")) == digest(read_nir(tmp_path / "y.nir"))


def test_edges_in_any_order_give_the_same_digest(tmp_path: Path) -> None:
    write_graph(tmp_path / "x.nir")
    write_graph(tmp_path / "y.nir", edges=EDGES[::-1])
    assert digest(read_nir(tmp_path / "x.nir")) == digest(read_nir(tmp_path / "y.nir"))


NESTED = {
    "input": {"type": "Input", "shape": np.array([2])},
    "lif": lif(),
    "w": {"type": "Linear", "weight": np.eye(2)},
    "output": {"type": "Output", "shape": np.array([2])},
}


def test_nested_graphs_become_dotted_names(tmp_path: Path) -> None:
    inner = [("input", "lif"), ("lif", "w"), ("w", "lif"), ("lif", "output")]
    graph(EDGES, lif={"nodes": NESTED, "edges": inner})(tmp_path / "x.nir")
    read_graph = read_nir(tmp_path / "x.nir")
    assert set(read_graph.nodes) == {"input", "fc", "lif.lif", "lif.w", "output"}
    assert ("fc", "lif.lif") in read_graph.edges
    assert ("lif.lif", "output") in read_graph.edges


def test_inner_ports_check_shapes(tmp_path: Path) -> None:
    wrong = NESTED | {"input": {"type": "Input", "shape": np.array([7])}}
    inner = [("input", "lif"), ("lif", "w"), ("w", "lif"), ("lif", "output")]
    graph(EDGES, lif={"nodes": wrong, "edges": inner})(tmp_path / "x.nir")
    with pytest.raises(InvalidModel, match=r"node 'lif\.input': expected shape \(7,\), found \(2,\) from node 'fc'"):
        read_nir(tmp_path / "x.nir")


def test_inner_edge_is_mended_only_when_it_has_one_meaning(tmp_path: Path) -> None:
    inner = [("input", "cell"), ("cell", "w"), ("w", "cell"), ("cell", "output")]
    graph(EDGES, lif={"nodes": NESTED, "edges": inner})(tmp_path / "x.nir")
    with pytest.raises(InvalidModel, match=r"subgraph 'lif': edge 'input' → 'cell'.*known: input, lif.*repair"):
        read_nir(tmp_path / "x.nir")
    assert read_nir(tmp_path / "x.nir", repair=True).repairs == ("subgraph 'lif': edges named 'cell', taken for 'lif'",)
    graph(EDGES, lif={"nodes": NESTED | {"lif2": lif()}, "edges": inner})(tmp_path / "y.nir")
    with pytest.raises(InvalidModel) as caught:
        read_nir(tmp_path / "y.nir", repair=True)
    assert caught.value.code == "dangling_edge"
    assert "repair" not in caught.value.detail


def test_port_shapes_are_mended_on_request(tmp_path: Path) -> None:
    ports = {
        "input": {"type": "Input", "shape": np.array([1, 1, 3])},
        "output": {"type": "Output", "shape": np.array([1, 1, 2])},
    }
    graph(EDGES, **ports)(tmp_path / "x.nir")
    with pytest.raises(InvalidModel, match=r"node 'fc' \(Linear\): expected shape \(3,\), found \(1, 1, 3\)"):
        read_nir(tmp_path / "x.nir")
    mended = read_nir(tmp_path / "x.nir", repair=True)
    assert infer_shapes(mended).leaving["output"] == (2,)
    assert len(mended.repairs) == 2
    graph(EDGES, output={"type": "Output", "shape": np.array([4])})(tmp_path / "y.nir")
    with pytest.raises(InvalidModel, match="no repair has one meaning"):
        read_nir(tmp_path / "y.nir", repair=True)


def test_canonical_file_round_trip_and_damage(tmp_path: Path) -> None:
    write_graph(tmp_path / "x.nir")
    read_graph = read_nir(tmp_path / "x.nir")
    name = write_canonical(read_graph, tmp_path / "x.safetensors")
    assert name == digest(read_canonical(tmp_path / "x.safetensors"))
    data = to_canonical(read_graph)
    for wrong in (b"", data[:40], data[:-1], b"\xff" * 64, data.replace(b'\\"format\\":1', b'\\"format\\":9')):
        with pytest.raises(InvalidModel, match=r"canonical form|header"):
            from_canonical(wrong)


@pytest.mark.parametrize("kind", sorted(NODE_TYPES))
def test_every_type_has_an_equation_or_says_what_it_does(kind: str) -> None:
    text = NODE_TYPES[kind].__doc__ or ""
    assert "=" in text or "axes" in text


def test_nir_package_reads_what_is_written(tmp_path: Path) -> None:
    nodes = PORTS | {
        "conv": {"type": "Conv2d", "weight": np.ones((2, 1, 3, 3), np.float32)},
        "cell": {"type": "LIF", "tau": np.array(0.1), "r": np.array(1.0), "v_leak": np.array(0.0), "v_threshold": 1.0},
        "pool": {"type": "SumPool2d", "kernel_size": 4},
        "flat": {"type": "Flatten", "start_dim": 0},
        "fc": {"type": "Affine", "weight": np.ones((4, 2)), "bias": np.arange(4.0)},
        "out": {"type": "CubaLIF", **{k: np.ones(4) for k in ("tau_syn", "tau_mem", "r", "v_leak", "v_threshold")}},
    }
    ours = read(tmp_path, nodes, chain("input", "conv", "cell", "pool", "flat", "fc", "out", "output"))
    write_nir(ours, tmp_path / "ours.nir")
    theirs = nir.read(tmp_path / "ours.nir")
    assert set(theirs.nodes) == set(ours.nodes)
    assert {tuple(edge) for edge in theirs.edges} == set(ours.edges)
    assert np.array_equal(theirs.nodes["fc"].bias, np.arange(4.0))
    assert theirs.nodes["cell"].tau.shape == (2, 4, 4)
    nir.write(tmp_path / "theirs.nir", theirs)
    assert digest(read_nir(tmp_path / "theirs.nir")) == digest(read_nir(tmp_path / "ours.nir"))


def test_written_files_are_equal_bytes(tmp_path: Path) -> None:
    write_graph(tmp_path / "x.nir")
    for name in ("a", "b"):
        write_nir(read_nir(tmp_path / "x.nir"), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize(
    ("kind", "values", "code", "words"),
    [
        ("Conv2d", {"weight": np.ones((1, 1, 2, 2)), "padding": "same"}, "invalid_parameter", "one side more"),
        ("Conv2d", {"weight": np.ones((1, 1, 3, 3)), "padding": "same", "stride": 2}, "invalid_parameter", "stride"),
        ("Conv2d", {"weight": np.ones((1, 1, 3, 3)), "padding": "full"}, "invalid_parameter", "'full'"),
        ("Conv2d", {"weight": np.ones((3, 1, 3, 3)), "groups": 2}, "invalid_parameter", "do not divide"),
        ("Conv2d", {"weight": np.ones((3, 1, 3, 3)), "bias": np.ones(2)}, "shape_conflict", "(3,), found (2,)"),
        ("Conv2d", {"weight": np.ones((3, 1, 3, 3)), "stride": 1.5}, "invalid_parameter", "whole number"),
        ("SumPool2d", {"kernel_size": [2, 2, 2]}, "invalid_parameter", "one or two"),
        ("SumPool2d", {"kernel_size": 2, "padding": 2}, "invalid_parameter", "half"),
        ("Linear", {"weight": np.ones(3)}, "shape_conflict", "2 axes"),
        ("Linear", {"weight": np.ones((2, 2)), "scale": 1}, "invalid_parameter", "unknown parameter 'scale'"),
        ("Input", {"shape": [0]}, "invalid_parameter", "at least 1"),
        ("Input", {"shape": [2**31, 2**31]}, "invalid_parameter", "whole number"),
        ("Flatten", {"start_dim": [1, 2]}, "invalid_parameter", "one number"),
    ],
)
def test_values_are_refused_by_name(kind: str, values: dict[str, Any], code: str, words: str) -> None:
    with pytest.raises(InvalidModel) as caught:
        make_node("n", kind, values)
    assert caught.value.code == code
    assert words in caught.value.detail
    assert "'n'" in caught.value.detail


@pytest.mark.shared
def test_real_files(shared_data: Path, tmp_path: Path) -> None:
    models = shared_data / "models"
    good = [
        "braille_noDelay_bias_zero",
        "braille_noDelay_noBias_subtract",
        "cnn_sinabs",
        "lif_norse",
        "two_lif_neurons",
    ]
    for name in good:
        ours = read_nir(models / f"{name}.nir")
        assert digest(from_canonical(to_canonical(ours))) == digest(ours)
        write_nir(ours, tmp_path / f"{name}.nir")
        assert len(nir.read(tmp_path / f"{name}.nir").nodes) == len(ours.nodes)
        again = read_nir(tmp_path / f"{name}.nir")
        write_nir(again, tmp_path / "again.nir")
        assert digest(read_nir(tmp_path / "again.nir")) == digest(again)


@pytest.mark.shared
def test_inconsistent_real_files(shared_data: Path) -> None:
    models = shared_data / "models"
    for name, words in (
        ("lif_rockpool", r"node 'output' \(Output\): expected shape \(1, 1, 1\), found \(1,\)"),
        ("braille_noDelay_bias_zero_subgraph", r"subgraph 'lif1'.*'lif', which is not there; known: input, lif1"),
        ("braille_noDelay_noBias_subtract_subgraph", r"subgraph 'lif1'"),
    ):
        with pytest.raises(InvalidModel, match=words):
            read_nir(models / f"{name}.nir")
        assert read_nir(models / f"{name}.nir", repair=True).repairs

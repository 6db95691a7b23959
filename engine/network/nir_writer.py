"""Writes a graph in the HDF5 layout of the ``nir`` package, so that it and every framework behind it can read it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np

from engine.network.graph import Edge, Graph
from engine.network.normal import complete
from engine.network.shapes import infer_shapes

LAYOUT_VERSION = "1.0.8"  # the nir release whose layout this is


def write_nir(graph: Graph, path: Path, edges: Sequence[Edge] | None = None) -> None:
    """Write a flat graph as a NIR file.

    What the ``nir`` package insists on and a file may lack is filled in: shapes of convolutions and Flatten, zero
    biases of convolutions, zero resets, parameters in the shape of their layer. Equal graphs give equal files.

    Args:
        graph: the graph.
        path: the file to write; an existing one is replaced.
        edges: the graph's edges in the order that the file gets, for readers to which it matters; None: sorted.

    Raises:
        InvalidModel: ``shape_conflict``, where shapes do not fit.
    """
    shapes = infer_shapes(graph)
    with h5py.File(path, "w") as file:
        file.create_dataset("version", data=LAYOUT_VERSION, dtype=h5py.string_dtype())
        top = file.create_group("node")
        top.create_dataset("type", data="NIRGraph", dtype=h5py.string_dtype())
        order = np.array(graph.edges if edges is None else edges, dtype=object).reshape(-1, 2)
        top.create_dataset("edges", data=order, dtype=h5py.string_dtype())
        nodes = top.create_group("nodes")
        for name, node in graph.nodes.items():
            group = nodes.create_group(name)
            group.create_dataset("type", data=node.kind, dtype=h5py.string_dtype())
            for key, value in complete(node, name, shapes).items():
                options = {"compression": "gzip"} if np.asarray(value).ndim else {}
                group.create_dataset(key, data=value, **options)

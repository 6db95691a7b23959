"""Writes a graph in the HDF5 layout of the ``nir`` package, so that it and every framework behind it can read it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from engine.network.fields import Shape
from engine.network.graph import Graph
from engine.network.nodes import Conv2d, Flatten, Neuron, Node
from engine.network.shapes import infer_shapes

LAYOUT_VERSION = "1.0.8"  # the nir release whose layout this is


def write_nir(graph: Graph, path: Path) -> None:
    """Write a flat graph as a NIR file.

    What the ``nir`` package insists on and a file may lack is filled in: shapes of convolutions and Flatten, zero
    biases of convolutions, zero resets, parameters in the shape of their layer. Equal graphs give equal files.

    Args:
        graph: the graph.
        path: the file to write; an existing one is replaced.

    Raises:
        InvalidModel: ``shape_conflict``, where shapes do not fit.
    """
    shapes = infer_shapes(graph)
    with h5py.File(path, "w") as file:
        file.create_dataset("version", data=LAYOUT_VERSION, dtype=h5py.string_dtype())
        top = file.create_group("node")
        top.create_dataset("type", data="NIRGraph", dtype=h5py.string_dtype())
        edges = np.array(graph.edges, dtype=object).reshape(-1, 2)
        top.create_dataset("edges", data=edges, dtype=h5py.string_dtype())
        nodes = top.create_group("nodes")
        for name, node in graph.nodes.items():
            group = nodes.create_group(name)
            group.create_dataset("type", data=node.kind, dtype=h5py.string_dtype())
            for key, value in _complete(node, shapes.entering.get(name)).items():
                options = {"compression": "gzip"} if np.asarray(value).ndim else {}
                group.create_dataset(key, data=value, **options)


def _complete(node: Node, given: Shape | None) -> dict[str, Any]:
    """Fields by name, absent ones filled in from the shape that enters."""
    values = {entry.name: getattr(node, entry.name) for entry in fields(node)}
    if isinstance(node, Neuron):
        shape = node.shape or given or ()
        values = {key: None if value is None else np.broadcast_to(value, shape) for key, value in values.items()}
        defaults = {"v_reset": 0.0, "w_in": 1.0}
        for key, default in defaults.items():
            if key in values and values[key] is None:
                values[key] = np.full(shape, default)
    if isinstance(node, Conv2d):
        values["bias"] = np.zeros(len(node.weight), node.weight.dtype) if node.bias is None else node.bias
        values["input_shape"] = node.input_shape or (given and given[1:])
    if isinstance(node, Flatten):
        values["input_type"] = node.input_type or given
    return {key: value for key, value in values.items() if value is not None}

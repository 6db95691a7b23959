"""Reads what any released ``nir`` package wrote, flat or nested, into a checked flat graph.

Decisions follow from the fields that are present, never from the file's version string: real files say 0.1.1, 0.2.0
and 1.0.x and mean the same (ECOSYSTEM sections 1 and 2).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from engine.errors import InvalidModel
from engine.network.early_nir import modernise
from engine.network.graph import Edge, Graph, check_name
from engine.network.hdf5_safe import Hdf5Limits, Tree, read_tree
from engine.network.nested import RawGraph, flatten
from engine.network.nodes import make_node
from engine.network.normal import normalise
from engine.network.repair import repair_ports
from engine.network.shapes import infer_shapes

MAX_NODES = 4096
MAX_EDGES = 65_536


def read_nir(path: Path, repair: bool = False, limits: Hdf5Limits | None = None) -> Graph:
    """A NIR file as a flat graph whose shapes fit.

    Args:
        path: an HDF5 file of the ``nir`` package.
        repair: mend what is inconsistent but has one meaning: inner edges that name a missing node while exactly one
            inner node has no edge, and Input or Output shapes that differ from the network's by axes of size 1.
        limits: bounds on what the file may declare.

    Returns:
        The graph in its normal form (:mod:`engine.network.normal`); ``graph.repairs`` lists what was mended.

    Raises:
        InvalidModel: with a stable code, the node's name, what was expected and what was found.
    """
    tree = modernise(read_tree(path, limits))
    top = tree.get("node")
    if not isinstance(top, dict) or "nodes" not in top:
        raise InvalidModel("not_nir", "expected a group 'node' that holds a NIRGraph, found " + _names(tree), None)
    flat = flatten(_raw_graph(top, "", 0), repair)
    if len(flat.nodes) > MAX_NODES:
        raise InvalidModel("too_large", f"expected at most {MAX_NODES} nodes, found {len(flat.nodes)}", None)
    graph = Graph(flat.nodes, tuple(flat.edges), tuple(flat.repairs))
    if repair:
        graph = repair_ports(graph)
    shapes = infer_shapes(graph)
    for port, declared, feeders in flat.declared:
        for feeder in feeders:
            found = shapes.leaving.get(feeder, declared)
            if found != declared and not repair:
                detail = f"node {port!r}: expected shape {declared}, found {found} from node {feeder!r}"
                raise InvalidModel("shape_conflict", detail, port)
    return normalise(graph)


def _raw_graph(tree: Tree, where: str, depth: int) -> RawGraph:
    nodes = tree.get("nodes")
    if not isinstance(nodes, dict):
        raise InvalidModel(
            "not_nir", f"graph {where!r}: expected a group 'nodes', found " + _names(tree), where or None
        )
    built: dict[str, Any] = {}
    for name, item in nodes.items():
        check_name(name)
        full = f"{where}.{name}" if where else name
        if not isinstance(item, dict):
            raise InvalidModel("not_nir", f"node {full!r}: expected a group, found a dataset", full)
        kind = _text(item.get("type"), full)
        if kind == "NIRGraph":
            built[name] = _raw_graph(item, full, depth + 1)
            continue
        values = {key: _value(value) for key, value in item.items() if not isinstance(value, dict)}
        built[name] = make_node(full, kind, values)
    return RawGraph(built, _edges(tree.get("edges"), where))


def _edges(value: Any, where: str) -> tuple[Edge, ...]:
    name = where or "the graph"
    if value is None:
        raise InvalidModel("not_nir", f"{name}: expected a dataset 'edges', found none", where or None)
    array = np.asarray(value)
    if array.size == 0:
        return ()
    if array.ndim != 2 or array.shape[1] != 2:
        raise InvalidModel(
            "not_nir", f"{name}: expected edges of shape (number, 2), found {array.shape}", where or None
        )
    if len(array) > MAX_EDGES:
        raise InvalidModel(
            "too_large", f"{name}: expected at most {MAX_EDGES} edges, found {len(array)}", where or None
        )
    return tuple((_text(source, name), _text(target, name)) for source, target in array)


def _text(value: Any, where: str) -> str:
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.ravel()[0]
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        raise InvalidModel("not_nir", f"{where!r}: expected a text, found {type(value).__name__}", where)
    return str(value)


def _value(value: Any) -> Any:
    """Texts that h5py returns as arrays of one object become bytes."""
    if isinstance(value, np.ndarray) and value.dtype == object and value.size == 1:
        return value.ravel()[0]
    return value


def _names(tree: Any) -> str:
    return ", ".join(sorted(tree)[:16]) or "nothing" if isinstance(tree, dict) else "a dataset"

"""Files of ``nir`` 0.0.1 to 0.0.6 brought into the layout of the later ones.

Those packages kept nodes in a list, so that nodes and the ends of edges are numbers; up to 0.0.5 there is no group
``node`` around the graph. ``Linear`` carried a bias and ``weights``, a threshold was called ``theta`` or ``v_th``, and
Output had no shape (source: the ``nir`` packages themselves). What they leave open is filled in only where the file
fixes it: the shape of what feeds the Output.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from engine.errors import InvalidModel
from engine.network.hdf5_safe import Tree

RENAMED = {"weights": "weight", "theta": "v_threshold", "v_th": "v_threshold"}
_PER_NEURON = ("tau", "tau_mem", "v_threshold", "threshold", "r")


def modernise(tree: Tree) -> Tree:
    """The tree as ``nir`` from 0.1.0 on lays it out; what is not early is returned as it is.

    Raises:
        InvalidModel: ``missing_node`` where there is no Input or Output, as before 0.0.3.
    """
    if "node" not in tree and isinstance(tree.get("nodes"), dict) and "edges" in tree:
        tree = {"node": {"type": b"NIRGraph", **tree}}
        _require_ports(tree["node"]["nodes"])
    top = tree.get("node")
    return {**tree, "node": _graph(top)} if isinstance(top, dict) and _is_early(top) else tree


def _is_early(graph: Tree) -> bool:
    edges = np.asarray(graph.get("edges"))
    return isinstance(graph.get("nodes"), dict) and edges.dtype.kind in "iu"


def _require_ports(nodes: Tree) -> None:
    kinds = [_kind(node) for node in nodes.values()]
    if "Input" not in kinds or "Output" not in kinds:
        detail = (
            "the file has no Input or no Output node, as nir before 0.0.3 wrote it, and so no shape of its input; "
            "expected a file of nir 0.0.3 or newer: write the network again"
        )
        raise InvalidModel("missing_node", detail, None)


def _graph(graph: Tree) -> Tree:
    nodes = {name: _node(node) for name, node in graph["nodes"].items()}
    ends = np.asarray(graph["edges"])
    if ends.ndim != 2 or ends.shape[1] != 2:
        return {**graph, "nodes": nodes}  # the reader refuses such edges
    edges = [(str(a), str(b)) for a, b in ends.tolist()]
    for name, node in nodes.items():
        if isinstance(node, dict) and _kind(node) == "Output" and "shape" not in node:
            feeders = [source for source, target in edges if target == name]
            shape = _leaving(nodes.get(feeders[0])) if len(feeders) == 1 else None
            if shape is not None:
                node["shape"] = shape
    written = np.array(edges, dtype=object).reshape(-1, 2)
    return {**graph, "nodes": nodes, "edges": written}


def _node(node: Any) -> Any:
    if not isinstance(node, dict):
        return node
    if _kind(node) == "NIRGraph" and _is_early(node):
        return _graph(node)
    renamed = {RENAMED.get(key, key): value for key, value in node.items()}
    if _kind(node) == "Linear" and "bias" in node:
        renamed["type"] = b"Affine"
    return renamed


def _leaving(node: Any) -> Any:
    """The shape that leaves a node whose parameters fix it."""
    if not isinstance(node, dict):
        return None
    if _kind(node) == "NIRGraph":
        inner = [n.get("shape") for n in node.get("nodes", {}).values() if _kind(n) == "Output"]
        return inner[0] if len(inner) == 1 else None
    if "weight" in node and np.ndim(node["weight"]) == 2:
        return np.array([np.shape(node["weight"])[0]])
    found = [np.shape(node[key]) for key in _PER_NEURON if key in node and np.ndim(node[key]) > 0]
    return np.array(found[0]) if found else None


def _kind(node: Any) -> str:
    value = node.get("type") if isinstance(node, dict) else None
    if isinstance(value, np.ndarray) and value.size == 1:
        value = value.ravel()[0]
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)

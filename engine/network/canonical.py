"""The canonical form of a graph: safetensors with one metadata key, ``graph``, that holds sorted JSON.

The same graph always gives the same bytes, whatever file it was read from; the digest of these bytes names the model.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from engine.errors import InvalidModel
from engine.network.graph import Graph
from engine.network.nodes import make_node
from engine.network.normal import normalise

FORMAT = 1
MAX_HEADER = 1 << 20


def to_canonical(graph: Graph) -> bytes:
    """The canonical bytes of a graph in its normal form; ``repairs`` are not part of them.

    Example:
        >>> shape = {"shape": [2]}
        >>> graph = Graph({"a": make_node("a", "Input", shape), "b": make_node("b", "Output", shape)}, (("a", "b"),))
        >>> to_canonical(from_canonical(to_canonical(graph))) == to_canonical(graph)
        True
    """
    tensors: dict[str, NDArray[Any]] = {}
    nodes: dict[str, Any] = {}
    for name, node in normalise(graph).nodes.items():
        record: dict[str, Any] = {"type": node.kind}
        for entry in fields(node):
            value = getattr(node, entry.name)
            if isinstance(value, np.ndarray):
                tensors[f"{name}/{entry.name}"] = value
            elif value is not None:
                record[entry.name] = value
        nodes[name] = record
    document = {"format": FORMAT, "nodes": nodes, "edges": graph.edges}
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return bytes(save(tensors, metadata={"graph": text}))


def from_canonical(data: bytes) -> Graph:
    """The graph of canonical bytes.

    Raises:
        InvalidModel: ``not_canonical``, or what the nodes themselves refuse.
    """
    size = int.from_bytes(data[:8], "little")
    if len(data) < 8 or size > min(MAX_HEADER, len(data) - 8):
        raise InvalidModel("not_canonical", f"expected a safetensors header of at most {MAX_HEADER} bytes", None)
    try:
        header = json.loads(data[8 : 8 + size])
        document = json.loads(header["__metadata__"]["graph"])
        tensors = load(data)
        if document["format"] != FORMAT:
            raise ValueError(f"expected format {FORMAT}, found {document['format']}")
        values: dict[str, dict[str, Any]] = {name: dict(record) for name, record in document["nodes"].items()}
        for key, array in tensors.items():
            name, _, entry = key.rpartition("/")
            values[name][entry] = array
        kinds = {name: str(record.pop("type")) for name, record in values.items()}
        edges = tuple((str(source), str(target)) for source, target in document["edges"])
    except (SafetensorError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InvalidModel("not_canonical", f"expected a model in canonical form: {str(error)[:200]}", None) from error
    return Graph({name: make_node(name, kinds[name], record) for name, record in values.items()}, edges)


def write_canonical(graph: Graph, path: Path) -> str:
    """Write the canonical form; the SHA-256 of what was written, in hex."""
    data = to_canonical(graph)
    path.write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def read_canonical(path: Path) -> Graph:
    """The graph of a canonical file; see :func:`from_canonical`."""
    return from_canonical(path.read_bytes())


def digest(graph: Graph) -> str:
    """SHA-256 of the canonical bytes, in hex."""
    return hashlib.sha256(to_canonical(graph)).hexdigest()

"""Linear maps that an importer does not read, as ones that it does; names that it takes."""

from __future__ import annotations

import keyword
import re
from collections.abc import Set
from dataclasses import fields, replace

import numpy as np

from engine.errors import NotRepresentable
from engine.exports.frameworks.importers import Importer
from engine.exports.frameworks.weights import Draft
from engine.network.graph import Edge
from engine.network.nodes import (
    Affine,
    AvgPool2d,
    Conv2d,
    Flatten,
    Input,
    Linear,
    Neuron,
    Node,
    Output,
    SumPool2d,
    make_node,
)

# Names that torch.nn.ModuleDict, or a generated forward(), has for itself.
_TAKEN = frozenset(
    [
        "add_module",
        "apply",
        "bfloat16",
        "buffers",
        "children",
        "clear",
        "compile",
        "cpu",
        "cuda",
        "double",
        "dump_patches",
        "eval",
        "extra_repr",
        "float",
        "forward",
        "get_buffer",
        "get_extra_state",
        "get_parameter",
        "get_submodule",
        "half",
        "input",
        "ipu",
        "items",
        "keys",
        "load_state_dict",
        "module",
        "modules",
        "mtia",
        "named_buffers",
        "named_children",
        "named_modules",
        "named_parameters",
        "operator",
        "parameters",
        "pop",
        "register_buffer",
        "register_module",
        "register_parameter",
        "requires_grad_",
        "self",
        "set_extra_state",
        "set_submodule",
        "share_memory",
        "state",
        "state_dict",
        "to",
        "to_empty",
        "torch",
        "train",
        "training",
        "type",
        "update",
        "values",
        "xpu",
        "zero_grad",
    ]
)


def fit_maps(draft: Draft, importer: Importer, loops: Set[Edge]) -> None:
    """Rewrite pools, groups and axes that the importer would read otherwise.

    Raises:
        NotRepresentable: ``node_not_importable``, for a node that it does not know.
    """
    for name in list(draft.nodes):
        node = draft.nodes[name]
        if isinstance(node, SumPool2d):
            if isinstance(node, AvgPool2d) != importer.average_pools:
                _exchange_pool(draft, name, node)
            elif not importer.average_pools and not _sums_spikes(draft, name, node):
                draft.nodes[name] = _pool_as_convolution(name, node, draft.shapes.entering[name][0])
        elif isinstance(node, Conv2d):
            draft.nodes[name] = replace(_ungrouped(name, node), input_shape=None)
        elif isinstance(node, Flatten):  # counted from the end: the importers' own count meets the batch
            rank = len(draft.shapes.entering[name])
            start, end = node.axes(rank)
            draft.nodes[name] = make_node(name, "Flatten", {"start_dim": start - rank, "end_dim": end - rank})
        elif not isinstance(node, Input | Output | Linear | Affine | Neuron):
            detail = f"node {name!r} ({node.kind}): {importer.name}'s importer does not know it"
            raise NotRepresentable("node_not_importable", detail, name)
    if importer.hides_loops:
        for edge in sorted(loops & set(draft.edges)):
            draft.insert(edge, draft.fresh(f"{edge[0]}_late"), make_node(edge[0], "Flatten", {"start_dim": -1}))


def legal_names(draft: Draft) -> dict[str, str]:
    """Rename nodes so that every name is an identifier of its own; new names by old ones.

    Dots become ``_``, as nirtorch would make them; where two names would meet, or torch has the name for itself, ``_2``
    or ``node_`` is added.
    """
    renamed: dict[str, str] = {}
    used: set[str] = set()
    for old, node in draft.nodes.items():
        name = re.sub(r"\W", "_", old)
        if not isinstance(node, Input | Output) and (name in _TAKEN or keyword.iskeyword(name)):
            name = f"node_{name}"
        wish, count = name, 2
        while name in used:
            name, count = f"{wish}_{count}", count + 1
        used.add(name)
        if name != old:
            renamed[old] = name
    draft.nodes = {renamed.get(name, name): node for name, node in draft.nodes.items()}
    draft.edges = [(renamed.get(a, a), renamed.get(b, b)) for a, b in draft.edges]
    return renamed


def _exchange_pool(draft: Draft, name: str, node: SumPool2d) -> None:
    """The other kind of pool, with the windows' size in the weights behind it; a convolution where there are none."""
    averages = isinstance(node, AvgPool2d)
    behind = _weights_behind(draft, name)
    if behind is None or (averages and not _sums_spikes(draft, name, node)):
        draft.nodes[name] = _pool_as_convolution(name, node, draft.shapes.entering[name][0])
        return
    size = node.kernel_size[0] * node.kernel_size[1]
    weights = draft.nodes[behind]
    values = {entry.name: getattr(weights, entry.name) for entry in fields(weights)}
    values["weight"] = values["weight"] * (1.0 / size if averages else float(size))
    draft.nodes[behind] = make_node(behind, weights.kind, values)
    options = {"kernel_size": node.kernel_size, "stride": node.stride, "padding": node.padding}
    draft.nodes[name] = make_node(name, "SumPool2d" if averages else "AvgPool2d", options)


def _sums_spikes(draft: Draft, name: str, node: SumPool2d) -> bool:
    """Whether torch's LPPool2d, which Norse makes of a sum, is one here: nothing negative enters, and no padding."""
    (before,) = [source for source, target in draft.edges if target == name]
    return isinstance(draft.nodes[before], Neuron) and node.padding == (0, 0)


def _weights_behind(draft: Draft, name: str) -> str | None:
    """The one weight that a node feeds, over Flattens."""
    while True:
        feeds = [target for source, target in draft.edges if source == name]
        if len(feeds) != 1:
            return None
        (name,) = feeds
        if isinstance(draft.nodes[name], Linear | Conv2d):
            return name
        if not isinstance(draft.nodes[name], Flatten):
            return None


def _pool_as_convolution(name: str, node: SumPool2d, channels: int) -> Node:
    height, width = node.kernel_size
    weight = np.zeros((channels, channels, height, width))
    weight[np.arange(channels), np.arange(channels)] = 1.0 / (height * width) if isinstance(node, AvgPool2d) else 1.0
    values = {"weight": weight, "bias": np.zeros(channels), "stride": node.stride, "padding": node.padding}
    return make_node(name, "Conv2d", values)


def _ungrouped(name: str, node: Conv2d) -> Conv2d:
    """The same convolution in one group: the importers do not count the channels of several."""
    if node.groups == 1:
        return node
    out, inner = node.weight.shape[0] // node.groups, node.weight.shape[1]
    weight = np.zeros((node.weight.shape[0], inner * node.groups, *node.weight.shape[2:]), node.weight.dtype)
    for group in range(node.groups):
        rows = slice(group * out, (group + 1) * out)
        weight[rows, group * inner : (group + 1) * inner] = node.weight[rows]
    values = {entry.name: getattr(node, entry.name) for entry in fields(node)}
    made = make_node(name, "Conv2d", values | {"weight": weight, "groups": 1})
    if not isinstance(made, Conv2d):
        raise TypeError("make_node makes what it is asked for")
    return made

"""The layers of a network in the order in which a step runs them, and what feeds each: a chain, or a traced forward.

A ``Sequential`` (nested or not, of whatever framework) is a chain. Any other module is traced by ``torch.fx``: its
``forward`` takes the input of one step and calls layers that keep their own state; values may be added and flattened.
"""

from __future__ import annotations

import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from spikebit.capture.errors import CannotCapture

INPUT = "input"
_FRAMEWORKS = frozenset({"norse", "rockpool", "sinabs", "snntorch", "spikingjelly"})
_ADD = (operator.add, operator.iadd, torch.add)


@dataclass(frozen=True)
class Step:
    """One layer, or a sum (``module`` is None); ``inputs`` are names of steps, or :data:`INPUT`."""

    name: str
    module: torch.nn.Module | None
    inputs: tuple[str, ...]


def steps_of(net: torch.nn.Module) -> list[Step]:
    """The steps of a network; the last one is its output.

    Raises:
        CannotCapture: a forward that cannot be traced, or does something else than call layers, add and flatten.
    """
    if _is_chain(net):
        names = [INPUT]
        made = []
        for name, module in _chain(net):
            made.append(Step(name, module, (names[-1],)))
            names.append(name)
        return made
    return _traced(net)


def _is_chain(module: torch.nn.Module) -> bool:
    return "Sequential" in type(module).__name__ or _is_layer(module)


def _is_layer(module: torch.nn.Module) -> bool:
    return type(module).__module__.split(".")[0] in _FRAMEWORKS or type(module).__module__.startswith("torch.nn")


def _chain(module: torch.nn.Module, name: str = "") -> Iterator[tuple[str, torch.nn.Module]]:
    """The layers of a chain in order, by dotted name."""
    if "Sequential" not in type(module).__name__:
        yield name or "net", module
        return
    for inner, child in module.named_children():
        yield from _chain(child, f"{name}.{inner}" if name else inner)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: torch.nn.Module, qualified_name: str) -> bool:
        return _is_layer(module) and "Sequential" not in type(module).__name__


def _traced(net: torch.nn.Module) -> list[Step]:
    try:
        graph = _Tracer().trace(net)
    except Exception as error:
        detail = (
            f"{type(net).__name__}.forward cannot be traced ({str(error)[:200]}): it should take the input of one time "
            "step and call layers that keep their own state; write a chain as a Sequential"
        )
        raise CannotCapture(detail) from error
    given = [node for node in graph.nodes if node.op == "placeholder" and node.users]
    if len(given) != 1:
        raise CannotCapture(f"{type(net).__name__}.forward: expected one input, found {len(given)}")
    names, made, called = {given[0]: INPUT}, [], set()
    for node in graph.nodes:
        if node.op in ("placeholder", "output") or not node.users:
            continue
        name, module = _step(net, node)
        if name in called:
            raise CannotCapture(f"layer {name} is called twice in a step: its state would advance twice")
        called.add(name)
        names[node] = name
        made.append(Step(name, module, tuple(names[one] for one in node.all_input_nodes)))
    (end,) = [node for node in graph.nodes if node.op == "output"]
    result = end.args[0]
    if not isinstance(result, fx.Node) or names.get(result) != (made[-1].name if made else None):
        raise CannotCapture(f"{type(net).__name__}.forward: expected it to return what its last layer puts out")
    return made


def _step(net: torch.nn.Module, node: fx.Node) -> tuple[str, torch.nn.Module | None]:
    if node.op == "call_module":
        return str(node.target), net.get_submodule(str(node.target))
    adds = node.op == "call_function" and node.target in _ADD and not node.kwargs
    if adds and all(isinstance(one, fx.Node) for one in node.args):
        return node.name, None
    if node.target in (torch.flatten, "flatten"):
        start, end = _axes(*node.args[1:], **node.kwargs)
        return node.name, torch.nn.Flatten(start, end)
    raise CannotCapture(f"forward does {node.name}: expected calls of layers, sums of their values, and flatten")


def _axes(start_dim: Any = 0, end_dim: Any = -1) -> tuple[int, int]:
    if start_dim == 0:
        raise CannotCapture("flatten from axis 0 would join the samples: expected start_dim=1")
    return int(start_dim), int(end_dim)

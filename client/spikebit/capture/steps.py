"""The layers of a network in the order in which a step runs them, and what feeds each: a chain, or a traced forward.

A ``Sequential`` of torch or of a framework (nested or not) is a chain, and so is a class derived from one that keeps
its ``forward``. Any other module is traced by ``torch.fx``: its ``forward`` takes the input of one step, calls layers
that keep their own state, adds values and flattens them.
"""

from __future__ import annotations

import itertools
import operator
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from spikebit.capture.errors import CannotCapture

INPUT = ""  # no layer can be called that
_FRAMEWORKS = frozenset({"norse", "rockpool", "sinabs", "snntorch", "spikingjelly"})
_CHAINS = {  # whose forward runs what it holds in order
    ("torch", "Sequential.forward"),
    ("norse", "SequentialState.forward"),
    ("rockpool", "TorchSequential.forward"),
}
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
    if _is_chain(net) or _is_layer(net):
        names = [INPUT]
        made = []
        for name, module in _chain(net):
            made.append(Step(name, module, (names[-1],)))
            names.append(name)
        return made
    return _traced(net)


def free_name(name: str, taken: Collection[str]) -> str:
    """``name``, or with the first number behind it that makes it a new one."""
    numbered = (f"{name}_{number}" for number in itertools.count(1))
    return name if name not in taken else next(one for one in numbered if one not in taken)


def _is_chain(module: torch.nn.Module) -> bool:
    forward = type(module).forward
    own = (forward.__module__.split(".")[0], forward.__qualname__) in _CHAINS
    return own and "forward" not in vars(module)


def _is_layer(module: torch.nn.Module) -> bool:
    return type(module).__module__.split(".")[0] in _FRAMEWORKS or type(module).__module__.startswith("torch.nn")


def _chain(module: torch.nn.Module, name: str = "") -> Iterator[tuple[str, torch.nn.Module]]:
    """The layers of a chain in order, by dotted name."""
    if not _is_chain(module):
        yield name or "net", module
        return
    if getattr(module, "return_hidden", False):
        raise CannotCapture(f"{name or 'the network'}: SequentialState with return_hidden; expected one output")
    for inner, child in module._modules.items():  # named_children() leaves out a layer's second place
        if child is None:
            raise CannotCapture(f"layer {name}.{inner} is None")
        yield from _chain(child, f"{name}.{inner}" if name else inner)


class _Tracer(fx.Tracer):
    def is_leaf_module(self, module: torch.nn.Module, qualified_name: str) -> bool:
        return _is_layer(module) and not _is_chain(module)


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
    names = {given[0]: INPUT}
    made: list[Step] = []
    taken = {name for name, _ in net.named_modules(remove_duplicate=False)}
    for node in graph.nodes:
        if node.op in ("placeholder", "output") or not node.users:
            continue
        name, module = _step(net, node)
        if name in {step.name for step in made} or (node.op != "call_module" and name in taken):
            name = free_name(name, taken)
        taken.add(name)
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

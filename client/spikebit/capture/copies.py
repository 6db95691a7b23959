"""Copies of networks as training leaves them: a module may keep tensors of the last graph, which deepcopy refuses."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from types import BuiltinFunctionType, FunctionType, MethodType, ModuleType
from typing import Any

import torch

_OPAQUE = (type, FunctionType, BuiltinFunctionType, MethodType, ModuleType, str, bytes, int, float, complex)


def copied(net: torch.nn.Module, memo: dict[int, Any] | None = None) -> torch.nn.Module:
    """A deep copy, in which what belongs to a graph (membranes, spikes, losses) is cut from it; ``net`` is left alone.

    Args:
        net: the network.
        memo: copies that are made already, by the ``id`` of what they copy.
    """
    known = {} if memo is None else memo
    for value in _held(net):
        if isinstance(value, torch.Tensor) and not value.is_leaf and id(value) not in known:
            known[id(value)] = value.detach().clone()
    return copy.deepcopy(net, known)


def _held(root: Any) -> Iterator[Any]:
    """Everything that an object holds: attributes (of a module: buffers and parts too), items and elements."""
    seen, waiting = set(), [root]
    while waiting:
        one = waiting.pop()
        if id(one) in seen or isinstance(one, _OPAQUE):
            continue
        seen.add(id(one))
        yield one
        if isinstance(one, Mapping):
            waiting += one.values()
        elif isinstance(one, list | tuple | set | frozenset):
            waiting += one
        else:
            waiting += getattr(one, "__dict__", {}).values()

"""Layers that share a cycle, and so have to step together."""

from __future__ import annotations

from collections.abc import Iterable

from engine.network.model import Connection


def components_of(names: tuple[str, ...], connections: Iterable[Connection]) -> tuple[tuple[int, ...], ...]:
    """Strongly connected groups of layers, as indices in execution order (a layer alone is a group too).

    Tarjan 1972, "Depth-first search and linear graph algorithms", SIAM J. Comput. 1(2): linear in layers and
    connections; with a stack of its own, as a chain may be longer than Python's.

    Args:
        names: layers in execution order.
        connections: those from anything else than these layers are left out.

    Returns:
        Groups in the order of their first layers, each in execution order.
    """
    index = {name: k for k, name in enumerate(names)}
    targets: list[list[int]] = [[] for _ in names]
    for connection in connections:
        if connection.source in index:
            targets[index[connection.source]].append(index[connection.target])
    seen: dict[int, int] = {}  # layer → when the walk met it
    low = [0] * len(names)  # the earliest layer on the walk that a layer reaches
    open_layers: list[int] = []
    is_open = [False] * len(names)
    groups: list[tuple[int, ...]] = []
    for start in range(len(names)):
        if start in seen:
            continue
        walk = [(start, iter(targets[start]))]
        while walk:
            k, rest = walk[-1]
            if k not in seen:
                seen[k] = low[k] = len(seen)
                open_layers.append(k)
                is_open[k] = True
            for target in rest:
                if target not in seen:
                    walk.append((target, iter(targets[target])))
                    break
                if is_open[target]:
                    low[k] = min(low[k], seen[target])
            else:
                walk.pop()
                if walk:
                    low[walk[-1][0]] = min(low[walk[-1][0]], low[k])
                if low[k] == seen[k]:
                    groups.append(_close(k, open_layers, is_open))
    return tuple(sorted(groups))


def _close(root: int, open_layers: list[int], is_open: list[bool]) -> tuple[int, ...]:
    """The group of ``root``: all layers that were met since and are still open."""
    group: list[int] = []
    while not group or group[-1] != root:
        group.append(open_layers.pop())
        is_open[group[-1]] = False
    return tuple(sorted(group))

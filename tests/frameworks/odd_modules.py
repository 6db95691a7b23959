"""Modules of unusual shape for ``more_networks.py``: skips, sums, shared and repeated layers. torch alone."""

from __future__ import annotations

from collections.abc import Callable

import torch


class Skip(torch.nn.Module):
    """16 inputs; what the first layer fires reaches the last one twice, once past the second, once as a plain sum."""

    def __init__(self, *cells: torch.nn.Module) -> None:
        super().__init__()
        self.fc1, self.fc2, self.fc3 = torch.nn.Linear(16, 12), torch.nn.Linear(12, 12), torch.nn.Linear(12, 4)
        self.over = torch.nn.Linear(12, 4, bias=False)
        self.one, self.two, self.out = cells
        for layer in (self.fc1, self.fc2, self.fc3, self.over):
            layer.weight.data *= 3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = self.one(self.fc1(x))
        two = self.two(self.fc2(one) + one)
        return self.out(self.fc3(two) + self.over(one))


class Add(Skip):
    """A layer called as the sum before it would be."""

    def __init__(self, *cells: torch.nn.Module) -> None:
        super().__init__(*cells)
        self.add = self.fc3
        del self.fc3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = self.one(self.fc1(x))
        return self.out(self.add(self.two(self.fc2(one) + one)))


class Pools(torch.nn.Module):
    """One pool, called twice in a step."""

    def __init__(self, *cells: torch.nn.Module) -> None:
        super().__init__()
        self.conv, self.over = torch.nn.Conv2d(1, 2, 3, padding=1), torch.nn.Conv2d(2, 2, 3, padding=1)
        self.fc, self.pool = torch.nn.Linear(8, 4), torch.nn.AvgPool2d(2)
        self.one, self.two, self.out = cells
        for layer in (self.conv, self.over, self.fc):
            layer.weight.data *= 3

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = self.pool(self.one(self.conv(x)))
        return self.out(self.fc(self.pool(self.two(self.over(one))).flatten(1)))


class NoSequential(torch.nn.Module):
    """A name and an order of attributes that say nothing about what runs."""

    def __init__(self, *cells: torch.nn.Module) -> None:
        super().__init__()
        self.after, self.fc, self.first = cells[1], torch.nn.Linear(16, 16), cells[0]

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.first(self.fc(x) + x)


class Halved(torch.nn.Sequential):
    """A chain whose forward is not the chain's."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x / 2)


class Hooked(torch.nn.Sequential):
    """A chain that halves what enters, in a hook."""

    def __init__(self, *layers: torch.nn.Module) -> None:
        super().__init__(*layers)
        self.register_forward_pre_hook(lambda _, given: (given[0] / 2,))


def tied(make: Callable[[], torch.nn.Module]) -> list[torch.nn.Module]:
    """One weight stands twice."""
    first, again, last = torch.nn.Linear(16, 24), torch.nn.Linear(24, 24), torch.nn.Linear(24, 4)
    for layer in (first, again, last):
        layer.weight.data *= 3
    return [first, make(), again, make(), again, make(), last, make()]


def twice(cell: torch.nn.Module, last: torch.nn.Module) -> list[torch.nn.Module]:
    """One layer of neurons stands twice."""
    weights = [torch.nn.Linear(16, 24), torch.nn.Linear(24, 24), torch.nn.Linear(24, 4)]
    return [weights[0], cell, weights[1], cell, weights[2], last]


class Wrong(Skip):
    """A sum before a weight."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        one = self.one(self.fc1(x))
        return self.out(self.fc3(self.two(self.fc2(one)) + one))


class Shared(Skip):
    """A layer twice in a step."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.fc3(self.one(self.one(self.fc1(x)))))


class Loop(Skip):
    """A loop over time, which only the caller may have."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        total = x.sum()
        while total > 0:
            total = total - 1
        return total

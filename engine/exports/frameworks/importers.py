"""Which frameworks a network can be written for: one entry each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from engine.exports.frameworks import to_norse, to_snntorch, to_spikingjelly
from engine.exports.frameworks.cell import Cell, Written
from engine.specs.frameworks import Framework


@dataclass(frozen=True)
class Importer:
    """A framework's own reader of NIR.

    Attributes:
        name: the framework as it writes itself.
        dt_s: the step that its reader assumes by default, and that files for it are written with.
        average_pools: whether it reads AvgPool2d, and no SumPool2d, or the other way round.
        hides_loops: whether a loop must not be a neuron layer and one weight (which it takes for a recurrent cell).
        walks_depth_first: whether nodes run in the order of a depth-first walk over the file's edges.
        write_cell: the node for one layer of neurons, by what it does and whether a snippet may mend the rest.
        snippet_of: Python that loads and runs the file, by the layers' cells, whether it has to mend them, and the
            order in which nodes have to run where the importer's own is wrong.
    """

    name: str
    dt_s: float
    average_pools: bool
    hides_loops: bool
    walks_depth_first: bool
    write_cell: Callable[[Cell, bool], Written]
    snippet_of: Callable[[dict[str, Cell], bool, tuple[str, ...] | None], str]


IMPORTERS: dict[Framework, Importer] = {
    "norse": Importer(
        name=to_norse.NAME,
        dt_s=to_norse.DT_S,
        average_pools=False,
        hides_loops=False,
        walks_depth_first=True,
        write_cell=to_norse.write_cell,
        snippet_of=to_norse.snippet_of,
    ),
    "snntorch": Importer(
        name=to_snntorch.NAME,
        dt_s=to_snntorch.DT_S,
        average_pools=True,
        hides_loops=True,
        walks_depth_first=False,
        write_cell=to_snntorch.write_cell,
        snippet_of=to_snntorch.snippet_of,
    ),
    "spikingjelly": Importer(
        name=to_spikingjelly.NAME,
        dt_s=to_spikingjelly.DT_S,
        average_pools=True,
        hides_loops=False,
        walks_depth_first=False,
        write_cell=to_spikingjelly.write_cell,
        snippet_of=to_spikingjelly.snippet_of,
    ),
}

"""A network for a framework's own importer: NIR that loads there and gives the same spikes, or a refusal.

The importers build neurons of one kind each (:mod:`engine.exports.frameworks.to_snntorch` and its neighbours say
which). Neurons are rewritten into that kind; what their inputs have to be multiplied by, or be added, goes into the
weights that feed them, or into a diagonal map of its own where nothing before them can take it. Weights otherwise stay
as they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engine.errors import NotRepresentable
from engine.exports.frameworks.cell import Cell, Written, make_cell
from engine.exports.frameworks.importers import IMPORTERS
from engine.exports.frameworks.maps import fit_maps, legal_names
from engine.exports.frameworks.order import order_edges
from engine.exports.frameworks.weights import Draft, enter_with
from engine.network.discretise import discretise
from engine.network.graph import Edge, Graph
from engine.network.model import Network
from engine.network.nir_writer import write_nir
from engine.network.nodes import Neuron, make_node
from engine.network.shapes import infer_shapes
from engine.specs.dynamics import Dynamics
from engine.specs.frameworks import Framework


@dataclass(frozen=True)
class ForFramework:
    """What a framework loads.

    Attributes:
        graph: the rewritten network.
        edges: its edges in the order that the file has to have.
        snippet: Python with ``load(path)`` and ``run(net, frames)``.
        needs_snippet: what the importer alone would do otherwise, by node; empty: the import alone is enough.
        renamed: new names of nodes whose own names the framework does not take, by the old ones.
    """

    graph: Graph
    edges: tuple[Edge, ...]
    snippet: str
    needs_snippet: dict[str, tuple[str, ...]]
    renamed: dict[str, str]

    def write(self, path: Path) -> None:
        """Write the NIR file."""
        write_nir(self.graph, path, self.edges)


def rewrite_for(graph: Graph, dynamics: Dynamics, framework: Framework, snippet: bool = False) -> ForFramework:
    """Rewrite a network for one framework.

    Args:
        graph: the flat graph.
        dynamics: how it runs.
        framework: whose importer will read it.
        snippet: allow what needs the snippet's lines after the import; without it such a network is refused.

    Returns:
        A graph whose neurons the framework's importer, with its defaults, turns into neurons that give the same spikes
        (but for its float32).

    Raises:
        NotRepresentable: the message names the node and what the importer would do: ``node_not_importable``,
            ``reset_not_importable``, ``start_not_importable``, ``leak_not_importable``, ``not_uniform``,
            ``several_spikes``, ``membrane_floor``, ``old_current``, ``readout_not_importable``,
            ``loop_not_importable``, ``needs_snippet``.
        InvalidModel: the graph does not fit the dynamics.
    """
    importer = IMPORTERS[framework]
    network = discretise(graph, dynamics)
    _check_readout(network, importer.name)
    _check_loops(network, importer.name)
    layers = {layer.name: layer for layer in network.layers}
    draft = Draft(dict(graph.nodes), list(graph.edges), infer_shapes(graph))
    cells: dict[str, Cell] = {}
    mended: dict[str, tuple[str, ...]] = {}
    loops = set(network.delayed_edges)
    for name, node in graph.nodes.items():
        if isinstance(node, Neuron):
            cells[name] = make_cell(layers[name], dynamics, importer.name)
            written: Written = importer.write_cell(cells[name], snippet)
            draft.nodes[name] = make_node(name, written.kind, written.values)
            enter_with(draft, name, written.factor, written.bias, loops, importer.name)
            if written.mended:
                mended[name] = written.mended
    fit_maps(draft, importer, loops)
    renamed = legal_names(draft)
    made = Graph(draft.nodes, tuple(draft.edges))
    infer_shapes(made)
    named = {renamed.get(name, name): why for name, why in mended.items()}
    edges, order = made.edges, None
    if importer.walks_depth_first:
        edges, order = order_edges(made)
        if order is not None:
            why = f"steps in which {order[-1]!r} and others run before what feeds them"
            if not snippet:
                detail = f"the graph: {importer.name}'s importer would run {why}; ask for the snippet that mends it"
                raise NotRepresentable("needs_snippet", detail, None)
            named[made.output] = (why,)
    return ForFramework(made, edges, importer.snippet_of(cells, bool(mended), order), named, renamed)


def _check_readout(network: Network, framework: str) -> None:
    if network.dynamics.readout != "spike_count":
        detail = (
            f"node {network.output!r}: readout={network.dynamics.readout}; "
            f"networks that {framework} imports put out spikes"
        )
        raise NotRepresentable("readout_not_importable", detail, network.output)


def _check_loops(network: Network, framework: str) -> None:
    """A loop over one layer is closed by every importer with one step of delay; a longer one it cuts where it likes."""
    for connection in network.connections:
        if connection.delayed and connection.source != connection.target:
            detail = (
                f"nodes {connection.source!r} and {connection.target!r}: a loop over several layers; {framework}'s "
                "importer chooses by itself which of its edges is late"
            )
            raise NotRepresentable("loop_not_importable", detail, connection.target)
        if connection.source == connection.target and not connection.delayed:
            detail = f"node {connection.target!r}: its loop has a Delay, which {framework}'s importer does not know"
            raise NotRepresentable("loop_not_importable", detail, connection.target)

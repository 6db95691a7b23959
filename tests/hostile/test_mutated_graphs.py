"""Good files with one thing changed inside: never a crash, and what is taken passes an independent look.

The damage of :mod:`tests.hostile.test_mutated` hits bytes; here HDF5 stays whole and the graph is wrong.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from engine.network.canonical import read_canonical
from engine.network.discretise import discretise
from engine.specs.dynamics import PRESETS
from tests.fixtures.load import load_fixture
from tests.hostile.corpus import TEXT, small_nodes, write_graph
from tests.hostile.test_refused import request
from worker.intake_checks import check_upload

FILES = ("", "snntorch-leaky-conv", "snntorch-rsynaptic", "sinabs-conv", "norse-cubali-readout")
ABOVE_0 = ("tau", "tau_mem", "tau_syn", "v_threshold", "threshold")
VALUES: dict[str, Any] = {
    "nan": np.nan,
    "infinite": -np.inf,
    "negative": -1.0,
    "zero": 0.0,
    "huge": 1e300,
    "billion": 10**9,
}


def write_start(name: str, path: Path) -> None:
    if name:
        path.write_bytes(load_fixture(name).nir.read_bytes())
    else:
        write_graph(path, small_nodes())


def datasets(file: h5py.File) -> list[str]:
    found: list[str] = []
    file["node/nodes"].visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return sorted(found)


def mutate(file: h5py.File, draw: Any) -> None:
    """One change: of a number, a shape, a type, a name, or an edge."""
    nodes = file["node/nodes"]
    what = draw(st.sampled_from(["value", "shape", "text", "drop", "kind", "rename", "edge", "copy"]))
    if what in ("value", "shape", "text", "drop"):
        name = draw(st.sampled_from(datasets(file)))
        old = nodes[name][()]
        del nodes[name]
        if what == "value" and isinstance(old, np.ndarray | np.number):
            new = np.array(old, dtype=np.float64)
            new.flat[draw(st.integers(0, new.size - 1))] = VALUES[draw(st.sampled_from(sorted(VALUES)))]
            nodes.create_dataset(name, data=new)
        elif what == "shape" and isinstance(old, np.ndarray | np.number):
            new = np.asarray(old)
            shapes = [new[None], new.ravel(), np.repeat(new.ravel(), 2), new.ravel()[:1], new.T, new.ravel()[:0]]
            nodes.create_dataset(name, data=shapes[draw(st.integers(0, 5))])
        elif what == "text":
            nodes.create_dataset(name, data=draw(st.sampled_from(["LIF", "same", "", "Linear"])), dtype=TEXT)
        return
    names = sorted(nodes)
    if what == "kind":
        name = draw(st.sampled_from(names))
        del nodes[name]["type"]
        nodes[name].create_dataset("type", data=draw(st.sampled_from(["LIF", "Linear", "Output", "X"])), dtype=TEXT)
    elif what == "rename":
        nodes.move(draw(st.sampled_from(names)), draw(st.sampled_from(["x", "é", "@input", "a.b", names[0] + " "])))
    elif what == "copy":
        nodes.copy(nodes[draw(st.sampled_from(names))], "copied")
    else:
        edges = [[end.decode() for end in edge] for edge in file["node/edges"][()]]
        place = draw(st.integers(0, len(edges) - 1))
        new_edge = [draw(st.sampled_from([*names, "ghost"])), draw(st.sampled_from([*names, "ghost"]))]
        change = draw(st.sampled_from(["drop", "repeat", "replace", "add"]))
        kept = [edge for k, edge in enumerate(edges) if k != place or change not in ("drop", "replace")]
        kept += [edges[place]] if change == "repeat" else [new_edge] if change in ("replace", "add") else []
        del file["node/edges"]
        file["node"].create_dataset("edges", data=np.array(kept, dtype=object).reshape(-1, 2), dtype=TEXT)


def faults(path: Path) -> list[str]:
    """What is wrong with a file, by rules written down a second time: numbers, edges, ends."""
    found: list[str] = []
    with h5py.File(path, "r") as file:
        nodes = file["node/nodes"]
        for name in datasets(file):
            value = nodes[name][()]
            if name.rpartition("/")[2] != "type" and isinstance(value, np.ndarray | np.floating):
                if value.dtype.kind == "f" and not np.isfinite(value).all():
                    found.append(f"{name} is not finite")
                if name.rpartition("/")[2] in ABOVE_0 and not (np.asarray(value) > 0).all():
                    found.append(f"{name} is not above 0")
        edges = [tuple(end.decode() for end in edge) for edge in file["node/edges"][()]]
        kinds = {name: nodes[name]["type"][()].decode() for name in nodes}
        found += [f"edge to {end}" for edge in edges for end in edge if end not in kinds]
        found += ["an edge twice"] * (len(set(edges)) < len(edges))
        found += [f"not one {kind}" for kind in ("Input", "Output") if list(kinds.values()).count(kind) != 1]
        unfed = set(kinds) - {target for _, target in edges} - {n for n, kind in kinds.items() if kind == "Input"}
        found += [f"{name} is fed by nothing" for name in unfed]
    return found


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(FILES), st.data())
def test_a_changed_graph_is_refused_or_sound(name: str, data: st.DataObject) -> None:
    preset = load_fixture(name).dynamics if name else {"preset": "nir-paper"}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "upload"
        write_start(name, path)
        with h5py.File(path, "r+") as file:
            mutate(file, data.draw)
        answer = check_upload(request("model", path) | {"dynamics": preset})
        if not answer["ok"]:
            assert answer["code"]
            assert len(answer["detail"]) > 10
            return
        assert not faults(path), (faults(path), answer)
        graph = read_canonical(Path(answer["canonical"]))
        network = discretise(graph, PRESETS[preset["preset"]].model_copy(update=preset.get("set", {})))
        assert all(np.isfinite(layer.gain).all() and (layer.gain > 0).all() for layer in network.layers)

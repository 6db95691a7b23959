"""Makes files that attack or mislead the readers: one function per file, with the code that must refuse it.

Nothing is stored: every file is built by script (SERVICE section 5). ``MODELS`` and ``DATASETS`` map a name to
``(build, code, words of the message)``.
"""

from __future__ import annotations

import io
import pickle
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Case = tuple[Callable[[Path], None], str, str]
TEXT = h5py.string_dtype()


# --- models -------------------------------------------------------------------------------------------------------


def lif(size: int = 2, **changes: Any) -> dict[str, Any]:
    one = np.ones(size)
    return {"type": "LIF", "tau": 1e-3 * one, "r": one, "v_leak": 0 * one, "v_threshold": one} | changes


def small_nodes(**changes: dict[str, Any]) -> dict[str, dict[str, Any]]:
    nodes = {
        "input": {"type": "Input", "shape": np.array([3])},
        "fc": {"type": "Linear", "weight": np.ones((2, 3), np.float32)},
        "lif": lif(),
        "output": {"type": "Output", "shape": np.array([2])},
    }
    return nodes | changes


EDGES = (("input", "fc"), ("fc", "lif"), ("lif", "output"))


def write_graph(path: Path, nodes: dict[str, Any] | None = None, edges: Any = EDGES) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("version", data="1.0.8", dtype=TEXT)
        put_graph(file.create_group("node"), small_nodes() if nodes is None else nodes, edges)


def put_graph(group: h5py.Group, nodes: dict[str, Any], edges: Any) -> None:
    group.create_dataset("type", data="NIRGraph", dtype=TEXT)
    group.create_dataset("edges", data=np.array(edges, dtype=object).reshape(-1, 2), dtype=TEXT)
    inner = group.create_group("nodes")
    for name, fields in nodes.items():
        place = inner.create_group(name)
        if "nodes" in fields:
            put_graph(place, fields["nodes"], fields["edges"])
            continue
        for key, value in fields.items():
            place.create_dataset(key, data=value, **({"dtype": TEXT} if isinstance(value, str) else {}))


def graph(edges: Any = EDGES, **changes: dict[str, Any]) -> Callable[[Path], None]:
    return lambda path: write_graph(path, small_nodes(**changes), edges)


def edit(change: Callable[[h5py.File, Path], None]) -> Callable[[Path], None]:
    """A good graph, then ``change`` on the open file."""

    def build(path: Path) -> None:
        write_graph(path)
        with h5py.File(path, "r+") as file:
            change(file, path)

    return build


WEIGHT = "node/nodes/fc/weight"


def _external_link(file: h5py.File, path: Path) -> None:
    del file[WEIGHT]
    file[WEIGHT] = h5py.ExternalLink("/etc/hostname", "/x")


def _soft_link(file: h5py.File, path: Path) -> None:
    del file[WEIGHT]
    file[WEIGHT] = h5py.SoftLink("/node/nodes/lif/r")


def _external_storage(file: h5py.File, path: Path) -> None:
    del file[WEIGHT]
    file.create_dataset(WEIGHT, (2, 3), "u1", external=[("/etc/passwd", 0, 6)])


def _virtual(file: h5py.File, path: Path) -> None:
    del file[WEIGHT]
    layout = h5py.VirtualLayout(shape=(2, 3), dtype="f4")
    layout[:] = h5py.VirtualSource("/etc/passwd", "x", shape=(2, 3))
    file.create_virtual_dataset(WEIGHT, layout)


def _never_written(file: h5py.File, path: Path) -> None:
    del file[WEIGHT]
    file.create_dataset(WEIGHT, (1 << 25, 1 << 25), "f4", chunks=(1024, 1024))


def _bomb(file: h5py.File, path: Path) -> None:
    del file[WEIGHT]
    zeros = np.zeros((1 << 12, 1 << 15), np.uint8)
    file.create_dataset(WEIGHT, data=zeros, chunks=(1 << 12, 1 << 12), compression="gzip")


def _huge_chunk(file: h5py.File, path: Path) -> None:
    del file[WEIGHT]
    file.create_dataset(WEIGHT, (2, 3), "f8", chunks=(1 << 14, 1 << 14), maxshape=(None, None), compression="gzip")


def _scale_offset(file: h5py.File, path: Path) -> None:
    del file[WEIGHT]
    file.create_dataset(WEIGHT, (2, 3), "i4", chunks=(2, 3), scaleoffset=0)


def _object_reference(file: h5py.File, path: Path) -> None:
    del file[WEIGHT]
    file.create_dataset(WEIGHT, data=np.array([file["node"].ref], dtype=h5py.ref_dtype), dtype=h5py.ref_dtype)


def _loop(file: h5py.File, path: Path) -> None:
    file["node/nodes/again"] = file["node"]


def _many_links(file: h5py.File, path: Path) -> None:
    group = file.create_group("node/nodes/many")
    for number in range(70_000):
        group.id.links.create_hard(str(number).encode(), group.id, b"/node/nodes/fc/weight")


def _user_block(path: Path) -> None:
    with h5py.File(path, "w", userblock_size=512) as file:
        file.create_group("node")


def _truncated(path: Path) -> None:
    write_graph(path)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])


def _bytes(data: bytes) -> Callable[[Path], None]:
    return lambda path: path.write_bytes(data) and None


def _torch_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({"a": 1}))


def _deep(path: Path) -> None:
    nodes: dict[str, Any] = small_nodes()
    for _ in range(40):
        nodes = {"g": {"nodes": nodes, "edges": EDGES}}
    write_graph(path, nodes, ())


def _nested(inner_edges: Any) -> Callable[[Path], None]:
    inner = {
        "input": {"type": "Input", "shape": np.array([2])},
        "lif1": lif(),
        "output": {"type": "Output", "shape": np.array([2])},
    }
    return graph(EDGES, lif={"nodes": inner, "edges": inner_edges})


def _weight(value: float) -> dict[str, Any]:
    weight = np.ones((2, 3), np.float32)
    weight[1, 2] = value
    return {"type": "Linear", "weight": weight}


MODELS: dict[str, Case] = {
    "empty file": (_bytes(b""), "not_nir", "HDF5"),
    "text": (_bytes(b"hello, this is no network at all"), "not_nir", "HDF5"),
    "truncated": (_truncated, "not_nir", "damaged"),
    "hdf5 without a graph": (edit(lambda f, p: f.move("node", "other")), "not_nir", "'node'"),
    "user block": (_user_block, "not_nir", ""),
    "pickle": (_bytes(pickle.dumps({"a": 1}, protocol=4)), "pickle_refused", "spikebit.capture"),
    "torch file": (_torch_zip, "pickle_refused", "spikebit.capture"),
    "external link": (edit(_external_link), "hdf5_external_link", "/node/nodes/fc/weight"),
    "soft link": (edit(_soft_link), "hdf5_soft_link", "/node/nodes/fc/weight"),
    "external storage": (edit(_external_storage), "hdf5_external_storage", "/node/nodes/fc/weight"),
    "virtual dataset": (edit(_virtual), "hdf5_virtual_dataset", "/node/nodes/fc/weight"),
    "unusual filter": (edit(_scale_offset), "hdf5_filter", "/node/nodes/fc/weight"),
    "object reference": (edit(_object_reference), "not_nir", "/node/nodes/fc/weight"),
    "declares 4 PiB": (edit(_never_written), "too_large", "bytes"),
    "compressed zeros": (edit(_bomb), "too_large", "bytes"),
    "chunk of 2 GiB": (edit(_huge_chunk), "too_large", "bytes"),
    "group in itself": (edit(_loop), "too_large", "loops"),
    "70,000 links": (edit(_many_links), "too_large", "65536"),
    "40 levels": (_deep, "too_large", "levels"),
    "unknown node": (
        graph(lif={"type": "Izhikevich"}),
        "unknown_node",
        "'lif' has the unknown type 'Izhikevich'; known: ",
    ),
    "dangling edge": (graph((*EDGES, ("lif", "ghost"))), "dangling_edge", "'ghost'"),
    "inner dangling edge": (_nested((("input", "lif"), ("lif", "output"))), "dangling_edge", "subgraph 'lif'"),
    "duplicate edge": (graph((*EDGES, EDGES[0])), "duplicate_edge", "'input' → 'fc'"),
    "shape conflict": (graph(lif=lif(5)), "shape_conflict", "node 'lif' (LIF): expected shape (5,), found (2,)"),
    "output shape": (
        graph(output={"type": "Output", "shape": np.array([1, 1, 2])}),
        "shape_conflict",
        "node 'output' (Output): expected shape (1, 1, 2), found (2,)",
    ),
    "parameters disagree": (graph(lif=lif(r=np.ones(3))), "shape_conflict", "'r'"),
    "not a number": (graph(fc=_weight(np.nan)), "non_finite_weights", "node 'fc' (Linear), parameter 'weight'"),
    "infinite": (graph(fc=_weight(np.inf)), "non_finite_weights", "node 'fc'"),
    "missing parameter": (graph(lif={"type": "LIF", "tau": np.ones(2)}), "missing_parameter", "'lif' (LIF) lacks"),
    "negative tau": (graph(lif=lif(tau=-np.ones(2))), "invalid_parameter", "node 'lif' (LIF), parameter 'tau'"),
    "zero threshold": (graph(lif=lif(v_threshold=np.zeros(2))), "invalid_parameter", "parameter 'v_threshold'"),
    "negative resistance": (graph(lif=lif(r=-np.ones(2))), "invalid_parameter", "node 'lif': expected parameter 'r'"),
    "tau below dt": (graph(lif=lif(tau=1e-5 * np.ones(2))), "invalid_dynamics", "node 'lif'"),
    "weight is text": (graph(fc={"type": "Linear", "weight": "1 2 3"}), "invalid_parameter", "'fc'"),
    "type is a number": (graph(fc={"type": np.array([1.0])}), "not_nir", "'fc'"),
    "two inputs": (graph(more={"type": "Input", "shape": np.array([3])}), "multiple_inputs", "input, more"),
    "edge into the input": (graph((*EDGES, ("lif", "input"))), "invalid_edge", "'lif' → 'input'"),
    "edge out of the output": (graph((*EDGES, ("output", "fc"))), "invalid_edge", "'output' → 'fc'"),
    "no output": (graph(EDGES[:2], output=lif()), "missing_node", "Output"),
    "unused node": (graph(more=lif()), "unused_node", "'more'"),
    "huge convolution": (
        graph(fc={"type": "Conv2d", "weight": np.ones((1, 1, 1, 1)), "padding": np.array([2**30, 2**30])}),
        "shape_conflict",
        "'fc'",
    ),
}


# --- datasets -----------------------------------------------------------------------------------------------------


def arrays(**changes: Any) -> dict[str, Any]:
    good = {
        "x_train": np.zeros((8, 4, 3), np.uint8),
        "y_train": np.arange(8) % 2,
        "x_test": np.ones((4, 4, 3), np.uint8),
        "y_test": np.arange(4) % 2,
    }
    return {name: value for name, value in (good | changes).items() if value is not None}


def npz(**changes: Any) -> Callable[[Path], None]:
    def build(path: Path) -> None:
        with path.open("wb") as file:
            np.savez_compressed(file, **arrays(**changes))

    return build


def npy(value: Any, **options: Any) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, value, **options)
    return buffer.getvalue()


def declared(shape: str, descr: str = "'|u1'") -> bytes:
    """A header that declares more than follows."""
    head = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".ljust(117).encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head


def archive(members: list[tuple[str, bytes]], **changes: Any) -> Callable[[Path], None]:
    """A zip written member by member; ``changes`` lie about ``size`` or set ``flags``."""

    def build(path: Path) -> None:
        body, directory = bytearray(), bytearray()
        for name, data in members:
            packer = zlib.compressobj(1, zlib.DEFLATED, -15)
            packed = packer.compress(data) + packer.flush()
            size = changes.get("size", len(data)) if name == changes.get("of", name) else len(data)
            common = struct.pack(
                "<5H3I2H", 20, changes.get("flags", 0), 8, 0, 33, zlib.crc32(data), len(packed), size, len(name), 0
            )
            place = len(body)
            body += b"PK\x03\x04" + common + changes.get("local_name", name).encode() + packed
            directory += b"PK\x01\x02" + struct.pack("<H", 20) + common + struct.pack("<3H2I", 0, 0, 0, 0, place)
            directory += name.encode()
        count = len(members)
        end = struct.pack("<4H2IH", 0, 0, count, count, len(directory), len(body), 0)
        lead = changes.get("lead", b"")
        path.write_bytes(lead + bytes(body) + bytes(directory) + b"PK\x05\x06" + end + changes.get("trail", b""))

    return build


def members(**changes: bytes) -> list[tuple[str, bytes]]:
    found = {f"{name}.npy": npy(value) for name, value in arrays().items()}
    return list((found | {f"{name}.npy": data for name, data in changes.items()}).items())


class Payload:
    """Writes a file when unpickled: the test checks that it never is."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (open, ("unpickled", "w"))


OBJECTS = npy(np.array([Payload()], dtype=object), allow_pickle=True)
NAN = np.zeros((8, 4, 3), np.float32)
NAN[2, 1, 0] = np.nan

DATASETS: dict[str, Case] = {
    "empty file": (_bytes(b""), "not_npz", "zip"),
    "text": (_bytes(b"a,b,c\n" * 40), "not_npz", "zip"),
    "npy alone": (_bytes(npy(np.zeros(3))), "not_npz", "zip"),
    "pickle": (_bytes(pickle.dumps([1, 2, 3], protocol=5)), "pickle_refused", "spikebit.capture"),
    "torch file": (_torch_zip, "pickle_refused", "spikebit.capture"),
    "object array": (archive(members(x_train=OBJECTS)), "object_array", "'x_train'"),
    "objects in fields": (
        archive(members(x_train=declared("(1,)", "[('a', '|O')]"))),
        "object_array",
        "'x_train'",
    ),
    "missing array": (npz(x_test=None, y_test=None), "missing_array", "'x_test', found x_train, y_train"),
    "unlabelled": (npz(y_test=None), "unlabelled", "'y_test'"),
    "partly unlabelled": (npz(y_train=None, x_val=np.zeros((4, 4, 3)), y_val=np.arange(4)), "unlabelled", "'y_train'"),
    "regression": (npz(y_train=np.linspace(0, 1, 8)), "regression_labels", "'y_train'"),
    "labels below 0": (npz(y_train=np.arange(8) - 1), "labels_out_of_range", "found -1"),
    "labels above classes": (npz(classes=np.array(["a"])), "labels_out_of_range", "from 0 to 0"),
    "too few labels": (npz(y_train=np.arange(7) % 2), "labels_shape", "(8,), found (7,)"),
    "one-hot labels": (npz(y_train=np.zeros((8, 2), int)), "labels_shape", "(8, 2)"),
    "no samples": (npz(x_train=np.zeros((0, 4, 3)), y_train=np.zeros(0, int)), "too_few_samples", "'x_train'"),
    "splits differ": (npz(x_test=np.zeros((4, 4, 5))), "sample_shape_mismatch", "'x_test'"),
    "no time axis": (npz(x_test=np.zeros((4, 4))), "sample_shape_mismatch", "[sample, time, ...]"),
    "not a number": (npz(x_train=NAN), "non_finite_data", "nan at (2, 1, 0)"),
    "complex": (npz(x_train=np.zeros((8, 4, 3), complex)), "not_npz", "'x_train'"),
    "text as data": (npz(x_train=np.full((8, 4, 3), "a")), "not_npz", "'x_train'"),
    "declares 4 TiB": (archive(members(x_train=declared("(4398046511104, 1, 1)"))), "declared_too_large", "bytes"),
    "zip declares 4 GiB": (archive(members(), size=2**32 - 2), "declared_too_large", "bytes"),
    "header and size differ": (archive(members(x_train=declared("(100, 1, 1)"))), "not_npz", "'x_train'"),
    "inflates beyond": (
        archive(members(x_train=declared("(8, 4, 3)") + bytes(1 << 26)), of="x_train.npy", size=128 + 96),
        "inflated_too_large",
        "'x_train.npy'",
    ),
    "duplicate name": (archive([*members(), ("x_train.npy", npy(np.zeros(3)))]), "not_npz", "twice"),
    "traversal": (archive([*members(), ("../../x.npy", npy(np.zeros(3)))]), "not_npz", "'../../x.npy'"),
    "absolute name": (archive([*members(), ("/etc/x.npy", npy(np.zeros(3)))]), "not_npz", "'/etc/x.npy'"),
    "encrypted": (archive(members(), flags=1), "not_npz", "encryption"),
    "names disagree": (archive(members()[:1], local_name="y_train.npy"), "not_npz", "disagree"),
    "leading data": (archive(members(), lead=b"#!/bin/sh\n"), "not_npz", ""),
    "trailing data": (archive(members(), trail=b"more"), "not_npz", ""),
    "bad header": (archive(members(x_train=declared("(1, -1)"))), "not_npz", "'x_train'"),
    "header is code": (archive(members(x_train=declared("__import__('os').getpid()"))), "not_npz", "damaged"),
    "header of brackets": (archive(members(x_train=declared("(" * 2000))), "not_npz", "'x_train'"),
    "100 arrays": (npz(**{f"a{i}": np.zeros(1) for i in range(100)}), "not_npz", "at most 64"),
}

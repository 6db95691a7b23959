"""Reads an untrusted HDF5 file into plain Python, following nothing that leads out of it.

Every link is looked at before it is opened, every declared size is checked before anything is read. Memory errors in
the HDF5 library itself are why this runs in a limited child process only (SERVICE section 5).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py

from engine.errors import InvalidModel

Tree = dict[str, Any]  # name → Tree, NumPy array, NumPy scalar, bytes

SIGNATURE = b"\x89HDF\r\n\x1a\n"
# deflate, shuffle, fletcher32, lzf: what nir and h5py write. Others load plug-ins or old decoders.
FILTERS = {1: "deflate", 2: "shuffle", 3: "fletcher32", 32000: "lzf"}


@dataclass(frozen=True)
class Hdf5Limits:
    """Bounds on what a file may declare.

    Trained weights hardly compress, but constant parameters written out as arrays do: arrays may declare
    ``free_bytes`` plus ``max_ratio`` times the file's own size.
    """

    max_bytes: int = 1 << 30
    free_bytes: int = 64 << 20
    max_ratio: int = 100
    max_links: int = 65_536
    max_depth: int = 16
    max_text: int = 1 << 20


@dataclass
class _Budget:
    limits: Hdf5Limits
    max_declared: int
    links: int = 0
    declared: int = 0
    groups: set[int] = field(default_factory=set)


def read_tree(path: Path, limits: Hdf5Limits | None = None) -> Tree:
    """All groups and datasets of a file.

    Args:
        path: the file.
        limits: bounds; the defaults allow 1 GiB of arrays.

    Returns:
        Nested dictionaries; datasets as NumPy arrays, texts as bytes.

    Raises:
        InvalidModel: ``not_nir`` (no HDF5, or damaged), ``hdf5_external_link``, ``hdf5_soft_link``,
            ``hdf5_external_storage``, ``hdf5_virtual_dataset``, ``hdf5_filter``, ``too_large``.
    """
    with path.open("rb") as stream:
        head = stream.read(8)
    if head != SIGNATURE:
        raise InvalidModel(
            "not_nir", f"expected an HDF5 file as the nir package writes it, found the bytes {head!r}", None
        )
    try:
        with h5py.File(path, "r", locking=False) as file:
            if file.userblock_size:
                raise InvalidModel("not_nir", "expected no user block in front of the HDF5 data", None)
            limits = limits or Hdf5Limits()
            inflated = limits.free_bytes + limits.max_ratio * path.stat().st_size
            budget = _Budget(limits, min(limits.max_bytes, inflated))
            return _read_group(file, "", budget, 0)
    except InvalidModel:
        raise
    except MemoryError as error:
        raise InvalidModel("too_large", "reading the file needs more memory than is allowed", None) from error
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, OverflowError, AttributeError) as error:
        raise InvalidModel("not_nir", f"the HDF5 file is damaged: {str(error)[:200]}", None) from error


def _read_group(group: h5py.Group, path: str, budget: _Budget, depth: int) -> Tree:
    limits = budget.limits
    address = h5py.h5o.get_info(group.id).addr
    if depth > limits.max_depth or address in budget.groups:
        raise InvalidModel(
            "too_large", f"group {path!r}: expected at most {limits.max_depth} levels and no loops", path
        )
    budget.groups.add(address)
    count = group.id.get_num_objs()
    budget.links += count
    if budget.links > limits.max_links:
        raise InvalidModel("too_large", f"expected at most {limits.max_links} groups and datasets, found more", path)
    tree: Tree = {}
    for name in group:
        inner = f"{path}/{name}"
        check_link(group, name, inner)
        item = group[name]
        if isinstance(item, h5py.Group):
            tree[name] = _read_group(item, inner, budget, depth + 1)
        elif isinstance(item, h5py.Dataset):
            tree[name] = _read_dataset(item, inner, budget)
        else:
            raise InvalidModel("not_nir", f"{inner!r} is neither a group nor a dataset", inner)
    return tree


def check_link(group: h5py.Group, name: str, path: str) -> None:
    """Refuse a link that leads anywhere but to its own object.

    Raises:
        InvalidModel: ``hdf5_external_link``, ``hdf5_soft_link``.
    """
    link = group.get(name, getlink=True)
    if isinstance(link, h5py.ExternalLink):
        raise InvalidModel(
            "hdf5_external_link", f"{path!r} is a link into another file; expected the data itself", path
        )
    if not isinstance(link, h5py.HardLink):
        raise InvalidModel("hdf5_soft_link", f"{path!r} is a symbolic link; expected the data itself", path)


def check_storage(item: h5py.Dataset, path: str) -> None:
    """Refuse a dataset whose values do not lie, readable, in this file.

    Raises:
        InvalidModel: ``hdf5_external_storage``, ``hdf5_virtual_dataset``, ``hdf5_filter``.
    """
    if item.external:
        raise InvalidModel(
            "hdf5_external_storage", f"{path!r} keeps its data in another file; expected it inside", path
        )
    if item.is_virtual:
        raise InvalidModel("hdf5_virtual_dataset", f"{path!r} is a view of other files; expected the data itself", path)
    _check_filters(item, path)


def _read_dataset(item: h5py.Dataset, path: str, budget: _Budget) -> Any:
    check_storage(item, path)
    text = _check_type(item, path)
    elements = 1
    for size in item.shape or ():
        elements *= int(size)
    chunk = 1
    for size in item.chunks or ():
        chunk *= int(size)
    itemsize = item.dtype.itemsize
    if text and elements > budget.limits.max_text // 8:
        raise InvalidModel("too_large", f"{path!r} declares {elements} texts", path)
    budget.declared += elements * itemsize
    for declared in (budget.declared, chunk * itemsize):
        if declared > budget.max_declared:
            detail = f"{path!r}: the arrays declare {declared} bytes, expected at most {budget.max_declared} here"
            raise InvalidModel("too_large", detail, path)
    if item.shape is None:
        raise InvalidModel("not_nir", f"{path!r} is an empty dataset without a shape", path)
    return item[()]


def _check_filters(item: h5py.Dataset, path: str) -> None:
    plist = item.id.get_create_plist()
    for index in range(plist.get_nfilters()):
        number = plist.get_filter(index)[0]
        if number not in FILTERS:
            known = ", ".join(FILTERS.values())
            raise InvalidModel("hdf5_filter", f"{path!r} uses the filter {number}; expected one of {known}", path)


def _check_type(item: h5py.Dataset, path: str) -> bool:
    """Refuse everything but numbers and texts; True for texts."""
    dtype = item.dtype
    if h5py.check_string_dtype(dtype) is not None:
        return True
    if dtype.kind not in "fiub" or dtype.itemsize > 8:
        raise InvalidModel("not_nir", f"{path!r} holds {dtype}; expected numbers or text", path)
    return False

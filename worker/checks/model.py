"""A model: read the NIR file, discretise it where its dynamics are known, write the canonical graph."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.network.hdf5_safe import Hdf5Limits
from engine.network.nir_reader import read_nir


def check(request: Mapping[str, Any], path: Path, out: Path) -> tuple[str, dict[str, Any]]:
    """Digest of the canonical graph, and facts about it.

    Raises:
        InvalidModel: whatever the reader, the profile or the discretisation refuses.
    """
    limits = Hdf5Limits()
    bound = (request.get("limits") or {}).get("inflated_bytes", limits.max_bytes)
    graph = read_nir(path, bool(request.get("repair")), Hdf5Limits(max_bytes=min(int(bound), limits.max_bytes)))
    # Imported behind the reading: a file that is refused does not wait for them.
    from engine.network.canonical import write_canonical
    from engine.network.discretise import discretise
    from engine.network.summary import summarise
    from worker.checks.profile import read_profile

    dynamics = read_profile(request.get("dynamics"))
    summary = summarise(graph, None if dynamics is None else discretise(graph, dynamics))
    return write_canonical(graph, out), summary

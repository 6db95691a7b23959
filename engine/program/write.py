"""Writing the program folder: ``payload.bin``, ``manifest.json``, ``golden.npz`` (DESIGN 5, Folder)."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from engine.data.rows import Rows
from engine.program.golden import golden_bytes
from engine.program.manifest import build_manifest, seal
from engine.program.pack import payload
from engine.program.program import IntegerProgram
from runtime.reader import parse_program

GOLDEN_SAMPLES = 16  # DESIGN 5


@dataclass(frozen=True)
class Written:
    """What was written; ``program_bytes`` is the size of ``payload.bin``."""

    program_digest: str
    program_bytes: int
    golden_samples: int


def write_program(
    program: IntegerProgram,
    folder: Path,
    samples: NDArray[Any] | Rows,
    provenance: Mapping[str, str],
    golden_samples: int = GOLDEN_SAMPLES,
) -> Written:
    """Write a program folder; equal inputs give equal bytes.

    The golden vectors are made by the runtime from the very bytes that are written, so a packing fault cannot hide.

    Args:
        program: what to write.
        folder: created where absent.
        samples: integers ``[sample, time, *input_shape]``; the leading ones become golden vectors.
        provenance: versions and seeds (no time, host, path or job id).
        golden_samples: most samples to keep.
    """
    packed = payload(program)
    manifest = build_manifest(program, provenance)
    golden, kept = golden_bytes(parse_program(manifest, packed), samples[:golden_samples])
    sealed = seal(manifest, packed, golden)
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in (("payload.bin", packed), ("golden.npz", golden), ("manifest.json", sealed)):
        (folder / name).write_bytes(data)
    return Written(hashlib.sha256(sealed + packed).hexdigest(), len(packed), kept)

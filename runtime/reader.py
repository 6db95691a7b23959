"""From a program folder to a :class:`Program`; strict: bad digests, sizes, fields and versions are refused.

The format is docs/program.md's, sections Manifest and Payload; versions 1 and 2 are docs/program-2.md's.
"""

from __future__ import annotations

import hashlib
import json
from math import prod
from pathlib import Path
from typing import Any

from runtime.arrays import Arrays
from runtime.check import check_program
from runtime.compact import Compact, input_words
from runtime.errors import ProgramError
from runtime.fields import Fields
from runtime.files import read_inside
from runtime.multiplications import multiplications
from runtime.parts import LARGEST_SIZE, read_connection, read_input, read_layer
from runtime.program import Program

FORMAT, VERSIONS = "spikebit-program", (1, 2, 3)
UNSEALED = "0" * 64


def read_program(folder: str | Path) -> Program:
    """Read ``manifest.json`` and ``payload.bin`` of a folder and check both digests.

    Raises:
        ProgramError: a file is absent, or is not what docs/program.md says.
    """
    manifest = load_manifest(read_inside(Path(folder), "manifest.json"))
    payload = read_inside(Path(folder), "payload.bin")
    expected = Fields(manifest["digests"], "digests").inside("payload")
    size, digest = expected.integer("bytes", 0), expected.text("sha256")
    if len(payload) != size:
        raise ProgramError(f"payload.bin: expected {size} bytes, found {len(payload)}")
    found = hashlib.sha256(payload).hexdigest()
    if found != digest:
        raise ProgramError(f"payload.bin: expected SHA-256 {digest}, found {found}")
    return parse_program({name: value for name, value in manifest.items() if name != "digests"}, payload)


def program_digest(folder: str | Path) -> str:
    """SHA-256 of the bytes of ``manifest.json`` followed by those of ``payload.bin``, in hexadecimal."""
    folder = Path(folder)
    parts = (read_inside(folder, "manifest.json"), read_inside(folder, "payload.bin"))
    return hashlib.sha256(b"".join(parts)).hexdigest()


def load_manifest(data: bytes) -> dict[str, Any]:
    """A manifest whose format, version and own digest are right; its fields are checked by :func:`parse_program`.

    Raises:
        ProgramError: it is not JSON, not canonical, of another format or version, or was changed.
    """
    try:
        manifest = json.loads(data.decode())
    except (ValueError, RecursionError) as error:  # also numbers of too many digits
        raise ProgramError(f"manifest.json is not JSON: {error}") from error
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise ProgramError(f"manifest.json is not of format {FORMAT!r}")
    version = manifest.get("version")
    if isinstance(version, bool) or version not in VERSIONS:
        raise ProgramError(f"manifest.json has version {version!r}; this reader knows 1 to 3")
    digests = manifest.get("digests")
    if not isinstance(digests, dict) or not isinstance(digests.get("manifest"), str):
        raise ProgramError("manifest.json: field 'digests' is missing or incomplete")
    if _canonical(manifest) != data:
        raise ProgramError("manifest.json is not in canonical form")
    found = hashlib.sha256(_canonical({**manifest, "digests": {**digests, "manifest": UNSEALED}})).hexdigest()
    if found != digests["manifest"]:
        raise ProgramError(f"manifest.json: expected digest {digests['manifest']}, found {found}")
    return manifest


def parse_program(manifest: dict[str, Any], payload: bytes) -> Program:
    """The program that a manifest (without its ``digests``) and a payload describe.

    Raises:
        ProgramError: a field is missing, unknown or out of range, or the payload does not match the array table.
    """
    fields = Fields(manifest, "manifest")
    fields.choice("format", FORMAT)
    version = fields.integer("version", min(VERSIONS), max(VERSIONS))
    if version >= 3:
        made = read_input(input_words(fields.inside("input")), version)
        compact = Compact(fields, made.shape)
        entries, layers, connections = compact.arrays, compact.layers, compact.connections
    else:
        made = read_input(fields.inside("input"), version)
        entries, layers, connections = (fields.objects(name) for name in ("arrays", "layers", "connections"))
    arrays = Arrays(entries, payload)
    read = tuple(read_layer(entry, index, arrays, version) for index, entry in enumerate(layers))
    if sum(prod(layer.shape) for layer in read) > LARGEST_SIZE:
        raise ProgramError(f"manifest.layers: expected at most {LARGEST_SIZE} neurons in all")
    joined = tuple(read_connection(entry, index, arrays, version) for index, entry in enumerate(connections))
    arrays.done()
    program = Program(
        input=made,
        layers=read,
        connections=joined,
        output=fields.text("output"),
        readout=fields.choice("readout", "spike_count", "membrane_sum", "membrane_max", "membrane_last"),
    )
    provenance = fields.inside("provenance")
    for name in tuple(provenance.left):
        provenance.text(name)
    told = fields.texts("multiplications") if version < 3 else fields.inside("multiplications").left
    fields.done()
    proved = check_program(program)
    if version >= 3 and told != multiplications(proved):
        raise ProgramError(f"manifest.multiplications: expected {multiplications(proved)}, found {str(told)[:200]}")
    return proved


def _canonical(value: object) -> bytes:
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    except (ValueError, RecursionError) as error:  # half a surrogate pair is JSON, but no text
        raise ProgramError(f"manifest.json is not text: {error}") from error

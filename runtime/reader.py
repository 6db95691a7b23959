"""From a program folder to a :class:`Program`; strict: bad digests, sizes, fields and versions are refused.

The format is docs/program.md's, sections Manifest and Payload.
"""

from __future__ import annotations

import hashlib
import json
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from runtime.arrays import Arrays
from runtime.check import check_program
from runtime.errors import ProgramError
from runtime.fields import Fields
from runtime.files import read_inside
from runtime.program import Connection, Flatten, InputFormat, IntArray, Layer, Leak, Map, Program, SumPool

FORMAT, VERSIONS = "spikebit-program", (1, 2)
UNSEALED = "0" * 64
LARGEST_SIZE = 1 << 26  # neurons of a program, weights of a connection: their arrays are held in int64


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
        raise ProgramError(f"manifest.json has version {version!r}; this reader knows 1 and 2")
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
    arrays = Arrays(fields.objects("arrays"), payload)
    layers = tuple(_layer(entry, index, arrays) for index, entry in enumerate(fields.objects("layers")))
    if sum(prod(layer.shape) for layer in layers) > LARGEST_SIZE:
        raise ProgramError(f"manifest.layers: expected at most {LARGEST_SIZE} neurons in all")
    connections = tuple(_connection(entry, index, arrays) for index, entry in enumerate(fields.objects("connections")))
    arrays.done()
    program = Program(
        input=_input(fields.inside("input"), version, arrays),
        layers=layers,
        connections=connections,
        output=fields.text("output"),
        readout=fields.choice("readout", "spike_count", "membrane_sum", "membrane_max", "membrane_last"),
        multiplications=fields.texts("multiplications"),
    )
    provenance = fields.inside("provenance")
    for name in tuple(provenance.left):
        provenance.text(name)
    fields.done()
    check_program(program)
    return program


def _input(fields: Fields, version: int, arrays: Arrays) -> InputFormat:
    scale = None if version == 1 else fields.take("scale")
    if scale is not None:
        text = Fields({"scale": scale}, fields.where).text("scale")
        scale = arrays.floats(text, (1,), f"{fields.where}.scale")[0]
        if not np.isfinite(scale) or scale <= 0:
            raise ProgramError(f"{fields.where}.scale: expected a positive number, found {scale}")
    made = InputFormat(_shape(fields, "shape"), fields.integer("lo"), fields.integer("hi"), scale)
    fields.done()
    return made


def _layer(fields: Fields, index: int, arrays: Arrays) -> Layer:
    shape = _shape(fields, "shape")
    here = ("layer", index)
    fire_at = arrays.take(here, "fire_at", shape)
    delta = arrays.take(here, "reset_delta", shape)
    if delta is not None and fire_at is None:
        raise ProgramError(f"{fields.where}: reset_delta without fire_at")
    leak_i, bounds = fields.take("leak_i"), fields.inside("bounds")
    made = Layer(
        name=fields.text("name"),
        kind=fields.choice("kind", "if", "lif", "cubalif", "li", "cubali"),
        shape=shape,
        state_bits=fields.integer("state_bits", 2, 32),
        fraction_bits=fields.integer("fraction_bits", 0, 16),
        scale=arrays.floats(fields.text("scale"), shape, f"{fields.where}.scale"),
        leak_v=_leak(fields.inside("leak_v"), arrays.take(here, "leak_v", shape)),
        leak_i=None
        if leak_i is None
        else _leak(Fields(leak_i, f"{fields.where}.leak_i"), arrays.take(here, "leak_i", shape)),
        bias=arrays.take(here, "bias", shape),
        bias_i=arrays.take(here, "bias_i", shape),
        fire_at=fire_at,
        reset=fields.choice("reset", "subtract", "to_value", "none"),
        reset_sub=None if delta is None or fire_at is None else fire_at - delta,
        reset_to=arrays.take(here, "reset_to", shape),
        reset_timing=fields.choice("reset_timing", "same_step", "next_step"),
        reset_order=fields.choice("reset_order", "before_leak", "after_leak", None),
        drop_reset_input=fields.flag("drop_reset_input"),
        current=fields.choice("current", "new", "old"),
        floor=arrays.take(here, "floor", shape),
        start=arrays.take(here, "start", shape),
        max_spikes=fields.integer("max_spikes", 1, 65535),
        largest_input=bounds.integer("input", 0),
        largest_inner=bounds.integer("inner", 0),
    )
    bounds.done()
    fields.done()
    return made


def _leak(fields: Fields, values: IntArray | None) -> Leak:
    made = Leak(
        kind=fields.choice("kind", "none", "shift", "mul_shift"),
        values=values,
        shift_bits=fields.integer("shift_bits", 0, 31),
        rounding=fields.choice("rounding", "floor", "toward_zero", "half_up"),
    )
    fields.done()
    if (made.kind == "none") != (values is None):
        raise ProgramError(f"{fields.where}: leak {made.kind!r} {'without' if values is None else 'with'} values")
    if made.kind == "shift" and values is not None and (values.min() < 0 or values.max() > 31):
        raise ProgramError(f"{fields.where}: shifts must be within 0 to 31")
    return made


def _connection(fields: Fields, index: int, arrays: Arrays) -> Connection:
    here = ("connection", index)
    kind = fields.choice("kind", "linear", "conv1d", "conv2d", "identity")
    axes = 1 if kind == "conv1d" else 2
    source_shape = _shape(fields, "source_shape")
    bits = fields.integer("bits", 0, 16)
    shape = fields.take("weight_shape")
    weight = None
    if kind != "identity":
        sizes = Fields({"weight_shape": shape}, fields.where).integers(
            "weight_shape", 1, LARGEST_SIZE, {"linear": 2, "conv1d": 3, "conv2d": 4}[kind]
        )
        weight = arrays.take_weights(here, sizes, bits, fields.where)
    elif shape is not None or bits != 0:
        raise ProgramError(f"{fields.where}: identity has no weights, found bits {bits} and weight_shape {shape}")
    bounds = fields.inside("bounds")
    made = Connection(
        name=fields.text("name"),
        source=fields.text("source"),
        target=fields.text("target"),
        kind=kind,
        source_shape=source_shape,
        target_shape=_shape(fields, "target_shape"),
        bits=bits,
        weight=weight,
        exponent=arrays.take_flat(here, "exponent", fields.where),
        before=tuple(_map(entry) for entry in fields.objects("before")),
        after=tuple(_map(entry) for entry in fields.objects("after")),
        delayed=fields.flag("delayed"),
        delay=arrays.take(here, "delay", source_shape),
        stride=fields.integers("stride", 1, LARGEST_SIZE, axes),
        padding=fields.integers("padding", 0, LARGEST_SIZE, axes),
        dilation=fields.integers("dilation", 1, LARGEST_SIZE, axes),
        groups=fields.integer("groups", 1, LARGEST_SIZE),
        values=(bounds.integer("lo"), bounds.integer("hi")),
        accumulator=bounds.integer("accumulator", 0),
    )
    bounds.done()
    fields.done()
    return made


def _map(fields: Fields) -> Map:
    made: Map
    if fields.choice("kind", "sum_pool", "flatten") == "flatten":
        made = Flatten(fields.integer("start", 0, 31), fields.integer("end", 0, 31))
    else:
        made = SumPool(_pair(fields, "kernel", 1), _pair(fields, "stride", 1), _pair(fields, "padding", 0))
    fields.done()
    return made


def _shape(fields: Fields, name: str) -> tuple[int, ...]:
    """Neuron axes; at least one, and no more neurons than fit memory."""
    shape = fields.integers(name, 1, LARGEST_SIZE)
    if not shape or prod(shape) > LARGEST_SIZE:
        raise ProgramError(f"{fields.where}.{name}: expected 1 to {LARGEST_SIZE} neurons, found {list(shape)}")
    return shape


def _pair(fields: Fields, name: str, lo: int) -> tuple[int, int]:
    first, second = fields.integers(name, lo, LARGEST_SIZE, 2)
    return first, second


def _canonical(value: object) -> bytes:
    try:
        return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"
    except (ValueError, RecursionError) as error:  # half a surrogate pair is JSON, but no text
        raise ProgramError(f"manifest.json is not text: {error}") from error

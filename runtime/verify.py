"""Offline verification of a downloaded program: digests, and the golden vectors replayed spike for spike."""

from __future__ import annotations

import hashlib
import json
import os
import re
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import ProgramError
from runtime.fields import Fields
from runtime.files import LARGEST_FILE, read_inside
from runtime.golden import LARGEST_FOUND, replay
from runtime.reader import load_manifest, parse_program, program_digest, read_program

SUMS = "SHA256SUMS"
LARGEST_SUMS = 1 << 20  # bytes


@dataclass(frozen=True)
class VerifyResult:
    """``ok`` iff ``problems`` is empty; what was compared; the folder's own ``program_digest`` (None: not readable)."""

    ok: bool
    problems: tuple[str, ...]
    samples: int
    spikes_compared: int
    program_digest: str | None


def verify_folder(path: str | Path, digest: str | None = None) -> VerifyResult:
    """Check a program folder, or a job's ``--out`` folder that holds one as ``program/``.

    Args:
        path: where it is.
        digest: the ``program_digest`` that the service printed (hexadecimal, ``sha256:`` allowed); None: not compared.

    Returns:
        a result; nothing is raised for a bad folder.
    """
    path = Path(path)
    folder = path if (path / "manifest.json").is_file() else path / "program"
    if not (folder / "manifest.json").is_file():
        return VerifyResult(False, (f"no manifest.json in {path} or its program/",), 0, 0, None)
    problems = _check_sums(path)
    if folder == path:  # the sums that lie beside the folder may also speak of other things
        problems += _check_sums(path.resolve().parent, path.resolve().name + "/")
    own, samples, compared = None, 0, 0
    try:
        own = program_digest(folder)
        wanted = None if digest is None else digest.strip().lower().removeprefix("sha256:")
        if wanted not in (None, own):
            known = re.fullmatch("[0-9a-f]{64}", wanted or "") is not None
            expected = wanted if known else f"64 hexadecimal digits, got {wanted!r:.80}"
            problems.append(f"program_digest: expected {expected}, found {own}")
        program = read_program(folder)
        data = read_inside(folder, "golden.npz", LARGEST_FOUND)
        _check_golden_digest(folder, data)
        if wanted in (None, own):  # what another digest is known of is not run
            different, samples, compared = replay(program, data)
            problems += different
    except ProgramError as error:
        problems.append(str(error))
        problems += [told for told in _faults(folder) if told not in problems]
    return VerifyResult(not problems, tuple(problems), samples, compared, own)


def _faults(folder: Path) -> list[str]:
    """What the content of a damaged folder says by itself: the field at fault, where the manifest still parses."""
    try:
        manifest = json.loads(read_inside(folder, "manifest.json"))
        if isinstance(manifest, dict):
            parse_program(
                {key: manifest[key] for key in manifest if key != "digests"}, read_inside(folder, "payload.bin")
            )
    except ProgramError as error:
        return [str(error)]
    except (ValueError, RecursionError):  # no JSON: there is no field
        return []
    return []


def _check_golden_digest(folder: Path, data: bytes) -> None:
    manifest = load_manifest(read_inside(folder, "manifest.json"))
    recorded = Fields(manifest["digests"], "digests").inside("golden")
    expected, found = recorded.text("sha256"), hashlib.sha256(data).hexdigest()
    if expected != found:
        raise ProgramError(f"golden.npz: expected SHA-256 {expected}, found {found}")


def _check_sums(folder: Path, below: str = "") -> list[str]:
    """The lines of ``SHA256SUMS`` (``sha256sum``'s format) on files ``below``, where there is such a file."""
    if not os.path.lexists(folder / SUMS):
        return []
    try:
        lines = read_inside(folder, SUMS, LARGEST_SUMS).decode().splitlines()
    except (ProgramError, UnicodeDecodeError) as error:
        return [f"{SUMS} cannot be read: {error}"]
    problems = []
    for number, line in enumerate(lines, 1):
        expected, _, name = line.partition("  ")
        if name.startswith(below):
            try:
                problems += _check_sum(folder, number, expected, name)
            except (OSError, RuntimeError, ValueError) as error:  # too long a name, a loop of links, a zero byte
                told = getattr(error, "strerror", None) or error
                problems.append(f"{SUMS} line {number}: {name[:80]!r} cannot be read: {told}")
    return problems


def _check_sum(folder: Path, number: int, expected: str, name: str) -> list[str]:
    target = (folder / name).resolve()
    if len(expected) != 64 or not name or not target.is_relative_to(folder.resolve()):
        return [f"{SUMS} line {number}: expected a SHA-256, two spaces and a path inside the folder"]
    if not target.is_file():
        return [f"{SUMS}: {name} is missing"]
    if target.stat().st_size > LARGEST_FILE:
        return [f"{SUMS}: {name} has {target.stat().st_size} bytes, at most {LARGEST_FILE} are read"]
    with target.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    return [] if found == expected.lower() else [f"{SUMS}: {name} was changed"]

"""Offline verification of a downloaded program: digests, and the golden vectors replayed spike for spike."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from runtime.errors import ProgramError
from runtime.fields import Fields
from runtime.files import read_inside
from runtime.golden import replay
from runtime.reader import load_manifest, parse_program, program_digest, read_program


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
            problems.append(f"program_digest: expected {wanted}, found {own}")
        program = read_program(folder)
        data = read_inside(folder, "golden.npz")
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
    sums = folder / "SHA256SUMS"
    if not sums.is_file():
        return []
    problems = []
    try:
        lines = sums.read_text().splitlines()
    except (OSError, UnicodeDecodeError) as error:
        return [f"SHA256SUMS cannot be read: {error}"]
    for number, line in enumerate(lines, 1):
        expected, _, name = line.partition("  ")
        if not name.startswith(below):
            continue
        target = (folder / name).resolve()
        if len(expected) != 64 or not name or not target.is_relative_to(folder.resolve()):
            problems.append(f"SHA256SUMS line {number}: expected a SHA-256, two spaces and a path inside the folder")
        elif not target.is_file():
            problems.append(f"SHA256SUMS: {name} is missing")
        elif hashlib.sha256(target.read_bytes()).hexdigest() != expected.lower():
            problems.append(f"SHA256SUMS: {name} was changed")
    return problems

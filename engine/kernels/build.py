"""Compile the native kernels: ``python -m engine.kernels.build``, which ``make setup`` calls; needs no package.

One library per kernel and level of the processor, named by the hash of the sources and flags, in ``native/build``
beside them. None is needed: where there is no compiler the torch scan and the NumPy runner do the same, slower.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SOURCES = Path(__file__).resolve().parent / "native"
FOLDER = SOURCES / "build"
COMMON = (
    "-std=c11", "-O3", "-fPIC", "-shared", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-Wno-psabi",
)  # fmt: skip
# Named as torch names what it found (torch.backends.cpu.get_cpu_capability), so that both use the same level.
LEVELS: dict[str, tuple[str, ...]] = {
    "DEFAULT": (),
    "AVX2": ("-march=x86-64-v3",),
    "AVX512": ("-march=x86-64-v4", "-mprefer-vector-width=512"),
}
PATIENCE_S = 120.0


class CannotBuild(Exception):
    """There is no compiler, it failed, or its result cannot be written; the message says which."""


def levels() -> tuple[str, ...]:
    """The levels that this kind of machine knows."""
    return tuple(LEVELS) if platform.machine() in ("x86_64", "AMD64") else ("DEFAULT",)


KERNELS = {
    "scan": ("scan.c", "sparse.c", "linear.c", "event_conv.c", "signs.c", "product.c"),
    "event": ("event.c",),
}  # library → what it is compiled from


def library_path(level: str, kernel: str = "scan") -> Path:
    """Where the library of a kernel and level is, or would be.

    Example:
        >>> library_path("DEFAULT").name.startswith("scan-default-")
        True
    """
    digest = hashlib.sha256(repr((COMMON, LEVELS[level])).encode())
    for source in sorted(SOURCES.iterdir()):
        if source.suffix in (".c", ".h", ".inc"):
            digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return FOLDER / f"{kernel}-{level.lower()}-{digest.hexdigest()[:16]}.so"


def build(level: str, kernel: str = "scan") -> Path:
    """Compile one level unless that was done; the file appears whole or not at all.

    Raises:
        CannotBuild: see there. Nothing is compiled where the folder cannot be written, as in a confined child.
    """
    path = library_path(level, kernel)
    if path.exists():
        return path
    compiler = next((found for name in (os.environ.get("CC"), "cc", "gcc", "clang") if (found := _which(name))), None)
    if compiler is None:
        raise CannotBuild("no C compiler (cc, gcc or clang) was found")
    try:
        FOLDER.mkdir(exist_ok=True)
        handle, name = tempfile.mkstemp(".so", "new-", FOLDER)
        os.close(handle)
    except OSError as error:
        raise CannotBuild(f"{FOLDER.name} cannot be written: {error.strerror}") from error
    new = Path(name)
    try:
        sources = [str(SOURCES / name) for name in KERNELS[kernel]]
        _compile((compiler, *COMMON, *LEVELS[level], *sources, "-o", str(new), "-lm"))
        new.chmod(0o644)
        new.replace(path)
    finally:
        new.unlink(missing_ok=True)
    return path


def _which(name: str | None) -> str | None:
    return shutil.which(name) if name else None


def _compile(command: tuple[str, ...]) -> None:
    try:
        subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=PATIENCE_S, stdin=subprocess.DEVNULL
        )
    except subprocess.CalledProcessError as error:
        lines = error.stderr.strip().splitlines() or [f"status {error.returncode}"]
        raise CannotBuild(f"the C compiler failed: {lines[0]}") from error
    except (OSError, subprocess.SubprocessError) as error:
        raise CannotBuild(f"the C compiler could not run: {type(error).__name__}") from error


def main() -> int:
    """Build every level; a failure is told and is not an error, for what it replaces remains."""
    instead = {"scan": "the torch scan", "event": "the NumPy runner"}
    for kernel, level in itertools.product(KERNELS, levels()):
        try:
            build(level, kernel)
        except CannotBuild as error:
            print(f"native {kernel} ({level}): not built: {error}; {instead[kernel]} is used, several times slower")
    return 0


if __name__ == "__main__":
    sys.exit(main())

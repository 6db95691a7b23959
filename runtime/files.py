"""Reading the files of a program folder: regular files inside it, of bounded size; nothing else is opened."""

from __future__ import annotations

import stat
from pathlib import Path

from runtime.errors import ProgramError

LARGEST_FILE = 1 << 31  # bytes


def read_inside(folder: Path, name: str, most: int = LARGEST_FILE) -> bytes:
    """The bytes of ``folder/name``.

    Raises:
        ProgramError: it is absent, no regular file (a device would never end, a pipe never begin), a link that leads
            out of the folder, or larger than ``most`` bytes.
    """
    path = folder / name
    try:
        if not path.resolve(strict=True).is_relative_to(folder.resolve(strict=True)):
            raise ProgramError(f"{name} cannot be read: it is a link that leads out of the folder")
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ProgramError(f"{name} cannot be read: not a regular file")
        if found.st_size > most:
            raise ProgramError(f"{name} cannot be read: {found.st_size} bytes, at most {most} are")
        return path.read_bytes()
    except (OSError, RuntimeError, ValueError) as error:  # a loop of links; a name with a zero byte
        raise ProgramError(f"{name} cannot be read: {getattr(error, 'strerror', None) or error}") from error

"""Cut requirements/lock.txt down to what some packages need: ``select_requirements.py LOCK NAME ... > FILE``.

pip-compile writes below each pin who asked for it (``# via``); followed backwards from the given names this gives the
same pins and hashes for a part of the environment. Standard library alone: it runs before anything is installed.
"""

from __future__ import annotations

import re
import sys
import tomllib
from pathlib import Path

_PIN = re.compile(r"^([A-Za-z0-9._-]+)(\[[^\]]*\])?==")


def select(lock: str, wanted: set[str]) -> str:
    """The blocks of the wanted packages and of all that they need.

    Raises:
        KeyError: a wanted package is not locked.
    """
    blocks: dict[str, str] = {}
    asked_by: dict[str, set[str]] = {}
    name = ""
    for line in lock.splitlines():
        if pin := _PIN.match(line):
            name = normal(pin[1])
            blocks[name], asked_by[name] = "", set()
        if not name:
            continue
        if via := re.match(r"^    #(?: via|  ) *(.*)$", line):
            asked_by[name].add(normal(via[1].partition("[")[0]))
        elif not line.startswith("#"):
            blocks[name] += line + "\n"
    missing = wanted - set(blocks)
    if missing:
        raise KeyError(f"not locked: {', '.join(sorted(missing))}")
    chosen = set(wanted)
    while more := {one for one, by in asked_by.items() if by & chosen} - chosen:
        chosen |= more
    return "".join(blocks[one] for one in sorted(chosen))


def needed(project: Path, client: Path, extras: tuple[str, ...] = ()) -> set[str]:
    """Names that the service with these extras and the client ask for; torch is installed apart."""
    names: set[str] = set()
    for path, own in ((project, extras), (client, ())):
        table = tomllib.loads(path.read_text())["project"]
        for line in (*table["dependencies"], *(one for extra in own for one in table["optional-dependencies"][extra])):
            names.add(normal(re.split(r"[\[<>=;! ]", line)[0]))
    return names - {"spikebit", "torch"}


def normal(name: str) -> str:
    """A distribution's name as indexes compare it.

    Example:
        >>> normal("Pydantic_Settings")
        'pydantic-settings'
    """
    return re.sub(r"[-_.]+", "-", name.strip()).lower()


if __name__ == "__main__":
    root = Path(sys.argv[1])
    names = needed(root / "pyproject.toml", root / "client/pyproject.toml", tuple(sys.argv[2:]))
    # torch's own requirements are pure Python and locked, although nobody in the lock asks for them
    torch = {"filelock", "fsspec", "networkx", "sympy", "setuptools"} if "worker" in sys.argv[2:] else set()
    older = {"async-timeout"}  # of redis, on Python 3.11.0 to 3.11.2
    built = {"hatchling", "editables"}
    sys.stdout.write(select((root / "requirements/lock.txt").read_text(), names | torch | older | built))

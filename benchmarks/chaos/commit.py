"""Which code a history belongs to: what lies in these folders, so that a commit of pages does not void it."""

from __future__ import annotations

import hashlib
import subprocess

from benchmarks.environment import ROOT

SERVICE = ("api", "engine", "jobs", "runtime", "serve", "worker", "client/spikebit", "requirements/lock.txt")
SHARED = ("benchmarks/bucket.py", "benchmarks/postgres.py", "benchmarks/service.py", "benchmarks/stack.py")


def code_key(*folders: str) -> str:
    """A digest of the service's code and of the named folders as committed, marked where files differ from it.

    Args:
        folders: of the benchmark that asks, from the repository's root.

    Raises:
        RuntimeError: one of the paths is not in the commit.
    """
    paths = sorted({*SERVICE, *SHARED, *folders})
    listed = _git("ls-tree", "HEAD", "--", *paths)
    if len(listed.splitlines()) != len(paths):
        raise RuntimeError(f"expected {len(paths)} entries of the commit, found: {listed}")
    changed = _git("status", "--porcelain", "--", *paths)
    return hashlib.sha256(listed.encode()).hexdigest()[:16] + ("-changed" if changed else "")


def _git(*words: str) -> str:
    return subprocess.run(("git", *words), cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

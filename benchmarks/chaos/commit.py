"""Which code a history belongs to."""

from __future__ import annotations

import subprocess

from benchmarks.environment import ROOT


def code_commit() -> str:
    """The commit, marked where the tree differs from it in more than results."""
    changed = _git("status", "--porcelain", "--", ".", ":!benchmarks/results")
    return _git("rev-parse", "HEAD") + ("-changed" if changed else "")


def _git(*words: str) -> str:
    return subprocess.run(("git", *words), cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()

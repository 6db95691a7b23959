"""An export: a canonical model re-written as NIR for a framework's importer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.data.frames import digest_file
from engine.errors import InvalidModel
from engine.exports.frameworks.rewrite import rewrite_for
from engine.network.canonical import read_canonical
from engine.specs.frameworks import FRAMEWORKS
from worker.checks.profile import read_profile


def check(request: Mapping[str, Any], path: Path, out: Path) -> tuple[str, dict[str, Any]]:
    """Digest of the written file, and what its reader has to know.

    Raises:
        InvalidModel: ``invalid_dynamics``, or what the framework's importer cannot take.
    """
    dynamics = read_profile(request.get("dynamics"))
    framework = next((name for name in FRAMEWORKS if name == request.get("framework")), None)
    if dynamics is None or framework is None:
        raise InvalidModel("invalid_dynamics", "an export needs a framework and a dynamics profile", "dynamics")
    made = rewrite_for(read_canonical(path), dynamics, framework, bool(request.get("snippet")))
    made.write(out)
    needs = {name: list(reasons) for name, reasons in made.needs_snippet.items()}
    summary = {"bytes": out.stat().st_size, "needs_snippet": needs, "renamed": made.renamed, "snippet": made.snippet}
    return digest_file(out), summary

"""Who may import whom (the contracts in pyproject.toml), and what the light processes really load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT


def test_import_contracts_hold() -> None:
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("api.app", ("torch", "h5py", "scipy", "matplotlib")),
        ("serve.supervisor", ("torch", "h5py", "scipy", "matplotlib")),
        ("jobs.store", ("torch", "numpy", "h5py", "scipy")),
        ("worker.intake_child", ("torch", "scipy", "matplotlib", "sqlalchemy", "celery", "redis")),
        ("worker.child", ("sqlalchemy", "celery", "redis", "httpx")),
        ("runtime.verify", ("torch", "engine", "pydantic", "scipy", "h5py")),
        ("engine.specs.job", ("torch", "numpy")),
        ("spikebit.cli", ("torch", "numpy", "engine", "api", "jobs")),
    ],
)
def test_what_a_process_loads(module: str, forbidden: tuple[str, ...]) -> None:
    check = (
        f"import sys, importlib; importlib.import_module({module!r}); "
        f"found = sorted(set({forbidden!r}) & set(sys.modules)); sys.exit(', '.join(found) or 0)"
    )
    result = subprocess.run([sys.executable, "-c", check], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, f"{module} loads {result.stderr.strip()}"

"""Fixtures that every part of the suite uses."""

from __future__ import annotations

from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--device", choices=("cpu", "cuda"), default="cpu", help="where the engine's own tests run")


@pytest.fixture(scope="session")
def device(request: pytest.FixtureRequest) -> str:
    """``cpu``, or ``cuda`` where it was asked for and there is one."""
    wanted: str = request.config.getoption("--device")
    if wanted == "cuda":
        import torch

        if not torch.cuda.is_available():
            pytest.skip("--device cuda: this machine has no CUDA device")
    return wanted


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real graphs and recordings that lies beside a development checkout."""
    path = ROOT.parent / "shared" / "data"
    if not path.is_dir():
        pytest.skip("../shared/data is absent: real graphs and recordings are not part of the repository")
    return path

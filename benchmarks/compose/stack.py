"""The compose file as a running stack, from a folder of its own secrets to a clean ``down``."""

from __future__ import annotations

import json
import secrets
import time
from types import TracebackType
from typing import Any, Self

import httpx

from benchmarks.compose.images import build_options
from benchmarks.compose.podman import BUILD_S, FOLDER, RUN_S, compose_command, podman, run
from benchmarks.environment import ROOT
from benchmarks.postgres import free_port
from jobs.store import generate_key

PROJECT = "spikebit-test"
UP_S = 240.0


class Composed:
    """podman-compose on ``docker-compose.yml``; use it in a ``with`` statement."""

    def __init__(self) -> None:
        self.key = generate_key()
        self.port = free_port()
        file = FOLDER / "key"
        file.write_text(self.key)
        file.chmod(0o644)  # the container's user is another one
        self._variables = {
            "SPIKEBIT_KEY_FILE": str(file),
            "SPIKEBIT_PORT": str(self.port),
            "POSTGRES_PASSWORD": secrets.token_hex(16),
            "S3_SECRET_KEY": secrets.token_hex(16),
            "TORCH_INDEX_URL": "",
        }
        self.url = f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._compose("down", "-v", check=False)  # of an earlier run that was broken off
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            for name in self.containers():
                print(f"--- {name}\n{podman('logs', '--tail', '30', name, check=False)}", flush=True)
        self.down()

    def build(self) -> None:
        """Build both images by their Dockerfiles; the other services run one of the two."""
        for service in ("api", "worker-1"):
            self._compose("--podman-build-args", " ".join(build_options()), "build", service, patience_s=BUILD_S)

    def up(self, *services: str) -> None:
        """Start services alone, or all that do not run yet."""
        self._compose("up", "-d", "--no-build", *(("--no-deps", *services) if services else ()))

    def down(self) -> None:
        """Stop and remove containers, networks and volumes."""
        self._compose("down", "-v", "-t", "30", check=False)

    def wait_ready(self) -> None:
        """Wait until the published port answers 200 to ``/readyz``: database and store are well.

        Raises:
            TimeoutError: it does not; the message holds the last answer.
        """
        until, last = time.monotonic() + UP_S, "no answer"
        while time.monotonic() < until:
            try:
                answer = httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False)
                last = f"{answer.status_code} {answer.text[:500]}"
                if answer.status_code == 200:
                    return
            except httpx.HTTPError as error:
                last = str(error)
            time.sleep(1.0)
        raise TimeoutError(f"the API did not become ready within {UP_S:.0f} s: {last}")

    def containers(self) -> dict[str, dict[str, Any]]:
        """The project's containers by service, as ``podman ps`` shows them."""
        label = f"label=io.podman.compose.project={PROJECT}"
        listed = json.loads(podman("ps", "-a", "--filter", label, "--format", "json") or "[]")
        return {one["Labels"]["com.docker.compose.service"]: one for one in listed}

    def name(self, service: str) -> str:
        """The container's name."""
        return str(self.containers()[service]["Names"][0])

    def left(self) -> list[str]:
        """What a ``down`` should have removed."""
        label = f"label=io.podman.compose.project={PROJECT}"
        found = podman("ps", "-aq", "--filter", label).split()
        for kind in ("volume", "network"):
            names = podman(kind, "ls", "--format", "{{.Name}}").split()
            found += [name for name in names if name.startswith(PROJECT)]
        return found

    def _compose(self, *words: str, check: bool = True, patience_s: float = RUN_S) -> str:
        command = (str(compose_command()), "-p", PROJECT, "-f", str(ROOT / "docker-compose.yml"), *words)
        return run(command, self._variables, patience_s, check)

"""podman with settings and a store of its own below ``out/compose``: nothing of this machine's images is touched."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.environment import ROOT

FOLDER = ROOT / "out" / "compose"
BUILD_S, RUN_S = 1800.0, 300.0


def missing() -> str | None:
    """Why there is nothing to run here; None: all is there."""
    if os.geteuid() != 0:
        return "podman is run as root here, and this user is not root"
    absent = [name for name in ("podman", "runc", "debootstrap") if shutil.which(name) is None]
    if absent:
        packages = "podman runc debootstrap netavark aardvark-dns"
        return f"not installed: {', '.join(absent)} (Debian: apt-get install {packages})"
    if not compose_command().exists():
        return f"no {compose_command().name} in {compose_command().parent} (make compose-test installs it)"
    return None


def compose_command() -> Path:
    """podman-compose beside the interpreter that runs us, or in the venv that the make target fills."""
    own = Path(sys.executable).with_name("podman-compose")
    return own if own.exists() else ROOT / ".venv-compose" / "bin" / "podman-compose"


def settings() -> dict[str, str]:
    """The environment by which podman finds its settings; written anew at each call."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    store, containers = FOLDER / "storage.conf", FOLDER / "containers.conf"
    run = Path("/run/spikebit-compose")  # sockets have short names
    store.write_text(
        f'[storage]\ndriver = "overlay"\ngraphroot = "{FOLDER / "storage"}"\nrunroot = "{run / "storage"}"\n'
    )
    limits = ", ".join(f'"{name}={_limit(name)}"' for name in ("nofile", "nproc"))
    containers.write_text(
        f"[containers]\ndefault_ulimits = [{limits}]\n"
        f'[network]\nnetwork_backend = "netavark"\nnetwork_config_dir = "{FOLDER / "networks"}"\n'
        f'[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\ntmp_dir = "{run / "tmp"}"\n'
    )
    return {"CONTAINERS_STORAGE_CONF": str(store), "CONTAINERS_CONF": str(containers)}


def podman(*words: str | Path, patience_s: float = RUN_S, check: bool = True) -> str:
    """Run podman; its output.

    Raises:
        RuntimeError: it failed; the message holds the end of what it wrote.
    """
    return run(("podman", *map(str, words)), {}, patience_s, check)


def run(command: Sequence[str], variables: dict[str, str], patience_s: float = RUN_S, check: bool = True) -> str:
    """Run a command with podman's settings; its output.

    Raises:
        RuntimeError: it failed; the message holds the end of what it wrote.
    """
    done = subprocess.run(
        command,
        cwd=ROOT,
        env=os.environ | settings() | variables,
        capture_output=True,
        text=True,
        timeout=patience_s,
    )
    if check and done.returncode != 0:
        raise RuntimeError(
            f"{' '.join(command)[:200]} ended with {done.returncode}: …{(done.stdout + done.stderr)[-3000:]}"
        )
    return done.stdout


def _limit(name: str) -> str:
    """Not over this machine's own hard limit, which root of a container host may not raise."""
    which = {"nofile": resource.RLIMIT_NOFILE, "nproc": resource.RLIMIT_NPROC}[name]
    hard = resource.getrlimit(which)[1]
    most = 4096 if hard == resource.RLIM_INFINITY else min(4096, hard)
    return f"{min(1024, most) if name == 'nofile' else most}:{most}"

"""The images that the Dockerfiles and the compose file name: pulled where a registry answers, else stand-ins.

A stand-in is one Debian system by ``debootstrap`` (Python, Redis, PostgreSQL from its packages; moto as the
S3-compatible store) under the official image's name, with the official image's user, folders and variables, in the
private store of ``benchmarks.compose.podman`` alone. The Dockerfiles and the compose file stay as they are.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.compose.podman import BUILD_S, FOLDER, podman, run

MIRROR, SUITE = "http://deb.debian.org/debian", "bookworm"
PACKAGES = "ca-certificates,python3,python3-venv,python-is-python3,redis-server,postgresql,curl"
SYSTEM = "localhost/spikebit-stand-in"
PULL_S = 120.0
LIBRARY = "docker.io/library"
# Old mirrors and a machine whose clock is elsewhere: apt is to take what the mirror has.
APT = 'Acquire::Check-Valid-Until "false";\nAcquire::Check-Date "false";\n'
POSTGRES_START = """#!/bin/sh
# What the official image's start script does with an empty data folder.
set -e
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  printf %s "$POSTGRES_PASSWORD" > /tmp/password
  initdb -D "$PGDATA" -U "$POSTGRES_USER" --pwfile=/tmp/password --auth=scram-sha-256 -E UTF8 --locale=C
  rm /tmp/password
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
  echo "create database \\"$POSTGRES_DB\\"" | postgres --single -D "$PGDATA" postgres
fi
exec postgres -D "$PGDATA" -c listen_addresses='*'
"""
STORE_START = """#!/bin/sh
# moto, with a public object where the official image's health check looks; moto checks no signature, but wants one.
AUTH="Authorization: AWS4-HMAC-SHA256 Credential=x/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
(until curl -fs -X PUT http://127.0.0.1:9000/minio > /dev/null; do sleep 1; done
 curl -fs -X PUT -H "$AUTH" -H "x-amz-acl: public-read" --data ok http://127.0.0.1:9000/minio/health/live) &
exec /opt/moto/bin/moto_server -H 0.0.0.0 -p 9000
"""
# name → Containerfile; the last line of each is what the official image starts.
STAND_INS: dict[str, str] = {
    f"{LIBRARY}/python:3.11-slim": f"FROM {SYSTEM}\n",
    f"{LIBRARY}/redis:7-alpine": f"FROM {SYSTEM}\n"
    'RUN useradd --system --uid 999 redis7 && mkdir -p /data && chown 999 /data\nWORKDIR /data\nCMD ["redis-server"]\n',
    f"{LIBRARY}/postgres:16-alpine": f"FROM {SYSTEM}\n"
    "RUN useradd --system --uid 70 postgres16 && mkdir -p /var/lib/postgresql/data && chown -R 70 /var/lib/postgresql"
    " && install -d -m 3777 -o 70 /run/postgresql\n"
    "ENV PATH=/usr/lib/postgresql/15/bin:/usr/bin:/bin\nCOPY start-postgres /start-postgres\n"
    'ENTRYPOINT ["/start-postgres"]\n',
    "docker.io/minio/minio:RELEASE.2025-04-22T22-12-26Z": f"FROM {SYSTEM}\n"
    "RUN python3 -m venv /opt/moto && /opt/moto/bin/pip install -q --no-cache-dir 'moto[server,s3]==5.1.22'\n"
    "RUN mkdir /data\n"
    "COPY start-store /start-store\n"
    'ENTRYPOINT ["/start-store"]\n',
}


RECIPE = "spikebit.stand-in"  # label


def provide() -> str:
    """Make sure that every image is in the store; says which kind they are."""
    wanted = [name for name in STAND_INS if not _current(name)]
    if not wanted:
        return "images are in the store from an earlier run"
    if _pulls(wanted[0]):
        for name in wanted[1:]:
            podman("pull", "-q", name, patience_s=BUILD_S)
        return "images pulled"
    if not _held(SYSTEM):
        _make_system()
    context = FOLDER / "context"
    context.mkdir(exist_ok=True)
    for script, text in (("start-postgres", POSTGRES_START), ("start-store", STORE_START)):
        (context / script).write_text(text)
        (context / script).chmod(0o755)
    for name in wanted:
        (context / "Containerfile").write_text(f"{STAND_INS[name]}LABEL {RECIPE}={_recipe(name)}\n")
        podman("build", "-q", *build_options(), "-t", name, context, patience_s=BUILD_S)
    return "no registry answers: stand-ins from Debian's packages"


def build_options() -> list[str]:
    """How a build reaches what this machine's pip reaches: its network, settings, CA bundle and folders of wheels."""
    pip = FOLDER / "pip.conf"
    options = ["--network", "host", "-v", f"{pip}:/etc/pip.conf:ro"]
    listed = run((sys.executable, "-m", "pip", "config", "list"), {})
    values = {
        name.rpartition(".")[2]: value.strip("'")
        for name, _, value in (one.partition("=") for one in listed.splitlines())
    }
    pip.write_text("\n".join(["[global]", *(f"{name} = {value}" for name, value in values.items()), ""]))
    words = [word for value in values.values() for word in value.split()]
    named = {Path(word) for word in words}
    named |= {
        Path(word.removeprefix("file://")).parent for word in words if word.startswith("file://")
    }  # its files too
    for folder in sorted(folder for folder in named if folder.is_absolute() and folder.exists()):
        options += ["-v", f"{folder}:{folder}:ro"]
    return options


def _recipe(name: str) -> str:
    """Digest of what a stand-in is made from: one that an older recipe left is made again."""
    return hashlib.sha256("\n".join((STAND_INS[name], POSTGRES_START, STORE_START)).encode()).hexdigest()


def _current(name: str) -> bool:
    """Held, and pulled or made by today's recipe."""
    if not _held(name):
        return False
    label = podman("image", "inspect", "--format", f'{{{{ index .Labels "{RECIPE}" }}}}', name).strip()
    return label in ("", "<no value>", _recipe(name))


def _held(name: str) -> bool:
    return bool(podman("images", "-q", name).strip())


def _pulls(name: str) -> bool:
    try:
        podman("pull", "-q", name, patience_s=PULL_S)
    except (RuntimeError, subprocess.TimeoutExpired):
        return False
    return True


def _make_system() -> None:
    """A minimal Debian with the packages, imported as an image."""
    root, archive = FOLDER / "system", FOLDER / "system.tar"
    shutil.rmtree(root, ignore_errors=True)
    bootstrap = ("debootstrap", "--variant=minbase", f"--include={PACKAGES}", SUITE, str(root), MIRROR)
    run(bootstrap, {}, BUILD_S)
    (root / "etc/apt/apt.conf.d/99stand-in").write_text(APT)
    shutil.rmtree(root / "var/cache/apt/archives", ignore_errors=True)
    run(("tar", "-C", str(root), "-cf", str(archive), "."), {}, BUILD_S)
    path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    podman("import", "-q", "--change", f"ENV {path}", archive, SYSTEM, patience_s=BUILD_S)
    shutil.rmtree(root)
    archive.unlink()

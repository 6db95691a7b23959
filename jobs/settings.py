"""Every setting of the service, read from the environment (prefix ``SPIKEBIT_``); only these differ between layouts.

Sizes are bytes and times are seconds unless the name says otherwise. The defaults are the embedded layout of
DESIGN 8: SQLite, a folder of blobs and a private Redis on this host.
"""

from __future__ import annotations

import os
from functools import lru_cache
from importlib import metadata
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

GIB = 1 << 30
MIB = 1 << 20


def default_data_folder() -> Path:
    """The user's state folder for this service: ``$XDG_STATE_HOME/spikebit``, else ``~/.local/state/spikebit``."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local" / "state") / "spikebit"


class Settings(BaseSettings):
    """Settings of API, workers and supervisor; unknown variables are ignored, wrong values refused at start."""

    model_config = SettingsConfigDict(env_prefix="SPIKEBIT_", frozen=True, extra="ignore")

    data: Path = Field(default_factory=default_data_folder, description="State folder of this host")
    database_url: str = Field(default="", description="Empty: SQLite in the data folder")
    blob_url: str = Field(default="", description="Empty: the folder blobs/ in the data folder; s3://bucket/prefix")
    s3_endpoint: str | None = Field(default=None, description="S3-compatible server; None: AWS by region")
    s3_region: str = "us-east-1"
    redis_url: str | None = Field(default=None, description="Doorbell; None: no bell, workers look by themselves")
    tenant: str = Field(default="default", description="Tenant of the bootstrap key")
    bootstrap_key_file: Path | None = Field(
        default=None, description="File with the first API key; only its hash is kept"
    )

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=0, le=65535, description="0: any free port")
    fd: int | None = Field(default=None, ge=0, description="Listen on this inherited socket instead")
    log_level: str = "info"
    log_format: Literal["json", "text"] = "json"
    cuda_devices: str = Field(
        default="auto", description="auto, none, or names with commas: the embedded service starts a worker for each"
    )

    fsync: bool = Field(default=False, description="Sync blobs and every SQL commit to disk; checkpoints always are")
    max_upload_bytes: int = Field(default=16 * GIB, gt=0)
    max_json_bytes: int = Field(default=4 * MIB, gt=0)
    max_inflated_bytes: int = Field(default=4 * GIB, gt=0, description="Declared and inflated size of a dataset")
    upload_stall_s: float = Field(default=60, gt=0, description="An upload that sends nothing for this long is ended")
    wait_max_s: float = Field(default=60, gt=0, description="Cap of Prefer: wait")
    stream_max_s: float = Field(default=3600, gt=0, description="An event stream ends after this; clients resume")

    lease_s: float = Field(default=45, gt=0)
    heartbeat_s: float = Field(default=10, gt=0)
    sweep_s: float = Field(default=10, gt=0)
    look_s: float = Field(default=15, gt=0, description="Workers look for work by themselves this often")
    max_attempts: int = Field(default=3, ge=1, description="Attempts of a job whose workers die")
    queue_deadline_s: float | None = Field(default=None, gt=0, description="Default where a job names none")
    run_deadline_s: float | None = Field(default=None, gt=0, description="Default where a job names none")
    retry_pause_s: float = Field(
        default=5, ge=0, description="Pause before the second attempt after a lack of memory, disk or store; it doubles"
    )
    keep_jobs_s: float | None = Field(
        default=None, gt=0, description="Ended jobs with all they left are forgotten after this; None: never"
    )
    keep_artifacts_s: float | None = Field(
        default=None, gt=0, description="Published files are dropped this long after their job ended; None: never"
    )
    keep_uploads_s: float | None = Field(
        default=None, gt=0, description="Models and datasets that no job used for so long are forgotten; None: never"
    )
    rejected_keep_s: float = Field(default=86_400, gt=0, description="A rejected upload's problem is kept this long")
    idempotency_keep_s: float = Field(default=172_800, gt=0)
    collect_after_s: float = Field(
        default=86_400, gt=0, description="Unreferenced blobs untouched this long are dropped"
    )
    streams_per_key: int = Field(default=64, ge=1, description="Event streams that one key may hold open per process")
    require_device: bool = Field(
        default=True, description="Refuse a job for a device that no live worker has; false: it waits for one"
    )
    max_log_events: int = Field(default=5_000, ge=0, description="Log lines kept per job")

    child_memory_bytes: int | None = Field(default=None, gt=0, description="Memory limit of a job's child")
    intake_memory_bytes: int = Field(
        default=2 * GIB, gt=0, description="Address space of the child that parses uploads"
    )
    intake_s: float = Field(default=120, gt=0, description="Wall time of the child that parses uploads")
    warm_child: bool = Field(default=True, description="Keep a started child with torch imported")

    @model_validator(mode="after")
    def _beats_fit_the_lease(self) -> Self:
        if self.heartbeat_s * 2 > self.lease_s:
            raise ValueError(f"lease_s ({self.lease_s}) must be at least twice heartbeat_s ({self.heartbeat_s})")
        return self

    @property
    def worker_silent_s(self) -> float:
        """A worker that was not heard of for so long is taken for dead."""
        return max(3 * self.heartbeat_s, self.lease_s)

    @property
    def sql_url(self) -> str:
        """The database's URL, with the embedded default filled in."""
        return self.database_url or f"sqlite:///{self.data / 'spikebit.db'}"

    @property
    def blobs_folder(self) -> Path:
        """The folder of the embedded blob store."""
        return self.data / "blobs"

    @property
    def temporary(self) -> Path:
        """Where uploads and fetched blobs are written; on the same file system as the embedded blob store."""
        return self.data / "tmp"


@lru_cache
def engine_version() -> str:
    """Version of the installed service, kept in every job."""
    try:
        return metadata.version("spikebit-service")
    except metadata.PackageNotFoundError:  # run from a source tree that was never installed
        return "0+unknown"

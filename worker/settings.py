"""The settings of jobs.settings and the few that only a worker knows; same prefix ``SPIKEBIT_``."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, field_validator

from jobs.settings import GIB, MIB, Settings


class WorkerSettings(Settings):
    """Settings of one worker process.

    Example:
        >>> WorkerSettings(heartbeat_s=1, lease_s=5).stop_grace_s
        5.0
    """

    child_memory_bytes: int | None = Field(default=12 * GIB, gt=0, description="Address space of a CPU job's child")
    device_memory_bytes: int | None = Field(default=None, gt=0, description="Memory of the GPU that a child may take")
    cancel_look_s: float = Field(default=2.0, gt=0, description="How often a running job looks for its cancel")
    drain_s: float = Field(
        default=0.0,
        ge=0,
        description="A worker that has to end waits so long for its job's next checkpoint",
    )
    child_open_files: int = Field(default=1024, gt=0)
    child_file_bytes: int = Field(default=16 * GIB, gt=0, description="Largest file that a child may write")
    child_nice: int = Field(default=5, ge=0, le=19, description="Children compute at this much lower CPU priority")
    child_engine: str = Field(default="engine.run:run", description="module:function; another in tests alone")
    child_path: str = Field(default="", description="One more import folder for children, only in tests")
    warm_start_s: float = Field(default=120.0, gt=0, description="A child that is not ready after this is replaced")
    stop_grace_s: float = Field(default=5.0, ge=0, description="Between TERM and KILL")
    progress_s: float = Field(default=0.25, gt=0, description="Progress of one job is written at most this often")
    log_bytes: int = Field(default=MIB, gt=0, description="Kept of a child's output: half its beginning, half its end")

    @field_validator("data")
    @classmethod
    def _absolute(cls, data: Path) -> Path:
        """Children have another working directory."""
        return data.absolute()

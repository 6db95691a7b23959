"""Classes of work by device, and the devices of this host, found without loading torch."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path

INTAKE = "intake"
CLASS_OF_DEVICE: Mapping[str, str] = {"cpu": "compute", "cuda": "cuda"}
CLASSES = (*CLASS_OF_DEVICE.values(), INTAKE)


def class_of(device: str) -> str:
    """The class of worker that runs jobs for a device.

    Raises:
        KeyError: there is no such device.

    Example:
        >>> class_of("cpu")
        'compute'
    """
    return CLASS_OF_DEVICE[device]


def cuda_devices(setting: str = "auto", environ: Mapping[str, str] | None = None) -> list[str]:
    """The CUDA devices that workers of this host get, one worker each, as ``CUDA_VISIBLE_DEVICES`` names them.

    Args:
        setting: ``auto`` (what the driver shows, within ``CUDA_VISIBLE_DEVICES``), ``none``, or names with commas.
        environ: environment variables; None: the process's own.

    Example:
        >>> cuda_devices("0,1"), cuda_devices("none"), cuda_devices("auto", {"CUDA_VISIBLE_DEVICES": ""})
        (['0', '1'], [], [])
    """
    environ = os.environ if environ is None else environ
    if setting == "none":
        return []
    if setting != "auto":
        return [name.strip() for name in setting.split(",") if name.strip()]
    visible = environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() and not name.strip().startswith("-")]
    found = (re.fullmatch(r"nvidia(\d+)", path.name) for path in Path("/dev").glob("nvidia*"))
    return sorted((match.group(1) for match in found if match), key=int)

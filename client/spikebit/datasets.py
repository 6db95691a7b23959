"""What a user says about a dataset on the command line, as the service's request: format, transform, one file."""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from spikebit.errors import UsageError

EPOCH = (1980, 1, 1, 0, 0, 0)  # packing the same folder twice gives the same file
TABLE = "labels.csv"
_SIZE = re.compile(r"([0-9]+)x([0-9]+)")
_CROP = re.compile(r"([0-9]+),([0-9]+),([0-9]+)x([0-9]+)")


@dataclass(frozen=True)
class DataOptions:
    """The options of ``datasets add``, ``quantize`` and the like that say how data is to be read."""

    format: str | None = None
    labels: Path | None = None
    bin_ms: float | None = None
    bins: int | None = None
    count: int | None = None
    late: str | None = None
    polarity: str | None = None
    crop: str | None = None
    downsample: int | None = None
    values: str | None = None
    sensor: str | None = None
    start: str | None = None
    test_fraction: float | None = None
    validation_fraction: float | None = None
    split_seed: int | None = None

    @property
    def transform(self) -> dict[str, Any] | None:
        """The request's ``transform``; None where nothing was said.

        Raises:
            UsageError: options that exclude each other, or a malformed one.
        """
        fields: dict[str, Any] = {
            "binning": self._binning(),
            "polarity": self.polarity,
            "crop": None if self.crop is None else _crop(self.crop),
            "downsample": self.downsample,
            "values": self.values,
            "sensor": None if self.sensor is None else _sensor(self.sensor),
            "start": self.start,
            "split": self._split(),
        }
        given = {name: value for name, value in fields.items() if value is not None}
        return given or None

    def _binning(self) -> dict[str, Any] | None:
        common = {name: value for name, value in (("steps", self.bins), ("late", self.late)) if value is not None}
        if self.bin_ms is not None and self.count is not None:
            raise UsageError("expected --bin-ms or --count, found both", code="usage")
        if self.bin_ms is not None:
            return {"kind": "time", "bin_s": round(self.bin_ms * 1000) / 1e6 or self.bin_ms / 1000, **common}
        if self.count is not None:
            return {"kind": "count", "events": self.count, **common}
        if common:
            raise UsageError("expected --bin-ms or --count beside --bins and --late, found neither", code="usage")
        return None

    def _split(self) -> dict[str, Any] | None:
        fields = {
            "test_fraction": self.test_fraction,
            "validation_fraction": self.validation_fraction,
            "seed": self.split_seed,
        }
        given = {name: value for name, value in fields.items() if value is not None}
        return given or None


@contextmanager
def one_file(data: Path, options: DataOptions) -> Iterator[tuple[Path, str]]:
    """The file to upload and its format; a folder, or files with a label table, are packed into a zip first.

    Raises:
        UsageError: nothing is there, a label table for a single file, or a format that cannot be guessed.
    """
    if not data.exists():
        raise UsageError(f"DATA: expected a file or a folder at {data}, found nothing", code="unreadable_file")
    if options.labels is not None and not (data.is_dir() and options.labels.is_file()):
        detail = f"--labels: expected a table for a folder of recordings, found {options.labels} for {data}"
        raise UsageError(detail, code="usage")
    if data.is_file():
        yield data, options.format or guess_format(data)
        return
    with TemporaryDirectory() as folder:
        packed = Path(folder) / f"{data.name}.zip"
        yield pack(data, packed, options.labels), options.format or guess_format(packed)


def pack(folder: Path, target: Path, labels: Path | None) -> Path:
    """Every file of a folder and the label table in one zip; equal folders give equal files.

    Files whose names begin with a dot, and what macOS keeps in ``__MACOSX``, are left out.

    Raises:
        UsageError: the folder is empty, or has a table of its own beside the given one.
    """
    files = {str(path.relative_to(folder).as_posix()): path for path in folder.rglob("*") if path.is_file()}
    names = {name: path for name, path in files.items() if not _is_hidden(name)}
    if labels is not None:
        if TABLE in names and not names[TABLE].samefile(labels):
            raise UsageError(f"--labels: expected one table, found {labels} beside {names[TABLE]}", code="usage")
        names.pop(str(labels.relative_to(folder).as_posix()) if labels.is_relative_to(folder) else "", None)
        names[TABLE] = labels
    if not names:
        raise UsageError(f"DATA: expected files in the folder {folder}, found none", code="unreadable_file")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        for name in sorted(names):
            info = zipfile.ZipInfo(name, EPOCH)
            info.compress_type = zipfile.ZIP_DEFLATED
            info.file_size = names[name].stat().st_size
            with archive.open(info, "w") as member, names[name].open("rb") as source:
                while piece := source.read(1 << 20):
                    member.write(piece)
    return target


def guess_format(path: Path) -> str:
    """The format by suffix and, for archives, by what is in them; ``frames`` where nothing else fits."""
    suffix = path.suffix.lower()
    if suffix in (".h5", ".hdf5"):
        return "shd"
    if suffix not in (".npz", ".zip"):
        return "frames"
    try:
        with zipfile.ZipFile(path) as archive:
            names = [name.lower() for name in archive.namelist() if not _is_hidden(name)]
    except (zipfile.BadZipFile, OSError):
        return "frames"  # the service says what is wrong with it
    if any(name.startswith("offsets_") for name in names):
        return "events"
    if suffix == ".npz":
        return "frames"
    if any(name.endswith((".h5", ".hdf5")) for name in names):
        return "shd"
    recordings = [name for name in names if not name.endswith("/") and name != TABLE]
    recordings = [name for name in recordings if not name.rpartition("/")[2].startswith(("readme", "license"))]
    plain = all(name.endswith(".bin") for name in recordings) and TABLE not in names
    return "nmnist" if plain else "recordings"


def _is_hidden(name: str) -> bool:
    """Whether an operating system keeps this path for itself."""
    return any(part.startswith(".") or part == "__MACOSX" for part in name.split("/"))


def _sensor(text: str) -> list[int]:
    found = _SIZE.fullmatch(text)
    if found is None:
        raise UsageError(f"--sensor: expected ROWSxCOLUMNS, found {text!r}", code="usage")
    return [int(part) for part in found.groups()]


def _crop(text: str) -> Mapping[str, int]:
    found = _CROP.fullmatch(text)
    if found is None:
        raise UsageError(f"--crop: expected TOP,LEFT,HEIGHTxWIDTH, found {text!r}", code="usage")
    return dict(zip(("top", "left", "height", "width"), map(int, found.groups()), strict=True))

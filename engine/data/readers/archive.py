"""A zip of recordings, one file a sample; the label and the split of each from its folder or from ``labels.csv``.

Folders: ``train/<class>/name.ext``, ``test/<class>/name.ext`` (``val``, ``validation`` too; any case), or
``<class>/name.ext`` where a split rule holds samples out. Classes that are all whole numbers are those labels; else
they are numbered in the order of their names. Table: a header ``path,label`` with an optional ``split``, a row a file.
Names that begin with a dot and what macOS adds below
``__MACOSX`` are left out. Nothing is ever extracted under a name of the archive's choosing.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from engine.data.events import MAX_EVENTS_PER_SAMPLE, MAX_SAMPLES, OPEN, TEST, TRAIN, VAL
from engine.data.frames import MAX_CLASSES, class_name
from engine.data.zip_safe import Member, ZipLimits, inflate, list_members
from engine.errors import InvalidDataset

TABLE = "labels.csv"
MAX_TABLE_BYTES = 64 << 20
MAX_RECORDING_BYTES = 16 * MAX_EVENTS_PER_SAMPLE  # no format needs more for a sample of the largest size
SPLIT_WORDS = {"train": TRAIN, "training": TRAIN, "val": VAL, "validation": VAL, "test": TEST, "testing": TEST}
_WHOLE = re.compile(r"0|[1-9][0-9]{0,5}")


@dataclass(frozen=True, eq=False)
class Archive:
    """Recordings in the order of the samples, with their labels and splits ``[sample]``."""

    file: BinaryIO
    members: tuple[Member, ...]
    labels: NDArray[np.int64]
    split: NDArray[np.uint8]
    classes: tuple[str, ...] | None

    def data(self, sample: int) -> bytes:
        """The bytes of one recording."""
        member = self.members[sample]
        try:
            return b"".join(inflate(self.file, member))
        except InvalidDataset as error:
            raise _as_zip(error) from error


def open_archive(file: BinaryIO, limits: ZipLimits, suffixes: Iterable[str]) -> Archive:
    """List a zip of recordings and label every one.

    Args:
        file: the upload, open as long as the archive is used.
        limits: bound on declared bytes.
        suffixes: of recordings, with the dot.

    Raises:
        InvalidDataset: ``not_zip``, ``declared_too_large``, ``unknown_recording``, ``recording_too_large``,
            ``unlabelled``, ``missing_recording``, ``invalid_labels``, ``labels_out_of_range``, ``missing_split``.
    """
    own = ZipLimits(MAX_SAMPLES, limits.max_bytes, paths=True)
    try:
        members = list_members(file, own)
        table = members.pop(TABLE, None)
        known = tuple(suffixes)
        for member in members.values():
            _check_member(member, known)
        if not members:
            raise InvalidDataset("too_few_samples", "expected recordings in the archive, found none", None)
        rows = _from_folders(sorted(members)) if table is None else _from_table(file, table, members)
    except InvalidDataset as error:
        raise _as_zip(error) from error
    names = [row[0] for row in rows]
    labels, classes = _number([row[1] for row in rows])
    split = np.array([row[2] for row in rows], np.uint8)
    return Archive(file, tuple(members[name] for name in names), labels, split, classes)


def _as_zip(error: InvalidDataset) -> InvalidDataset:
    code = "not_zip" if error.code == "not_npz" else error.code
    return InvalidDataset(code, error.detail, error.pointer)


def _check_member(member: Member, suffixes: Sequence[str]) -> None:
    if not member.name.lower().endswith(tuple(suffixes)):
        detail = f"member {member.name!r}: expected a recording ({', '.join(suffixes)}) or {TABLE}"
        raise InvalidDataset("unknown_recording", f"{detail}, found another kind of file; leave it out", member.name)
    if member.size > MAX_RECORDING_BYTES:
        detail = f"member {member.name!r}: expected at most {MAX_RECORDING_BYTES} bytes, found {member.size}"
        raise InvalidDataset("recording_too_large", detail, member.name)


def _from_folders(names: Sequence[str]) -> list[tuple[str, str, int]]:
    """(path, class, split) from ``[anything/]split/class/name`` or ``class/name``."""
    rows = []
    for name in names:
        parts = name.split("/")
        if len(parts) < 2:
            detail = f"recording {name!r}: expected a folder named for its class, or a table {TABLE}, found neither"
            raise InvalidDataset("unlabelled", detail, name)
        split = SPLIT_WORDS.get(parts[-3].lower(), OPEN) if len(parts) > 2 else OPEN
        rows.append((name, parts[-2], split))
    if len({split == OPEN for _, _, split in rows}) > 1:
        name = next(name for name, _, split in rows if split == OPEN)
        detail = f"recording {name!r}: expected it below a folder train, val or test as others are"
        raise InvalidDataset("missing_split", detail, name)
    return rows


def _from_table(file: BinaryIO, table: Member, members: Mapping[str, Member]) -> list[tuple[str, str, int]]:
    """(path, class, split) from the rows of the label table; every recording once."""
    if table.size > MAX_TABLE_BYTES:
        detail = f"{TABLE}: expected at most {MAX_TABLE_BYTES} bytes, found {table.size}"
        raise InvalidDataset("invalid_labels", detail, TABLE)
    try:
        text = b"".join(inflate(file, table)).decode("utf-8-sig")
        lines = list(csv.reader(io.StringIO(text, newline=""), strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InvalidDataset("invalid_labels", f"{TABLE}: expected UTF-8 text with commas: {error}", TABLE) from error
    header = [cell.strip().lower() for cell in lines[0]] if lines else []
    if header not in (["path", "label"], ["path", "label", "split"]):
        detail = f"{TABLE}: expected the header path,label or path,label,split, found {','.join(header)[:64]!r}"
        raise InvalidDataset("invalid_labels", detail, TABLE)
    rows: dict[str, tuple[str, str, int]] = {}
    for number, line in enumerate(lines[1:], start=2):
        if line:
            row = _table_row(line, len(header), number)
            if row[0] not in members or row[0] in rows:
                found = "it twice" if row[0] in rows else "no such file in the archive"
                detail = f"{TABLE}, line {number}: expected a recording for {row[0][:64]!r}, found {found}"
                raise InvalidDataset("missing_recording", detail, TABLE)
            rows[row[0]] = row
    left = sorted(set(members) - set(rows))
    if left:
        detail = f"recording {left[0]!r}: expected a row in {TABLE}, found none ({len(left)} such recordings)"
        raise InvalidDataset("unlabelled", detail, left[0])
    return list(rows.values())


def _table_row(line: Sequence[str], width: int, number: int) -> tuple[str, str, int]:
    if len(line) != width or not line[0] or not line[1].strip():
        detail = f"{TABLE}, line {number}: expected {width} filled cells, found {len(line)}: {','.join(line)[:64]!r}"
        raise InvalidDataset("invalid_labels", detail, TABLE)
    word = line[2].strip().lower() if width == 3 else ""
    if width == 3 and word not in SPLIT_WORDS:
        detail = f"{TABLE}, line {number}: expected the split train, val or test, found {word[:64]!r}"
        raise InvalidDataset("invalid_labels", detail, TABLE)
    return line[0], line[1].strip(), SPLIT_WORDS.get(word, OPEN)


def _number(words: Sequence[str]) -> tuple[NDArray[np.int64], tuple[str, ...] | None]:
    """Labels of class words: whole numbers as they are, names in their order."""
    kinds = sorted(set(words))
    if all(_WHOLE.fullmatch(word) for word in kinds):
        labels = np.array([int(word) for word in words], np.int64)
        if labels.max() >= MAX_CLASSES:
            detail = f"expected labels from 0 to {MAX_CLASSES - 1}, found {labels.max()}"
            raise InvalidDataset("labels_out_of_range", detail, TABLE)
        return labels, None
    if len(kinds) > MAX_CLASSES:
        detail = f"expected at most {MAX_CLASSES} classes, found {len(kinds)}"
        raise InvalidDataset("labels_out_of_range", detail, TABLE)
    numbers = {word: number for number, word in enumerate(kinds)}
    return np.array([numbers[word] for word in words], np.int64), tuple(class_name(word) for word in kinds)

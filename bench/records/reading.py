"""What the two files of a run hold, and what of them can't be read: damage costs a line, not the run."""

import gzip
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from bench.errors import Exit, UserError
from bench.records.schema import FIRST_SCHEMA, SCHEMA, Load, Record, Run

RUN_FILE, CELLS_FILE = "run.json", "cells.jsonl"
PACKED_CELLS_FILE = f"{CELLS_FILE}.gz"
_NOT_PACKED = (gzip.BadGzipFile, EOFError, zlib.error)
_UNREADABLE = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)  # of a damaged file


class Unread(msgspec.Struct, frozen=True):
    """What of a run's file can't be read, for one reason; the rest of the run is read all the same."""

    file: str
    reason: str
    lines: list[int] = []  # from 1; none where it isn't a matter of lines


class Reading(NamedTuple):
    """What a run's files hold, and what of them can't be read."""

    records: list[Record]
    unread: list[Unread]


class _Version(msgspec.Struct):
    schema: int = SCHEMA


def read_run(path: Path) -> tuple[Run, list[Unread]]:
    """What can be read of run.json, and what can't."""
    file = path / RUN_FILE
    try:
        content = file.read_bytes()
    except OSError as error:
        missing = f"it has no {RUN_FILE}" if path.is_dir() else "there is no such folder"
        raise UserError(
            f"{path} is not a run: {missing}; `iocpbench runs` lists the runs", Exit.USAGE
        ) from error
    version = _version(content)
    unread = (
        [] if _is_known(version) else [Unread(RUN_FILE, f"{_of_another(version)}; what it says is shown")]
    )
    try:
        return msgspec.json.decode(content, type=Run), unread
    except _UNREADABLE as error:
        try:
            fields = msgspec.json.decode(content, type=dict[str, msgspec.Raw])
        except _UNREADABLE:
            raise UserError(f"{file} can't be read: {error}", Exit.USAGE) from error
        run, faults = _run_of(fields, path.name)
        if run is None:
            raise UserError(f"{file} can't be read: {error}", Exit.USAGE) from error
        return run, [*unread, *faults]


def _run_of(fields: Mapping[str, msgspec.Raw], name: str) -> tuple[Run | None, list[Unread]]:
    """A run of those `fields` that can be read; None where none can."""
    known: dict[str, Any] = {}
    unread = []
    for field in msgspec.structs.fields(Run):
        if field.name not in fields:
            if field.required:
                unread.append(Unread(RUN_FILE, f"{field.name} is missing"))
            continue
        try:
            known[field.name] = msgspec.json.decode(fields[field.name], type=field.type)
        except _UNREADABLE as error:
            unread.append(Unread(RUN_FILE, f"{field.name} can't be read: {error}"))
    return (Run(**{**_NO_RUN, "name": name, **known}) if known else None), unread


_NO_RUN: dict[str, Any] = {  # of what can't be read
    "schema": SCHEMA,
    "status": "interrupted",
    "started_at": "",
    "seed": 0,
    "suite": {},
    "environment": {},
    "versions": {},
    "yardstick_sha256": None,
}


def read_cells(cells: Path) -> Reading:
    """All records but those that can't be read or were measured again."""
    decoder = msgspec.json.Decoder(Record)
    records: list[Record] = []
    faults: dict[str, list[int]] = {}
    for number, line in enumerate(lines_of(cells), 1):
        if isinstance(line, bytes):
            record, fault = _decoded(line, decoder)
        else:
            record, fault = None, f"from here on it can't be unpacked: {line}"
        if record is not None:
            records.append(record)
        elif fault is not None:
            faults.setdefault(fault, []).append(number)
    unread = [Unread(cells.name, reason, lines) for reason, lines in faults.items()]
    return Reading(_without_repeated(records), unread)


def lines_of(cells: Path) -> Iterator[bytes | Exception]:
    """The lines of the file, of a packed one as far as it can be unpacked; then why it can't be."""
    if cells.name != PACKED_CELLS_FILE:
        with cells.open("rb") as file:
            yield from file
        return
    try:
        with gzip.open(cells, "rb") as packed:
            yield from packed
    except _NOT_PACKED as error:
        yield error


def _decoded(line: bytes, decoder: msgspec.json.Decoder[Record]) -> tuple[Record | None, str | None]:
    """The record in a line, or why there is none; neither in an empty one."""
    if not line.endswith(b"\n"):
        return None, "cut off at its end, as by a full disk or a power cut"
    if line.isspace():
        return None, None
    try:
        record = decoder.decode(line)
    except _UNREADABLE as error:
        return None, _fault(line, error)
    if not _is_known(record.schema):
        return None, _of_another(record.schema)
    if record.status == "measured" and record.load is None:
        return None, "measured, it says, and has no figures"
    return record, None


def _fault(line: bytes, error: Exception) -> str:
    if not _is_known(version := _version(line)):
        return _of_another(version)
    return f"no record: {error}" if isinstance(error, msgspec.ValidationError) else "damaged: no JSON"


def _version(content: bytes) -> int:
    """The schema that `content` names; this one's where it names none."""
    try:
        return msgspec.json.decode(content, type=_Version).schema
    except _UNREADABLE:
        return SCHEMA


def _is_known(version: int) -> bool:
    return FIRST_SCHEMA <= version <= SCHEMA


def _of_another(version: int) -> str:
    if version > SCHEMA:
        return f"written by a newer iocpbench (schema {version}): update this one"
    return f"of a schema ({version}) that this iocpbench doesn't know"


def whole_bytes(content: bytes) -> int:
    return content.rfind(b"\n") + 1


def _without_repeated(records: list[Record]) -> list[Record]:
    """Keep one measurement of each (repeat, block): the fullest, of equally full ones the last.

    A crash may leave a part of a block's records, and the block is measured again. Records of one measurement
    share `started_at`; mixing two would compare what wasn't measured together.
    """
    sizes: dict[tuple[int, str], dict[str, int]] = {}
    for record in records:
        counts = sizes.setdefault((record.repeat, record.block), {})
        counts[record.started_at] = counts.get(record.started_at, 0) + 1
    kept = {
        key: max(reversed(list(counts)), key=lambda started_at: counts[started_at])
        for key, counts in sizes.items()
    }

    def cell_key(record: Record) -> tuple[int, str, str, str, Load]:
        cell = record.cell
        return record.repeat, record.block, cell.experiment, cell.contender, cell.load

    def is_kept(record: Record) -> bool:
        return record.started_at == kept[record.repeat, record.block]

    measured = {cell_key(record) for record in records if is_kept(record)}
    return [record for record in records if is_kept(record) or cell_key(record) not in measured]

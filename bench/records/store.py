"""Run folders: what was measured, kept so that a crash, a full disk or Ctrl+C loses no finished block.

Two files with two ways of writing. `cells.jsonl` only ever grows, by all records of a block in one write that
is on the disk before the next block starts; `run.json` is small and is replaced as a whole. So whenever the
machine dies, each file is whole but for the last line of `cells.jsonl`, which has no end then and is dropped.
"""

import difflib
import errno
import os
import re
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import msgspec

from bench.errors import Exit, UserError
from bench.records.reading import (
    CELLS_FILE,
    PACKED_CELLS_FILE,
    RUN_FILE,
    Reading,
    Unread,
    lines_of,
    read_cells,
    read_run,
    whole_bytes,
)
from bench.records.schema import Record, Run

if sys.platform == "win32":
    import msvcrt

    def _try_lock(file: BinaryIO) -> bool:
        try:
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True
else:
    import fcntl

    def _try_lock(file: BinaryIO) -> bool:
        try:
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return False
        return True


LOCK_FILE, LOGS_FOLDER = "lock", "logs"
LOCK_WAIT_S = 0.5  # `in_use` holds the lock for an instant: another's look must not end a resume
REPLACE_WAIT_S = 2.0

_TIME = r"-\d{8}T\d{6}Z(-\d+)?"  # what a run's name has after its suite's


class RunFolder:
    """One run on the disk. A context manager where it is open for append: leaving it frees the lock."""

    def __init__(
        self, path: Path, run: Run, lock: BinaryIO | None = None, unread: Sequence[Unread] = ()
    ) -> None:
        self.path = path
        self.run = run
        self.unread = list(unread)  # of run.json
        self._lock = lock
        self._read: tuple[tuple[int, int], Reading] | None = None  # the file's size and time, what was in it

    @classmethod
    def create(cls, results: Path, run: Run) -> Self:
        """Make the folder of a new run in `results`, open for append; `run.name` is the suite's name.

        The folder is `<suite>-<UTC time>` after `run.started_at`, with a number behind it where that exists;
        `folder.run.name` is the folder's name. Raises UserError where `results` can't be written.
        """
        try:
            results.mkdir(parents=True, exist_ok=True)
            path = _new_folder(results, run)
            (path / LOGS_FOLDER).mkdir()
        except OSError as error:
            raise UserError(f"{results} can't be written: {error.strerror}; name another folder") from error
        folder = cls(path, msgspec.structs.replace(run, name=path.name), _take_lock(path))
        try:
            folder.update()
        except BaseException:  # nothing half-written: a folder without run.json is no run
            folder.close()
            (path / LOGS_FOLDER).rmdir()
            (path / LOCK_FILE).unlink()
            path.rmdir()
            raise
        return folder

    @classmethod
    def open(cls, path: Path, *, append: bool = False) -> Self:
        """Open a run to read, or with `append` to go on with it: then alone, and without a torn last line.

        What of run.json can't be read is in `unread`, and has values that say nothing. Raises UserError where
        it is no run; with `append` also where another version made it, or another process is using it.
        """
        run, unread = read_run(path)
        if not append:
            return cls(path, run, unread=unread)
        if unread:
            raise UserError(f"{path / RUN_FILE}: {unread[0].reason}", Exit.USAGE)
        lock = _take_lock(path)
        (path / LOGS_FOLDER).mkdir(exist_ok=True)
        folder = cls(path, run, lock)
        try:
            folder._unpack()
        except UserError:
            folder.close()
            raise
        cells = path / CELLS_FILE
        if cells.exists():
            os.truncate(cells, whole_bytes(cells.read_bytes()))
        return folder

    @property
    def cells_file(self) -> Path:
        """Where the records are: cells.jsonl, or that with .gz behind it where somebody has packed it."""
        plain, packed = self.path / CELLS_FILE, self.path / PACKED_CELLS_FILE
        return packed if packed.exists() and not plain.exists() else plain

    @property
    def logs(self) -> Path:
        """Where the logs of servers and generators go."""
        return self.path / LOGS_FOLDER

    @property
    def in_use(self) -> bool:
        """Whether a process is writing to the run now; "running" without it means that one was killed."""
        if self._lock is not None:
            return True
        try:
            with (self.path / LOCK_FILE).open("rb") as lock:
                return not _try_lock(lock)
        except OSError:
            return False

    def append(self, records: list[Record]) -> None:
        """Write all records of a block; on return they are on the disk, on failure nothing of them is.

        Raises UserError where there is no room.
        """
        assert self._lock is not None, "opened to read"
        lines = b"".join(msgspec.json.encode(record) + b"\n" for record in records)
        try:
            with (self.path / CELLS_FILE).open("ab", buffering=0) as file:
                size_before = file.seek(0, os.SEEK_END)
                try:
                    _write_all(file, lines)
                except BaseException:
                    file.truncate(size_before)
                    raise
        except OSError as error:
            raise self._not_written(CELLS_FILE, error) from error

    def read(self) -> Reading:
        """Every record, in the order written, and what can't be read.

        Without those of a block that was measured again. A file that hasn't changed isn't read again.
        """
        cells = self.cells_file
        try:
            about = cells.stat()
        except FileNotFoundError:
            return Reading([], self.unread)
        state = (about.st_size, about.st_mtime_ns)
        if self._read is None or self._read[0] != state:
            self._read = (state, read_cells(cells))
        records, unread = self._read[1]
        return Reading(list(records), [*self.unread, *unread])

    def records(self) -> list[Record]:
        """The records of `read`."""
        return self.read().records

    def update(self, **fields: Any) -> None:  # the fields of Run, whose types differ
        """Change fields of `run` and replace run.json: a reader sees the old or the new one, never half."""
        assert self._lock is not None, "opened to read"
        run = msgspec.structs.replace(self.run, **fields)
        target, fresh = self.path / RUN_FILE, self.path / f"{RUN_FILE}.new"
        try:
            with fresh.open("wb", buffering=0) as file:
                _write_all(file, msgspec.json.format(msgspec.json.encode(run), indent=2) + b"\n")
            replace_file(fresh, target)
        except OSError as error:
            fresh.unlink(missing_ok=True)
            raise self._not_written(RUN_FILE, error) from error
        _sync_folder(self.path)
        self.run = run

    def close(self) -> None:
        """Let other processes append."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _unpack(self) -> None:
        """What is to be gone on with is a file that lines can be added to."""
        packed = self.cells_file
        if packed.name != PACKED_CELLS_FILE:
            return
        target = self.path / CELLS_FILE
        fresh = target.with_name(f"{CELLS_FILE}.new")
        try:
            with fresh.open("wb") as file:
                for line in lines_of(packed):
                    if isinstance(line, Exception):
                        raise UserError(
                            f"{packed} can't be unpacked: {line}; take it from a copy", Exit.USAGE
                        )
                    file.write(line)
                file.flush()
                os.fsync(file.fileno())
            replace_file(fresh, target)
            packed.unlink()
        except OSError as error:
            raise self._not_written(CELLS_FILE, error) from error
        finally:
            fresh.unlink(missing_ok=True)

    def _not_written(self, name: str, error: OSError) -> UserError:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            cause, cure = "no room on the disk", "free space"
        else:
            cause, cure = f"{error.strerror}", "put that right"
        return UserError(
            f"{self.path / name} could not be written: {cause}; what was measured is kept\n"
            f"{cure} and `iocpbench run --resume {self.path}`"
        )


def replace_file(fresh: Path, target: Path) -> None:
    """Put `fresh` in the place of `target`. Raises OSError.

    Windows refuses while another program has `target` open, as a reader and a virus scanner do for a moment.
    """
    deadline = time.monotonic() + REPLACE_WAIT_S
    while True:
        try:
            fresh.replace(target)
        except PermissionError:
            if sys.platform != "win32" or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def list_runs(results: Path) -> list[RunFolder]:
    """All runs in `results` that this version can read, the newest first; none where there is no folder."""
    runs = []
    for run_file in results.glob(f"*/{RUN_FILE}"):
        try:
            runs.append(RunFolder.open(run_file.parent))
        except UserError:  # opened by its name it says why
            continue
    return sorted(runs, key=lambda folder: (folder.run.started_at, folder.path.name), reverse=True)


def latest(results: Path) -> Path:
    """The newest run in `results`. Raises UserError where there is none."""
    runs = list_runs(results)
    if not runs:
        raise UserError(f"no run in {results} yet: `iocpbench run` makes one", Exit.UNAVAILABLE)
    return runs[0].path


def resolve(name_or_path: str | Path | None, results: Path) -> Path:
    """Which folder is meant: a run's name in `results`, a path, a suite's name, or None for the latest.

    A suite's name means its latest run, also in a folder of its own: `reference/chapter`. Raises UserError
    that names the nearest run where there is no such folder.
    """
    if name_or_path is None:
        return latest(results)
    for path in (results / name_or_path, Path(name_or_path)):
        if path.is_dir():
            return path
        if (found := _latest_of(path.name, path.parent)) is not None:
            return found
    names = [folder.path.name for folder in list_runs(results)]
    near = difflib.get_close_matches(Path(name_or_path).name, names, n=1)
    hint = f"did you mean {near[0]}?" if near else "`iocpbench runs` lists the runs"
    raise UserError(f"no run {name_or_path}: {hint}", Exit.USAGE)


def _latest_of(suite: str, results: Path) -> Path | None:
    """The newest run in `results` whose folder is called after `suite`."""
    called = re.compile(re.escape(suite) + _TIME)
    return next((folder.path for folder in list_runs(results) if called.fullmatch(folder.path.name)), None)


def _new_folder(results: Path, run: Run) -> Path:
    started_at = datetime.fromisoformat(run.started_at).astimezone(UTC)
    suite = re.sub(r"[^\w.-]+", "-", run.name)  # a title may hold what Windows refuses in a file name
    name = f"{suite}-{started_at:%Y%m%dT%H%M%SZ}"
    number = 1
    while True:
        path = results / (name if number == 1 else f"{name}-{number}")
        try:
            path.mkdir()
        except FileExistsError:
            number += 1
        else:
            return path


def _take_lock(path: Path) -> BinaryIO:
    try:
        lock = (path / LOCK_FILE).open("ab")
    except OSError as error:
        raise UserError(f"{path} can't be written: {error.strerror}") from error
    deadline = time.monotonic() + LOCK_WAIT_S
    while not _try_lock(lock):
        if time.monotonic() > deadline:
            lock.close()
            raise UserError(f"another process is writing to {path}: wait until it ends, or stop it")
        time.sleep(0.02)
    return lock


def _write_all(file: Any, content: bytes) -> None:  # an unbuffered file: a write may take a part
    rest = memoryview(content)
    while rest:
        rest = rest[file.write(rest) :]
    os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    if sys.platform == "win32":  # folders can't be opened there, and renames are journalled
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

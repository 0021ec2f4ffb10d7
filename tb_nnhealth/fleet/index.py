"""What the last look found, so that the next one reads only what has changed.

A table in SQLite: for each run and way of judging, the stamps of the run's event files and the report that was made of
them. It lies in the user's cache directory, never among the logs unless it is put there by name. It is no more than a
memory: whatever goes wrong with it costs reading again, and is noted.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sqlite3
import sys
import time
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tb_nnhealth import __version__
from tb_nnhealth.events.walk import RunDirectory
from tb_nnhealth.fleet.scan import How, Scanned, Summary
from tb_nnhealth.history import Problem

SCHEMA = 1
KEPT_DAYS = 60
"""A report that nobody asked for in so many days is forgotten."""
_DAY = 86400
_AT_ONCE = 64
"""Reports written together."""
_TABLE = """
CREATE TABLE IF NOT EXISTS runs (
    key BLOB PRIMARY KEY, stamps BLOB NOT NULL, report BLOB NOT NULL, summary TEXT NOT NULL,
    problems TEXT NOT NULL, used INTEGER NOT NULL
) WITHOUT ROWID
"""


def default_path() -> Path:
    """In the user's cache directory, as the system has it."""
    if sys.platform == "win32":
        base = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        base = Path.home() / "Library" / "Caches"
    else:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "tb_nnhealth" / "index.sqlite"


class Index:
    """Reports by run and way of judging. Several processes may use one file at a time. Raises nothing.

    ``notes``: what went wrong with the index itself, for the user.
    """

    def __init__(self, path: Path, how: How) -> None:
        self.path = path
        self.notes: list[str] = []
        self._how = _digest(_code(), how.tuning.rules, how.tuning.scalars, [vars(known) for known in how.known])
        self._rows: dict[bytes, tuple[Any, ...]] = {}
        self._used: list[bytes] = []
        self._base: sqlite3.Connection | None = None
        self._guarded(self._open)

    def get(self, directory: RunDirectory) -> Scanned | None:
        """What was found in the same files; None where they have changed, or nothing is known of them."""
        stamps = stamps_of(directory)
        if self._base is None or stamps is None:
            return None
        row: tuple[Any, ...] | None = self._guarded(lambda: self._found(self._key(directory), stamps))
        if row is None:
            return None
        try:
            report, summary, problems, used = row
            zlib.decompress(report)
            scanned = Scanned(
                directory.name,
                report,
                Summary(*json.loads(summary)),
                tuple(Problem(**problem) for problem in json.loads(problems)),
                True,
            )
        except (ValueError, TypeError, zlib.error):
            return None
        if used < time.time() - _DAY:
            self._used.append(self._key(directory))
        return scanned

    def put(self, directory: RunDirectory, stamps: bytes | None, scanned: Scanned) -> None:
        """Keeps what was found. ``stamps``: of the files before they were read."""
        if self._base is None or stamps is None or scanned.report is None or not scanned.read:
            return
        summary, problems = json.dumps(scanned.summary), json.dumps([vars(problem) for problem in scanned.problems])
        key = self._key(directory)
        self._rows[key] = (key, stamps, scanned.report, summary, problems, int(time.time()))
        if len(self._rows) >= _AT_ONCE:
            self._guarded(self._write)

    def close(self) -> None:
        """Writes what is not written yet."""
        if self._base is not None:
            self._guarded(self._write)
        if self._base is not None:
            self._base.close()
            self._base = None

    def _key(self, directory: RunDirectory) -> bytes:
        return _digest(directory.name, directory.above, directory.storage.real(directory.path), self._how.hex())

    def _found(self, key: bytes, stamps: bytes) -> tuple[Any, ...] | None:
        assert self._base is not None
        asked = "SELECT report, summary, problems, used FROM runs WHERE key = ? AND stamps = ?"
        row: tuple[Any, ...] | None = self._base.execute(asked, (key, stamps)).fetchone()
        return row

    def _write(self) -> None:
        assert self._base is not None
        with self._base:
            self._base.executemany("INSERT OR REPLACE INTO runs VALUES (?, ?, ?, ?, ?, ?)", self._rows.values())
            now = int(time.time())
            self._base.executemany("UPDATE runs SET used = ? WHERE key = ?", [(now, key) for key in self._used])
        self._rows.clear()
        self._used.clear()

    def _open(self) -> None:
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):  # its reports are nobody else's business
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
        self._base = sqlite3.connect(self.path, timeout=10)
        (version,) = self._base.execute("PRAGMA user_version").fetchone()
        if version not in (0, SCHEMA):
            raise sqlite3.DatabaseError(f"its version is {version}, expected {SCHEMA}")
        with self._base:
            self._base.execute(_TABLE)
            self._base.execute(f"PRAGMA user_version = {SCHEMA}")
            self._base.execute("DELETE FROM runs WHERE used < ?", (int(time.time()) - KEPT_DAYS * _DAY,))

    def _guarded(self, call: Any) -> Any:
        """``call()``. A file that is no index, or damaged, is begun anew once; after that there is none."""
        try:
            return call()
        except (sqlite3.Error, OSError) as error:
            said = f"{self.path}: {error}"
            if self._base is not None:
                self._base.close()
                self._base = None
            if not _damaged(error) or self.notes:
                self.notes.append(f"no index is used: {said}")
                return None
        try:
            self.path.unlink(missing_ok=True)
            Path(f"{self.path}-journal").unlink(missing_ok=True)
            self._open()
            self.notes.append(f"the index was damaged and is made anew: {said}")
        except (sqlite3.Error, OSError) as error:
            self._base = None
            self.notes.append(f"no index is used: {self.path}: {error}")
        return None


def _damaged(error: Exception) -> bool:
    """OperationalError is of the disk, a lock, or rights; what is left is of the file's content."""
    return isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError)


def stamps_of(directory: RunDirectory) -> bytes | None:
    """Of the run's files, None where one of them is gone, or the storage cannot tell its states apart."""
    try:
        stamps = directory.stamps()
    except OSError:
        return None
    if not all(stamp.version for stamp in stamps):
        return None
    return _digest([[path, stamp.size, stamp.version] for path, stamp in zip(directory.read, stamps, strict=True)])


def _digest(*parts: Any) -> bytes:
    return hashlib.sha256(json.dumps(parts, sort_keys=True, default=str).encode("utf-8", "surrogatepass")).digest()


def _code() -> list[Any]:
    """What tells one state of our own code from another: a rule that has changed judges anew."""
    here = Path(__file__).parent.parent
    files: Iterator[Path] = (path for pattern in ("*.py", "*.so", "*.pyd", "*.proto") for path in here.rglob(pattern))
    told: list[Any] = [__version__]
    with contextlib.suppress(OSError):
        states = ((path, path.stat()) for path in sorted(files))
        told += [[str(path.relative_to(here)), state.st_size, state.st_mtime_ns] for path, state in states]
    return told

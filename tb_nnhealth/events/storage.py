"""Where event files lie: the few calls by which readers touch a file system."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Entry:
    """One name in a directory. A link is an entry of the kind it points to, with ``link`` set."""

    name: str
    directory: bool
    link: bool


@dataclass(frozen=True)
class Stamp:
    """What tells one state of a file from another, without reading it.

    ``version``: its entity tag, or the time of its last change and its number; "" where the storage tells nothing.
    """

    size: int
    version: str
    modified: float
    """Seconds since 1970; 0 where the storage does not tell."""


class Storage(Protocol):
    """A file system. All methods raise OSError for what is missing or may not be read."""

    remote: bool
    """Whether waiting for the storage may cost more than working on what it gave."""
    shared: bool
    """Whether other processes see the same."""

    def renew(self, directory: str) -> None:
        """What was learned of ``directory`` and all below it may be out of date."""
        ...

    def entries(self, directory: str) -> list[Entry]:
        """What lies in ``directory``, in the order of names."""
        ...

    def size(self, path: str) -> int:
        """Bytes in a file. Raises OSError for what is no regular file."""
        ...

    def stamp(self, path: str) -> Stamp:
        """Of a file, as it was listed where the storage keeps listings."""
        ...

    def read_into(self, memory: memoryview, path: str, offset: int) -> int:
        """Fills ``memory`` with bytes from ``offset`` on; returns how many: fewer at the file's end. Never blocks."""
        ...

    def join(self, directory: str, name: str) -> str: ...

    def real(self, path: str) -> str:
        """``path`` with every link resolved."""
        ...

    def identity(self, directory: str) -> Hashable:
        """The same for all names of one directory."""
        ...

    def contains(self, directory: str, path: str) -> bool:
        """Whether ``path`` is ``directory`` or lies below it, both as ``real`` gives them."""
        ...


class LocalStorage:
    """The file system of this machine."""

    remote = False
    shared = True

    def renew(self, directory: str) -> None:
        """Nothing is kept."""

    def entries(self, directory: str) -> list[Entry]:
        with os.scandir(directory) as found:
            entries = [Entry(entry.name, _is_directory(entry), entry.is_symlink()) for entry in found]
        return sorted(entries, key=lambda entry: entry.name)

    def size(self, path: str) -> int:
        return _regular(path, os.stat(path)).st_size

    def stamp(self, path: str) -> Stamp:
        status = _regular(path, os.stat(path))
        return Stamp(status.st_size, f"{status.st_mtime_ns}-{status.st_ino}", status.st_mtime)

    def read_into(self, memory: memoryview, path: str, offset: int) -> int:
        # A pipe in the place of a file would block open() for ever, hence O_NONBLOCK and a second look.
        descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0))
        with os.fdopen(descriptor, "rb", buffering=0) as file:
            _regular(path, os.fstat(descriptor))
            file.seek(offset)
            return _read_fully(file, memory)

    def join(self, directory: str, name: str) -> str:
        return os.path.join(directory, name)

    def real(self, path: str) -> str:
        return os.path.realpath(path)

    def identity(self, directory: str) -> Hashable:
        status = os.stat(directory)
        return status.st_dev, status.st_ino

    def contains(self, directory: str, path: str) -> bool:
        try:
            return os.path.commonpath([directory, path]) == directory
        except ValueError:  # different drives
            return False


LOCAL = LocalStorage()


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a loop, or gone meanwhile
        return False


def _regular(path: str, status: os.stat_result) -> os.stat_result:
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", path)
    return status


class _Raw(Protocol):
    def readinto(self, memory: memoryview, /) -> int | None: ...


def _read_fully(file: _Raw, memory: memoryview) -> int:
    done = 0
    while done < len(memory):
        count = file.readinto(memory[done:])
        if not count:
            break
        done += count
    return done

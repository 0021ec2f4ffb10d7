"""Where an event file's bytes go: a file of the local disk, or an object of a remote store."""

from __future__ import annotations

import itertools
import os
import socket
import time
from contextlib import suppress
from typing import Any, Protocol

_numbers = itertools.count()
_stamps: dict[str, int] = {}


class Output(Protocol):
    """An event file open for writing. Methods raise what the file system raises, OSError as a rule."""

    path: str
    size: int
    """Bytes that the file holds for certain."""
    unflushed: bool
    """Some bytes are not yet with the operating system (or the remote store)."""

    def append(self, data: bytes) -> None:
        """Writes ``data`` at the end; when it raises, ``size`` says how much of it was written."""

    def flush(self) -> None: ...
    def close(self) -> None: ...
    def gone(self) -> bool:
        """The file was deleted since it was opened."""

    def cut(self, size: int) -> None:
        """Takes away, if it can, all bytes from ``size`` on."""


def is_remote(directory: str) -> bool:
    return "://" in directory


def create(directory: str, suffix: str) -> Output:
    """A new event file in ``directory``, which is made if need be.

    Its name is TensorBoard's, ``events.out.tfevents.SECONDS.HOST.PID.NUMBER`` and ``suffix``. TensorBoard's Python
    reader goes from file to file in the order of their names, so a later file of a directory is given a later
    second.
    """
    if is_remote(directory):
        return RemoteOutput(directory, suffix)
    return LocalOutput(directory, suffix)


def _new_path(directory: str, suffix: str) -> str:
    stamp = _stamps[directory] = max(int(time.time()), _stamps.get(directory, -1) + 1)
    name = f"events.out.tfevents.{stamp:010d}.{socket.gethostname()}.{os.getpid()}.{next(_numbers)}{suffix}"
    return os.path.join(directory, name)


class LocalOutput:
    """Unbuffered, so that what is written is with the operating system at once and survives a killed process."""

    unflushed = False

    def __init__(self, directory: str, suffix: str) -> None:
        os.makedirs(directory, exist_ok=True)
        self.size = 0
        while True:
            self.path = _new_path(directory, suffix)
            try:
                self._descriptor = os.open(self.path, _FLAGS, 0o666)
                return
            except FileExistsError:
                continue

    def append(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            count = os.write(self._descriptor, rest)
            self.size += count
            rest = rest[count:]

    def flush(self) -> None:
        """Nothing to do: nothing is buffered."""

    def close(self) -> None:
        os.close(self._descriptor)

    def gone(self) -> bool:
        return os.fstat(self._descriptor).st_nlink == 0

    def cut(self, size: int) -> None:
        if size:
            os.ftruncate(self._descriptor, size)
        else:
            os.unlink(self.path)


_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


class RemoteOutput:
    """A file behind TensorBoard's file layer (s3://, gs:// and whatever fsspec knows), uploaded at each flush."""

    def __init__(self, directory: str, suffix: str) -> None:
        from tensorboard.compat import tf

        self._layer: Any = tf.io.gfile
        self._layer.makedirs(directory)
        self.path = _new_path(directory, suffix)
        self._file = self._layer.GFile(self.path, "wb")
        self.size = 0
        self.unflushed = False

    def append(self, data: bytes) -> None:
        self.unflushed = True
        self._file.write(data)
        self.size += len(data)

    def flush(self) -> None:
        self._file.flush()
        self.unflushed = False

    def close(self) -> None:
        self._file.close()
        self.unflushed = False

    def gone(self) -> bool:
        return False

    def cut(self, size: int) -> None:
        if not size:
            with suppress(Exception):
                self._layer.remove(self.path)

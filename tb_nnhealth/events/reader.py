"""Reading one event file, and reading on where it has grown since.

A log directory may hold anything: files cut off, overwritten, still being written, or never meant to be event
files. Whatever it holds, nothing is raised, everything before the damage is read, no more than a record of
``RECORD_BYTES_READ`` and a chunk are in memory at once, and what could not be read is told with file and byte.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any, NamedTuple

from google.protobuf.message import DecodeError
from tensorboard.compat.proto import event_pb2

from tb_nnhealth.events.framing import FOOTER_BYTES, HEADER_BYTES
from tb_nnhealth.events.scan import Chunk, Outcome, Scanned, scan
from tb_nnhealth.events.storage import LOCAL, Stamp, Storage
from tb_nnhealth.history import Problem

CHUNK_BYTES = 8 << 20
RECORD_BYTES_READ = 64 << 20
"""A longer record is passed over: neither a scalar nor a record of ours is that long."""
_DAMAGED = "no valid event"
_TOO_LONG = f"longer than the {RECORD_BYTES_READ >> 20} MB read at once"


class Read(NamedTuple):
    """An event (``event_pb2.Event``), or None at the end of a chunk; and how far the scan of the chunk has come."""

    event: Any
    chunk: Chunk
    scanned: Scanned


class EventFile:
    """One event file. Each ``read()`` goes on where the last one stopped.

    ``offset`` is the byte behind the last record dealt with. What stopped the last ``read()`` is tried again
    when the file has changed, and is gone from ``problems`` where that has cured it.
    """

    def __init__(self, path: str, storage: Storage = LOCAL) -> None:
        self.path = path
        self.offset = 0
        self._storage = storage
        self._size = -1
        self._done_with: Stamp | None = None
        self._stopped = ""
        self._passed_over: dict[str, tuple[int, int]] = {}

    @property
    def problems(self) -> list[Problem]:
        """What could not be read, as of the last ``read()``."""
        told = [self._stopped] if self._stopped else []
        for reason, (count, first) in self._passed_over.items():
            told.append(f"{count} record(s) passed over, the first at byte {first}: {reason}")
        return [Problem(self.path, message) for message in told]

    def read(self) -> Iterator[Any]:
        """The events (``event_pb2.Event``) written since the last call, in the order of the file."""
        return (read.event for read in self.pieces() if read.event is not None)

    def pieces(self, columns: Any = None) -> Iterator[Read]:
        """``read()``, but for the plain events, which go into the native ``columns``."""
        try:
            stamp = self._storage.stamp(self.path)  # the size alone does not tell of what is filled in later
            if stamp == self._done_with:
                return
            self._size, self._stopped = stamp.size, ""
            if self._size < self.offset:
                self._stopped = f"has shrunk to {self._size} bytes after {self.offset} were read; not read again"
            yield from self._chunks(columns)
            self._done_with = stamp
        except OSError as error:
            self._done_with = None
            self._stopped = f"cannot be read: {error.strerror or error}"

    def _chunks(self, columns: Any) -> Iterator[Read]:
        missing, chunk = HEADER_BYTES, Chunk()
        while missing and self.offset < self._size:
            count = min(max(missing, CHUNK_BYTES), self._size - self.offset)
            chunk.fill(self._storage, self.path, self.offset, count)
            if len(chunk) < missing:
                break
            missing = yield from self._events_of(chunk, columns)
        if self.offset < self._size and not self._stopped:
            self._stop("the record there is incomplete: the file was cut off, or is still being written")

    def _events_of(self, chunk: Chunk, columns: Any) -> Generator[Read, None, int]:
        """The events of the whole records in ``chunk``; returns the bytes needed for one more, 0 to stop."""
        begin, at = self.offset, 0
        while at <= len(chunk):
            scanned = scan(columns, chunk, at, self._size - begin, RECORD_BYTES_READ)
            at = scanned.at
            self.offset = begin + at
            if scanned.outcome == Outcome.RECORD:
                try:
                    event = event_pb2.Event.FromString(chunk.copied(scanned.start, scanned.length))
                except (DecodeError, ValueError):  # ValueError: the pure Python runtime's, for text that is not UTF-8
                    self._pass_over(_DAMAGED, scanned.length)
                else:
                    yield Read(event, chunk, scanned)
            elif scanned.outcome == Outcome.TOO_LONG:
                self._pass_over(_TOO_LONG, scanned.length)
            else:
                break
        yield Read(None, chunk, scanned)
        return self._ended(scanned)

    def _ended(self, scanned: Scanned) -> int:
        """Notes what has stopped the reading, if it has; returns the bytes needed to go on, else 0."""
        if scanned.outcome == Outcome.BAD_LENGTH:
            self._stop("the checksum of the length there is wrong" if self.offset else "it is no event file")
        elif scanned.outcome == Outcome.BAD_DATA:
            self._stop("the checksum of the record there is wrong")
        elif scanned.outcome == Outcome.BEYOND:
            self._stop(f"the record there claims {scanned.length} bytes, more than the file has")
        elif scanned.outcome != Outcome.INCOMPLETE:
            return scanned.length if scanned.outcome == Outcome.MORE else HEADER_BYTES
        return 0

    def _pass_over(self, reason: str, length: int) -> None:
        """Counts the record of ``length`` bytes that ends at ``offset``."""
        count, first = self._passed_over.get(reason, (0, self.offset - HEADER_BYTES - length - FOOTER_BYTES))
        self._passed_over[reason] = count + 1, first

    def _stop(self, why: str) -> None:
        self._stopped = f"not read from byte {self.offset} on ({self._size - self.offset} bytes): {why}"

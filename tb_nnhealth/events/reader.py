"""Reading one event file, and reading on where it has grown since.

A log directory may hold anything: files cut off, overwritten, still being written, or never meant to be event
files. Whatever it holds, nothing is raised, everything before the damage is read, no more than a record of
``RECORD_BYTES_READ`` and a chunk are in memory at once, and what could not be read is told with file and byte.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Iterator
from typing import Any

from google.protobuf.message import DecodeError
from tensorboard.compat.proto import event_pb2

from tb_nnhealth.events.framing import FOOTER_BYTES, HEADER_BYTES, masked_crc
from tb_nnhealth.events.storage import LOCAL, Storage
from tb_nnhealth.history import Problem

CHUNK_BYTES = 1 << 20
RECORD_BYTES_READ = 64 << 20
"""A longer record is passed over: neither a scalar nor a record of ours is that long."""
_HEADER = struct.Struct("<QI")
_CRC = struct.Struct("<I")
_DAMAGED = "no valid event"
_TOO_LONG = f"longer than the {RECORD_BYTES_READ >> 20} MB read at once"


class EventFile:
    """One event file. Each ``read()`` goes on where the last one stopped.

    ``offset`` is the byte behind the last record dealt with. What stopped the last ``read()`` is tried again
    when the file has grown, and is gone from ``problems`` where that has cured it.
    """

    def __init__(self, path: str, storage: Storage = LOCAL) -> None:
        self.path = path
        self.offset = 0
        self._storage = storage
        self._size = -1
        self._done_with = -1
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
        try:
            size = self._storage.size(self.path)
            if size == self._done_with:
                return
            self._size, self._stopped = size, ""
            if size < self.offset:
                self._stopped = f"has shrunk to {size} bytes after {self.offset} were read; not read again"
            yield from self._events()
            self._done_with = size
        except OSError as error:
            self._done_with = -1
            self._stopped = f"cannot be read: {error.strerror or error}"

    def _events(self) -> Iterator[Any]:
        unused, missing = b"", HEADER_BYTES
        while missing and (position := self.offset + len(unused)) < self._size:
            count = min(max(missing, CHUNK_BYTES), self._size - position)
            read = self._storage.read(self.path, position, count)
            if not read:
                break
            chunk, start = unused + read, self.offset
            missing = yield from self._events_of(chunk)
            unused = chunk[self.offset - start :]
        if self.offset < self._size and not self._stopped:
            self._stop("the record there is incomplete: the file was cut off, or is still being written")

    def _events_of(self, chunk: bytes) -> Generator[Any, None, int]:
        """The events of the whole records in ``chunk``; returns the bytes needed for one more, 0 to stop."""
        at, end = 0, len(chunk)
        while end - at >= HEADER_BYTES:
            length, length_crc = _HEADER.unpack_from(chunk, at)
            if masked_crc(chunk[at : at + 8]) != length_crc:
                self._stop("the checksum of the length there is wrong" if self.offset else "it is no event file")
                return 0
            record: int = HEADER_BYTES + length + FOOTER_BYTES
            if self.offset + record > self._size:
                if length > RECORD_BYTES_READ:
                    self._stop(f"the record there claims {length} bytes, more than the file has")
                return 0
            if length > RECORD_BYTES_READ:
                self._pass_over(_TOO_LONG)
            elif end - at < record:
                return record - (end - at)
            else:
                data = chunk[at + HEADER_BYTES : at + HEADER_BYTES + length]
                if masked_crc(data) != _CRC.unpack_from(chunk, at + HEADER_BYTES + length)[0]:
                    self._stop("the checksum of the record there is wrong")
                    return 0
            at += record
            self.offset += record
            if length > RECORD_BYTES_READ:
                continue
            try:
                event = event_pb2.Event.FromString(data)
            except (DecodeError, ValueError):  # ValueError: the pure Python runtime's, for text that is not UTF-8
                self._pass_over(_DAMAGED, record)
                continue
            yield event
        return HEADER_BYTES

    def _pass_over(self, reason: str, behind: int = 0) -> None:
        count, first = self._passed_over.get(reason, (0, self.offset - behind))
        self._passed_over[reason] = count + 1, first

    def _stop(self, why: str) -> None:
        self._stopped = f"not read from byte {self.offset} on ({self._size - self.offset} bytes): {why}"

"""Finding the next record in a piece of an event file; ``native/framing.c`` is the same in C.

A checksum that is wrong ends the reading of a file: where the next record would begin nobody knows then.
"""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Any, NamedTuple

import numpy as np

from tb_nnhealth.events.framing import FOOTER_BYTES, HEADER_BYTES, masked_crc
from tb_nnhealth.events.storage import Storage
from tb_nnhealth.native import core

_HEADER = struct.Struct("<QI")
_CRC = struct.Struct("<I")


class Outcome(IntEnum):
    """What lies at a place of a file. The numbers are those of ``native/framing.h``."""

    RECORD = 0
    """A whole record, its checksums right."""
    MORE = 1
    """The beginning of a record, or of its header, that the file goes on with."""
    TOO_LONG = 2
    """A record that the file holds, of more data than may be read at once."""
    BAD_LENGTH = 3
    BAD_DATA = 4
    BEYOND = 5
    """A length that no record is of, and that ends behind the file."""
    INCOMPLETE = 6
    """A record that ends behind the file: it is still being written, or was cut off."""


class Scanned(NamedTuple):
    """Where a scan has stopped, and why."""

    outcome: int
    at: int
    """In the chunk: behind a record, also behind one too long (then perhaps behind the chunk's end); else before it."""
    start: int
    """Of a record's data in the chunk."""
    length: int
    """Of a record's data, as far as it is known; for MORE, bytes that the chunk must hold from ``at`` on."""
    points: int = 0
    tables: int = 0
    """Held in the columns by now."""
    tags: int = 0
    """Known to the columns by now."""


class Chunk:
    """A piece of a file, in memory that the next piece takes over."""

    def __init__(self) -> None:
        self._memory = np.empty(0, np.uint8)
        self.address = 0
        self.view = memoryview(b"")
        """The piece."""

    def fill(self, storage: Storage, path: str, offset: int, count: int) -> None:
        """Reads up to ``count`` bytes from ``offset`` on; fewer at the end of the file. Raises OSError."""
        if count > len(self._memory):
            self._memory = np.empty(count, np.uint8)
            self.address = self._memory.ctypes.data
        whole = self._memory.data
        self.view = whole[: storage.read_into(whole[:count], path, offset)]

    def __len__(self) -> int:
        return len(self.view)

    def copied(self, start: int, length: int) -> bytes:
        return bytes(self.view[start : start + length])


def scan(columns: Any, chunk: Chunk, at: int, left: int, limit: int) -> Scanned:
    """Goes on from the chunk's byte ``at`` to the next record that is not plain, or to what ends the scan before one.

    ``left`` are the bytes of the file from the chunk's beginning on, ``limit`` those of data that may be read at once.
    Plain events go into the native ``columns``; with None, and without the native core, no event is plain.
    """
    if core is None:
        return scan_in_python(chunk.view, at, left, limit)
    return Scanned._make(core.scan(columns, chunk.address, len(chunk), at, left, limit))


def scan_in_python(chunk: memoryview, at: int, left: int, limit: int) -> Scanned:
    """``scan`` without the native core: every record is one to stop at."""
    if len(chunk) - at < HEADER_BYTES:
        return Scanned(Outcome.MORE, at, 0, HEADER_BYTES)
    length, length_crc = _HEADER.unpack_from(chunk, at)
    if masked_crc(bytes(chunk[at : at + 8])) != length_crc:
        return Scanned(Outcome.BAD_LENGTH, at, 0, 0)
    record = HEADER_BYTES + length + FOOTER_BYTES
    if at + record > left:
        return Scanned(Outcome.BEYOND if length > limit else Outcome.INCOMPLETE, at, 0, length)
    if length > limit:
        return Scanned(Outcome.TOO_LONG, at + record, 0, length)
    if at + record > len(chunk):
        return Scanned(Outcome.MORE, at, 0, record)
    start = at + HEADER_BYTES
    if masked_crc(bytes(chunk[start : start + length])) != _CRC.unpack_from(chunk, start + length)[0]:
        return Scanned(Outcome.BAD_DATA, at, 0, 0)
    return Scanned(Outcome.RECORD, at + record, start, length)

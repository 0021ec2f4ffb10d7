"""A file of any size, read a piece at a time."""

from __future__ import annotations

import struct
from collections.abc import Iterator

import google_crc32c

from tb_nnhealth.events.framing import FOOTER_BYTES, HEADER_BYTES, masked
from tb_nnhealth.events.storage import Storage

PIECE_BYTES = 4 << 20
_HEADER = struct.Struct("<QI")
_CRC = struct.Struct("<I")


class Window:
    """The first ``size`` bytes of a file. At most ``PIECE_BYTES`` are held. Raises OSError where it cannot be read."""

    def __init__(self, storage: Storage, path: str, size: int) -> None:
        self.size = size
        self._storage, self._path = storage, path
        self._memory = bytearray(min(PIECE_BYTES, size))
        self._begin = self._end = 0

    def at(self, offset: int, count: int) -> memoryview:
        """Up to ``count`` bytes, at most ``PIECE_BYTES``, from ``offset`` on; valid until the next call."""
        count = max(0, min(count, self.size - offset, PIECE_BYTES))
        if not self._begin <= offset <= offset + count <= self._end:
            wanted = memoryview(self._memory)[: min(len(self._memory), self.size - offset)]
            self._begin, self._end = offset, offset + self._storage.read_into(wanted, self._path, offset)
        start = offset - self._begin
        return memoryview(self._memory)[start : min(start + count, self._end - self._begin)]

    def pieces(self, offset: int, count: int) -> Iterator[memoryview]:
        """``count`` bytes from ``offset`` on, a piece at a time; each is valid until the next."""
        end = min(offset + count, self.size)
        while offset < end:
            piece = self.at(offset, end - offset)
            if not piece:
                raise OSError(f"the file became shorter than {self.size} bytes while it was read")
            yield piece
            offset += len(piece)

    def data_length(self, offset: int) -> int | None:
        """Of the record whose header stands at ``offset``; None where no header does."""
        header = self.at(offset, HEADER_BYTES)
        if len(header) < HEADER_BYTES:
            return None
        length, crc = _HEADER.unpack(header)
        return int(length) if masked(google_crc32c.value(bytes(header[:8]))) == crc else None

    def sound(self, offset: int, length: int) -> bool:
        """Whether the ``length`` bytes of data of the record at ``offset`` are all there and its checksum is right."""
        start = offset + HEADER_BYTES
        if start + length + FOOTER_BYTES > self.size:
            return False
        crc = 0
        for piece in self.pieces(start, length):
            crc = google_crc32c.extend(crc, bytes(piece))
        (stored,) = _CRC.unpack(self.at(start + length, FOOTER_BYTES))
        return bool(masked(crc) == stored)

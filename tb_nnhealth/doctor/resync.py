"""Where the next record begins behind damage: at the next eight bytes that the four behind them are the checksum of."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tb_nnhealth.doctor.window import PIECE_BYTES, Window
from tb_nnhealth.events.framing import HEADER_BYTES

_POLYNOMIAL = 0x82F63B78  # CRC-32C, reflected


def next_header(window: Window, begin: int) -> int | None:
    """The first place from ``begin`` on at which a header of a record stands, of less than 4 GiB of data."""
    while window.size - begin >= HEADER_BYTES:
        piece = window.at(begin, PIECE_BYTES)
        if len(piece) < HEADER_BYTES:
            return None
        found = _headers(np.frombuffer(piece, np.uint8))
        if len(found):
            return begin + int(found[0])
        begin += len(piece) - HEADER_BYTES + 1
    return None


def _headers(data: NDArray[np.uint8]) -> NDArray[np.intp]:
    """The places in ``data`` at which headers stand whole."""
    count = len(data) - HEADER_BYTES + 1
    plausible = np.zeros(count, np.bool_)  # a checksum is not zero, as all is where a file was never written
    for byte in range(8, 12):
        plausible |= data[byte : byte + count] != 0
    for byte in range(4, 8):  # a length of less than 4 GiB: bytes 4 to 7 are zero
        plausible &= data[byte : byte + count] == 0
    places = np.flatnonzero(plausible)
    crc = np.full(len(places), 0xFFFFFFFF, np.uint32)
    for byte in range(8):
        crc = _TABLE[(crc ^ data[places + byte]) & 0xFF] ^ (crc >> np.uint32(8))
    crc = ~crc
    crc = ((crc >> np.uint32(15)) | (crc << np.uint32(17))) + np.uint32(0xA282EAD8)
    stored = np.zeros(len(places), np.uint32)
    for byte in range(4):
        stored |= data[places + 8 + byte].astype(np.uint32) << np.uint32(8 * byte)
    found: NDArray[np.intp] = places[crc == stored]
    return found


def _table() -> NDArray[np.uint32]:
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        table = np.where(table & 1, (table >> np.uint32(1)) ^ np.uint32(_POLYNOMIAL), table >> np.uint32(1))
    return table.astype(np.uint32)


_TABLE = _table()

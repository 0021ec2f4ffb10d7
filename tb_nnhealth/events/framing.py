"""The framing of records in an event file (TFRecord).

A record is an 8-byte little-endian length, the masked CRC-32C of those 8 bytes, the data, and the
masked CRC-32C of the data. The mask rotates by 15 bits and adds a constant, so that a checksum stored
inside checksummed data stays strong (TensorFlow, ``core/lib/hash/crc32c.h``).
"""

from __future__ import annotations

import struct
from collections.abc import Callable

import google_crc32c

from tb_nnhealth.native import core

HEADER_BYTES = 12
FOOTER_BYTES = 4
_LENGTH = struct.Struct("<Q")
_CRC = struct.Struct("<I")


def masked_crc(data: bytes) -> int:
    return masked(google_crc32c.value(data))


def masked(crc: int) -> int:
    """The CRC-32C ``crc`` as it is stored."""
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def frame_in_python(data: bytes) -> bytes:
    """``frame`` without the native core; the same bytes."""
    length = _LENGTH.pack(len(data))
    return b"".join((length, _CRC.pack(masked_crc(length)), data, _CRC.pack(masked_crc(data))))


frame: Callable[[bytes], bytes] = frame_in_python if core is None else core.frame
"""``data`` as one record, ready to be appended to an event file."""

"""The native core and the Python way: the same checksums, frames, and outcomes of a scan."""

from __future__ import annotations

import struct
from collections.abc import Callable

import google_crc32c
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tb_nnhealth.events import framing
from tb_nnhealth.events.framing import frame, frame_in_python, masked_crc
from tb_nnhealth.events.scan import Outcome, Scanned, scan_in_python
from tb_nnhealth.native import core

from .damage import damaged

native = pytest.mark.skipif(core is None, reason="the native core is not built")
LIMIT = 400


def test_the_checksum_of_the_castagnoli_polynomial() -> None:
    assert google_crc32c.value(b"123456789") == 0xE3069283
    crc = 0xE3069283
    assert masked_crc(b"123456789") == ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


@native
def test_checksums_of_every_length_and_alignment() -> None:
    data = bytes((i * i >> 3) & 0xFF for i in range(20_000))
    lengths = [*range(40), *range(370, 400), *range(3060, 3090), 6144, 6528, 7000, 19_000]
    for start in range(9):
        for length in lengths:
            part = data[start : start + length]
            assert core.masked_crc(part) == core.portable_masked_crc(part) == masked_crc(part)


@native
@given(st.binary(max_size=5000))
def test_frames(data: bytes) -> None:
    assert frame(data) == frame_in_python(data) == core.frame(data)
    assert framing.frame is core.frame


@native
def test_what_is_not_bytes_is_refused() -> None:
    for call in (core.masked_crc, core.frame):
        with pytest.raises(TypeError):
            call(bytearray(b"x"))
    with pytest.raises(ValueError, match="0 <= at"):
        core.scan(None, 0, 3, 4, 3, LIMIT)
    with pytest.raises(ValueError, match="Capsule"):
        core.take_points(object())


def native_scan(chunk: memoryview, at: int, left: int, limit: int) -> Scanned:
    memory = np.frombuffer(chunk, np.uint8)
    return Scanned._make(core.scan(None, memory.ctypes.data, len(memory), at, left, limit))


def outcomes(chunk: memoryview, left: int, scan: Callable[..., Scanned]) -> list[Scanned]:
    """All that a scan of ``chunk`` comes upon."""
    found, at = [], 0
    while at <= len(chunk):
        scanned = scan(chunk, at, left, LIMIT)
        found.append(scanned)
        if scanned.outcome not in (Outcome.RECORD, Outcome.TOO_LONG):
            break
        at = scanned.at
    return found


@native
@settings(max_examples=1000, deadline=None)
@given(damaged(st.lists(st.binary(max_size=40) | st.binary(min_size=380, max_size=420), max_size=6)), st.data())
def test_scans_of_damaged_files_have_the_same_outcomes(whole: bytes, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(whole)))
    chunk = memoryview(whole)[:cut]
    assert outcomes(chunk, len(whole), native_scan) == outcomes(chunk, len(whole), scan_in_python)


@native
@pytest.mark.parametrize("length", [0, 1, LIMIT, LIMIT + 1, 2**31, 2**63 - 1, 2**63, 2**64 - 17, 2**64 - 16, 2**64 - 1])
@pytest.mark.parametrize("behind", [0, 3, 4, 5, 1000])
def test_lengths_at_their_bounds(length: int, behind: int) -> None:
    header = struct.pack("<Q", length)
    whole = header + struct.pack("<I", masked_crc(header)) + bytes(behind)
    at = memoryview(whole), 0, len(whole), LIMIT
    assert native_scan(*at) == scan_in_python(*at)

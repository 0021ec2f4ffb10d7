"""An event file taken apart: whole records, and what lies between them."""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum
from typing import NamedTuple

from tb_nnhealth.doctor.resync import next_header
from tb_nnhealth.doctor.window import Window
from tb_nnhealth.events.framing import FOOTER_BYTES, HEADER_BYTES

WASTED_FILES, WASTED_BYTES = 4, 64 << 20
"""A file is given up when wrong checksums were taken of so many times its bytes, and so many bytes more."""


class Kind(Enum):
    """What a span is."""

    RECORD = "record"
    CORRUPT = "corrupt"
    """Bytes that are no record, with a record behind them, or with a wrong checksum."""
    TORN = "torn"
    """The beginning of a record, at the end of the file."""


class Span(NamedTuple):
    """A stretch of a file; all of them together are the file."""

    kind: Kind
    offset: int
    length: int
    """Bytes, of a record with its header and footer."""
    why: str = ""

    @property
    def data(self) -> tuple[int, int]:
        """Where a record's data begins in the file, and how many bytes it has."""
        return self.offset + HEADER_BYTES, self.length - HEADER_BYTES - FOOTER_BYTES


def spans(window: Window) -> Iterator[Span]:
    """The spans of a file in their order. Raises OSError where the file cannot be read."""
    at, wasted = 0, 0
    while at < window.size:
        length = window.data_length(at)
        if length is not None and window.sound(at, length):
            whole = HEADER_BYTES + length + FOOTER_BYTES
            yield Span(Kind.RECORD, at, whole)
            at += whole
            continue
        wasted += min(length or 0, window.size - at)
        if wasted > WASTED_FILES * window.size + WASTED_BYTES:
            yield Span(Kind.CORRUPT, at, window.size - at, "too damaged to be taken apart")
            return
        end = _behind(window, at, length)
        yield _damage(window, at, end, length)
        at = end


def _behind(window: Window, at: int, length: int | None) -> int:
    """Where the damage ends that begins at ``at``: at a header, or with the file."""
    if length is not None:
        end = at + HEADER_BYTES + length + FOOTER_BYTES
        if end == window.size or (end < window.size and window.data_length(end) is not None):
            return end
    found = next_header(window, at + 1)
    return window.size if found is None else found


def _damage(window: Window, at: int, end: int, length: int | None) -> Span:
    left = window.size - at
    if left < HEADER_BYTES:
        return Span(Kind.TORN, at, left, f"a record's header of {HEADER_BYTES} bytes, of which {left} are there")
    if length is None:
        return Span(Kind.CORRUPT, at, end - at, "the checksum of a record's length is wrong")
    whole = HEADER_BYTES + length + FOOTER_BYTES
    if whole > left:
        kind = Kind.TORN if end == window.size else Kind.CORRUPT
        return Span(kind, at, end - at, f"a record of {whole} bytes, of which {end - at} are there")
    return Span(Kind.CORRUPT, at, end - at, "the checksum of a record's data is wrong")

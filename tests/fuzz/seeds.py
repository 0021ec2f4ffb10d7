"""Where the fuzzers begin: event files as writers write them, of synthetic runs and of events of every form."""

from __future__ import annotations

import struct
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from tb_nnhealth.events.framing import FOOTER_BYTES, HEADER_BYTES, frame, masked
from tb_nnhealth.rules.synthetic import Network
from tests.events.logs import Log, small_log
from tests.source.fuzz import corpus
from tests.synthetic_logs import write_log

EVENTS_OF_A_FILE = 8


def event_files() -> list[bytes]:
    """Small ones first: what the fuzzers change is better small."""
    with TemporaryDirectory(prefix="seeds-") as base:
        paths = [small_log(Path(base) / "small").path]
        whole = Log(Path(base) / "whole")
        whole.network(Network(depth=2, width=4, steps=4), every_histogram=2)
        paths += [whole.path, write_log(Path(base) / "synthetic", Network(depth=1, width=4, steps=12), histograms=6)]
        files = [path.read_bytes() for path in paths]
    events = corpus()
    groups = [events[i : i + EVENTS_OF_A_FILE] for i in range(0, len(events), EVENTS_OF_A_FILE)]
    return sorted([*files, *(b"".join(map(frame, group)) for group in groups)], key=len)


def frames(whole: bytes) -> list[bytes]:
    """The data of the records in ``whole``, whatever their checksums; what no record can be made of is left out."""
    found, at = [], 0
    while len(whole) - at >= HEADER_BYTES + FOOTER_BYTES:
        (length,) = struct.unpack_from("<Q", whole, at)
        end = at + HEADER_BYTES + length + FOOTER_BYTES
        if end > len(whole):
            break
        found.append(whole[at + HEADER_BYTES : end - FOOTER_BYTES])
        at = end
    return found


def without_checksums(whole: bytes) -> bytes:
    """The file as ``native/events.c`` reads it: every checksum is that of nothing."""
    checksum = struct.pack("<I", masked(0))
    return b"".join(struct.pack("<Q", len(data)) + checksum + data + checksum for data in frames(whole))


def for_events() -> list[bytes]:
    """Seeds of ``native/events.c``, each for small and for large chunks."""
    files = [without_checksums(whole) for whole in event_files()]
    return [bytes([choice]) + whole for whole in files for choice in (4, 16 | 15)]


def for_tensors() -> list[bytes]:
    """Seeds of ``native/tensors.c``: each dtype and operation, lengths on both sides of a vector and of a block."""
    rng = np.random.default_rng(0)
    found = []
    for dtype, kind in enumerate(("f4", "f8", "f2", "u2", "i8")):
        for operation in range(3):
            for count in (1, 7, 33, 2047, 2050):
                with np.errstate(all="ignore"):
                    values = (rng.standard_normal(count) * 10.0 ** rng.integers(-30, 30)).astype(kind)
                if count > 7 and kind[0] == "f":
                    values[3:6] = (np.nan, np.inf, 0)
                found.append(bytes([3, dtype, operation, count % 251, 1, 3, 2, 4]) + values.tobytes())
    return found

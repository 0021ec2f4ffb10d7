"""Taking a damaged file apart: nothing lost, nothing invented, whatever was done to it."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

import pytest
from events.damage import damaged
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tb_nnhealth.doctor import resync, window
from tb_nnhealth.doctor.spans import Kind, Span, spans
from tb_nnhealth.doctor.window import Window
from tb_nnhealth.events.framing import frame, masked_crc
from tb_nnhealth.events.storage import LOCAL, LocalStorage

SLOW_DISK = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
PAYLOADS = st.lists(st.binary(max_size=60), max_size=8)


def taken_apart(path: Path, data: bytes) -> list[Span]:
    path.write_bytes(data)
    return list(spans(Window(LOCAL, str(path), len(data))))


def kinds(found: list[Span]) -> list[str]:
    return [span.kind.value for span in found]


@SLOW_DISK
@given(data=damaged(PAYLOADS), piece=st.sampled_from([13, 40, 1 << 20]))
def test_spans_are_the_file_and_records_are_records(tmp_path: Path, data: bytes, piece: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(window, "PIECE_BYTES", piece)
        patch.setattr(resync, "PIECE_BYTES", piece)
        found = taken_apart(tmp_path / "file", data)
    at = 0
    for span in found:
        assert span.offset == at
        assert span.length > 0
        at += span.length
        if span.kind is Kind.RECORD:
            start, length = span.data
            assert frame(data[start : start + length]) == data[span.offset : at]
        else:
            assert span.why
    assert at == len(data)
    assert all(span.kind is not Kind.TORN for span in found[:-1])


@SLOW_DISK
@given(payloads=st.lists(st.binary(max_size=60), min_size=1, max_size=8), data=st.data())
def test_one_flipped_bit_costs_one_record(tmp_path: Path, payloads: list[bytes], data: st.DataObject) -> None:
    frames = [frame(payload) for payload in payloads]
    hit = data.draw(st.integers(0, len(frames) - 1))
    spoilt = bytearray(frames[hit])
    spoilt[data.draw(st.integers(0, len(spoilt) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    found = taken_apart(tmp_path / "file", b"".join([*frames[:hit], spoilt, *frames[hit + 1 :]]))
    whole = [(tmp_path / "file").read_bytes()[s.offset : s.offset + s.length] for s in found if s.kind is Kind.RECORD]
    assert whole == frames[:hit] + frames[hit + 1 :]


@SLOW_DISK
@given(payloads=st.lists(st.binary(max_size=60), min_size=1, max_size=5), data=st.data())
def test_a_file_cut_off_loses_its_last_record_alone(tmp_path: Path, payloads: list[bytes], data: st.DataObject) -> None:
    frames = [frame(payload) for payload in payloads]
    cut = data.draw(st.integers(1, len(frames[-1]) - 1))
    found = taken_apart(tmp_path / "file", b"".join(frames)[:-cut])
    assert kinds(found) == ["record"] * (len(frames) - 1) + ["torn"]


def test_records_behind_one_that_was_never_finished_are_found(tmp_path: Path) -> None:
    full_disk = frame(b"x" * 500)[:100]
    found = taken_apart(tmp_path / "file", frame(b"a") + full_disk + frame(b"b") + frame(b"c"))
    assert kinds(found) == ["record", "corrupt", "record", "record"]
    assert "of which 100 are there" in found[1].why


def test_a_hole_of_zeros_is_passed_over(tmp_path: Path) -> None:
    found = taken_apart(tmp_path / "file", frame(b"a") + bytes(70_000) + frame(b"b"))
    assert kinds(found) == ["record", "corrupt", "record"]
    assert found[1].length == 70_000


def test_a_file_that_was_never_written_costs_little(tmp_path: Path) -> None:
    """A sparse file: checked byte by byte as if a record might begin at each, a gigabyte would take minutes."""
    path = tmp_path / "file"
    path.write_bytes(frame(b"a"))
    os.truncate(path, 256 << 20)
    begun = time.process_time()
    assert kinds(list(spans(Window(LOCAL, str(path), 256 << 20)))) == ["record", "corrupt"]
    assert time.process_time() - begun < 10


def test_a_record_of_any_length_is_checked_piece_by_piece(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Counting(LocalStorage):
        longest = 0

        def read_into(self, memory: memoryview, path: str, offset: int) -> int:
            self.longest = max(self.longest, len(memory))
            return super().read_into(memory, path, offset)

    monkeypatch.setattr(window, "PIECE_BYTES", 1000)
    data = frame(b"y" * 100_000) + frame(b"b")
    (tmp_path / "file").write_bytes(data)
    storage = Counting()
    assert kinds(list(spans(Window(storage, str(tmp_path / "file"), len(data))))) == ["record", "record"]
    assert storage.longest == 1000


def test_headers_that_all_promise_the_rest_of_the_file_cost_no_square_of_it(tmp_path: Path) -> None:
    """Each header is right and each promises what the next ones stand in, so that every checksum is over all of it."""
    size, checked = 60_000, 0
    parts, left = [], size
    while left >= 16:
        length = struct.pack("<Q", left - 16)
        parts.append(length + struct.pack("<I", masked_crc(length)))
        left -= 12
    data = b"".join(parts).ljust(size, b"\0")

    class Counting(Window):
        def pieces(self, offset: int, count: int):  # type: ignore[no-untyped-def]
            nonlocal checked
            checked += count
            return super().pieces(offset, count)

    (tmp_path / "file").write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tb_nnhealth.doctor.spans.WASTED_BYTES", 0)
        found = list(spans(Counting(LOCAL, str(tmp_path / "file"), size)))
    assert sum(span.length for span in found) == size
    assert checked <= 6 * size


def test_a_file_that_shrinks_while_it_is_read_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(frame(b"z" * 1000)[:600])
    with pytest.raises(OSError, match="shorter"):
        list(spans(Window(LOCAL, str(path), 1016)))

"""Reading event files: whole, cut off, damaged, growing, and things that are no event files."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tb_nnhealth.events import encode, reader
from tb_nnhealth.events.framing import frame, masked_crc
from tb_nnhealth.events.reader import EventFile
from tb_nnhealth.events.storage import LocalStorage

from .logs import FILE, Log, scalar_event, small_log


def payloads(file: EventFile) -> list[bytes]:
    return [event.SerializeToString() for event in file.read()]


def messages(file: EventFile) -> str:
    assert all(problem.path == file.path for problem in file.problems)
    return "; ".join(problem.message for problem in file.problems)


@pytest.fixture
def log(tmp_path: Path) -> Log:
    return small_log(tmp_path)


def test_a_whole_file_is_read_without_problems(log: Log) -> None:
    file = EventFile(str(log.path))
    assert [frame(data) for data in payloads(file)] == log.frames
    assert file.problems == []
    assert file.offset == log.path.stat().st_size


def test_cut_at_every_byte_each_whole_record_before_is_read(log: Log) -> None:
    whole = log.path.read_bytes()
    ends = [sum(map(len, log.frames[: i + 1])) for i in range(len(log.frames))]
    cut = log.path.with_name("cut.tfevents")
    for size in range(len(whole) + 1):
        cut.write_bytes(whole[:size])
        file = EventFile(str(cut))
        read = payloads(file)
        assert [frame(data) for data in read] == log.frames[: sum(end <= size for end in ends)]
        if size in (0, *ends):
            assert file.problems == []
        else:
            start = max((end for end in ends if end <= size), default=0)
            assert f"from byte {start} on ({size - start} bytes)" in messages(file)


def test_growing_byte_by_byte_gives_each_record_once_and_the_problem_goes(log: Log) -> None:
    whole, path = log.path.read_bytes(), log.path.with_name("growing.tfevents")
    path.touch()
    file, read = EventFile(str(path)), []
    for i in range(0, len(whole), 7):
        with path.open("ab") as out:
            out.write(whole[i : i + 7])
        read += payloads(file)
    assert [frame(data) for data in read] == log.frames
    assert file.problems == []


def test_records_longer_than_a_chunk_and_chunks_that_end_anywhere(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    for chunk in (1, 13, 100, 5000):
        monkeypatch.setattr(reader, "CHUNK_BYTES", chunk)
        assert [frame(data) for data in payloads(EventFile(str(log.path)))] == log.frames


class _Counting(LocalStorage):
    longest = 0

    def read_into(self, memory: memoryview, path: str, offset: int) -> int:
        self.longest = max(self.longest, len(memory))
        return super().read_into(memory, path, offset)


def _length(length: int) -> bytes:
    packed = struct.pack("<Q", length)
    return packed + struct.pack("<I", masked_crc(packed))


@pytest.mark.parametrize("length", [2**20, 2**27, 2**31, 2**63, 2**64 - 1])
def test_a_length_beyond_the_file_reserves_no_memory(log: Log, length: int) -> None:
    before = log.path.stat().st_size
    with log.path.open("ab") as out:
        out.write(_length(length) + b"x" * 50)
    storage = _Counting()
    file = EventFile(str(log.path), storage)
    assert len(payloads(file)) == len(log.frames)
    assert f"from byte {before} on (62 bytes)" in messages(file)
    assert storage.longest <= before + 62


def test_a_record_too_long_to_be_read_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "RECORD_BYTES_READ", 200)
    monkeypatch.setattr(reader, "CHUNK_BYTES", 64)
    log = Log(tmp_path)
    before = log.path.stat().st_size
    for _ in range(2):
        log.event(scalar_event("x" * 5000, 1, 1.0))
    log.scalar("after", 2, 1.0)
    file, storage = EventFile(str(log.path)), _Counting()
    file = EventFile(str(log.path), storage)
    assert [frame(data) for data in payloads(file)] == [log.frames[0], log.frames[-1]]
    assert f"2 record(s) passed over, the first at byte {before}" in messages(file)
    assert storage.longest <= 200


def test_a_damaged_message_in_a_good_frame_is_passed_over(tmp_path: Path) -> None:
    log = Log(tmp_path)
    before = log.path.stat().st_size
    log.event(b"\xff\xff no protobuf")
    log.scalar("after", 2, 1.0)
    file = EventFile(str(log.path))
    assert [frame(data) for data in payloads(file)] == [log.frames[0], log.frames[-1]]
    assert f"1 record(s) passed over, the first at byte {before}: no valid event" in messages(file)


@pytest.mark.parametrize("part", ["length", "length checksum", "data", "data checksum"])
def test_a_wrong_bit_stops_reading_at_its_record(log: Log, part: str) -> None:
    whole, start = bytearray(log.path.read_bytes()), sum(map(len, log.frames[:5]))
    at = {"length": 0, "length checksum": 9, "data": 14, "data checksum": len(log.frames[5]) - 1}[part]
    whole[start + at] ^= 4
    log.path.write_bytes(whole)
    file = EventFile(str(log.path))
    assert [frame(data) for data in payloads(file)] == log.frames[:5]
    assert f"not read from byte {start} on ({len(whole) - start} bytes): the checksum" in messages(file)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_damage_leaves_what_stands_before_it(log: Log, data: st.DataObject) -> None:
    original = b"".join(log.frames)
    whole = bytearray(original)
    places = data.draw(st.lists(st.tuples(st.integers(0, len(whole) - 1), st.integers(1, 255)), min_size=1, max_size=4))
    for place, flip in places:
        whole[place] ^= flip
    whole = whole[: data.draw(st.integers(0, len(whole)))]
    path = log.path.with_name("damaged.tfevents")
    path.write_bytes(whole)
    storage = _Counting()
    file = EventFile(str(path), storage)
    read = payloads(file)
    first = next((i for i, byte in enumerate(whole) if byte != original[i]), len(whole))
    sound = sum(sum(map(len, log.frames[: i + 1])) <= first for i in range(len(log.frames)))
    assert [frame(data) for data in read[:sound]] == log.frames[:sound]
    assert storage.longest <= len(whole)
    assert file.problems or file.offset == len(whole)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(noise=st.binary(max_size=200), framed=st.booleans())
def test_noise_raises_nothing(tmp_path: Path, noise: bytes, framed: bool) -> None:
    path = tmp_path / FILE
    path.write_bytes(frame(noise) if framed else noise)
    file = EventFile(str(path))
    payloads(file)
    assert file.offset <= path.stat().st_size


def test_no_event_file_is_called_so(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.write_text("Just some notes of mine about tfevents.")
    file = EventFile(str(path))
    assert payloads(file) == []
    assert "it is no event file" in messages(file)


def test_a_pipe_does_not_block(tmp_path: Path) -> None:
    path = tmp_path / FILE
    os.mkfifo(path)
    file = EventFile(str(path))
    assert payloads(file) == []
    assert "not a regular file" in messages(file)
    with pytest.raises(OSError, match="not a regular file"):
        LocalStorage().read_into(memoryview(bytearray(10)), str(path), 0)


def test_a_directory_in_the_place_of_a_file(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    file = EventFile(str(tmp_path / FILE))
    assert payloads(file) == []
    assert "not a regular file" in messages(file)


def test_a_file_that_vanishes_and_comes_back(log: Log) -> None:
    file = EventFile(str(log.path))
    read = payloads(file)
    moved = log.path.rename(log.path.with_suffix(".moved"))
    assert payloads(file) == []
    assert "No such file" in messages(file)
    moved.rename(log.path)
    log.scalar("more", 9, 1.0)
    read += payloads(file)
    assert [frame(data) for data in read] == log.frames
    assert file.problems == []


def test_a_file_that_vanishes_while_it_is_read(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader, "CHUNK_BYTES", 16)
    file = EventFile(str(log.path))
    events = file.read()
    next(events)
    log.path.unlink()
    assert len(list(events)) < len(log.frames)
    assert "No such file" in messages(file)


@pytest.mark.skipif(os.getuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(log: Log) -> None:
    log.path.chmod(0)
    file = EventFile(str(log.path))
    assert payloads(file) == []
    assert "Permission denied" in messages(file)


def test_a_file_that_shrank_is_not_read_again(log: Log) -> None:
    file = EventFile(str(log.path))
    payloads(file)
    log.path.write_bytes(log.frames[0])
    assert payloads(file) == []
    assert "has shrunk" in messages(file)


def test_damage_that_is_mended_is_read_on(log: Log) -> None:
    whole = log.path.read_bytes()
    start = sum(map(len, log.frames[:3]))
    log.path.write_bytes(whole[:start] + bytes(100))  # as network file systems show what is not there yet
    file = EventFile(str(log.path))
    read = payloads(file)
    assert "checksum" in messages(file)
    log.path.write_bytes(whole)
    read += payloads(file)
    assert [frame(data) for data in read] == log.frames
    assert file.problems == []


def test_what_was_zero_and_is_filled_in_is_read(log: Log) -> None:
    """The size stands before the data: on network file systems, and where space is taken in advance."""
    whole = log.path.read_bytes()
    start = sum(map(len, log.frames[:3]))
    log.path.write_bytes(whole[:start] + bytes(len(whole) - start))
    file = EventFile(str(log.path))
    read = payloads(file)
    assert "checksum" in messages(file)
    log.path.write_bytes(whole)
    os.utime(log.path, ns=(0, log.path.stat().st_mtime_ns + 1))  # the clock of the file system may be coarse
    read += payloads(file)
    assert [frame(data) for data in read] == log.frames
    assert file.problems == []


def test_an_abandoned_read_goes_on_where_it_stopped(log: Log) -> None:
    file = EventFile(str(log.path))
    first = next(file.read())
    rest = payloads(file)
    assert [frame(first.SerializeToString()), *map(frame, rest)] == log.frames


def test_file_version_is_that_of_tensorboards_own_writer(tmp_path: Path) -> None:
    from tensorboard.compat.proto import event_pb2
    from tensorboard.summary.writer.event_file_writer import EventFileWriter

    writer = EventFileWriter(str(tmp_path))
    writer.close()
    (path,) = tmp_path.iterdir()
    (theirs,) = EventFile(str(path)).read()
    ours = event_pb2.Event.FromString(encode.file_version(theirs.wall_time))
    assert ours == theirs

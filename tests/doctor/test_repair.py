"""The clean copy: what was whole, byte for byte, and the original as it was."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from events.any_events import logs
from events.damage import damaged
from events.logs import FILE, small_log
from hypothesis import HealthCheck, example, given, settings
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader

from tb_nnhealth.doctor.examine import examine
from tb_nnhealth.doctor.repair import RepairError, check_destination, repair
from tb_nnhealth.events.framing import frame
from tb_nnhealth.events.storage import LocalStorage
from tb_nnhealth.events.walk import Found, find_runs
from tb_nnhealth.source.files import FileSource


def contents(directory: Path) -> dict[str, bytes]:
    return {str(p.relative_to(directory)): p.read_bytes() for p in sorted(directory.rglob("*")) if p.is_file()}


def test_a_sound_log_is_copied_as_it_is(tmp_path: Path) -> None:
    small_log(tmp_path / "logs" / "a" / "b")
    small_log(tmp_path / "logs")
    done = repair(find_runs(str(tmp_path / "logs")).runs, str(tmp_path / "copy"))
    assert contents(tmp_path / "copy") == contents(tmp_path / "logs")
    assert (done.files, done.dropped, done.empty, done.problems) == (2, 0, 0, [])


def test_damage_is_left_out_and_tensorboard_reads_to_the_end_again(tmp_path: Path) -> None:
    log = small_log(tmp_path / "logs")
    spoilt = [bytearray(part) for part in log.frames]
    spoilt[3][15] ^= 1
    spoilt.append(bytearray(frame(b"no event \xff")))
    torn = b"".join([*spoilt, frame(b"cut off")[:-3]])
    log.path.write_bytes(torn)
    done = repair(find_runs(str(tmp_path / "logs")).runs, str(tmp_path / "copy"))
    kept = [part for i, part in enumerate(log.frames) if i != 3]
    assert (tmp_path / "copy" / FILE).read_bytes() == b"".join(kept)
    assert (done.records, done.dropped) == (len(kept), 3)
    assert done.dropped_bytes + len(b"".join(kept)) == len(torn)
    assert log.path.read_bytes() == torn
    assert len(list(EventFileLoader(str(log.path)).Load())) == 3
    assert len(list(EventFileLoader(str(tmp_path / "copy" / FILE)).Load())) == len(kept)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=damaged(logs))
@example(data=bytes(7) + frame(b"x" * 30)[:32])
@example(data=bytes(7) + b"\x18" + bytes(32))
def test_whatever_was_done_to_a_log_its_copy_is_sound(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    home = tmp_path_factory.mktemp("any")
    (home / "logs").mkdir()
    (home / "logs" / FILE).write_bytes(data)
    found = find_runs(str(home / "logs"))
    before = examine(found)
    done = repair(found.runs, str(home / "copy"))
    assert (home / "logs" / FILE).read_bytes() == data
    copied = contents(home / "copy")
    assert done.dropped_bytes + sum(map(len, copied.values())) == len(data)
    assert done.records <= before.records
    damages = {"torn-record", "corrupt-record", "undecodable-record"}
    told = damages | {"no-event-file"}  # in place of them, where the damaged beginning is that of another kind of file
    assert bool(done.dropped) == bool(told & {trouble.id for trouble in before.troubles})
    after = examine(find_runs(str(home / "copy")))
    assert not damages & {trouble.id for trouble in after.troubles}
    assert after.records == done.records
    assert done.empty == (not copied)


def test_the_copy_never_lies_in_the_log(tmp_path: Path) -> None:
    logs_ = tmp_path / "logs"
    small_log(logs_ / "a")
    (tmp_path / "link").symlink_to(logs_)
    for inside in (logs_, logs_ / "a" / "copy", tmp_path / "link" / "copy", tmp_path / "x" / ".." / "logs" / "copy"):
        with pytest.raises(RepairError, match="outside"):
            check_destination(str(logs_), str(inside))
    with pytest.raises(RepairError, match="outside"):
        check_destination(str(logs_ / "a" / FILE), str(logs_ / "a"))


def test_a_log_in_a_bucket_is_examined_and_copied(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    log = small_log(tmp_path)
    with fsspec.open("memory://bucket-for-the-doctor/run/" + FILE, "wb") as out:
        out.write(log.path.read_bytes()[:-3])
    source = FileSource(["memory://bucket-for-the-doctor"])
    source.refresh()
    found = Found(list(source.directories.values()))
    assert "torn-record" in {trouble.id for trouble in examine(found).troubles}
    repair(found.runs, str(tmp_path / "copy"))
    assert (tmp_path / "copy" / "run" / FILE).read_bytes() == b"".join(log.frames[:-1])
    check_destination("s3://bucket/run", str(tmp_path / "new"))
    with pytest.raises(RepairError, match="local directory"):
        check_destination(str(tmp_path / "logs"), "s3://bucket/copy")


def test_the_copy_overwrites_nothing(tmp_path: Path) -> None:
    small_log(tmp_path / "logs")
    full = tmp_path / "full"
    full.mkdir()
    check_destination(str(tmp_path / "logs"), str(full))
    (full / "mine").touch()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    for taken in (full, full / "mine", tmp_path / "dangling"):
        with pytest.raises(RepairError, match="new or an empty directory"):
            check_destination(str(tmp_path / "logs"), str(taken))


def test_a_file_that_cannot_be_read_to_its_end_leaves_whole_records(tmp_path: Path) -> None:
    log = small_log(tmp_path / "logs")
    stop = sum(map(len, log.frames[:5])) + 7

    class Failing(LocalStorage):
        def read_into(self, memory: memoryview, path: str, offset: int) -> int:
            if offset + len(memory) > stop:
                raise OSError(5, os.strerror(5))
            return super().read_into(memory, path, offset)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tb_nnhealth.doctor.window.PIECE_BYTES", 16)
        done = repair(find_runs(str(tmp_path / "logs"), Failing()).runs, str(tmp_path / "copy"))
    copied = (tmp_path / "copy" / FILE).read_bytes()
    assert copied == b"".join(log.frames[: done.records])
    assert done.records in (4, 5)
    assert "Input/output error" in done.problems[0].message

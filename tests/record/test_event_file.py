"""The thread that writes the event file, under every fault of the disk that can be had."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import event_logs
import pytest
from tensorboard.compat.proto import event_pb2, summary_pb2

from tb_nnhealth.record import event_file, rotation
from tb_nnhealth.record.entries import Entry, Serialized
from tb_nnhealth.record.event_file import EventFile


def event(step: int, size: int = 0) -> Entry:
    value = summary_pb2.Summary.Value(tag="x" + "y" * size, simple_value=step)
    summary = summary_pb2.Summary(value=[value])
    return Serialized(event_pb2.Event(step=step, wall_time=1.0, summary=summary).SerializeToString())


def steps(directory: Path) -> list[int]:
    return [e.step for e in event_logs.events(directory) if e.HasField("summary")]


def assert_accounted(file: EventFile, produced: int) -> None:
    tally = file.counts["event"]
    assert tally.produced == produced
    assert tally.written + tally.dropped == produced


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Back-offs of a hundredth."""
    monkeypatch.setattr(rotation, "LONGEST_BACK_OFF", 0.05)


@pytest.fixture
def faulty_write(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[Callable[[int, Any], int]], None]]:
    real = os.write

    def install(write: Callable[[int, Any], int]) -> None:
        monkeypatch.setattr(os, "write", lambda fd, data: write(fd, data) if fd > 2 else real(fd, data))

    yield install
    monkeypatch.undo()


def eventually(condition: Callable[[], bool]) -> bool:
    deadline = time.monotonic() + 30
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.01)
    return condition()


def test_all_is_written_in_order_by_many_threads(tmp_path: Path) -> None:
    file = EventFile(str(tmp_path))
    threads = [
        threading.Thread(target=lambda k=k: [file.put(event(1000 * k + i)) for i in range(500)]) for k in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert file.flush()
    found = steps(tmp_path)
    assert sorted(found) == [1000 * k + i for k in range(4) for i in range(500)]
    assert all(found.index(1000 * k + i) < found.index(1000 * k + i + 1) for k in range(4) for i in range(0, 499, 50))
    assert file.close()
    assert_accounted(file, 2000)


def test_written_events_are_visible_without_flush_or_close(tmp_path: Path) -> None:
    file = EventFile(str(tmp_path))
    file.put(event(1))
    assert eventually(lambda: steps(tmp_path) == [1])
    file.close()


def test_file_stays_open_between_events(tmp_path: Path) -> None:
    file = EventFile(str(tmp_path))
    paths = set()
    for i in range(5):
        file.put(event(i))
        assert file.flush()
        paths.add(file.path)
    assert len(paths) == 1
    file.close()
    assert file.path is None


def test_put_after_close_begins_a_new_file_that_sorts_behind(tmp_path: Path) -> None:
    file = EventFile(str(tmp_path))
    for i in range(12):  # numbers of two digits sort before those of one
        file.put(event(i))
        file.close()
    assert len(event_logs.event_files(tmp_path)) == 12
    assert steps(tmp_path) == list(range(12))
    assert threading.active_count() < 12


def test_close_without_events_is_harmless(tmp_path: Path) -> None:
    file = EventFile(str(tmp_path / "never made"))
    assert file.flush()
    assert file.close()
    assert file.close()
    assert not (tmp_path / "never made").exists()


def test_entries_may_be_made_on_the_writers_thread_and_may_fail(tmp_path: Path) -> None:
    class Lazy(Entry):
        kind = "record"

        def __init__(self, make: Callable[[], bytes | None]) -> None:
            self.encode = make  # type: ignore[method-assign]

    ran_on = []

    def made() -> bytes:
        ran_on.append(threading.current_thread())
        data = event(7).encode()
        assert data is not None
        return data

    def fails() -> bytes:
        raise MemoryError("no room")

    file = EventFile(str(tmp_path))
    for make in (made, fails, fails, lambda: None):
        file.put(Lazy(make))
    with event_logs.told("MemoryError: no room") as told:
        assert file.flush()
    assert len(told) == 1
    assert steps(tmp_path) == [7]
    assert ran_on[0] is not threading.main_thread()
    tally = file.counts["record"]
    assert (tally.produced, tally.written, tally.dropped) == (4, 1, 3)
    file.close()


def test_stalled_disk_never_blocks_the_caller_and_drops_the_oldest(
    tmp_path: Path, faulty_write: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = EventFile(str(tmp_path), most_entries=100)
    file.open()
    moving, real, stuck = threading.Event(), os.write, threading.Event()

    def write(descriptor: int, data: Any) -> int:
        stuck.set()
        moving.wait(60)
        return real(descriptor, data)

    faulty_write(write)
    file.put(event(-1))
    assert stuck.wait(30)
    for i in range(10_000):
        file.put(event(i))
    assert not file.flush(timeout=0.05)
    begun = file._progress
    assert not file.flush(timeout=3600)  # would take an hour if it waited once more for the same stuck write
    assert file._progress == begun
    with event_logs.told("did not take all events"):
        assert not file.close(timeout=0.05)
    moving.set()
    assert eventually(lambda: file.path is None)
    assert steps(tmp_path) == [-1, *range(9_900, 10_000)]
    assert_accounted(file, 10_001)


def test_full_disk_drops_counts_and_goes_on_in_a_new_file(tmp_path: Path, faulty_write: Any, impatient: None) -> None:
    full, real = threading.Event(), os.write

    def write(descriptor: int, data: Any) -> int:
        if not full.is_set():
            return real(descriptor, data)
        if len(data) > 20:
            return real(descriptor, data[:20])  # part of a record still fits
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    file = EventFile(str(tmp_path))
    file.put(event(0))
    assert file.flush()
    full.set()
    faulty_write(write)
    with event_logs.told("No space left") as told:
        file.put(event(1))
        assert eventually(lambda: file.counts["event"].dropped == 1)
        file.put(event(2))  # waits for better times
        assert not file.flush(timeout=0.2)
        assert len(event_logs.event_files(tmp_path)) == 1  # attempts leave no litter
        full.clear()
        assert eventually(lambda: file.counts["event"].written == 2)
    assert len(told) == 1
    file.put(event(3))
    file.close()
    first, second = event_logs.event_files(tmp_path)
    assert [e.step for e in event_logs.events(first)] == [0, 0]  # the torn record was cut off
    assert [e.file_version for e in event_logs.events(second)] == ["brain.Event:2", "", ""]
    assert steps(tmp_path) == [0, 2, 3]
    assert_accounted(file, 4)


def test_closing_on_a_full_disk_gives_up_at_once_and_counts(tmp_path: Path, faulty_write: Any) -> None:
    def write(descriptor: int, data: Any) -> int:
        raise OSError(errno.EIO, "broken")

    file = EventFile(str(tmp_path))
    file.open()
    faulty_write(write)
    with event_logs.told("broken"):
        for i in range(100):
            file.put(event(i))
        assert file.close()
    assert_accounted(file, 100)
    assert file.counts["event"].written == 0


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    place = tmp_path / "disk"
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(place)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system is not permitted here")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False)


def test_really_full_disk(tiny_disk: Path, impatient: None) -> None:
    file = EventFile(str(tiny_disk))
    file.open()
    with event_logs.told("No space left"):
        for i in range(1000):
            file.put(event(i, size=50))
        assert eventually(lambda: file.counts["event"].dropped > 0)
    kept = steps(tiny_disk)
    assert kept == list(range(len(kept)))
    assert len(kept) > 100
    event_logs.event_files(tiny_disk)[0].unlink()
    file.put(event(5000))
    tally = file.counts["event"]
    assert eventually(lambda: tally.written + tally.dropped == 1001)
    file.close()
    assert steps(tiny_disk)[-1] == 5000
    assert_accounted(file, 1001)


def test_removed_directory_is_made_again(tmp_path: Path) -> None:
    directory = tmp_path / "a" / "run"
    file = EventFile(str(directory))
    file.put(event(0))
    assert file.flush()
    shutil.rmtree(tmp_path / "a")
    with event_logs.told("was deleted"):
        file.put(event(1))
        assert file.flush()
    assert steps(directory) == [1]
    file.close()
    assert_accounted(file, 2)


def test_directory_that_becomes_a_file_and_back(tmp_path: Path, impatient: None) -> None:
    directory = tmp_path / "run"
    file = EventFile(str(directory))
    file.put(event(0))
    file.flush()
    shutil.rmtree(directory)
    directory.write_text("in the way")
    with event_logs.told():
        file.put(event(1))
        assert eventually(lambda: "FileExistsError" in " ".join(file.faults.messages))
    directory.unlink()
    assert eventually(lambda: directory.is_dir() and steps(directory) == [1])
    file.close()
    assert_accounted(file, 2)


def test_what_must_be_kept_is_tried_again(tmp_path: Path, faulty_write: Any, impatient: None) -> None:
    real, failures = os.write, iter([True])
    file = EventFile(str(tmp_path))
    file.open()

    def write(descriptor: int, data: Any) -> int:
        if next(failures, False):
            raise OSError(errno.EIO, "once")
        return real(descriptor, data)

    faulty_write(write)
    kept = event(1)
    kept.keep = True
    with event_logs.told():
        file.put(kept)
        file.put(event(2))
        assert eventually(lambda: file.counts["event"].written == 2)
    file.close()
    assert steps(tmp_path) == [1, 2]


@pytest.mark.parametrize("fault", [OSError(errno.EIO, "disk"), MemoryError("memory"), RuntimeError("else")])
@pytest.mark.parametrize(
    "function",
    [
        "os.open",
        "os.write",
        "os.close",
        "os.makedirs",
        "os.fstat",
        "os.ftruncate",
        "frame",
        "encode.file_version",
        "thread",
    ],
)
def test_nth_call_of_anything_may_fail(
    function: str, fault: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, impatient: None
) -> None:
    holder, name = {
        "frame": (rotation, "frame"),
        "encode.file_version": (rotation.encode, "file_version"),
        "thread": (threading.Thread, "start"),
    }.get(function, (os, function.rpartition(".")[2]))
    real = getattr(holder, name)
    for nth in range(1, 8):
        calls = iter(range(1, 1_000_000))

        def failing(*args: Any, _calls: Any = calls, _nth: int = nth, **kwargs: Any) -> Any:
            mine = threading.current_thread().name.startswith("tb_nnhealth") or name == "start"
            if mine and next(_calls) == _nth:
                raise fault
            return real(*args, **kwargs)

        directory = tmp_path / f"{nth}"
        file = EventFile(str(directory), most_entries=1000)
        monkeypatch.setattr(holder, name, failing)
        with warnings.catch_warnings(record=True):
            warnings.simplefilter("always")
            for i in range(20):
                file.put(event(i))
                if i % 3 == 0:
                    file.flush(timeout=5)
                if i == 10:
                    file.close(timeout=5)
                if i == 15:
                    shutil.rmtree(directory, ignore_errors=True)
            file.close(timeout=5)
        monkeypatch.setattr(holder, name, real)
        assert_accounted(file, 20)
        assert steps(directory) == sorted(steps(directory))
        assert file.counts["event"].dropped <= 3


def test_warnings_as_errors_do_not_raise(tmp_path: Path, faulty_write: Any, capsys: pytest.CaptureFixture[str]) -> None:
    def write(descriptor: int, data: Any) -> int:
        raise OSError(errno.EIO, "broken")

    file = EventFile(str(tmp_path))
    file.open()
    faulty_write(write)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        file.put(event(0))
        assert file.close()
    assert "broken" in capsys.readouterr().err


def test_construction_says_clearly_what_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match=r"it is a file, not a directory.*choose another log_dir.*file'"):
        EventFile(str(tmp_path / "file")).open()
    with pytest.raises(NotADirectoryError, match="Not a directory"):
        EventFile(str(tmp_path / "file" / "below")).open()

    def refused(*_: Any, **__: Any) -> int:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(os, "open", refused)
    with pytest.raises(PermissionError, match="Permission denied"):
        EventFile(str(tmp_path)).open()


def test_abandoned_threads_do_not_linger_after_close(tmp_path: Path) -> None:
    before = threading.active_count()
    for i in range(5):
        file = EventFile(str(tmp_path / str(i)))
        file.put(event(i))
        file.close()
    assert threading.active_count() == before


def test_remote_directory_goes_through_tensorboards_file_layer(tmp_path: Path) -> None:
    fsspec = pytest.importorskip("fsspec")
    file = EventFile("memory://bucket/run", flush_secs=0.01)
    file.open()
    for i in range(3):
        file.put(event(i))
    assert file.flush()
    store = fsspec.filesystem("memory")
    (path,) = store.ls("/bucket/run", detail=False)
    (tmp_path / "copy.tfevents.1").write_bytes(store.cat(path))
    assert steps(tmp_path) == [0, 1, 2]
    file.put(event(3))
    file.close()
    (tmp_path / "copy.tfevents.1").write_bytes(store.cat(path))
    assert steps(tmp_path) == [0, 1, 2, 3]


def test_most_bytes_bound_what_waits() -> None:
    assert event_file.MOST_BYTES >= 64 << 20

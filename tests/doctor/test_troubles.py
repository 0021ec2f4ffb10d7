"""Each thing that may be wrong with a log, in a log that has it, beside one that has not."""

from __future__ import annotations

import gzip
import os
import re
import struct
import time
from pathlib import Path

import pytest
from events.logs import FILE, Log, scalar_event, small_log
from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
from tensorboard.compat.proto import event_pb2, summary_pb2

from tb_nnhealth import schema
from tb_nnhealth.doctor.clocks import FUTURE_SECONDS
from tb_nnhealth.doctor.examine import examine
from tb_nnhealth.doctor.trouble import IDS, Examined, Trouble
from tb_nnhealth.events import encode
from tb_nnhealth.events.framing import frame, masked_crc
from tb_nnhealth.events.walk import find_runs
from tb_nnhealth.messages import PluginData

THEN = 1_700_000_000.0


def examined(logdir: Path) -> Examined:
    return examine(find_runs(str(logdir)))


def found(logdir: Path) -> list[str]:
    ids = [trouble.id for trouble in examined(logdir).troubles]
    assert set(ids) <= set(IDS)
    return ids


def only(logdir: Path) -> Trouble:
    (trouble,) = examined(logdir).troubles
    assert trouble.id in IDS
    assert trouble.message.endswith(".")
    assert trouble.advice
    return trouble


def curve(directory: Path, steps: range | list[int], name: str = FILE, wall: float = THEN, tag: str = "loss") -> Log:
    log = Log(directory, name)
    log.path.write_bytes(b"")
    log.frames.clear()
    log.event(encode.file_version(wall))
    for i, step in enumerate(steps):
        log.scalar(tag, step, 1.0 / (i + 1), wall + i)
    return log


def test_a_sound_log_has_no_trouble(tmp_path: Path) -> None:
    curve(tmp_path, range(500))
    whole = examined(tmp_path)
    assert whole.troubles == ()
    assert (whole.runs, whole.files, whole.records) == (1, 1, 501)
    assert whole.size == (tmp_path / FILE).stat().st_size


def test_a_record_cut_off(tmp_path: Path) -> None:
    log = curve(tmp_path, range(20))
    log.path.write_bytes(b"".join(log.frames)[:-5])
    torn = only(tmp_path)
    assert (torn.id, torn.severity) == ("torn-record", "warning")
    assert torn.offset == sum(map(len, log.frames[:-1]))


def test_a_record_cut_off_in_a_file_being_written_is_no_alarm(tmp_path: Path) -> None:
    log = curve(tmp_path, range(20), wall=time.time() - 20)
    log.path.write_bytes(b"".join(log.frames)[:-5])
    assert only(tmp_path).severity == "info"


def test_a_corrupt_record_hides_what_stands_behind_it_from_tensorboard(tmp_path: Path) -> None:
    log = curve(tmp_path, range(20))
    start = sum(map(len, log.frames[:7]))
    data = bytearray(log.path.read_bytes())
    data[start + 20] ^= 1
    log.path.write_bytes(data)
    corrupt = only(tmp_path)
    assert (corrupt.id, corrupt.severity, corrupt.offset) == ("corrupt-record", "critical", start)
    assert f"{len(data) - start} bytes" in corrupt.message.replace(",", "")
    loader = EventFileLoader(str(log.path))
    assert (len(list(loader.Load())), len(list(loader.Load()))) == (7, 0), "TensorBoard reads no further, nor later"


def test_an_oversized_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tb_nnhealth.doctor.files.OVERSIZED_BYTES", 2000)
    log = curve(tmp_path, range(3))
    log.event(scalar_event("x" * 3000, 1, 1.0, THEN + 10))
    assert only(tmp_path).id == "oversized-record"


def test_a_length_that_no_file_has(tmp_path: Path) -> None:
    log = curve(tmp_path, range(3))
    length = struct.pack("<Q", 1 << 50)
    with log.path.open("ab") as out:
        out.write(length + struct.pack("<I", masked_crc(length)) + b"data")
    assert only(tmp_path).id == "torn-record"


def test_a_record_that_is_no_event(tmp_path: Path) -> None:
    log = curve(tmp_path, range(3))
    start = log.path.stat().st_size
    log.event(b"\xff\xff no event")
    log.scalar("loss", 5, 1.0, THEN + 5)
    undecodable = only(tmp_path)
    assert (undecodable.id, undecodable.offset) == ("undecodable-record", start)


def test_files_without_anything(tmp_path: Path) -> None:
    curve(tmp_path / "a", range(3))
    (tmp_path / "a" / f"{FILE}.1").touch()
    assert only(tmp_path).id == "empty-file"
    (tmp_path / "a" / f"{FILE}.1").write_bytes(frame(encode.file_version(THEN)))
    assert "no event but its version" in only(tmp_path).message


def test_a_file_that_is_none(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / FILE)
    assert (only(tmp_path).id, only(tmp_path).severity) == ("unreadable", "critical")


@pytest.mark.parametrize(
    ("begin", "what"),
    [
        (gzip.compress(b"x" * 100, mtime=0), "compressed by gzip"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "a pointer of Git LFS"),
        (b"<!doctype html><title>404</title>", "an HTML page"),
        (b"epoch,loss\n1,0.5\n2,0.4\n", "text"),
        (struct.pack(">QI", 24, 0x1234) + bytes(28), "big-endian"),
    ],
)
def test_something_else_of_that_name(tmp_path: Path, begin: bytes, what: str) -> None:
    (tmp_path / FILE).write_bytes(begin)
    trouble = only(tmp_path)
    assert (trouble.id, trouble.severity) == ("no-event-file", "critical")
    assert what in trouble.message


@pytest.mark.parametrize("behind", [bytes(4096), b"\xff" * 100])
def test_zeros_that_a_loss_of_power_left_are_told_from_other_damage(tmp_path: Path, behind: bytes) -> None:
    log = curve(tmp_path, range(20))
    log.path.write_bytes(b"".join(log.frames) + behind)
    trouble = only(tmp_path)
    assert trouble.id == "corrupt-record"
    assert ("the machine lost power" in trouble.message) == (not any(behind))


def test_many_places_are_told_to_come_of_two_processes_or_a_copy_in_text_mode(tmp_path: Path) -> None:
    log = small_log(tmp_path)
    log.path.write_bytes(b"\r\n".join(log.frames))
    assert "two processes that write one file, or of a copy in text mode" in examined(tmp_path).troubles[0].message


def test_two_writers_at_once(tmp_path: Path) -> None:
    curve(tmp_path, range(100), "events.out.tfevents.1.a.1.0")
    curve(tmp_path, range(100), "events.out.tfevents.1.b.2.0", THEN + 50)
    assert "two-writers" in found(tmp_path)


@pytest.mark.parametrize("name", [f"{FILE}.bak", f".{FILE}.a1B2c3", f"{FILE} (1)"])
def test_an_older_copy_beside_its_file(tmp_path: Path, name: str) -> None:
    log = curve(tmp_path, range(100))
    (tmp_path / name).write_bytes(log.path.read_bytes()[:-500])
    trouble = only(tmp_path)
    assert (trouble.id, trouble.path) == ("copied-file", str(tmp_path / name))
    assert FILE in trouble.message


def test_a_training_that_was_resumed_is_one_writer_after_another(tmp_path: Path) -> None:
    curve(tmp_path, range(100), "events.out.tfevents.1.a.1.0")
    curve(tmp_path, range(80, 150), "events.out.tfevents.2.a.2.0", THEN + 500)
    resumed = only(tmp_path)
    assert (resumed.id, resumed.severity, resumed.step) == ("resumed-at-earlier-step", "info", 80)


def test_a_session_start_says_that_steps_go_back(tmp_path: Path) -> None:
    curve(tmp_path, range(100), "events.out.tfevents.1.a.1.0")
    log = Log(tmp_path, "events.out.tfevents.2.a.2.0")
    log.path.write_bytes(b"")
    log.event(encode.session_start(THEN + 499, 80))
    for step in range(80, 150):
        log.scalar("loss", step, 1.0, THEN + 420 + step)
    assert found(tmp_path) == []


def test_files_whose_names_are_in_another_order(tmp_path: Path) -> None:
    curve(tmp_path, range(100), "events.out.tfevents.1.a.1.0", THEN + 5000, tag="a")
    curve(tmp_path, range(100), "events.out.tfevents.2.a.2.0", THEN, tag="b")
    assert found(tmp_path) == ["files-out-of-order"]


def test_steps_that_begin_anew_in_each_epoch(tmp_path: Path) -> None:
    curve(tmp_path, [*range(50), *range(50), *range(50)])
    back = only(tmp_path)
    assert (back.id, back.severity, back.step, back.count) == ("steps-go-back", "warning", 0, 2)


def test_points_without_a_step(tmp_path: Path) -> None:
    curve(tmp_path, [0] * 30)
    repeated = only(tmp_path)
    assert (repeated.id, repeated.step) == ("repeated-step", 0)
    assert "'loss' has 30" in repeated.message


def test_several_tags_of_one_step_are_none_repeated(tmp_path: Path) -> None:
    log = curve(tmp_path, [])
    for step in range(20):
        for tag in "abc":
            log.scalar(tag, step, 1.0, THEN + step)
    assert found(tmp_path) == []


@pytest.mark.parametrize(
    ("walls", "trouble"),
    [
        ([0.0, THEN + 1000, THEN + 2], "clock-goes-back"),
        ([0.0, THEN + 10, THEN - 20], None),
        ([THEN, time.time() + 2 * FUTURE_SECONDS], "clock-in-the-future"),
        ([THEN, time.time() + 60], None),
        ([THEN, 12.0], "no-wall-time"),
        ([THEN, float("nan")], "no-wall-time"),
        ([THEN, float("inf")], "no-wall-time"),
        ([THEN, 1e300], "clock-in-the-future"),
    ],
)
def test_clocks(tmp_path: Path, walls: list[float], trouble: str | None) -> None:
    log = curve(tmp_path, [])
    for step, wall in enumerate(walls):
        log.scalar("loss", step, 1.0, wall or THEN)
    assert found(tmp_path) == ([trouble] if trouble else [])


def test_tags_of_which_tensorboard_shows_a_sample(tmp_path: Path) -> None:
    log = curve(tmp_path, range(1200))
    for step in range(12):
        summary = summary_pb2.Summary(value=[summary_pb2.Summary.Value(tag="picture", image={"height": 1})])
        log.event(event_pb2.Event(wall_time=THEN + 2000, step=step, summary=summary).SerializeToString())
    told = [trouble for trouble in examined(tmp_path).troubles if trouble.id == "sampled"]
    assert ["scalars=1200" in t.advice or "images=12" in t.advice for t in told] == [True, True]
    assert {trouble.severity for trouble in told} == {"info"}


def test_records_of_ours_are_never_sampled(tmp_path: Path) -> None:
    log = small_log(tmp_path)
    for step in range(3, 1200):
        log.event(encode.text(schema.FINDINGS_TAG, step, THEN + step, b"[]", False))
    assert "sampled" not in found(tmp_path)


def test_a_format_that_is_too_new(tmp_path: Path) -> None:
    log = curve(tmp_path, [])
    for number in (schema.FORMAT_VERSION, schema.FORMAT_VERSION + 1):
        value = summary_pb2.Summary.Value(tag=f"nnhealth/{number}/layout")
        value.metadata.plugin_data.plugin_name = schema.PLUGIN_NAME
        value.metadata.plugin_data.content = PluginData(version=number).SerializeToString()
        summary = summary_pb2.Summary(value=[value])
        log.event(event_pb2.Event(wall_time=THEN, step=1, summary=summary).SerializeToString())
    too_new = only(tmp_path)
    assert too_new.id == "format-too-new"
    assert f"nnhealth/{schema.FORMAT_VERSION + 1}/layout" in too_new.message


def test_an_unknown_file_version(tmp_path: Path) -> None:
    log = curve(tmp_path, range(3))
    head = frame(event_pb2.Event(wall_time=THEN, file_version="brain.Event:9").SerializeToString())
    log.path.write_bytes(head + log.path.read_bytes())
    assert only(tmp_path).id == "unknown-file-version"


def test_records_that_the_recorder_dropped(tmp_path: Path) -> None:
    log = curve(tmp_path, range(3))
    log.capture(3, written=90, dropped=10)
    assert "dropped-records" in found(tmp_path)


def test_a_recorder_that_stopped_without_closing(tmp_path: Path) -> None:
    log = curve(tmp_path / "a", range(3))
    log.capture(3, written=90)
    assert "not-closed" in found(tmp_path)
    log.capture(4, written=91, closed=True)
    assert "not-closed" not in found(tmp_path)
    alive = curve(tmp_path / "b", range(3), wall=time.time() - 10)
    alive.capture(3, written=90)
    assert "not-closed" not in found(tmp_path)


def test_what_could_not_be_searched(tmp_path: Path) -> None:
    curve(tmp_path / "logs" / "a", range(3))
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "logs" / "link").symlink_to(tmp_path / "elsewhere")
    assert only(tmp_path / "logs").id == "not-searched"


def test_the_worst_stands_first(tmp_path: Path) -> None:
    curve(tmp_path / "a", range(1200))
    log = curve(tmp_path / "b", range(20))
    data = bytearray(log.path.read_bytes())
    data[100] ^= 1
    log.path.write_bytes(data[:-1])
    assert [trouble.severity for trouble in examined(tmp_path).troubles] == ["critical", "warning", "info"]


def test_the_page_tells_of_every_trouble_and_this_file_tries_each() -> None:
    page = (Path(__file__).parents[2] / "docs" / "doctor.md").read_text("utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `")]
    assert [id_ for row in rows for id_ in re.findall(r"`([a-z-]+)`", row.split("|")[1])] == list(IDS)
    tried = Path(__file__).read_text("utf-8")
    assert [id_ for id_ in IDS if f'"{id_}"' not in tried] == []

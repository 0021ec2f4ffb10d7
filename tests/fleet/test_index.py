"""The index: a second look reads what has changed and nothing else, and the index itself may fail as it likes."""

from __future__ import annotations

import json
import multiprocessing
import os
import sqlite3
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from events.logs import Log
from synthetic_logs import write_log

from fleet.s3 import Bucket
from fleet.test_scan import HERE, directories, fleet, ill, told
from tb_nnhealth.events.walk import RunDirectory
from tb_nnhealth.fleet import index as index_module
from tb_nnhealth.fleet import inspection
from tb_nnhealth.fleet.index import Index, default_path
from tb_nnhealth.fleet.inspection import Inspected, inspect_runs
from tb_nnhealth.fleet.scan import How, scan
from tb_nnhealth.report.baseline import Known
from tb_nnhealth.rules.configuration import Tuning
from tb_nnhealth.rules.synthetic import Network


@pytest.fixture
def scanned(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs that were read."""
    read: list[str] = []

    def noted(directory: RunDirectory, how: How) -> object:
        read.append(directory.name)
        return scan(directory, how)

    monkeypatch.setattr(inspection, "scan", noted)
    return read


def look(logs: Path | str, at: Path, how: How | None = None) -> tuple[Inspected, list[str]]:
    how = how or How()
    index = Index(at, how)
    inspected = inspect_runs(directories(logs), how, HERE, index=index)
    index.close()
    return inspected, index.notes


def test_a_second_look_reads_nothing_and_tells_the_same(
    log: Callable[..., Path], tmp_path: Path, scanned: list[str]
) -> None:
    logs, at = fleet(log, 4), tmp_path / "index"
    first, _ = look(logs, at)
    assert len(scanned) == 4
    second, notes = look(logs, at)
    assert len(scanned) == 4
    assert told(second) == told(first)
    assert second.known == 4
    assert second.any_read
    assert notes == []


def test_only_what_changed_is_read(log: Callable[..., Path], tmp_path: Path, scanned: list[str]) -> None:
    logs, at = fleet(log, 4), tmp_path / "index"
    look(logs, at)
    scanned.clear()
    (file,) = (logs / "run0").iterdir()
    write_log(logs / "grown", ill())
    content = (next((logs / "grown").iterdir())).read_bytes()
    file.write_bytes(content)
    (logs / "run1" / "events.out.tfevents.2").write_bytes(b"")
    (touched,) = (logs / "run2").iterdir()
    os.utime(touched, ns=(1, 1))
    second, _ = look(logs, at)
    assert sorted(scanned) == ["grown", "run0", "run1", "run2"]
    assert {report["run"]: report["verdict"] for report in second.reports}["run0"] == "critical"


def test_problems_of_a_run_are_remembered_with_it(log: Callable[..., Path], tmp_path: Path, scanned: list[str]) -> None:
    logs, at = fleet(log, 1), tmp_path / "index"
    (file,) = (logs / "run0").iterdir()
    file.write_bytes(file.read_bytes()[:-7])
    first, _ = look(logs, at)
    second, _ = look(logs, at)
    assert len(scanned) == 1
    assert len(second.problems) == 1
    assert second.problems == first.problems


def test_what_could_not_be_read_is_tried_again(tmp_path: Path, scanned: list[str]) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "tfevents").write_bytes(b"garbage" * 9)
    for _ in range(2):
        inspected, _ = look(tmp_path / "logs", tmp_path / "index")
        assert not inspected.any_read
    assert len(scanned) == 2


def test_another_judgement_is_another_entry(log: Callable[..., Path], tmp_path: Path, scanned: list[str]) -> None:
    logs, at = fleet(log, 2), tmp_path / "index"
    hows = [How(), How(Tuning({"non-finite": False})), How(known=(Known("run1", "non-finite", "*"),))]
    results = [[told(look(logs, at, how)[0]) for how in hows] for _ in range(2)]
    assert results[0] == results[1]
    assert len(set(results[0])) == 3
    assert len(scanned) == 6


def test_a_rule_that_has_changed_judges_anew(
    log: Callable[..., Path], tmp_path: Path, scanned: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logs, at = fleet(log, 1), tmp_path / "index"
    look(logs, at)
    monkeypatch.setattr(index_module, "_code", lambda: ["another version"])
    look(logs, at)
    assert len(scanned) == 2


def test_the_code_is_known_by_its_files() -> None:
    names = [entry[0] for entry in index_module._code()[1:]]
    assert any("non_finite.py" in name for name in names)
    assert "fleet/index.py" in names


def test_a_bucket_is_remembered_by_entity_tags(tmp_path: Path, bucket: Bucket, scanned: list[str]) -> None:
    log = Log(tmp_path / "a")
    log.scalar("t", 1, 1.0)
    url, at = bucket.upload(tmp_path), tmp_path / "index"
    look(url, at)
    look(url, at)
    assert scanned == ["a"]
    log.scalar("t", 2, 1.0)
    bucket.upload(tmp_path)
    look(url, at)
    assert scanned == ["a", "a"]


def test_runs_of_one_name_in_two_directories_are_two(tmp_path: Path, scanned: list[str]) -> None:
    for name in ("one", "two"):
        Log(tmp_path / name / "same").scalar(name, 1, 1.0)
        look(tmp_path / name, tmp_path / "index")
    assert len(scanned) == 2


@pytest.mark.parametrize("damage", ["garbage", "torn", "version", "table"])
def test_a_damaged_index_is_made_anew_with_a_note(
    log: Callable[..., Path], tmp_path: Path, scanned: list[str], damage: str
) -> None:
    logs, at = fleet(log, 3), tmp_path / "index"
    first, _ = look(logs, at)
    if damage == "garbage":
        at.write_bytes(os.urandom(10_000))
    elif damage == "torn":
        content = at.read_bytes()
        at.write_bytes(content[:4096] + bytes(len(content) - 4096))
    else:
        with sqlite3.connect(at) as base:
            base.execute(
                "PRAGMA user_version = 99" if damage == "version" else "UPDATE runs SET report = x'00', summary = '['"
            )
        base.close()
    scanned.clear()
    second, notes = look(logs, at)
    assert told(second) == told(first)
    assert len(scanned) == 3
    if damage != "table":  # a single row is read anew without a word
        assert len(notes) == 1
        assert "made anew" in notes[0]
        assert str(at) in notes[0]
    scanned.clear()
    _, notes = look(logs, at)
    assert scanned == []
    assert notes == []


def test_an_index_that_cannot_be_used_is_a_note_and_no_error(
    log: Callable[..., Path], tmp_path: Path, scanned: list[str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    inspected, notes = look(fleet(log, 2), tmp_path / "file" / "index")
    assert len(inspected.reports) == 2
    assert len(notes) == 1
    assert "no index is used" in notes[0]


def _write_many(at: Path, logs: Path, start: int) -> None:
    index = Index(at, How())
    for directory in directories(logs)[start::2]:
        index.put(directory, index_module.stamps_of(directory), scan(directory, How()))
        index._guarded(index._write)
    index.close()
    assert index.notes == []


def test_several_processes_share_an_index(log: Callable[..., Path], tmp_path: Path, scanned: list[str]) -> None:
    logs, at = fleet(log, 8), tmp_path / "index"
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=_write_many, args=(at, logs, start)) for start in (0, 1)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    inspected, notes = look(logs, at)
    assert inspected.known == 8
    assert notes == []


def test_reports_that_nobody_asks_for_are_forgotten(
    log: Callable[..., Path], tmp_path: Path, scanned: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    logs, at = fleet(log, 1), tmp_path / "index"
    look(logs, at)
    now = index_module.time.time()
    for days in (40, 80):  # asked for meanwhile, it stays
        monkeypatch.setattr(index_module.time, "time", lambda days=days: now + days * 86400)
        look(logs, at)
    assert len(scanned) == 1
    monkeypatch.setattr(index_module.time, "time", lambda: now + 200 * 86400)
    look(logs, at)
    assert len(scanned) == 2


@pytest.mark.skipif(os.name == "nt", reason="permissions are others there")
def test_the_index_is_nobody_elses_business(log: Callable[..., Path], tmp_path: Path) -> None:
    at = tmp_path / "cache" / "index"
    look(fleet(log, 1), at)
    assert stat.S_IMODE(at.stat().st_mode) == 0o600


def test_it_lies_in_the_cache_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(index_module.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_path() == tmp_path / "tb_nnhealth" / "index.sqlite"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_path().parts[-3:] == (".cache", "tb_nnhealth", "index.sqlite")


def test_a_name_that_is_no_text_is_remembered(tmp_path: Path, scanned: list[str]) -> None:
    try:
        os.mkdir(os.fsencode(tmp_path) + b"/\xff\xfe")
    except OSError:
        pytest.skip("this file system takes text alone")
    logs = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe"))
    write_log(logs / "a\nb", Network(steps=5))
    for _ in range(2):
        inspected, notes = look(logs, tmp_path / "index")
        assert notes == []
    assert len(scanned) == 1
    assert json.dumps(list(inspected.reports))

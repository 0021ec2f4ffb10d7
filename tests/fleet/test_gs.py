"""Runs in a bucket of Google's storage."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from events.logs import Log
from source.compare import assert_same_run

from tb_nnhealth.cli.main import main
from tb_nnhealth.events.storage_fsspec import FsspecStorage
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.source.base import LogDirError
from tb_nnhealth.source.files import FileSource

pytest.importorskip("gcsfs")
pytest.importorskip("gcp_storage_emulator")
from fleet import gs

BUCKET = "gs://logs"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with gs.serving("logs") as address:
        yield address


@pytest.fixture(autouse=True)
def account(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", address)
    # the emulator speaks HTTP alone, and the driver asks by gRPC of which kind a bucket is
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")


def test_the_same_runs_as_here_read_on_where_they_grow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = Log(tmp_path / "a" / "b")
    log.network(Network(depth=1, width=4, steps=20))
    Log(tmp_path / "ü x").scalar("t", 1, 1.0)
    here, there = FileSource([str(tmp_path)]), FileSource([f"{BUCKET}/runs"])
    reads: list[tuple[int, int]] = []
    read_into = FsspecStorage.read_into

    def noted(self: FsspecStorage, memory: memoryview, path: str, offset: int) -> int:
        reads.append((offset, len(memory)))
        return read_into(self, memory, path, offset)

    monkeypatch.setattr(FsspecStorage, "read_into", noted)
    known = 0
    for step in (20, 21):
        gs.upload(tmp_path, f"{BUCKET}/runs")
        for source in (here, there):
            source.refresh()
        assert there.runs() == here.runs() == ["a/b", "ü x"]
        assert there.problems == []
        reads.clear()
        for name in here.runs():
            assert_same_run(there.run(name), here.run(name))
        size = log.path.stat().st_size
        assert (known, size - known) in reads
        known = size
        log.scalar("t", step, 1.0)


def test_a_tag_of_the_content_tells_states_of_one_size_apart(tmp_path: Path) -> None:
    log = Log(tmp_path / "a")
    log.scalar("t", 1, 1.0)
    gs.upload(tmp_path, f"{BUCKET}/states")
    source = FileSource([f"{BUCKET}/states"])
    source.refresh()
    (before,) = source.directories["a"].stamps()
    content = bytearray(log.path.read_bytes())
    content[-1] ^= 1
    log.path.write_bytes(content)
    gs.upload(tmp_path, f"{BUCKET}/states")
    source.refresh()
    (after,) = source.directories["a"].stamps()
    assert after.size == before.size
    assert after.version != before.version


def test_it_is_inspected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for i in range(3):
        Log(tmp_path / f"run{i}").network(Network(depth=2, width=16, steps=200))
    gs.upload(tmp_path, f"{BUCKET}/many")
    assert main(["inspect", f"{BUCKET}/many", "--no-index", "--no-config", "--jobs", "2", "--format", "json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert [run["steps"] for run in told["runs"]] == [199] * 3
    assert told["problems"] == []


def test_no_such_bucket() -> None:
    with pytest.raises(LogDirError, match="gs://never-made/runs: cannot be read as a log directory: not there"):
        FileSource(["gs://never-made/runs"]).refresh()


def test_a_prefix_without_anything_is_an_empty_directory() -> None:
    source = FileSource([f"{BUCKET}/nothing"])
    source.refresh()
    assert source.runs() == []

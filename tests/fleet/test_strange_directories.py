"""Directories as one finds them: whatever lies there, the runs that can be read are judged, and the rest is told."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

from fleet.test_scan import HERE, directories
from tb_nnhealth import schema
from tb_nnhealth.cli.main import main
from tb_nnhealth.fleet.inspection import inspect_runs
from tb_nnhealth.fleet.scan import How, scan
from tb_nnhealth.follow.look import Follower
from tb_nnhealth.report.build import build
from tb_nnhealth.report.formats import FORMATS
from tb_nnhealth.rules.engine import judge
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.source.files import FileSource


def inspected(capsys: pytest.CaptureFixture[str], logs: Path, *arguments: str) -> dict[str, Any]:
    assert main(["inspect", str(logs), "--format", "json", *arguments]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def healthy() -> Network:
    return Network(steps=50).loss(2 * np.exp(-np.arange(50) / 15) + 0.3)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes there")
def test_pipes_loops_and_links_out_of_the_tree(
    log: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = log(good=healthy())
    (logs / "piped").mkdir()
    os.mkfifo(logs / "piped" / "events.out.tfevents.1")
    os.mkfifo(logs / "good" / "events.out.tfevents.9999999999")
    (logs / "loop").symlink_to(logs)
    (logs / "self").symlink_to(logs / "self")
    (tmp_path / "secret").mkdir()
    shutil.copy(next(path for path in (logs / "good").iterdir() if path.is_file()), tmp_path / "secret")
    (logs / "out").symlink_to(tmp_path / "secret")
    for _ in range(2):  # the second time from the index, as far as it goes
        found = inspected(capsys, logs)
        assert [run["run"] for run in found["runs"]] == ["good", "piped"]
        assert [run["verdict"] for run in found["runs"]] == ["healthy", "no-data"]
        told = [problem["message"] for problem in found["problems"]]
        assert sum("not a regular file" in message for message in told) == 2
        assert sum("a link out of the log directory" in message for message in told) == 1


NAMES = [
    "new\nline", "\x1b[2J", "<script>", "a'b\"c", "-rf", "%s", "{x}", "ünïcode", "*", " ", "]]>", "\u202egnal",
    os.fsdecode(b"\xff\xfe"),
]  # fmt: skip


@pytest.mark.parametrize("name", NAMES)
def test_names_of_any_characters(log: Callable[..., Path], capsys: pytest.CaptureFixture[str], name: str) -> None:
    logs = log(**{name: healthy(), f"{name}/rank_0": healthy(), f"{name}/rank_1": healthy()})
    for _ in range(2):
        found = inspected(capsys, logs, "--ranks", "apart", "--sort", "severity")
        assert sorted(run["run"] for run in found["runs"]) == sorted([name, f"{name}/rank_0", f"{name}/rank_1"])
    assert main(["inspect", str(logs)]) == 0
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert "new\nline" not in told


@pytest.mark.parametrize("form", [*FORMATS, "html"])
def test_every_format_takes_names_of_any_characters(log: Callable[..., Path], tmp_path: Path, form: str) -> None:
    ill = healthy()
    ill.spoil(schema.LOSS, "", 31)
    logs = log(**dict.fromkeys(NAMES, ill))
    out = tmp_path / "out"
    assert main(["inspect", str(logs), "--format", form, "--output", str(out), "--no-index"]) == 0
    told = out.read_text("utf-8")
    assert "\x1b" not in told
    if form in ("json", "sarif"):
        found = json.loads(told)
        assert form == "sarif" or {run["run"] for run in found["runs"]} == set(NAMES)
    elif form == "jsonl":
        assert {json.loads(line).get("run") for line in told.splitlines()} >= set(NAMES)
    elif form == "junit":
        assert len(list(ElementTree.fromstring(told).iter("testsuite"))) == len(NAMES)
    elif form == "html":
        assert "<script>alert" not in told
        assert told.count("<script") == 3


def test_the_doctor_and_who_follows_take_names_of_any_characters(
    log: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    logs = log(**{name: healthy() for name in NAMES})
    assert main(["doctor", str(logs), "--repair", str(tmp_path / "copy")]) == 0
    assert "\x1b" not in capsys.readouterr().out
    assert sorted(os.listdir(tmp_path / "copy")) == sorted(NAMES)
    follower = following(logs)
    list(follower.begin(lambda runs: (scan(run, How()) for run in runs)))
    assert {report["run"] for report in follower.reports} == set(NAMES)


def following(logs: Path) -> Follower:
    return Follower(FileSource([str(logs)]), lambda found: list(found.values()), lambda run: build(run, judge(run)))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes there")
def test_the_doctor_and_who_follows_go_round_pipes_loops_and_what_vanishes(
    log: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    logs = log(good=healthy(), gone=healthy())
    os.mkfifo(logs / "good" / "events.out.tfevents.9999999999")
    (logs / "loop").symlink_to(logs)
    (logs / "self").symlink_to(logs / "self")
    assert main(["doctor", str(logs)]) == 1
    assert "not a regular file" in capsys.readouterr().out
    follower = following(logs)
    list(follower.begin(lambda runs: (scan(run, How()) for run in runs)))
    assert [report["run"] for report in follower.reports] == ["gone", "good"]
    assert any("not a regular file" in problem.message for problem in follower.problems)
    shutil.rmtree(logs / "gone")
    list(follower.look())
    assert [report["run"] for report in follower.reports] == ["good"]


def test_a_directory_that_vanishes_between_listing_and_reading(log: Callable[..., Path]) -> None:
    runs = directories(log(**{f"run{i}": healthy() for i in range(4)}))
    shutil.rmtree(runs[1].path)
    found = inspect_runs(runs, How(), HERE)
    assert [report["verdict"] for report in found.reports] == ["healthy", "no-data", "healthy", "healthy"]
    (problem,) = found.problems
    assert problem.path == runs[1].files[0]
    assert "No such file or directory" in problem.message


def test_a_file_that_shrinks_or_is_exchanged_between_looks(
    log: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    logs = log(a=healthy(), b=healthy())
    assert [run["steps"] for run in inspected(capsys, logs)["runs"]] == [49, 49]
    (file,) = (logs / "a").iterdir()
    content = file.read_bytes()
    file.write_bytes(content[: len(content) // 2])
    steps = [run["steps"] for run in inspected(capsys, logs)["runs"]]
    assert 0 < steps[0] < 49
    state = file.stat()
    other = file.with_name("other")
    other.write_bytes(content[: len(content) // 2 - 1] + b"\x00")
    os.utime(other, ns=(state.st_atime_ns, state.st_mtime_ns))
    os.replace(other, file)  # same name, size and time: another file all the same
    assert any(str(file) in problem["path"] for problem in inspected(capsys, logs)["problems"])


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not bind this user")
def test_what_may_not_be_read_is_told(log: Callable[..., Path], capsys: pytest.CaptureFixture[str]) -> None:
    logs = log(a=healthy(), b=healthy(), c=healthy())
    (logs / "b").chmod(0)
    next((logs / "c").iterdir()).chmod(0)
    try:
        found = inspected(capsys, logs)
    finally:
        (logs / "b").chmod(0o755)
    assert [run["verdict"] for run in found["runs"]] == ["healthy", "no-data"]
    assert sum("Permission denied" in problem["message"] for problem in found["problems"]) == 2

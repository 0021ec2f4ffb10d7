"""Finding runs: names as TensorBoard's, links, loops, limits, and what cannot be listed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tensorboard.backend.event_processing import io_wrapper

from tb_nnhealth.events import walk
from tb_nnhealth.events.storage import LocalStorage
from tb_nnhealth.events.walk import event_files, find_runs, is_event_file

FILE = "events.out.tfevents.1.host"


def run(directory: Path, *names: str) -> Path:
    directory.mkdir(parents=True, exist_ok=True)
    for name in names or (FILE,):
        (directory / name).touch()
    return directory


def names(logdir: Path, **options: bool) -> list[str]:
    return [found.name for found in find_runs(str(logdir), **options).runs]


def test_names_are_those_of_tensorboard(tmp_path: Path) -> None:
    for below in ("", "a", "a/b/c", "ü x", "a b"):
        run(tmp_path / below)
    (tmp_path / "empty" / "deep").mkdir(parents=True)
    run(tmp_path / "other", "checkpoint.pt")
    theirs = sorted(os.path.relpath(path, tmp_path) for path in io_wrapper.GetLogdirSubdirectories(str(tmp_path)))
    assert names(tmp_path) == theirs == [".", "a", "a b", "a/b/c", "ü x"]


@pytest.mark.parametrize("name", [FILE, "tfevents", "x.tfevents.profile-empty", "model.pt", "TFEVENTS"])
def test_files_are_those_of_tensorboard(name: str) -> None:
    assert is_event_file(name) == io_wrapper.IsSummaryEventsFile(name)


def test_files_stand_in_the_order_of_names(tmp_path: Path) -> None:
    run(tmp_path, "tfevents.9", "tfevents.10", "tfevents.1")
    (found,) = find_runs(str(tmp_path)).runs
    assert [os.path.basename(path) for path in found.files] == ["tfevents.1", "tfevents.10", "tfevents.9"]


def test_loops_of_links_end(tmp_path: Path) -> None:
    a, b = run(tmp_path / "a"), run(tmp_path / "b")
    for i in range(3):
        (a / f"up{i}").symlink_to(tmp_path)
        (b / f"across{i}").symlink_to(a)
    (tmp_path / "self").symlink_to(tmp_path / "self")
    found = find_runs(str(tmp_path))
    assert [run.name for run in found.runs] == ["a", "b"]
    assert found.problems == []


def test_a_run_is_named_by_its_directory_not_by_a_link_to_it(tmp_path: Path) -> None:
    run(tmp_path / "z" / "exp42")
    (tmp_path / "a-latest").symlink_to(tmp_path / "z" / "exp42")
    assert names(tmp_path) == ["z/exp42"]


def test_links_out_of_the_log_directory_are_refused_unless_asked(tmp_path: Path) -> None:
    outside = run(tmp_path / "outside")
    logdir = run(tmp_path / "logs" / "a").parent
    (logdir / "dir").symlink_to(outside)
    (logdir / "a" / "tfevents.2").symlink_to(outside / FILE)
    (logdir / "a" / "tfevents.3").symlink_to(logdir / "a" / FILE)
    found = find_runs(str(logdir))
    assert [(run.name, len(run.files)) for run in found.runs] == [("a", 2)]
    assert sorted(problem.path for problem in found.problems) == [str(logdir / "a/tfevents.2"), str(logdir / "dir")]
    assert all("a link out of the log directory" in problem.message for problem in found.problems)
    found = find_runs(str(logdir), outside=True)
    assert [(run.name, len(run.files)) for run in found.runs] == [("a", 3), ("dir", 1)]
    assert found.problems == []


def test_a_neighbour_whose_name_begins_alike_is_outside(tmp_path: Path) -> None:
    logdir = run(tmp_path / "logs" / "a").parent
    (logdir / "link").symlink_to(run(tmp_path / "logs-old"))
    assert names(logdir) == ["a"]


def test_a_log_directory_that_is_a_link_is_entered(tmp_path: Path) -> None:
    run(tmp_path / "real" / "a")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    assert names(tmp_path / "link") == ["a"]


def test_a_directory_named_like_an_event_file_is_a_directory(tmp_path: Path) -> None:
    run(tmp_path / "x.tfevents")
    assert names(tmp_path) == ["x.tfevents"]


def test_depth_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "DEPTH", 2)
    run(tmp_path / "1/2")
    run(tmp_path / "1/2/3")
    found = find_runs(str(tmp_path))
    assert [run.name for run in found.runs] == ["1/2"]
    assert [problem.path for problem in found.problems] == [str(tmp_path / "1/2")]


def test_the_number_of_runs_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(walk, "RUNS", 3)
    for i in range(5):
        run(tmp_path / str(i))
    found = find_runs(str(tmp_path))
    assert len(found.runs) == 3
    (problem,) = found.problems
    assert problem.path == str(tmp_path)
    assert "3 runs" in problem.message


class _Denying(LocalStorage):
    def entries(self, directory: str):
        if directory.endswith("locked"):
            raise PermissionError(13, "Permission denied")
        if directory.endswith("vanished"):
            raise FileNotFoundError(2, "No such file or directory")
        return super().entries(directory)


def test_what_cannot_be_listed_is_told_and_the_rest_is_found(tmp_path: Path) -> None:
    for below in ("a", "locked", "vanished"):
        run(tmp_path / below)
    found = find_runs(str(tmp_path), _Denying())
    assert [run.name for run in found.runs] == ["a"]
    assert [(os.path.basename(p.path), p.message) for p in found.problems] == [
        ("locked", "cannot be listed: Permission denied"),
        ("vanished", "cannot be listed: No such file or directory"),
    ]


def test_no_log_directory_raises(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        find_runs(str(tmp_path / "nothing"))
    with pytest.raises(NotADirectoryError):
        find_runs(str(run(tmp_path) / FILE))


def test_event_files_of_one_run_never_lie_outside_the_log_directory(tmp_path: Path) -> None:
    run(tmp_path / "outside")
    logs = run(tmp_path / "logs" / "a").parent
    (logs / "link").symlink_to(tmp_path / "outside")
    assert event_files(str(logs / "a"), str(logs)) == (str(logs / "a" / FILE),)
    for name in ("../outside", "link", str(tmp_path / "outside"), "a/../../outside", "missing", "a/" + FILE):
        assert event_files(os.path.join(logs, name), str(logs)) == ()

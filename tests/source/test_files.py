"""Runs from event files: names, restarts, sessions with other rows, growth, and damage."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from events.logs import FILE, Log, scalar_event, small_log

from tb_nnhealth import schema
from tb_nnhealth.events.framing import frame
from tb_nnhealth.history import Run
from tb_nnhealth.messages import Layout, Row
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.source.base import LogDirError, Source
from tb_nnhealth.source.files import FileSource
from tb_nnhealth.source.provider import ProviderSource

from .compare import assert_same_run


def opened(*paths: Path | str, **options: int) -> FileSource:
    source = FileSource(paths, **options)
    source.refresh()
    return source


def only_run(directory: Path) -> Run:
    source = opened(directory)
    (name,) = source.runs()
    return source.run(name)


def table(run: Run, subject: str, watch: str = schema.DEFAULT_WATCH) -> list[float]:
    found = run.watches[watch].table(schema.WEIGHT, schema.MEAN)
    return found.values[:, found.subjects.index(subject)].tolist()


def layout(*subjects: str, columns: tuple[str, ...] = (schema.MEAN, schema.NAN_COUNT)) -> Layout:
    return Layout(columns=columns, rows=[Row(kind=schema.WEIGHT, subject=subject) for subject in subjects])


def record(*means: float) -> np.ndarray:
    return np.array([[mean, 0] for mean in means], np.float32)


def test_both_sources_keep_the_protocol() -> None:
    sources: list[Source] = [FileSource([]), ProviderSource(None)]
    assert all(source.runs() == [] for source in sources)


@pytest.mark.parametrize("of", [str, Path])
def test_one_path_is_a_log_directory(of: type, tmp_path: Path) -> None:
    small_log(tmp_path / "run")
    source = FileSource(of(tmp_path))
    source.refresh()
    assert source.runs() == ["run"]


def test_all_that_a_watch_wrote_is_read(tmp_path: Path) -> None:
    network = Network(depth=2, width=4, steps=50).loss(np.ones(50))
    Log(tmp_path).network(network)
    run = only_run(tmp_path)
    assert run.name == "."
    assert run.problems == []
    expected = network.run()
    history = run.watches[schema.DEFAULT_WATCH]
    assert history.layout == network.layout
    for kind in schema.KINDS:
        for statistic in schema.STATISTICS:
            ours = history.table(kind, statistic).values
            np.testing.assert_array_equal(ours, expected.watches[schema.DEFAULT_WATCH].table(kind, statistic).values)
    np.testing.assert_array_equal(
        run.scalars["loss/train"].values, np.float32(expected.scalars["loss/train"].values).astype(float)
    )
    steps, counts = history.histograms(schema.WEIGHT, network.weight(0))
    assert steps.tolist() == list(range(0, 50, 10))
    assert counts.shape == (5, schema.HISTOGRAM_BINS)
    assert run.capture.written == 50


def test_files_of_a_run_are_read_in_the_order_of_names(tmp_path: Path) -> None:
    for name, start in (("tfevents.2", 5), ("tfevents.1", 0)):
        log = Log(tmp_path, name)
        for step in range(start, start + 5):
            log.scalar("t", step, step)
    assert only_run(tmp_path).scalars["t"].steps.tolist() == list(range(10))


def test_steps_that_go_back_replace_what_their_own_tag_holds(tmp_path: Path) -> None:
    log = Log(tmp_path)
    for step in (0, 1, 2, 3, 4, 2, 3):
        log.scalar("t", step, step + 0.5)
        log.scalar("u", len(log.frames), 1)
    run = only_run(tmp_path)
    assert run.scalars["t"].steps.tolist() == [0, 1, 2, 3]
    assert len(run.scalars["u"]) == 7


def test_the_first_session_start_purges_nothing(tmp_path: Path) -> None:
    scalars = Log(tmp_path, "tfevents.1.another-writer")
    scalars.scalar("t", 7, 1.0)
    Log(tmp_path, "tfevents.2").start(0)
    assert len(only_run(tmp_path).scalars["t"]) == 1


@pytest.mark.parametrize("at_once", [True, False])
def test_a_restart_purges_everything_from_its_step_on(tmp_path: Path, at_once: bool) -> None:
    source = FileSource([tmp_path])
    log = Log(tmp_path, "tfevents.1")
    log.start(0)
    log.layout(layout("a"))
    for step in range(10):
        log.record(step, record(step))
        log.histogram(step, np.zeros((1, schema.HISTOGRAM_BINS), np.int32))
        log.scalar("t", step, step)
        log.scalar("never again", step, step)
    if not at_once:
        source.refresh()
        assert len(source.run(".").scalars["t"]) == 10
    log = Log(tmp_path, "tfevents.2")
    log.start(6)
    log.scalar("t", 8, 80.0)
    source.refresh()
    run = source.run(".")
    assert run.scalars["t"].steps.tolist() == [*range(6), 8]
    assert run.scalars["never again"].steps.tolist() == list(range(6))
    history = run.watches[schema.DEFAULT_WATCH]
    assert history.steps.tolist() == list(range(6))
    assert history.histograms(schema.WEIGHT, "a")[0].tolist() == list(range(6))


def test_a_session_with_rows_in_another_order(tmp_path: Path) -> None:
    log = Log(tmp_path, "tfevents.1")
    log.layout(layout("a", "b"))
    log.record(0, record(1, 2))
    log.layout(layout("a", "b", "c"), 1)
    log.record(1, record(1, 2, 3))
    log = Log(tmp_path, "tfevents.2")
    log.layout(layout("c", "d", "a"), 2)
    log.record(2, record(30, 40, 10))
    log.histogram(2, np.arange(3 * schema.HISTOGRAM_BINS, dtype=np.int32).reshape(3, -1))
    run = only_run(tmp_path)
    assert run.problems == []
    nan = pytest.approx(np.nan, nan_ok=True)
    assert table(run, "a") == [1, 1, 10]
    assert table(run, "b") == [2, 2, nan]
    assert table(run, "c") == [nan, 3, 30]
    assert table(run, "d") == [nan, nan, 40]
    history = run.watches[schema.DEFAULT_WATCH]
    for subject, first in (("c", 0), ("d", schema.HISTOGRAM_BINS), ("a", 2 * schema.HISTOGRAM_BINS), ("b", None)):
        (counts,) = history.histograms(schema.WEIGHT, subject)[1]
        assert counts[0] == (0 if first is None else first)


def test_a_session_that_begins_with_fewer_rows(tmp_path: Path) -> None:
    log = Log(tmp_path, "tfevents.1")
    log.layout(layout("a", "b"))
    log.record(0, record(1, 2))
    log = Log(tmp_path, "tfevents.2")
    log.layout(layout("a"), 1)
    log.record(1, record(5))
    run = only_run(tmp_path)
    assert table(run, "a") == [1, 5]
    assert table(run, "b") == [2, pytest.approx(np.nan, nan_ok=True)]


def test_a_session_that_begins_before_rows_of_the_last_one(tmp_path: Path) -> None:
    log = Log(tmp_path, "tfevents.1")
    log.layout(layout("a"))
    log.record(0, record(1))
    log.layout(layout("a", "gone"), 5)
    log.record(5, record(1, 2))
    log = Log(tmp_path, "tfevents.2")
    log.layout(layout("a", "new"), 3)
    run = only_run(tmp_path)
    assert run.watches[schema.DEFAULT_WATCH].subjects(schema.WEIGHT) == ("a", "new")
    assert run.watches[schema.DEFAULT_WATCH].steps.tolist() == [0]
    log.record(3, record(7, 8))
    assert table(only_run(tmp_path), "new") == [pytest.approx(np.nan, nan_ok=True), 8]


def test_a_session_with_other_columns(tmp_path: Path) -> None:
    log = Log(tmp_path, "tfevents.1")
    log.layout(layout("a"))
    log.record(0, record(1))
    log = Log(tmp_path, "tfevents.2")
    log.layout(layout("a", columns=(schema.STD, schema.MEAN)), 1)
    log.record(1, np.array([[9, 2]], np.float32))
    run = only_run(tmp_path)
    assert table(run, "a") == [1, 2]
    stds = run.watches[schema.DEFAULT_WATCH].table(schema.WEIGHT, schema.STD).values[:, 0].tolist()
    assert stds == [pytest.approx(np.nan, nan_ok=True), 9]


def test_records_without_a_layout_are_told(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.record(0, record(1), watch="lost")
    log.layout(layout("a"), watch="late")
    log.record(1, record(1, 2), watch="late")
    log.record(2, record(3), watch="late")
    run = only_run(tmp_path)
    assert list(run.watches) == ["late"]
    assert table(run, "a", "late") == [1, 3]
    assert [problem.message.split(" record")[0] for problem in run.problems] == ["watch 'lost': 1", "watch 'late': 1"]


def test_following_gives_what_reading_at_once_gives(tmp_path: Path) -> None:
    network = Network(depth=1, width=4, steps=300).loss(np.ones(300))
    log = Log(tmp_path / "whole" / "a")
    log.start(0)
    log.network(network)
    whole = log.path.read_bytes()
    growing = tmp_path / "growing" / "a"
    growing.mkdir(parents=True)
    source = opened(tmp_path / "growing")
    assert source.runs() == []
    for i in range(0, len(whole), 50_001):
        with (growing / log.path.name).open("ab") as file:
            file.write(whole[i : i + 50_001])
        source.refresh()
        run = source.run("a")
    assert run.problems == []
    assert_same_run(run, opened(tmp_path / "whole").run("a"))


def test_a_run_is_the_same_object_while_it_is_kept_and_read_anew_after(tmp_path: Path) -> None:
    for name in "abc":
        Log(tmp_path / name).scalar("t", 0, 1.0)
    source = opened(tmp_path, runs_kept=2)
    a = source.run("a")
    assert source.run("b") is not a
    assert source.run("a") is a
    source.run("c")
    source.run("b")
    assert source.run("a") is not a
    assert_same_run(source.run("a"), a)


def test_several_log_directories_have_their_path_in_the_name_where_needed(tmp_path: Path) -> None:
    for below in ("one", "one/same", "one/only", "two", "two/same"):
        Log(tmp_path / below).scalar(below, 0, 1.0)
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    source = opened(one, two)
    assert source.runs() == sorted([one, f"{one}/same", "only", two, f"{two}/same"])
    for name in source.runs():
        run = source.run(name)
        assert run.name == name
        assert os.path.basename(name) == os.path.basename(next(iter(run.scalars)))
    assert opened(one, one, f"{one}/../one").runs() == [".", "only", "same"]


def test_a_name_that_becomes_ambiguous_is_told_apart(tmp_path: Path) -> None:
    Log(tmp_path / "one" / "same")
    (tmp_path / "two").mkdir()
    source = opened(tmp_path / "one", tmp_path / "two")
    run = source.run("same")
    Log(tmp_path / "two" / "same")
    source.refresh()
    assert source.runs() == [f"{tmp_path}/one/same", f"{tmp_path}/two/same"]
    assert source.run(f"{tmp_path}/one/same") is run
    assert run.name == f"{tmp_path}/one/same"


def test_a_single_event_file(tmp_path: Path) -> None:
    log = Log(tmp_path, "tfevents.1")
    log.scalar("t", 0, 1.0)
    Log(tmp_path, "tfevents.2").scalar("u", 0, 1.0)
    source = opened(log.path)
    assert source.runs() == ["."]
    assert list(source.run(".").scalars) == ["t"]


def test_no_log_directory_is_an_error_that_names_it(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    with pytest.raises(LogDirError, match=r"missing: cannot be read as a log directory: No such file"):
        opened(missing)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(LogDirError, match="Not a directory"):
        opened(tmp_path / "notes.txt")
    with pytest.raises(LogDirError, match="no log directory given"):
        opened()


def test_one_missing_log_directory_among_several_is_a_problem(tmp_path: Path) -> None:
    Log(tmp_path / "logs" / "a")
    source = opened(tmp_path / "logs", tmp_path / "missing")
    assert source.runs() == ["a"]
    assert [problem.path for problem in source.problems] == [str(tmp_path / "missing")]


def test_runs_and_log_directories_may_go(tmp_path: Path) -> None:
    for name in "ab":
        Log(tmp_path / "logs" / name).scalar("t", 0, 1.0)
    source = opened(tmp_path / "logs")
    source.run("a")
    shutil.rmtree(tmp_path / "logs" / "a")
    run = source.run("a")
    assert "No such file" in run.problems[0].message
    assert len(run.scalars["t"]) == 1
    source.refresh()
    assert source.runs() == ["b"]
    with pytest.raises(KeyError):
        source.run("a")
    shutil.rmtree(tmp_path / "logs")
    source.refresh()
    assert source.runs() == []
    assert [problem.path for problem in source.problems] == [str(tmp_path / "logs")]


def test_a_run_whose_files_all_make_way_for_others_is_another_one(tmp_path: Path) -> None:
    """A directory is cleared and trained into again between two looks."""
    old = Log(tmp_path / "a", "events.out.tfevents.1.host")
    old.scalar("old", 0, 1.0)
    source = opened(tmp_path)
    source.run("a")
    old.path.unlink()
    Log(tmp_path / "a", "events.out.tfevents.2.host").scalar("new", 0, 1.0)
    source.refresh()
    run = source.run("a")
    assert list(run.scalars) == ["new"]
    assert run.problems == []


@pytest.mark.parametrize("name", [f"{FILE}.bak", f"{FILE}~", f".{FILE}.a1B2c3"])
def test_an_older_copy_beside_its_file_takes_nothing_back(tmp_path: Path, name: str) -> None:
    log = Log(tmp_path)
    for step in range(100):
        log.scalar("loss", step, 1.0)
    whole = log.path.read_bytes()
    copy = tmp_path / name
    copy.write_bytes(whole[:-700])
    source = opened(tmp_path)
    run = source.run(".")
    assert len(run.scalars["loss"]) == 100
    (problem,) = run.problems
    assert (problem.path, problem.message) == (str(copy), f"left out: it holds the beginning of {log.path}")


def test_a_file_that_goes_its_own_way_is_no_copy(tmp_path: Path) -> None:
    log = Log(tmp_path)
    for step in range(100):
        log.scalar("loss", step, 1.0)
    (tmp_path / f"{FILE}.1").write_bytes(b"".join([*log.frames[:51], frame(scalar_event("loss", 50, 2.0))]))
    run = opened(tmp_path).run(".")
    assert run.problems == []
    assert len(run.scalars["loss"]) == 51


def test_one_bad_file_leaves_the_others(tmp_path: Path) -> None:
    small_log(tmp_path / "good")
    bad = small_log(tmp_path / "bad")
    with bad.path.open("r+b") as file:
        file.seek(len(bad.frames[0]) + 3)
        file.write(b"\xff")
    os.mkfifo(tmp_path / "bad" / "tfevents.pipe")
    (tmp_path / "bad" / "tfevents.notes").write_text("no events")
    source = opened(tmp_path)
    assert source.runs() == ["bad", "good"]
    assert source.run("good").problems == []
    problems = source.run("bad").problems
    assert [os.path.basename(problem.path) for problem in problems] == [
        bad.path.name,
        "tfevents.notes",
        "tfevents.pipe",
    ]
    assert f"byte {len(bad.frames[0])}" in problems[0].message


def test_links_out_of_the_log_directory_are_told(tmp_path: Path) -> None:
    Log(tmp_path / "elsewhere").scalar("t", 0, 1.0)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "a").symlink_to(tmp_path / "elsewhere")
    source = opened(tmp_path / "logs")
    assert source.runs() == []
    assert [problem.path for problem in source.problems] == [str(tmp_path / "logs" / "a")]
    assert opened(tmp_path / "logs", outside=True).runs() == ["a"]


def test_a_long_run_is_thinned_the_same_however_it_is_read(tmp_path: Path) -> None:
    log = Log(tmp_path)
    log.layout(layout("a"))
    source = opened(tmp_path)
    for step in range(9000):
        log.record(step, record(step))
        if step in (100, 5000, 8500):
            source.run(".")
    followed, at_once = source.run("."), only_run(tmp_path)
    assert len(at_once.watches[schema.DEFAULT_WATCH]) < 9000
    assert_same_run(followed, at_once)

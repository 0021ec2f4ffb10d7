"""Many runs, scanned over processes and threads: the same reports, bounded, and one run never costs another."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from events.logs import Log

from fleet.s3 import Bucket
from tb_nnhealth import schema
from tb_nnhealth.events.walk import RunDirectory
from tb_nnhealth.fleet import executors, scan
from tb_nnhealth.fleet.executors import WAITING_PER_WORKER, Workers, workers
from tb_nnhealth.fleet.inspection import Inspected, inspect_runs
from tb_nnhealth.fleet.reports import Reports
from tb_nnhealth.fleet.scan import How, Scanned, lost
from tb_nnhealth.rules.synthetic import Network
from tb_nnhealth.source.files import FileSource


def ill() -> Network:
    return Network(steps=60).spoil(schema.LOSS, "", 41)


def fleet(log: Callable[..., Path], runs: int = 9) -> Path:
    return log(**{f"run{i}": ill() if i % 3 else Network(steps=60) for i in range(runs)})


def directories(*paths: str | Path) -> list[RunDirectory]:
    source = FileSource(paths)
    source.refresh()
    return list(source.directories.values())


def told(inspected: Inspected) -> str:
    return json.dumps([list(inspected.reports), [vars(problem) for problem in inspected.problems]])


def over(count: int, make: Callable[..., object]) -> Callable[[Sequence[RunDirectory]], Workers]:
    return lambda _: Workers(partial(make, count), count)  # type: ignore[arg-type]


HERE: Callable[[Sequence[RunDirectory]], Workers] = lambda _: Workers(None, 1)


def test_every_executor_finds_the_same(log: Callable[..., Path], bucket: Bucket) -> None:
    logs = fleet(log)
    runs = directories(logs)
    one = inspect_runs(runs, How(), HERE)
    assert [report["run"] for report in one.reports] == [f"run{i}" for i in range(9)]
    assert {report["verdict"] for report in one.reports} == {"critical", "healthy"}
    assert told(inspect_runs(runs, How(), partial(workers, jobs=2))) == told(one)
    assert told(inspect_runs(runs, How(), over(3, ThreadPoolExecutor))) == told(one)
    remote = directories(bucket.upload(logs))
    assert told(inspect_runs(remote, How(), partial(workers, jobs=3))) == told(one)


def test_who_works_depends_on_where_the_runs_lie_and_how_many_they_are(bucket: Bucket, tmp_path: Path) -> None:
    run = RunDirectory("a", "a", ("a/tfevents",))
    assert workers([run] * 3, 8).make is None
    assert workers([run] * 100, 2).count == 2
    assert workers([run] * 8, 8).count == 2
    Log(tmp_path / "a")
    (far,) = directories(bucket.upload(tmp_path))
    few, many = workers([far] * 10, 4), workers([far] * 1000, 4)
    assert few.make is not None
    assert many.make is not None
    with few.make() as threads, many.make() as processes:
        assert type(threads).__name__ == "ThreadPoolExecutor"
        assert type(processes).__name__ == "ProcessPoolExecutor"
    (private,) = directories_in_memory(tmp_path)
    alone = workers([private] * 1000, 4)
    assert alone.make is not None
    with alone.make() as threads:
        assert type(threads).__name__ == "ThreadPoolExecutor"


def directories_in_memory(directory: Path) -> list[RunDirectory]:
    import fsspec

    files = fsspec.filesystem("memory")
    for path in directory.rglob("*tfevents*"):
        files.pipe_file(f"/scanned/{path.parent.name}/{path.name}", path.read_bytes())
    return directories("memory://scanned")


def test_processes_of_their_own_read_a_bucket(
    log: Callable[..., Path], bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(executors, "RUNS_PER_SPAWNED_PROCESS", 1)
    logs = fleet(log, 3)
    found = inspect_runs(directories(bucket.upload(logs)), How(), partial(workers, jobs=2))
    assert told(found) == told(inspect_runs(directories(logs), How(), HERE))


def test_a_run_that_cannot_be_judged_spoils_no_other(log: Callable[..., Path], monkeypatch: pytest.MonkeyPatch) -> None:
    def fragile(run, judgement, known, build=scan.build):  # type: ignore[no-untyped-def]
        if run.name == "run1":
            raise RuntimeError("boom")
        return build(run, judgement, known)

    monkeypatch.setattr(scan, "build", fragile)
    found = inspect_runs(directories(fleet(log, 3)), How(), HERE)
    assert [report["run"] for report in found.reports] == ["run0", "run2"]
    assert [(problem.path, "boom" in problem.message) for problem in found.problems] == [("run1", True)]


def dying(directory: RunDirectory) -> Scanned:
    if directory.name == "run5":
        os._exit(9)
    return lost(directory.name, "met")


def test_a_run_that_ends_its_process_spoils_no_other() -> None:
    runs = [RunDirectory(f"run{i}", f"run{i}", ()) for i in range(40)]
    results = list(workers(runs, 2).start(dying, runs))
    assert sorted(result.run for result in results) == sorted(run.name for run in runs)
    (died,) = [result for result in results if result.problems[0].message != "met"]
    assert died.run == "run5"
    assert "the process that read it was ended" in died.problems[0].message


def test_runs_are_handed_over_a_few_at_a_time() -> None:
    handed: list[str] = []

    class Counting(ThreadPoolExecutor):
        def submit(self, function, directory):  # type: ignore[no-untyped-def]
            handed.append(directory.name)
            return super().submit(function, directory)

    runs = [RunDirectory(f"run{i}", "", ()) for i in range(500)]
    results = Workers(partial(Counting, 2), 2).start(lambda run: lost(run.name, "met"), runs)
    assert len(handed) == 2 * WAITING_PER_WORKER
    for count, _ in enumerate(results, 1):
        assert len(handed) <= count + 2 * WAITING_PER_WORKER
    assert handed == [run.name for run in runs]


def test_leaving_early_leaves_no_worker_behind() -> None:
    begun: list[str] = []

    def slow(directory: RunDirectory) -> Scanned:
        begun.append(directory.name)
        time.sleep(0.01)
        return lost(directory.name, "met")

    runs = [RunDirectory(f"run{i}", "", ()) for i in range(100)]
    results = Workers(partial(ThreadPoolExecutor, 2), 2).start(slow, runs)
    next(results)
    results.close()  # type: ignore[attr-defined]
    count = len(begun)
    time.sleep(0.1)
    assert len(begun) == count < 100


def test_reports_are_packed_and_beyond_a_bound_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tb_nnhealth.fleet.reports.HELD_BYTES", 1000)
    reports = Reports()
    for i in reversed(range(50)):
        report = {"run": f"r{i:02}", "verdict": "healthy", "findings": [], "last_wall": None, "text": "x" * i}
        reports.append(scan.pack(report), scan.summary(report))
    assert reports._file._rolled  # type: ignore[attr-defined]
    reports.arrange(lambda summary: summary.run)
    assert [report["run"] for report in reports] == [f"r{i:02}" for i in range(50)]
    assert reports[-1]["text"] == "x" * 49
    assert [report["run"] for report in reports[3:5]] == ["r03", "r04"]
    reports.keep(lambda summary: summary.run < "r03")
    assert len(reports) == 3
    assert [report["run"] for report in reports] == ["r00", "r01", "r02"]

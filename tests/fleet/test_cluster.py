"""A real Dask cluster of several processes on this machine: the same reports, also when a worker is killed midway."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from distributed import LocalCluster

from fleet.test_scan import HERE, directories, fleet, told
from tb_nnhealth.cli.main import main
from tb_nnhealth.fleet import cluster as cluster_module
from tb_nnhealth.fleet.cluster import Cluster, ClusterError
from tb_nnhealth.fleet.inspection import inspect_runs
from tb_nnhealth.fleet.scan import How, Scanned


@pytest.fixture(scope="module")
def dask() -> Iterator[Any]:
    with LocalCluster(
        n_workers=3, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as running:
        yield running


def test_the_workers_find_what_one_process_does(log: Callable[..., Path], dask: Any) -> None:
    runs = directories(fleet(log))
    cluster = Cluster(dask.scheduler_address)
    try:
        found = inspect_runs(runs, How(), lambda _: cluster.workers())
    finally:
        cluster.close()
    assert told(found) == told(inspect_runs(runs, How(), HERE))


def test_a_worker_killed_midway_costs_no_run(log: Callable[..., Path], dask: Any) -> None:
    runs = directories(fleet(log, 45))
    cluster = Cluster(dask.scheduler_address)
    killed: list[int] = []

    def kill_one(results: Iterable[Scanned], total: int) -> Iterator[Scanned]:
        for count, scanned in enumerate(results):
            if count == 5:
                killed.append(next(iter(cluster._client.run(os.getpid).values())))
                os.kill(killed[0], signal.SIGKILL)
            yield scanned

    try:
        found = inspect_runs(runs, How(), lambda _: cluster.workers(), progress=kill_one)
    finally:
        cluster.close()
    assert killed
    assert told(found) == told(inspect_runs(runs, How(), HERE))


def test_by_the_command_line(log: Callable[..., Path], dask: Any, capsys: pytest.CaptureFixture[str]) -> None:
    logs = str(fleet(log, 3))
    assert main(["inspect", logs, "--scheduler", dask.scheduler_address, "--no-index", "--format", "json"]) == 0
    assert [run["run"] for run in json.loads(capsys.readouterr().out)["runs"]] == ["run0", "run1", "run2"]


def test_no_scheduler_is_told(
    log: Callable[..., Path], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module, "SECONDS", 0.5)
    assert main(["inspect", str(fleet(log, 1)), "--scheduler", "tcp://127.0.0.1:9"]) == 2
    assert "no scheduler answers at tcp://127.0.0.1:9" in capsys.readouterr().err


def test_a_worker_of_another_version_is_told(dask: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "__version__", "0.0.0")
    with pytest.raises(ClusterError, match=r"has tb_nnhealth .*, expected 0\.0\.0"):
        Cluster(dask.scheduler_address)


def test_dask_that_is_not_installed_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(ClusterError, match=r"pip install 'tb-nnhealth\[dask\]'"):
        Cluster("tcp://127.0.0.1:9")

"""The report of the checks before training, from files and through TensorBoard's two backends."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from events.logs import Log

from tb_nnhealth.checks import CheckResult, PreflightReport
from tb_nnhealth.history import Run
from tb_nnhealth.report.build import build
from tb_nnhealth.report.text import render
from tb_nnhealth.rules.engine import judge
from tb_nnhealth.source.files import FileSource
from tb_nnhealth.source.provider import ProviderSource

from .backends import DONE, KEEP_ALL, PythonBackend, ServerBackend, has_server
from .compare import assert_same_run


def report(status: Any) -> PreflightReport:
    return PreflightReport((CheckResult("batch-leak", status, "Samples are mixed.", {"sample": 3}, ("Transpose.",)),))


def from_files(directory: Path) -> Run:
    source = FileSource([directory])
    source.refresh()
    return source.run("a")


@pytest.fixture(params=[PythonBackend, ServerBackend])
def through(request: pytest.FixtureRequest, tmp_path: Path) -> Any:
    if request.param is ServerBackend and not has_server():
        pytest.skip("TensorBoard has no data server for this platform")
    opened = []

    def read() -> Run:
        backend = request.param(str(tmp_path), KEEP_ALL)
        opened.append(backend)
        backend.load(["a"])
        source = ProviderSource(backend.provider)
        source.refresh()
        return source.run("a")

    yield read
    for backend in opened:
        backend.close()


def test_both_backends_give_what_the_files_give(tmp_path: Path, through: Callable[[], Run]) -> None:
    log = Log(tmp_path / "a")
    log.preflight(0, report("fail"))
    log.preflight(1, report("pass"))
    log.scalar(DONE, 0, 1)
    run = through()
    assert run.preflight == report("pass").to_json()
    assert_same_run(run, from_files(tmp_path))


def test_what_is_no_report_is_told(tmp_path: Path, through: Callable[[], Run]) -> None:
    class Broken(PreflightReport):
        def encode(self) -> bytes:
            return b'{"checks": 3}'

    log = Log(tmp_path / "a")
    log.preflight(0, Broken(()))
    log.scalar(DONE, 0, 1)
    for run in (through(), from_files(tmp_path)):
        assert run.preflight is None
        assert "no valid preflight" in run.problems[0].message


def test_a_later_session_makes_it_obsolete_from_its_step_on(tmp_path: Path) -> None:
    log = Log(tmp_path / "a")
    log.start(0)
    log.preflight(0, report("pass"))
    log.preflight(5, report("fail"))
    assert from_files(tmp_path).preflight == report("fail").to_json()
    log.start(3)
    assert from_files(tmp_path).preflight == report("pass").to_json()


def test_a_log_that_holds_nothing_else_shows_it(tmp_path: Path) -> None:
    Log(tmp_path / "a").preflight(0, report("fail"))
    run = from_files(tmp_path)
    built = build(run, judge(run))
    assert built["verdict"] == "no-data"
    assert built["preflight"] == report("fail").to_json()
    assert built["summary"] == "No training yet; of the checks before it: 1 failed."
    text = render([built], [], color=False)
    assert "fail  batch-leak: Samples are mixed." in text
    assert "1. Transpose." in text

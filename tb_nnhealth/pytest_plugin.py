"""The pytest plugin: a build fails where a training is ill.

- ``pytest --nnhealth runs`` adds one test for each run below the log directory; it fails on a finding of
  ``--nnhealth-fail-on`` (critical by default) or more, and is skipped where nothing could be judged.
- The fixture ``nnhealth_healthy(logdir)`` is for tests that train: it fails the test in the same way, and returns
  the reports.

Reading and judging are imported only where they are used: this module is loaded by every pytest beside which the
package is installed.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import pytest

Reports = list[dict[str, Any]]
_SEVERITIES = ("info", "warning", "critical")


def pytest_addoption(parser: pytest.Parser) -> None:
    group = parser.getgroup("nnhealth", "health of trainings (tb-nnhealth)")
    group.addoption(
        "--nnhealth", action="append", default=[], metavar="LOGDIR", help="test every run below this log directory"
    )
    group.addoption(
        "--nnhealth-fail-on",
        choices=_SEVERITIES,
        default=None,
        help="fail on findings at least this severe; default: fail-on of nnhealth.toml, else critical",
    )


def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> None:
    logdirs = config.getoption("nnhealth")
    if logdirs:
        runs = _Runs(logdirs, config.getoption("nnhealth_fail_on"))
        items += [
            _RunItem.from_parent(session, name=f"nnhealth: {shown}", runs=runs, run=run) for run, shown in runs.names
        ]


@pytest.fixture
def nnhealth_healthy(request: pytest.FixtureRequest) -> Callable[..., Reports]:
    """``nnhealth_healthy(logdir, fail_on="critical")`` fails the test where a run below ``logdir`` is ill.

    Returns the reports, one dict for each run, as ``nnhealth inspect --format json`` has them. Fails as well where
    there is no run, or nothing of one could be judged: that is not healthy.
    """

    def healthy(logdir: str | os.PathLike[str], fail_on: str | None = None) -> Reports:
        __tracebackhide__ = True
        if fail_on is not None and fail_on not in _SEVERITIES:
            raise ValueError(f"fail_on: expected one of {', '.join(_SEVERITIES)}, found {fail_on!r}")
        runs = _Runs([logdir], fail_on or request.config.getoption("nnhealth_fail_on"))
        reports = [runs.report(run) for run, _ in runs.names]
        for report in reports:
            if report["verdict"] == "no-data" or runs.ill(report):
                pytest.fail(_told(report), pytrace=False)
        return reports

    return healthy


class _RunItem(pytest.Item):
    """The test of one run, which is read when its turn comes."""

    def __init__(self, *, runs: _Runs, run: str, **given: Any) -> None:
        super().__init__(**given)
        self._runs, self._run = runs, run

    def runtest(self) -> None:
        report = self._runs.report(self._run)
        if self._runs.ill(report):
            pytest.fail(_told(report), pytrace=False)
        if report["verdict"] == "no-data":
            pytest.skip(report["summary"])

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        return self.path, None, self.name


class _Runs:
    """The runs below log directories. Raises UsageError where there are none, or the settings are broken."""

    def __init__(self, logdirs: Sequence[str | os.PathLike[str]], fail_on: str | None) -> None:
        from pathlib import Path

        from tb_nnhealth.report import baseline
        from tb_nnhealth.settings import discover
        from tb_nnhealth.source.base import LogDirError
        from tb_nnhealth.source.files import FileSource

        self._source = FileSource(logdirs, runs_kept=1)
        try:
            self._settings = discover(Path.cwd())
            file = self._settings.baseline
            self._known = baseline.parse(file.read_text("utf-8")) if file else ()
            self._source.refresh()
        except (LogDirError, ValueError, OSError) as error:
            raise pytest.UsageError(f"nnhealth: {error}") from error
        if not self._source.runs():
            told = ", ".join(os.fspath(logdir) for logdir in logdirs)
            raise pytest.UsageError(f"nnhealth: no event files found below {told}")
        self._least = fail_on or self._settings.fail_on or "critical"

    @property
    def names(self) -> list[tuple[str, str]]:
        """Each run with its name as it may be shown."""
        from tb_nnhealth.report.printable import printable

        return [(run, printable(run)) for run in self._source.runs()]

    def report(self, name: str) -> dict[str, Any]:
        from tb_nnhealth.report.baseline import without
        from tb_nnhealth.report.build import build
        from tb_nnhealth.rules.engine import judge

        run = self._source.run(name)
        judgement, known = without(judge(run, self._settings.tuning), name, self._known)
        return build(run, judgement, known)

    def ill(self, report: dict[str, Any]) -> bool:
        from tb_nnhealth.report.tally import severest

        return severest([report]) >= _SEVERITIES.index(self._least)


def _told(report: dict[str, Any]) -> str:
    from tb_nnhealth.report import text

    return text.render([report], [])

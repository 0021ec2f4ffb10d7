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
from collections.abc import Callable, Iterator, Sequence
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
        items += [_RunItem.from_parent(session, name=f"nnhealth: {report['run']}", report=report, least=least)
                  for report, least in _judged(logdirs, config.getoption("nnhealth_fail_on"))]  # fmt: skip


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
        judged = list(_judged([logdir], fail_on or request.config.getoption("nnhealth_fail_on")))
        for report, least in judged:
            if report["verdict"] == "no-data" or _ill(report, least):
                pytest.fail(_told(report), pytrace=False)
        return [report for report, _ in judged]

    return healthy


class _RunItem(pytest.Item):
    """The test of one run."""

    def __init__(self, *, report: dict[str, Any], least: str, **given: Any) -> None:
        super().__init__(**given)
        self._report, self._least = report, least

    def runtest(self) -> None:
        if _ill(self._report, self._least):
            pytest.fail(_told(self._report), pytrace=False)
        if self._report["verdict"] == "no-data":
            pytest.skip(self._report["summary"])

    def reportinfo(self) -> tuple[os.PathLike[str] | str, int | None, str]:
        return self.path, None, self.name


def _ill(report: dict[str, Any], least: str) -> bool:
    from tb_nnhealth.report.tally import severest

    return severest([report]) >= _SEVERITIES.index(least)


def _told(report: dict[str, Any]) -> str:
    from tb_nnhealth.report import text

    return text.render([report], [])


def _judged(logdirs: Sequence[str | os.PathLike[str]], fail_on: str | None) -> Iterator[tuple[dict[str, Any], str]]:
    """Each run's report with the least severity that fails it. Raises UsageError where there is nothing to judge."""
    from pathlib import Path

    from tb_nnhealth.report import baseline
    from tb_nnhealth.report.build import build
    from tb_nnhealth.rules.engine import judge
    from tb_nnhealth.settings import discover
    from tb_nnhealth.source.base import LogDirError
    from tb_nnhealth.source.files import FileSource

    source = FileSource(logdirs, runs_kept=1)
    try:
        settings = discover(Path.cwd())
        known = baseline.parse(settings.baseline.read_text("utf-8")) if settings.baseline else ()
        source.refresh()
    except (LogDirError, ValueError, OSError) as error:
        raise pytest.UsageError(f"nnhealth: {error}") from error
    if not source.runs():
        raise pytest.UsageError(
            f"nnhealth: no event files found below {', '.join(os.fspath(logdir) for logdir in logdirs)}"
        )
    for name in source.runs():
        run = source.run(name)
        judgement, known_here = baseline.without(judge(run, settings.tuning), name, known)
        yield build(run, judgement, known_here), fail_on or settings.fail_on or "critical"

"""``nnhealth inspect --follow``: the loop, and where its findings go."""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from datetime import datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TextIO

from tb_nnhealth.cli import reading
from tb_nnhealth.cli.errors import failed
from tb_nnhealth.cli.tuning import Judging
from tb_nnhealth.findings import SEVERITIES
from tb_nnhealth.fleet.index import Index, default_path
from tb_nnhealth.fleet.scan import How
from tb_nnhealth.follow import lines, metrics
from tb_nnhealth.follow.alerts import Alerts
from tb_nnhealth.follow.changes import Change
from tb_nnhealth.follow.command import Command
from tb_nnhealth.follow.first import scan_all
from tb_nnhealth.follow.hold import Held, Hold
from tb_nnhealth.follow.look import Follower
from tb_nnhealth.follow.sent import Sent, StateError
from tb_nnhealth.follow.way import Way
from tb_nnhealth.follow.webhook import Webhook
from tb_nnhealth.history import Run
from tb_nnhealth.report import openmetrics
from tb_nnhealth.report.baseline import without
from tb_nnhealth.report.build import build
from tb_nnhealth.report.printable import printable
from tb_nnhealth.report.tally import severest, totals
from tb_nnhealth.rules.engine import judge
from tb_nnhealth.source.base import LogDirError
from tb_nnhealth.source.files import FileSource

RUNS_KEPT = 256
"""Runs that are held in memory to be read on; of more than so many that train at once, each is read anew."""
GRACE_SECONDS = 10.0
"""For alerts on their way when the watch ends."""
FOUND = 1


def follow(args: argparse.Namespace, judging: Judging) -> int:
    """Follows until it is interrupted. The exit status is then what ``inspect`` would give."""

    def report_of(run: Run) -> dict[str, Any]:
        judgement, known = without(judge(run, judging.tuning), run.name, judging.known)
        return build(run, judgement, known)

    source = FileSource(args.logdirs, runs_kept=RUNS_KEPT)
    follower = Follower(source, reading.choice(args).of, report_of)
    try:
        with ExitStack() as stack, _terminated_as_interrupted(), contextlib.suppress(KeyboardInterrupt):
            found: Iterable[list[Change]] = _first_look(
                args, judging, follower
            )  # before there are threads: processes are forked for it
            outlets = _Outlets(args, stack)
            while True:
                began = monotonic()
                for changes in found:
                    outlets.tell(changes, follower)
                outlets.looked(follower)
                sleep(max(args.interval, monotonic() - began))
                found = follower.look()
    except (LogDirError, StateError) as error:
        return failed(str(error))
    except BrokenPipeError:
        raise
    except OSError as error:
        return failed(f"cannot write {error.filename or 'the output'}: {error.strerror or error}")
    fail_on = args.fail_on or judging.settings.fail_on
    return FOUND if fail_on and severest(follower.reports) >= SEVERITIES.index(fail_on) else 0


def _first_look(args: argparse.Namespace, judging: Judging, follower: Follower) -> list[list[Change]]:
    how = How(judging.tuning, judging.known)
    index = None if args.no_index else Index(args.index or default_path(), how)
    try:
        return list(follower.begin(lambda runs: scan_all(runs, how, args.jobs, index, reading.with_progress)))
    finally:
        if index is not None:
            index.close()


class _Outlets:
    """Where findings go. What is opened here ``stack`` closes."""

    def __init__(self, args: argparse.Namespace, stack: ExitStack) -> None:
        self._metrics: Path | None = args.metrics
        self._json = args.format == "jsonl"
        self._out: TextIO = sys.stdout
        if args.output:
            self._out = open(args.output, "w", encoding="utf-8")  # noqa: SIM115
            stack.callback(self._out.close)
        self._problems_told: set[tuple[str, str]] = set()
        self._new: list[Change] = []
        self._first = True
        self._server = None
        if args.metrics_port is not None:
            self._server = metrics.MetricsServer(args.metrics_address, args.metrics_port)
            stack.callback(self._server.close)
            _note(f"metrics at {self._server.url}")
        self._alerts = _alerts(args, stack)
        self._held = Held(args.hold or Hold())
        self._screen = _screen(args, stack)

    def tell(self, changes: Sequence[Change], follower: Follower) -> None:
        """Tells the changes of one run at once; alerts may have to wait."""
        if self._alerts is not None:
            self._alerts.add(self._held.take(changes, follower.by_run))
        self._new += changes
        if self._screen is None:
            now = datetime.now().astimezone()
            for change in changes:
                line = lines.jsonl(change, now) if self._json else lines.text(change, now, color=_in_colour(self._out))
                self._out.write(line + "\n")
            if changes:
                self._out.flush()

    def looked(self, follower: Follower) -> None:
        """Tells how all runs are, after each look."""
        reports, problems = follower.reports, follower.problems
        if self._alerts is not None:
            self._alerts.add(self._held.ready(follower.by_run, follower.finding))
        if self._screen is not None:
            self._screen.show(reports, self._new, len(problems))
        else:
            self._tell_problems(follower)
            if self._first:
                _note(f"following {totals(reports)}; Ctrl-C ends")
        self._new, self._first = [], False
        if self._server is not None or self._metrics is not None:
            written = openmetrics.render(reports, problems)
            if self._server is not None:
                self._server.update(written)
            if self._metrics is not None:
                metrics.write(self._metrics, written)

    def _tell_problems(self, follower: Follower) -> None:
        now = {(problem.path, problem.message) for problem in follower.problems}
        for path, message in sorted(now - self._problems_told):
            _note(f"{path}: {message}")
        self._problems_told = now


def _alerts(args: argparse.Namespace, stack: ExitStack) -> Alerts | None:
    ways: list[Way] = [Command(args.command)] if args.command else []
    ways += [Webhook(args.webhook)] if args.webhook else []
    if not ways:
        return None
    sent = Sent(args.state)
    stack.callback(sent.close)
    alerts = Alerts(ways, args.alert_on, sent, _note)
    stack.callback(_ended, alerts)
    return alerts


def _ended(alerts: Alerts) -> None:
    left = alerts.close(GRACE_SECONDS)
    if left:
        _note(f"{left} alert(s) did not go out")


def _screen(args: argparse.Namespace, stack: ExitStack) -> Any:
    """The full-screen table, where there is a terminal for it and rich to draw it; else None."""
    if (
        args.plain
        or args.output
        or args.format != "text"
        or not sys.stdout.isatty()
        or os.environ.get("TERM") == "dumb"
    ):
        return None
    try:
        from tb_nnhealth.follow.screen import Screen
    except ImportError:
        _note("install rich for a full-screen table: pip install rich")
        return None
    return stack.enter_context(Screen())


@contextlib.contextmanager
def _terminated_as_interrupted() -> Iterator[None]:
    """SIGTERM ends the watch as Ctrl-C does: a service manager sends it."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _note(text: str) -> None:
    print(f"nnhealth: {printable(text)}", file=sys.stderr, flush=True)


def _in_colour(out: TextIO) -> bool:
    return out.isatty() and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"

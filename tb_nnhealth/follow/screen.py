"""The watch as a full-screen table, the worst runs first, with the last changes beneath; needs rich."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from tb_nnhealth.follow.changes import Change
from tb_nnhealth.follow.lines import text
from tb_nnhealth.report.printable import printable
from tb_nnhealth.report.tally import VERDICTS, totals

CHANGES_SHOWN = 8
_FIXED = {"verdict": 8, "step": 9, "written": 10}
"""Widths of columns, in characters; the others share what is left as ``_SHARES`` says."""
_SHARES = {"run": 2, "first finding": 3}
_STYLE = {"critical": "bold red", "warning": "yellow", "healthy": "green", "no-data": "bright_black"}


class Screen:
    """A context; ``show`` replaces what is seen. Names are ``Text``, never markup."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console()
        self._live = Live(console=self._console, screen=True, auto_refresh=False)
        self._changes: deque[str] = deque(maxlen=CHANGES_SHOWN)

    def __enter__(self) -> Screen:
        self._live.__enter__()
        return self

    def __exit__(self, *raised: Any) -> None:
        self._live.__exit__(*raised)

    def show(self, reports: Sequence[dict[str, Any]], changes: Sequence[Change], unread: int) -> None:
        """Shows the newest reports; ``changes`` are those since the last call, ``unread`` counts problems."""
        now = datetime.now()
        self._changes.extend(text(change, now) for change in changes)
        self._live.update(self.picture(reports, unread), refresh=True)

    def picture(self, reports: Sequence[dict[str, Any]], unread: int) -> Group:
        """What fits on the screen."""
        rows = max(3, self._console.height - len(self._changes) - 7)
        worst = sorted(reports, key=lambda report: (VERDICTS.index(report["verdict"]), -(report["last_wall"] or 0.0)))
        table = Table(box=box.SIMPLE_HEAD, expand=True, pad_edge=False)
        for heading in ("verdict", "run", "step", "written", "first finding"):
            width, share = _FIXED.get(heading), _SHARES.get(heading)
            table.add_column(heading, width=width, ratio=share, no_wrap=True, overflow="ellipsis")
        for report in worst[:rows]:
            table.add_row(*_row(report))
        left = f", {len(worst) - rows} more below" if len(worst) > rows else ""
        problems = f", {unread} could not be read" if unread else ""
        foot = f"{totals(reports)}{left}{problems}   {datetime.now():%H:%M:%S}   Ctrl-C ends"
        lines = [Text(line, no_wrap=True, overflow="ellipsis") for line in self._changes]
        return Group(table, *lines, Text(foot, style="bright_black"))


def _row(report: dict[str, Any]) -> list[Text]:
    first = next(iter(report["findings"]), None)
    where = f" in {first['subject']}" if first is not None and first["subject"] else ""
    told = "" if first is None else f"{first['rule']}{where} from step {first['first_step']:,}"
    style = _STYLE[report["verdict"]]
    cells = [report["run"], f"{report['steps']:,}", _age(report["last_wall"]), told]
    return [Text(report["verdict"], style=style), *(Text(printable(cell)) for cell in cells)]


def _age(wall: float | None) -> str:
    if wall is None:
        return ""
    seconds = max(0.0, time.time() - wall)
    for unit, size in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit} ago"
    return f"{seconds:.0f} s ago"

"""A change as a line of text."""

from __future__ import annotations

import json
from datetime import datetime

from tb_nnhealth.follow.changes import Change
from tb_nnhealth.report.printable import printable
from tb_nnhealth.report.tally import span

_MARK = {"critical": "✖", "warning": "▲", "info": "●"}
_COLOUR = {"critical": "31", "warning": "33", "info": "34", "cleared": "32"}


def text(change: Change, now: datetime, *, color: bool = False) -> str:
    """ "12:03:04  ✖ critical  exp1  non-finite  layers.3  steps 81–99: what, where"."""
    finding = change.finding
    cleared = change.what == "cleared"
    mark = "✔ cleared " if cleared else f"{_MARK[finding['severity']]} {finding['severity']:<8}"
    if color:
        mark = f"\x1b[{_COLOUR['cleared' if cleared else finding['severity']]}m{mark}\x1b[0m"
    names = [printable(name) for name in (change.identity.run, finding["rule"], finding["subject"]) if name]
    line = "  ".join([f"{now:%H:%M:%S}", mark, *names, span(finding)])
    return line if cleared else f"{line}: {printable(finding['message'])}"


def jsonl(change: Change, now: datetime) -> str:
    return json.dumps({"time": now.isoformat(timespec="seconds"), **change.to_json()}, allow_nan=False)

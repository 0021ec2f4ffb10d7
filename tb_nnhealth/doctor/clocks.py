"""Wall times that go back, lie in the future, or are none."""

from __future__ import annotations

import time
from dataclasses import replace
from datetime import datetime, timezone
from typing import Any

from tb_nnhealth.doctor.trouble import Trouble

BACK_SECONDS = 60.0
"""Less is the jitter of clocks that are set while they run, and of writers with several threads."""
FUTURE_SECONDS = 24 * 3600.0
"""Less is the difference of two machines' clocks, or of time zones written as if they were UTC."""
FIRST_WALL = datetime(2010, 1, 1, tzinfo=timezone.utc).timestamp()
"""No event file is older."""


class Clock:
    """Follows the wall times of one file."""

    def __init__(self, path: str, now: float | None = None) -> None:
        self._path, self._now = path, time.time() if now is None else now
        self.first: float | None = None
        self.last: float | None = None
        """Wall times of the file's first and latest event, of those that may be true."""
        self._found: dict[str, Trouble] = {}
        self._counts: dict[str, int] = {}

    def see(self, event: Any, offset: int) -> None:
        """Takes the next event of the file."""
        wall, step = event.wall_time, int(event.step)
        if not FIRST_WALL <= wall < float("inf"):
            told = f"has a wall time of {wall:g}, which is no date of an event file"
            self._note("no-wall-time", told, step, offset)
            return
        if wall > self._now + FUTURE_SECONDS:
            self._note("clock-in-the-future", f"has a wall time of {_date(wall)}, which is still to come", step, offset)
        elif self.last is not None and wall < self.last - BACK_SECONDS:
            told = f"has a wall time {self.last - wall:,.0f} s before that of an event before it"
            self._note("clock-goes-back", told, step, offset)
        self.first = wall if self.first is None else self.first
        self.last = wall if self.last is None else max(self.last, wall)

    def _note(self, what: str, told: str, step: int, offset: int) -> None:
        self._counts[what] = self._counts.get(what, 0) + 1
        message = f"The event of step {step} {told}. Curves over wall time are wrong there; those over steps are not."
        self._found.setdefault(what, Trouble(what, "info", self._path, message, _ADVICE[what], offset, step))

    def troubles(self) -> list[Trouble]:
        """What is wrong with the clock."""
        return [replace(trouble, count=self._counts[what]) for what, trouble in self._found.items()]


_ADVICE = {
    "no-wall-time": "Leave walltime= of add_scalar out, or give seconds since 1970.",
    "clock-in-the-future": "Set the clock of the machine that wrote this; compare with `date -u`.",
    "clock-goes-back": "Let NTP slew the clock rather than step it. Two writers of one file look like this as well.",
}


def _date(wall: float) -> str:
    try:
        return f"{datetime.fromtimestamp(wall, timezone.utc):%Y-%m-%d %H:%M} UTC"
    except (ValueError, OverflowError, OSError):
        return f"{wall:g}"

"""Alerts held back until their finding has stood for a while.

A run that still trains is judged on what there is of it, and most of what shows in its first records is gone soon:
nobody should be woken for that. What is told at once is a critical `non-finite`, which nothing takes back.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tb_nnhealth.follow.changes import Change
from tb_nnhealth.report.identity import Identity

_AT_ONCE = ("non-finite",)
_SECONDS = {"s": 1, "m": 60, "h": 3600}
_TIME = re.compile(r"(\d+(?:\.\d+)?)([smh])")

Report = Mapping[str, Any]


class Hold(NamedTuple):
    """What a finding must outlast to be told, whichever comes first."""

    records: float = 100
    """Of the run, at the pace at which it writes them lately."""
    seconds: float = 600.0
    """On the clock: for runs that write seldom, and for what stands when a run has stopped."""

    @staticmethod
    def parsed(text: str) -> Hold:
        """ "100" records, "10m", or both, "100,10m". What is not named never ends the wait. Raises ValueError."""
        records = seconds = float("inf")
        for part in text.split(","):
            if part.strip().isdecimal():
                records = float(part)
            elif (time_ := _TIME.fullmatch(part.strip())) is not None:
                seconds = float(time_[1]) * _SECONDS[time_[2]]
            else:
                raise ValueError(f"expected records, a time, or both, such as 100, 10m or 100,10m; found {text!r}")
        return Hold(records, seconds)


@dataclass
class _Waiting:
    change: Change
    since: float
    step: int
    """The run's last when the finding appeared."""


class Held:
    """Changes on their way to the alerts. ``clock``: seconds that never go back."""

    def __init__(
        self, hold: Hold, clock: Callable[[], float] = time.monotonic, now: Callable[[], float] = time.time
    ) -> None:
        self._hold, self._clock, self._now = hold, clock, now
        self._waiting: dict[Identity, _Waiting] = {}

    def take(self, changes: Sequence[Change], reports: Mapping[str, Report]) -> list[Change]:
        """Takes changes, the newest report of each run being in ``reports``; gives those to tell at once.

        What clears while it waits is never told, neither that it came nor that it went.
        """
        ready = []
        for change in changes:
            if change.what == "cleared":
                if self._waiting.pop(change.identity, None) is None:
                    ready.append(change)
            elif _urgent(change.finding) or self._stood(change.finding, reports[change.identity.run]):
                ready.append(change)
            else:
                step = reports[change.identity.run]["steps"]
                self._waiting[change.identity] = _Waiting(change, self._clock(), step)
        return ready

    def ready(self, reports: Mapping[str, Report], current: Callable[[Identity], dict[str, Any]]) -> list[Change]:
        """What has waited long enough, as it is now: ``reports`` by run, ``current`` gives a finding by its name."""
        ready = []
        for identity, waiting in list(self._waiting.items()):
            finding, report = current(identity), reports[identity.run]
            stood = self._stood(finding, report) or self._outlasted(waiting, report)
            if stood or _urgent(finding):
                del self._waiting[identity]
                ready.append(waiting.change._replace(finding=finding))
        return ready

    def _stood(self, finding: Report, report: Report) -> bool:
        """Whether it held for so many records by the log alone; or the run is over, and it holds."""
        last = report["steps"] if finding["active"] else finding["last_step"]
        enough = last - finding["fired_step"] >= self._hold.records * report["pace"]
        written = report["last_wall"]
        over = report["closed"] or (written is not None and self._now() - written >= self._hold.seconds)
        return bool(enough or (finding["active"] and over))

    def _outlasted(self, waiting: _Waiting, report: Report) -> bool:
        records = report["steps"] - waiting.step >= self._hold.records * report["pace"]
        return bool(records or self._clock() - waiting.since >= self._hold.seconds)


def _urgent(finding: Report) -> bool:
    return finding["rule"] in _AT_ONCE and finding["severity"] == "critical"

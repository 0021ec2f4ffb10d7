"""Which steps are measured where several ranks train together: the same ones on all, as far as they have heard."""

from __future__ import annotations

import math
from typing import Any

from tb_nnhealth.record.cadence import OPENING, Cadence

_LEAD_SECONDS = 1.0
_LEAD_STEPS = 2
"""Rank 0 announces another interval this long ahead, and so many measured steps, so that all hear of it in time."""
_GROWTH = 40
"""Until an interval is announced, a step is measured whenever the run has grown by about one part in this."""
_HISTOGRAM_EVERY = 16
Entry = tuple[int, int, int]
"""First step, steps from one measured one to the next, records from one histogram to the next; powers of two."""


class SharedCadence(Cadence):
    """A cadence that rank 0 chooses for all, from what measuring costs the slowest of them.

    ``exchange`` carries it. A rank that hears of a change too late measures other steps for a while: intervals are
    powers of two that count from zero, so that some steps are always common. Where ``every`` was given, each keeps it.
    """

    def __init__(self, every: int | None, budget: float, exchange: Any, *, asynchronous: bool = False) -> None:
        super().__init__(every, budget, asynchronous=asynchronous, aligned=True)
        self._exchange = exchange
        self._entries: list[Entry] = []
        self._announced = ""
        self.histogram_every = _HISTOGRAM_EVERY
        self.wanted = self.every
        """Steps from one measured one to the next, as this rank alone would choose."""

    @property
    def measured(self) -> bool:
        return (self._given is None and self.index < OPENING) or self.index % self._interval_now()[0] == 0

    @property
    def counted(self) -> bool:
        every, histogram_every = self._interval_now()
        return self.index % (every * histogram_every) == 0

    def _interval_now(self) -> tuple[int, int]:
        if self._given is not None:
            return self._given, _HISTOGRAM_EVERY
        for first, every, histogram_every in reversed(self._entries):
            if first <= self.index:
                return every, histogram_every
        return self._step_between(max(1, self.index // _GROWTH)), _HISTOGRAM_EVERY

    def _choose(self) -> None:
        super()._choose()
        self.wanted = self.interval
        self.every = max(self.every, self._exchange.slowest())

    def _measured(self, wall: float | None, counted: bool) -> None:
        super()._measured(wall, counted)
        if self._given is None:
            if self._exchange.rank:
                self._hear()
            elif self.index >= OPENING:
                self._announce()
        self.histogram_every = self._interval_now()[1]

    def _announce(self) -> None:
        now, histogram_every = self._interval_now()
        wanted = max(self.interval, self._exchange.slowest())
        histogram_wanted = self._step_between(self.histogram_every)
        pending = bool(self._entries) and self._entries[-1][0] > self.index
        if pending or self.bare <= 0 or ((wanted, histogram_wanted) == (now, histogram_every) and self._entries):
            return
        lead = max(_LEAD_STEPS * now, math.ceil(_LEAD_SECONDS / self.bare))
        unit = max(wanted, now)
        first = (self.index + lead) // unit * unit + unit
        self._entries = [*self._entries[-1:], (first, wanted, histogram_wanted)]
        self._exchange.publish(";".join(",".join(map(str, entry)) for entry in self._entries))

    def _hear(self) -> None:
        heard = self._exchange.schedule
        if heard != self._announced:
            self._announced = heard
            self._entries = [_entry(text) for text in heard.split(";")]
        self._exchange.hear()


def _entry(text: str) -> Entry:
    first, every, histogram_every = map(int, text.split(","))
    return first, every, histogram_every

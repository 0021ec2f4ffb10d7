"""Judging in the background: on a thread of its own, with pauses in which TensorBoard answers."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, overload

from tb_nnhealth.rules.base import Rule

REST = 0.5
"""Pause after a rule, in multiples of the time it took: two thirds of one core are used."""
REST_AHEAD = 1.0
"""The same before anybody has opened the tab: half of one core."""
SECONDS_AHEAD = 10.0
"""Time that is spent on runs which nobody has asked to see yet."""
SECONDS_ASIDE = 1.5
"""While a page of TensorBoard's is being opened nothing is judged for so long that nobody waits for."""
PAUSE_MOST = 0.25
"""Seconds of one pause; also how long a rule waits while requests are answered."""
SLICE = 2.0
TRIES_AHEAD = 20
"""Times that a log without runs is looked at, a second apart, while TensorBoard is still reading it."""
TRIES_STEADY = 3
"""Times that a log which grows is looked at: it may be read for the first time, or be that of a training under way."""

logger = logging.getLogger(__name__)


class Unhurried(Sequence[Rule]):
    """``rules``, with a pause after each while they are gone through.

    ``hurried()`` is True where somebody waits for the result (no pause then), False where somebody waits for
    something else (a pause until that is over), None where nobody waits.
    """

    def __init__(self, rules: Sequence[Rule], rest: float, hurried: Callable[[], bool | None]) -> None:
        self._rules, self._rest, self._hurried = rules, rest, hurried

    @overload
    def __getitem__(self, place: int) -> Rule: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[Rule]: ...
    def __getitem__(self, place: int | slice) -> Rule | Sequence[Rule]:
        return self._rules[place]

    def __len__(self) -> int:
        return len(self._rules)

    def __iter__(self) -> Iterator[Rule]:
        for rule in self._rules:
            begun = time.perf_counter()
            yield rule
            self._pause(time.perf_counter() - begun)

    def _pause(self, worked: float) -> None:
        until = time.monotonic() + min(self._rest * worked, PAUSE_MOST)
        latest = time.monotonic() + PAUSE_MOST
        while (hurried := self._hurried()) is not True:
            left = (latest if hurried is False else until) - time.monotonic()
            if left <= 0:
                return
            time.sleep(min(left, 0.005))


class Judges(Protocol):
    """An ``Experiment``, as far as its runs are judged."""

    @property
    def steady(self) -> bool:
        """Whether the log was the same when it was looked at twice."""
        ...

    def names(self) -> list[str]: ...

    def stand_aside(self, seconds: float) -> None:
        """Judges nothing for a while but what is asked for."""
        ...

    def judge(self, seconds: float, rest: float = 0.0) -> bool:
        """Judges for a while; whether anything was left."""
        ...


class Background:
    """Judges the runs of an experiment on a thread that lives as long as there is something to judge."""

    def __init__(self, experiment: Judges) -> None:
        self._experiment = experiment
        self._lock = threading.Lock()
        self._thread: threading.Thread | None = None
        self._wanted = False
        self._asked = False

    def wake(self) -> None:
        """Sees to it that what is due is judged. Does not wait."""
        self._asked = True
        self._begin()

    def look_ahead(self) -> None:
        """Judges a little before the tab is opened. Does not wait."""
        if not self._asked:
            self._begin()

    def stand_aside(self) -> None:
        """Leaves the processor to a page that is being opened."""
        self._experiment.stand_aside(SECONDS_ASIDE)

    def _begin(self) -> None:
        with self._lock:
            self._wanted = True
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="nnhealth judging", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while True:
            self._wanted = False
            try:
                self._judge() if self._asked else self._judge_ahead()
            except Exception:
                logger.exception("nnhealth: judging in the background failed")
            with self._lock:
                if not self._wanted:
                    self._thread = None
                    return

    def _judge(self) -> None:
        while self._experiment.judge(SLICE, REST):
            pass

    def _judge_ahead(self) -> None:
        tries = 0
        while not self._asked and tries < TRIES_AHEAD:
            if self._experiment.names() and (self._experiment.steady or tries >= TRIES_STEADY):
                break
            tries += 1
            time.sleep(1)
        until = time.monotonic() + SECONDS_AHEAD
        while not self._asked and time.monotonic() < until and self._experiment.judge(0.0, REST_AHEAD):
            pass

"""Judging in the background gives way to who asks, and comes to an end."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from tb_nnhealth.plugin import unhurried
from tb_nnhealth.plugin.unhurried import Background, Unhurried
from tb_nnhealth.rules.registry import RULES


class Clock:
    """Time that passes only while somebody sleeps or ``work`` is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        for name in ("monotonic", "perf_counter"):
            monkeypatch.setattr(unhurried.time, name, lambda: self.now)
        monkeypatch.setattr(unhurried.time, "sleep", self.work)

    def work(self, seconds: float) -> None:
        self.now += max(seconds, 1e-6)


@pytest.mark.parametrize(
    ("hurried", "seconds"),
    [(lambda: None, 0.1 + 0.05), (lambda: True, 0.1), (lambda: False, 0.1 + unhurried.PAUSE_MOST)],
    ids=["nobody waits", "somebody waits for it", "somebody waits for something else"],
)
def test_how_long_a_rule_and_its_pause_take(
    hurried: Callable[[], bool | None], seconds: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    rules = Unhurried(RULES[:2], 0.5, hurried)
    for _ in rules:
        clock.work(0.1)
    assert clock.now == pytest.approx(2 * seconds, abs=1e-3)
    assert list(rules) == list(rules[:2]) == list(RULES[:2])


class Experiment:
    """Runs that are judged one a time, of a log that is read in full after some looks at it."""

    def __init__(self, left: int, growing: int = 0) -> None:
        self.left, self.rests = left, list[float]()
        self.growing, self.aside = growing, 0.0
        self.over, self.released = threading.Event(), threading.Event()

    @property
    def steady(self) -> bool:
        return self.growing <= 0

    def names(self) -> list[str]:
        self.growing -= 1
        return ["a"]

    def stand_aside(self, seconds: float) -> None:
        self.aside = seconds

    def judge(self, seconds: float, rest: float = 0.0) -> bool:
        self.rests.append(rest)
        self.left -= 1
        if self.left <= 0:
            self.over.set()
        return self.left > 0


def test_what_is_due_is_judged_and_the_thread_ends() -> None:
    experiment = Experiment(3)
    background = Background(experiment)
    background.wake()
    assert experiment.over.wait(30)
    thread = background._thread
    if thread is not None:
        thread.join(30)
    assert background._thread is None
    assert experiment.rests == [unhurried.REST] * 3
    experiment.over.clear()
    background.wake()
    assert experiment.over.wait(30)


def test_ahead_of_the_tab_it_takes_its_time_and_stops(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unhurried, "SECONDS_AHEAD", 0.0)
    experiment = Experiment(10)
    background = Background(experiment)
    background.look_ahead()
    if (thread := background._thread) is not None:
        thread.join(30)
    assert experiment.rests == []
    monkeypatch.setattr(unhurried, "SECONDS_AHEAD", 60.0)
    background.look_ahead()
    assert experiment.over.wait(30)
    assert experiment.rests == [unhurried.REST_AHEAD] * 10


@pytest.mark.parametrize(("growing", "looks"), [(1, 1), (3, 3), (99, unhurried.TRIES_STEADY + 1)])
def test_a_log_that_is_being_read_is_left_alone_for_a_while(
    growing: int, looks: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    Clock(monkeypatch)
    experiment = Experiment(1, growing)
    Background(experiment)._judge_ahead()
    assert (growing - experiment.growing, experiment.left) == (looks, 0)


def test_a_page_that_is_opened_goes_first() -> None:
    experiment = Experiment(1)
    Background(experiment).stand_aside()
    assert experiment.aside == unhurried.SECONDS_ASIDE


def test_a_fault_in_the_background_ends_the_thread_and_not_the_next_one() -> None:
    class Faulty(Experiment):
        def judge(self, seconds: float, rest: float = 0.0) -> bool:
            super().judge(seconds, rest)
            raise ZeroDivisionError

    experiment = Faulty(2)
    background = Background(experiment)
    for _ in range(2):
        background.wake()
        if (thread := background._thread) is not None:
            thread.join(30)
    assert experiment.over.wait(30)

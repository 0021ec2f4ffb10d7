"""Which steps are measured; time is simulated."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from tb_nnhealth.record.cadence import GRACE, GRACE_RECORDS, MOST_GRACE, OPENING, Cadence


def simulate(
    cadence: Cadence, steps: int, bare: float = 0.1, cost: float = 0.05, pauses: dict[int, float] | None = None
) -> tuple[list[int], float]:
    """Steps that were measured, and the share of the bare time that all measuring took."""
    now, measured, spent = 0.0, [], 0.0
    for step in range(steps):
        own = 0.0
        if cadence.measured:
            measured.append(step)
            own = cost * (3 if cadence.counted else 1)
        now += bare + own + (pauses or {}).get(step, 0.0)
        spent += own
        cadence.spend(own)
        cadence.end(now, measured=cadence.measured)
    return measured, spent / (bare * steps)


def test_given_cadence_is_kept_to_the_step() -> None:
    measured, _ = simulate(Cadence(7, 0.02), 50)
    assert measured == [0, 7, 14, 21, 28, 35, 42, 49]


def test_opening_is_measured_whole() -> None:
    measured, _ = simulate(Cadence(None, 0.02), 200)
    assert measured[:OPENING] == list(range(OPENING))


@pytest.mark.parametrize("budget", [0.005, 0.02, 0.2])
@pytest.mark.parametrize("cost", [0.0005, 0.02, 0.5])
def test_cost_stays_within_the_budget(budget: float, cost: float) -> None:
    steps = 40_000
    measured, share = simulate(Cadence(None, budget), steps, cost=cost)
    grace = MOST_GRACE / (0.1 * steps)
    opening = (OPENING + 2) * cost * 3 / (0.1 * steps)
    assert share <= budget + grace + opening
    assert len(measured) * cost * 2 >= 0.2 * budget * 0.1 * steps or measured == list(range(steps))


def test_cheap_measuring_is_done_at_every_step() -> None:
    measured, _ = simulate(Cadence(None, 0.02), 100, cost=1e-5)
    assert measured == list(range(100))


def test_one_long_pause_changes_nothing() -> None:
    steady, _ = simulate(Cadence(None, 0.02), 3000)
    paused, _ = simulate(Cadence(None, 0.02), 3000, pauses={5: 60.0, 400: 600.0})
    assert len(paused) == pytest.approx(len(steady), abs=1)
    assert len(steady) > 50


def test_cadence_follows_a_change_of_the_step_time() -> None:
    cadence = Cadence(None, 0.02)
    simulate(cadence, 3000, bare=0.1)
    slow = cadence.every
    simulate(cadence, 3000, bare=1.0)
    assert cadence.every < slow


def test_short_runs_are_measured_often_enough_to_be_judged() -> None:
    measured, _ = simulate(Cadence(None, 0.02), 300, bare=0.001, cost=0.002)
    assert len(measured) > 40


def test_costly_histograms_become_rarer() -> None:
    cadence = Cadence(1, 0.02)
    now = 0.0
    for _ in range(200):
        own = 0.001 * (30 if cadence.counted else 1)
        now += 0.01 + own
        cadence.spend(own)
        cadence.end(now, measured=True)
    assert cadence.histogram_every == 100
    assert Cadence(1, 0.02).histogram_every == 10


def test_work_queued_on_a_device_is_seen_by_the_length_of_the_steps() -> None:
    cadence = Cadence(None, 0.02, asynchronous=True)
    now = 0.0
    for _ in range(2000):
        now += 0.1 + (0.05 if cadence.measured else 0.0) + 0.0001
        cadence.spend(0.0001 if cadence.measured else 0.0)
        cadence.end(now, measured=cadence.measured)
    assert cadence.cost == pytest.approx(0.05, rel=0.01)
    assert cadence.every >= math.ceil(0.05 / (0.02 * 0.1))


def test_reason_is_one_sentence_with_the_numbers() -> None:
    given, chosen = Cadence(5, 0.02), Cadence(None, 0.02)
    assert given.reason == "every=5 was given."
    assert chosen.reason == "The first 10 steps are always measured."
    simulate(chosen, 5000)
    assert f"one step in {chosen.every}" in chosen.reason
    assert "60.00 ms" in chosen.reason  # with its share of the histograms
    assert "2.0%" in chosen.reason


def test_work_of_the_writer_belongs_to_the_cost_of_a_record() -> None:
    alone, shared = Cadence(None, 0.02), Cadence(None, 0.02)
    now = 0.0
    for step in range(5000):
        now += 0.01
        for cadence in (alone, shared):
            measured = cadence.measured
            cadence.spend(0.002 if measured else 0.0)
            cadence.end(now, measured=measured)
        if step % 20 == 0:
            shared.background(0.002 * shared._records)
    assert shared.every == pytest.approx(2 * alone.every, rel=0.2)
    assert shared.overhead > 0.012
    assert shared.overhead == pytest.approx(shared._total_spent * 2 / (shared.bare * 5000), rel=0.1)


def test_overhead_is_the_share_of_the_bare_time() -> None:
    cadence = Cadence(1, 0.02)
    _, share = simulate(cadence, 100)
    assert cadence.overhead == pytest.approx(share, rel=0.05)
    assert Cadence(1, 0.02).overhead == 0.0


def test_step_that_was_not_measured_though_due_is_no_record() -> None:
    cadence = Cadence(1, 0.02)
    for now in range(5):
        cadence.end(float(now), measured=False)
    assert cadence.counted
    assert cadence.cost == 0.0


def test_the_grace_counts_processor_time() -> None:
    alone, beside_others = Cadence(None, 0.02), Cadence(None, 0.02)
    records = {id(alone): 0, id(beside_others): 0}
    now = 0.0
    for _ in range(100):
        now += 0.1
        for cadence, share in ((alone, 1.0), (beside_others, 0.25)):
            records[id(cadence)] += cadence.measured
            cadence.spend(0.015 if cadence.measured else 0.0)
            cadence.end(now, measured=cadence.measured, busy=share * now)
    assert records[id(beside_others)] > 1.5 * records[id(alone)]


@dataclass(frozen=True)
class Course:
    """What the steps of a simulated run take: seconds without us, and of ours when a step is measured."""

    bare: Callable[[int], float]
    cost: Callable[[int], float]
    histograms: float = 3.0
    """Cost of a record with histograms, in costs of one without."""
    background: float = 0.0
    """What the writer's thread works for each record, in costs of one."""


def _spikes(usual: float, spike: float, share: float) -> Callable[[int], float]:
    return lambda step: spike if random.Random(step).random() < share else usual


COURSES = {
    "steady": Course(lambda _: 0.01, lambda _: 0.002),
    "cheap": Course(lambda _: 0.05, lambda _: 0.0005),
    "dear": Course(lambda _: 0.02, lambda _: 0.06),
    "dear histograms": Course(lambda _: 0.02, lambda _: 0.002, histograms=40.0),
    "slow start": Course(lambda step: 2.0 if step < 5 else 0.01, lambda step: 0.2 if step == 0 else 0.002),
    "steps grow shorter": Course(lambda step: 0.002 + 0.1 * math.exp(-step / 4000), lambda _: 0.003),
    "steps grow longer": Course(lambda step: 0.002 + 1e-6 * step, lambda _: 0.003),
    "measuring grows dearer": Course(lambda _: 0.01, lambda step: 0.001 + 2e-7 * step),
    "steps of two kinds": Course(lambda step: 0.05 if step % 8 == 7 else 0.005, lambda _: 0.002),
    "pauses": Course(_spikes(0.01, 20.0, 1e-4), lambda _: 0.002),
    "jitter": Course(lambda step: 0.01 * random.Random(-step).uniform(0.5, 2), _spikes(0.002, 0.006, 0.2)),
    "background": Course(lambda _: 0.01, lambda _: 0.002, background=2.0),
}


def run_of(course: Course, seconds: float, budget: float = 0.02) -> tuple[list[int], float, float]:
    """Steps measured; seconds that all measuring took; seconds of the run without it."""
    cadence = Cadence(None, budget)
    now = spent = trained = background = 0.0
    measured = []
    step = 0
    while trained < seconds:
        own = 0.0
        if cadence.measured:
            measured.append(step)
            own = course.cost(step) * (course.histograms if cadence.counted else 1)
            background += course.background * course.cost(step)
            cadence.background(background)
        bare = course.bare(step)
        now, spent, trained = now + bare + own, spent + own, trained + bare
        cadence.spend(own)
        cadence.end(now, measured=bool(own))
        step += 1
    return measured, spent + background, trained


@pytest.mark.parametrize("name", COURSES)
def test_a_run_of_minutes_honours_its_budget_from_its_first_step_on(name: str) -> None:
    _, spent, trained = run_of(COURSES[name], 200.0)
    assert spent <= 0.02 * trained
    assert spent >= 0.002 * trained  # and makes use of it


@pytest.mark.parametrize("name", COURSES)
def test_a_run_never_costs_more_than_the_grace_its_opening_and_its_budget(name: str) -> None:
    course = COURSES[name]
    for seconds in (1.0, 5.0, 20.0, 60.0):
        measured, spent, trained = run_of(course, seconds)
        opening = sum(course.cost(step) for step in range(OPENING)) * (1 + course.background) + 2 * max(
            course.histograms * course.cost(step) for step in range(OPENING)
        )
        grace = max(GRACE, min(MOST_GRACE, 1.5 * GRACE_RECORDS * max(course.cost(step) for step in range(1, 2000))))
        assert spent <= 0.02 * trained + (1 + course.background) * grace + opening
        assert measured[:OPENING] == list(range(min(OPENING, len(measured))))


def test_a_run_of_seconds_is_looked_at_often_enough_to_be_judged() -> None:
    for bare, cost in ((0.001, 0.0005), (0.002, 0.002), (0.01, 0.005), (0.02, 0.02)):
        measured, _, _ = run_of(Course(lambda _, bare=bare: bare, lambda _, cost=cost: cost), 3.0)  # type: ignore[misc]
        assert len(measured) >= 20  # as many as rules need


@pytest.mark.parametrize("spike", [0.05, 1.0])
def test_a_few_steps_held_up_by_something_else_do_not_fool_it(spike: float) -> None:
    quiet = run_of(COURSES["steady"], 60.0)[0]
    held_up = run_of(Course(lambda _: 0.01, _spikes(0.002, spike, 0.05)), 60.0)[0]
    assert len(held_up) == pytest.approx(len(quiet), rel=0.25)


def test_the_same_times_give_the_same_steps() -> None:
    assert run_of(COURSES["jitter"], 60.0) == run_of(COURSES["jitter"], 60.0)


def test_close_looks_are_one_and_all_in_the_beginning_and_then_eight_steps_apart() -> None:
    cadence, close = Cadence(every=1, budget=0.02), []
    for step in range(200):
        if cadence.close:
            close.append(step)
        cadence.spend(0.001)
        cadence.end(0.1 * step, measured=True)
    assert close == [*range(64), *range(71, 200, 8)]


def test_records_far_apart_are_all_close_looks() -> None:
    cadence = Cadence(every=10, budget=0.02)
    for step in range(1500):
        measured = cadence.measured
        assert cadence.close or not measured
        cadence.end(0.1 * step, measured=measured)

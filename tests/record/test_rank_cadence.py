"""Ranks that are unlike in speed measure the same steps."""

from __future__ import annotations

import pytest

from tb_nnhealth.record.cadence import OPENING
from tb_nnhealth.record.rank_cadence import SharedCadence


class Line:
    """What an exchange carries, which arrives ``lag`` steps late."""

    def __init__(self, rank: int, lag: int = 0) -> None:
        self.rank, self.lag = rank, lag
        self.schedule = ""
        self.published: list[tuple[int, str]] = []
        self.others = 0
        self.heard = 0

    def publish(self, schedule: str) -> None:
        self.published.append((self.heard, schedule))

    def hear(self) -> None:
        self.heard += 1

    def slowest(self) -> int:
        return self.others


def train(costs: list[float], steps: int, *, lag: int = 0, bare: float = 0.01, **given: int) -> list[list[int]]:
    """Measured steps of each rank; ``costs``: seconds of measuring one. What is published comes ``lag`` steps later."""
    lines = [Line(rank) for rank in range(len(costs))]
    cadences = [SharedCadence(given.get("every"), 0.02, line) for line in lines]
    measured: list[list[int]] = [[] for _ in costs]
    published: list[tuple[int, str]] = []
    now = [0.0] * len(costs)
    for step in range(steps):
        for rank, (cadence, line) in enumerate(zip(cadences, lines, strict=True)):
            now[rank] += bare
            begun = cadence.measured
            if begun:
                measured[rank].append(step)
                cadence.spend(costs[rank])
                now[rank] += costs[rank]
            line.others = max(other.interval for other in cadences if other is not cadence)
            cadence.end(now[rank], measured=begun)
            published += [(step, text) for _, text in line.published]
            line.published.clear()
            if rank:
                arrived = [text for at, text in published if at + lag <= step]
                line.schedule = arrived[-1] if arrived else ""
    return measured


def test_opening_is_measured_on_all() -> None:
    for steps in train([0.001, 0.004], 30):
        assert steps[:OPENING] == list(range(OPENING))


@pytest.mark.parametrize("lag", [0, 3, 50], ids=["at once", "soon", "within half a second"])
def test_same_steps_whatever_each_would_choose(lag: int) -> None:
    first, second, third = train([0.0005, 0.004, 0.002], 20_000, lag=lag)
    assert first == second == third
    assert len(first) < 20_000 / 4


def test_slowest_rank_decides() -> None:
    alone = train([0.0005, 0.0005], 20_000)[0]
    beside_a_slow_one = train([0.0005, 0.004], 20_000)[0]
    assert len(beside_a_slow_one) < len(alone) / 2


def test_rank_that_hears_late_shares_steps() -> None:
    first, second = train([0.0005, 0.004], 20_000, lag=2000)
    assert len(set(first) & set(second)) > 0.5 * min(len(first), len(second))


def test_given_cadence_is_kept() -> None:
    assert train([0.001, 0.004], 30, every=7) == [[0, 7, 14, 21, 28]] * 2


def test_histograms_fall_on_the_same_steps() -> None:
    line = Line(0)
    cadence = SharedCadence(None, 0.02, line)
    counted = []
    for step in range(100):
        if cadence.measured and cadence.counted:
            counted.append(step)
        cadence.end(0.01 * step, measured=cadence.measured)
    assert counted[:3] == [0, 16, 32]

"""What is held back, for how long, and what is not."""

from __future__ import annotations

from typing import Any

import pytest
from alerted import finding, report

from tb_nnhealth.follow.changes import Change, Ledger
from tb_nnhealth.follow.hold import Held, Hold


class Watched:
    """One run, looked at again and again; the clock stands still unless it is turned."""

    def __init__(self, hold: Hold = Hold(100, 600.0)) -> None:  # noqa: B008
        self.seconds = 0.0
        self.ledger = Ledger()
        self.held = Held(hold, lambda: self.seconds, lambda: 1.7e9 + self.seconds)

    def look(self, steps: int, *findings: dict[str, Any], pace: float = 1.0, closed: bool = False) -> list[str]:
        now = {**report(*findings), "steps": steps, "pace": pace, "closed": closed, "last_wall": 1.7e9 + self.seconds}
        ready: list[Change] = self.held.take(self.ledger.update(now), {"exp1": now})
        ready += self.held.ready({"exp1": now}, self.ledger.finding)
        return [f"{change.what} {change.finding['rule']}" for change in ready]


def spike(**given: Any) -> dict[str, Any]:
    return finding(**{"rule": "loss-spike", "severity": "warning", "first_step": 40, "fired_step": 50, **given})


def test_what_has_gone_soon_is_never_told_neither_that_it_came_nor_that_it_went() -> None:
    run = Watched()
    assert [run.look(60, spike()), run.look(120, spike()), run.look(140), run.look(1000)] == [[]] * 4


def test_what_stands_for_so_many_records_is_told_once_and_that_it_cleared() -> None:
    run = Watched()
    assert run.look(60, spike()) == []
    assert run.look(149, spike()) == []
    assert run.look(150, spike()) == ["appeared loss-spike"]
    assert run.look(300, spike()) == []
    assert run.look(400) == ["cleared loss-spike"]


def test_records_count_and_not_steps() -> None:
    run = Watched()
    assert run.look(60, spike(), pace=50) == []
    assert run.look(1000, spike(), pace=50) == []
    assert run.look(5060, spike(), pace=50) == ["appeared loss-spike"]


def test_a_finding_that_is_found_anew_at_each_look_has_stood_since_the_first() -> None:
    run = Watched()
    assert run.look(60, spike(fired_step=59)) == []
    assert run.look(120, spike(fired_step=119)) == []
    assert run.look(160, spike(fired_step=159)) == ["appeared loss-spike"]


def test_what_the_log_shows_to_have_stood_is_told_at_the_first_look() -> None:
    assert Watched().look(9000, spike()) == ["appeared loss-spike"]


def test_a_long_illness_that_was_over_before_it_was_seen_is_told() -> None:
    over = spike(active=False, last_step=4000)
    assert Watched().look(9000, over) == ["appeared loss-spike", "cleared loss-spike"]
    assert Watched().look(9000, spike(active=False, last_step=60)) == []


def test_time_ends_the_wait_of_a_run_that_writes_seldom() -> None:
    run = Watched()
    assert run.look(60, spike()) == []
    run.seconds = 599.0
    assert run.look(61, spike()) == []
    run.seconds = 600.0
    assert run.look(61, spike()) == ["appeared loss-spike"]


def test_what_a_run_ends_with_is_told_when_it_has_ended() -> None:
    run = Watched()
    assert run.look(60, spike()) == []
    assert run.look(60, spike(), closed=True) == ["appeared loss-spike"]


@pytest.mark.parametrize(("severity", "told"), [("critical", ["appeared non-finite"]), ("warning", [])])
def test_nothing_takes_back_a_critical_nan(severity: str, told: list[str]) -> None:
    assert Watched().look(82, finding(severity=severity, fired_step=81)) == told


def test_a_warning_that_grows_into_a_critical_nan_waits_no_longer() -> None:
    run = Watched()
    assert run.look(82, finding(severity="warning")) == []
    assert run.look(83, finding()) == ["appeared non-finite"]


def test_nothing_is_held_where_nothing_is_asked_for() -> None:
    assert Watched(Hold.parsed("0")).look(51, spike()) == ["appeared loss-spike"]


@pytest.mark.parametrize(
    ("text", "hold"),
    [
        ("20", Hold(20, float("inf"))),
        ("90s", Hold(float("inf"), 90)),
        ("1.5h", Hold(float("inf"), 5400)),
        ("20, 5m", Hold(20, 300)),
    ],
)
def test_a_hold_is_records_a_time_or_both(text: str, hold: Hold) -> None:
    assert Hold.parsed(text) == hold


@pytest.mark.parametrize("text", ["", "-1", "10 minutes", "m", "100,,"])
def test_what_is_no_hold(text: str) -> None:
    with pytest.raises(ValueError, match="expected records, a time, or both"):
        Hold.parsed(text)

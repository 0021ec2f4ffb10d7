from __future__ import annotations

from alerted import finding, report

from tb_nnhealth.follow.changes import Ledger


def told(ledger: Ledger, *findings, run: str = "exp1") -> list[tuple[str, str]]:
    return [(change.what, change.identity.subject) for change in ledger.update(report(*findings, run=run))]


def test_a_finding_appears_once_and_clears_once() -> None:
    ledger = Ledger()
    assert told(ledger) == []
    assert told(ledger, finding("a")) == [("appeared", "a")]
    assert told(ledger, finding("a", last_step=200, severity="warning")) == []
    assert told(ledger, finding("a", active=False)) == [("cleared", "a")]
    assert told(ledger, finding("a", active=False)) == []


def test_a_finding_that_is_no_longer_reported_has_cleared() -> None:
    ledger = Ledger()
    told(ledger, finding("a"), finding("b"))
    assert told(ledger, finding("b")) == [("cleared", "a")]


def test_a_finding_that_comes_again_is_told_again_under_its_old_name() -> None:
    ledger = Ledger()
    first = ledger.update(report(finding("a")))
    ledger.update(report(finding("a", active=False)))
    again = ledger.update(report(finding("a")))
    assert [c.identity for c in again] == [c.identity for c in first]


def test_what_was_over_before_it_was_seen_is_told_all_the_same() -> None:
    assert told(Ledger(), finding("a", active=False)) == [("appeared", "a"), ("cleared", "a")]


def test_a_finding_that_spreads_stays_the_same() -> None:
    ledger = Ledger()
    (first,) = ledger.update(report(finding("a")))
    wider = finding("b", subjects=[{"subject": "b"}, {"subject": "a"}])
    assert ledger.update(report(wider)) == []
    (cleared,) = ledger.update(report())
    assert cleared.identity == first.identity


def test_another_rule_or_run_is_another_finding() -> None:
    ledger = Ledger()
    told(ledger, finding("a"))
    assert told(ledger, finding("a"), finding("a", rule="dead-units")) == [("appeared", "a")]
    assert told(ledger, finding("a"), run="exp2") == [("appeared", "a")]


def test_two_layers_ill_alike_are_two_findings() -> None:
    ledger = Ledger()
    assert told(ledger, finding("a"), finding("b")) == [("appeared", "a"), ("appeared", "b")]


def test_of_a_run_that_is_gone_all_has_cleared() -> None:
    ledger = Ledger()
    told(ledger, finding("a"), finding("b", active=False))
    assert [(c.what, c.identity.subject) for c in ledger.forget("exp1")] == [("cleared", "a")]
    assert ledger.forget("exp1") == []
